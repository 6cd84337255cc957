//! `transfer [ZONE…] { to ADDRESS…|*; source ADDRESS }`: zone transfers (RFC 5936) over TCP or TLS.
//!
//! The servers after `to` get a NOTIFY message (RFC 1996) when a zone has changed. As in CoreDNS,
//! there are no messages about the zone of a cluster, because it changes all the time.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    chain::{Cx, Flow, Plugin},
    corefile::{Arguments, Diagnostics},
    transport::{Framing, Scheme},
    wire::{Name, Query, Rcode, Response, Type},
};

use super::{
    BuildError, Directive, DirectiveLines, Lint, LintContext, Need, OptionSpec, OptionTable,
    PluginContext, PluginSettings, Role, ScopedAddress, ZoneArguments, ZoneNotice,
    keyring::read_key, names, served_zone::deciding_line,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "transfer",
    about: "Allows clients to transfer complete zones with AXFR and IXFR.",
    arguments: "[ZONE…]",
    options: &OPTIONS,
    roles: &[Role::TakesZones(ZoneArguments::All)],
    example: "cluster.local:53 {\n    transfer {\n        to 192.0.2.10\n    }\n    kubernetes\n}\n",
    lints: &[Lint::without_errors(has_no_zone)],
    read,
};

static OPTIONS: OptionTable<TransferOptions> = OptionTable(&[
    OptionSpec::repeated(
        "to",
        "ADDRESS…|*",
        "Allows these clients, or all clients. If a zone of `file`, `auto` or `secondary` changes, these addresses get NOTIFY messages.",
        |options, option| read_to(option, options.to.get_or_insert_default()),
    ),
    OptionSpec::repeated(
        "source",
        "ADDRESS",
        "Sends NOTIFY messages from this address.",
        read_source,
    ),
    OptionSpec::new(
        "key",
        "NAME",
        "Signs NOTIFY messages with this key of `tsig` (RFC 8945).",
        |options, option| options.key = read_key(option),
    ),
]);

/// The options of one line, while they are read.
#[derive(Default)]
struct TransferOptions {
    to: Option<Vec<AllowedClient>>,
    source: Option<IpAddr>,
    has_source: bool,
    key: Option<Name>,
}

#[derive(Clone, Debug)]
struct TransferSettings(Vec<Rule>);

/// The clients that may transfer these zones and the zones within them.
#[derive(Clone, Debug)]
struct Rule {
    zones: Vec<Name>,
    to: Vec<AllowedClient>,
    /// The source address of NOTIFY messages.
    source: Option<IpAddr>,
    /// The key that signs NOTIFY messages.
    key: Option<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum AllowedClient {
    Any,
    /// The port counts for NOTIFY messages only: clients choose their own.
    Host(ScopedAddress),
}

impl PluginSettings for TransferSettings {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Transfers]
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let mut transfers = self.clone();
        for rule in &mut transfers.0 {
            rule.to.retain_mut(|to| match to {
                AllowedClient::Host(host) if host.is_link_local() && host.zone.is_some() => {
                    let found = context.resolve(DIRECTIVE.name, host);
                    host.address = found.unwrap_or(host.address);
                    found.is_some()
                }
                _ => true,
            });
        }
        let notices = transfers.0.iter().flat_map(|rule| rule.notices(context));
        context.notices = notices.collect();
        Ok(vec![Arc::new(transfers)])
    }
}

impl Plugin for TransferSettings {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, cx: &mut Cx, query: &Query) -> Flow {
        let question = &query.question;
        if !question.qtype.is_transfer() {
            return Flow::Next;
        }
        let allowed =
            cx.transport.framing() == Framing::Length && self.allows(&question.name, cx.peer);
        if !allowed {
            return Flow::Answer(Response::of(Rcode::REFUSED));
        }
        // An IXFR query must have the version of the client (RFC 1995 §3).
        if question.qtype == Type::IXFR && query.serial.is_none() {
            return Flow::Answer(Response::of(Rcode::FORMERR));
        }
        Flow::Transfer
    }
}

impl TransferSettings {
    fn allows(&self, zone: &Name, client: SocketAddr) -> bool {
        let lines = self.0.iter().flat_map(|rule| rule.zones.iter().map(move |zone| (zone, rule)));
        deciding_line(lines, zone).is_some_and(|rule| rule.to.iter().any(|to| to.is(client)))
    }
}

impl Rule {
    /// The servers that get a NOTIFY message when a zone changes.
    fn notices(&self, context: &PluginContext<'_>) -> Vec<ZoneNotice> {
        let host = |to: &AllowedClient| match to {
            AllowedClient::Host(host) => Some(host.address),
            AllowedClient::Any => None,
        };
        let to: Vec<_> = self.to.iter().filter_map(host).collect();
        let notice = |zone: &Name| ZoneNotice {
            zone: zone.clone(),
            to: to.clone(),
            source: self.source,
            key: self.key.as_ref().map(|name| context.key(name)),
        };
        self.zones.iter().map(notice).collect()
    }
}

impl AllowedClient {
    /// Whether this is the client, at the configured interface if there is one.
    fn is(&self, client: SocketAddr) -> bool {
        let Self::Host(ScopedAddress { address, .. }) = self else { return true };
        let interface = |address| match address {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        address.ip() == client.ip().to_canonical()
            && (interface(*address) == 0 || interface(*address) == interface(client))
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let (mut rules, block) = (Vec::new(), lines.zones.to_vec());
    lines.each(|arguments| {
        let zones = if arguments.is_empty() { block.clone() } else { names(&arguments.zones()) };
        let (mut options, span) = (TransferOptions::default(), arguments.span());
        OPTIONS.read(arguments, &mut options);
        if options.to.is_none() {
            arguments
                .error(span, "'to' is required")
                .help("`to *` allows every client to transfer the zone, `to 10.0.0.1` one server");
        }
        let TransferOptions { to, source, key, .. } = options;
        rules.push(Rule { zones, to: to.unwrap_or_default(), source, key });
    });
    Some(Box::new(TransferSettings(rules)))
}

fn read_source(options: &mut TransferOptions, option: &mut Arguments<'_>) {
    let span = option.span();
    if std::mem::replace(&mut options.has_source, true) {
        option.error(span, "source already specified");
    }
    options.source = option.address("source address").or(options.source);
}

/// Warns of a block with `transfer` that has no zone to send.
fn has_no_zone(context: &LintContext<'_>, diagnostics: &mut Diagnostics) {
    if let Some(transfer) = context.block.lines(DIRECTIVE.name).next()
        && !context.block.has_role(Role::HasZones)
    {
        let message = "plugin/transfer: no plugin in this block has a zone to transfer";
        diagnostics
            .warning(transfer.name.span, message)
            .help("add `kubernetes`, `file` or another source of a zone to this block; a block inherits no plugin from other blocks");
    }
}

fn read_to(option: &mut Arguments<'_>, to: &mut Vec<AllowedClient>) {
    let Some(first) = option.required("addresses, or `*` for all clients") else { return };
    for token in [first].into_iter().chain(option.rest()) {
        match (&*token.text, ScopedAddress::parse(&token.text, Scheme::Dns.port())) {
            ("*", _) => to.push(AllowedClient::Any),
            (_, Some(host)) => to.push(AllowedClient::Host(host)),
            (text, None) => {
                let error =
                    option.error(token.span, &format!("must specify an IP address: `{text}`"));
                error.help(
                    "such as `10.0.0.1`, `10.0.0.1:53`, `fe80::1%eth0` or `*` for all clients",
                );
            }
        }
    }
}
