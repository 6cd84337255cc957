//! `proxyproto { … }`: load balancers that send the addresses of clients in a header.

use crate::corefile::Arguments;

use super::{
    Directive, DirectiveLines, Need, OptionSpec, OptionTable, PluginSettings, ProxyPolicy, Role,
    network::Network, proxy_policy::HeaderUse,
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
    OptionSpec::not_yet("udp_session_tracking"),
    OptionSpec::not_yet("tlv_metadata"),
]);

impl PluginSettings for ProxyPolicy {
    fn needs(&self) -> Vec<Need> {
        vec![Need::ProxyHeaders(self.clone())]
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
