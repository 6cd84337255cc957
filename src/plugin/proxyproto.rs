//! `proxyproto { … }`: load balancers that send the addresses of clients in a header.

use std::{sync::Arc, time::Duration};

use crate::{
    chain::{Cx, Metadata, Plugin},
    corefile::Arguments,
    limits,
    wire::Query,
};

use super::{
    BuildError, Directive, DirectiveLines, Need, OptionSpec, OptionTable, PluginContext,
    PluginSettings, ProxyPolicy, Role,
    network::Network,
    proxy_policy::{HeaderUse, SessionSettings, TlvUse},
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "proxyproto",
    about: "Takes the address of the client from the header of the PROXY protocol, over UDP, TCP, TLS, HTTPS and gRPC.",
    arguments: "",
    options: &OPTIONS,
    roles: &[Role::Configures],
    example: ".:53 {\n    proxyproto {\n        allow 192.0.2.0/24\n        default reject\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<ProxyPolicy> = OptionTable(&[
    OptionSpec::repeated(
        "allow",
        "NETWORK…",
        "Uses the headers of these load balancers. Without this option, `default` decides about all headers, and is `use` unless it is set.",
        read_allow,
    ),
    OptionSpec::new(
        "default",
        "use|ignore|reject|skip",
        "What happens to a header from another address: `use` takes the client's address from it, `ignore` removes it, `reject` drops the message or the connection, `skip` reads it as part of the message. The default is `ignore`.",
        |policy, option| {
            let choices = [
                ("use", HeaderUse::Use),
                ("ignore", HeaderUse::Ignore),
                ("reject", HeaderUse::Reject),
                ("skip", HeaderUse::Skip),
            ];
            policy.others = option.one_of("default", &choices).or(policy.others);
        },
    ),
    OptionSpec::new(
        "udp_session_tracking",
        "DURATION [COUNT]",
        "A header over UDP counts for later datagrams from the same address and port, too, until none has come for this time. It may come in a datagram of its own. At most COUNT addresses are kept, which is 10240 by default.",
        read_sessions,
    ),
    OptionSpec::new(
        "tlv_metadata",
        "",
        "Keeps the other facts of a header of version 2 (TLVs), in hexadecimal form, as the metadata `proxyproto/tlv`.",
        |policy, _| policy.tlvs = TlvUse::Kept,
    ),
]);

/// Tells other plugins what the load balancer has added.
struct TlvMetadata;

impl PluginSettings for ProxyPolicy {
    fn needs(&self) -> Vec<Need> {
        vec![Need::ProxyHeaders(self.clone())]
    }

    fn build(&self, _: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let kept = self.tlvs == TlvUse::Kept;
        Ok(if kept { vec![Arc::new(TlvMetadata)] } else { Vec::new() })
    }
}

impl Plugin for TlvMetadata {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn metadata(&self, cx: &Cx, _query: &Query, metadata: &mut Metadata) {
        if let Some(tlvs) = &cx.proxy_tlvs {
            let hex: String = tlvs.iter().map(|octet| format!("{octet:02x}")).collect();
            metadata.set("proxyproto/tlv", hex);
        }
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut policy = ProxyPolicy::default();
    lines.each(|arguments| OPTIONS.read(arguments, &mut policy));
    Some(Box::new(policy))
}

fn read_allow(policy: &mut ProxyPolicy, option: &mut Arguments<'_>) {
    while !option.is_empty() {
        let network = option.network("the load balancers");
        policy.allow.extend(network.map(|(address, prefix)| Network::new(address, prefix)));
    }
}

fn read_sessions(policy: &mut ProxyPolicy, option: &mut Arguments<'_>) {
    let time = option.duration("the time");
    let most = match option.is_empty() {
        true => Some(limits::PROXY_SESSIONS),
        false => option.number("the number of addresses", 1, u32::MAX).map(|most| most as usize),
    };
    // A time of zero turns it off.
    let settings = time.zip(most).filter(|(time, _)| *time > Duration::ZERO);
    policy.sessions = settings.map(|(time, most)| SessionSettings { time, most });
}
