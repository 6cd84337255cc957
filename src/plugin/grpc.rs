//! `grpc FROM TO… { … }`: upstreams over gRPC.

use std::{collections::HashSet, net::SocketAddr, sync::Arc};

use crate::{
    chain::{Back, Cx, Flow, Plugin, QueryError, Reply},
    corefile::{Arguments, Token},
    limits,
    transport::Scheme,
    upstream::{Group, GroupSettings, Policy, Protocol, Target, TlsClientSettings},
    wire::{Name, Query, Rcode},
};

use super::{
    Awaited, BuildError, Directive, DirectiveLines, Fallthrough, Need, OptionSpec, OptionTable,
    PluginContext, PluginSettings, Role, ScopedAddress, UpstreamTls, ZoneArguments,
    forward::{forwarded, name_server},
    names,
    root::Root,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "grpc",
    about: "Forwards queries to upstreams over gRPC, such as the `grpc://` blocks of CoreDNS.",
    arguments: "FROM TO…",
    options: &OPTIONS,
    roles: &[
        Role::Answers,
        Role::AsksUpstreams,
        Role::DecidesCacheContents,
        Role::ReadsFiles,
        Role::TakesZones(ZoneArguments::First),
    ],
    example: ".:53 {\n    grpc . 192.0.2.53:443 {\n        tls ca.pem\n        tls_servername dns.example.org\n    }\n    cache\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<GrpcSettings> = OptionTable(&[
    OptionSpec::repeated(
        "except",
        "ZONE…",
        "Passes names in these zones to the next plugin.",
        |grpc, option| {
            let Some(first) = option.required("a zone") else { return };
            let mut zones = option.zones_of(first);
            zones.extend(option.zones());
            grpc.except.extend(names(&zones));
        },
    ),
    OptionSpec::new(
        "tls",
        "[CERT KEY] [CA]",
        "Encrypts, with this client certificate and this authority for upstreams.",
        |grpc, option| grpc.tls = Some(grpc.root.read_upstream_tls(option)),
    ),
    OptionSpec::new(
        "tls_servername",
        "NAME",
        "Encrypts, and sets the name that the certificates of upstreams must have.",
        |grpc, option| {
            grpc.server_name = option.required("a name").map(|name| name.text.clone());
        },
    ),
    OptionSpec::new(
        "policy",
        "random|round_robin|sequential",
        "Sets the order in which upstreams are tried; the default is random.",
        |grpc, option| {
            let policies = [
                ("random", Policy::Random),
                ("round_robin", Policy::RoundRobin),
                ("sequential", Policy::Sequential),
            ];
            grpc.policy = option.one_of("policy", &policies).unwrap_or(grpc.policy);
        },
    ),
    OptionSpec::new(
        "fallthrough",
        "[ZONE…]",
        "Passes names that do not exist, or that no upstream answers, to the next plugin.",
        |grpc, option| grpc.fallthrough = Fallthrough::read(option),
    ),
]);

#[derive(Clone, Debug)]
struct GrpcSettings {
    from: Name,
    except: Vec<Name>,
    to: Vec<GrpcTarget>,
    /// `None` without encryption.
    tls: Option<UpstreamTls>,
    server_name: Option<String>,
    policy: Policy,
    fallthrough: Fallthrough,
    root: Root,
}

/// An upstream as it is written.
#[derive(Clone, Debug)]
enum GrpcTarget {
    Address(ScopedAddress),
    /// A file in the form of resolv.conf.
    File(String),
}

struct Grpc {
    settings: GrpcSettings,
    group: Arc<Group>,
}

impl PluginSettings for GrpcSettings {
    fn needs(&self) -> Vec<Need> {
        let files = self.to.iter().filter_map(|to| {
            if let GrpcTarget::File(path) = to { Some(path.clone()) } else { None }
        });
        let mut needs: Vec<_> = files.map(Need::File).collect();
        if let Some(tls) = &self.tls {
            let files: Vec<_> = tls.files().map(|file| Need::File(file.path.clone())).collect();
            if !files.is_empty() {
                // Upstreams reject an expired certificate.
                needs.extend([Need::WatchFiles, Need::UpstreamTls(tls.clone())]);
            }
            needs.extend(files);
        }
        needs
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let tls = self.client_tls(context)?;
        let mut addresses = Vec::new();
        for to in &self.to {
            addresses.extend(to.addresses(context));
        }
        let mut seen = HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        let protocol = Protocol::Grpc(tls);
        let target = |address| Target { address, protocol: protocol.clone() };
        let targets: Vec<_> = addresses.into_iter().map(target).collect();
        if targets.is_empty() {
            if context.replaces_upstreams() {
                return Err(BuildError("no nameservers found".to_owned()));
            }
            let text = format!("no upstream of `grpc {}` can be used", self.from);
            context.warn(DIRECTIVE.name, text);
        }
        let settings = GroupSettings { targets, policy: self.policy, ..GroupSettings::default() };
        let group = context.group(settings);
        Ok(vec![Arc::new(Grpc { settings: self.clone(), group })])
    }
}

impl GrpcSettings {
    fn client_tls(
        &self,
        context: &PluginContext<'_>,
    ) -> Result<Option<Arc<TlsClientSettings>>, BuildError> {
        if self.tls.is_none() && self.server_name.is_none() {
            return Ok(None);
        }
        let files = self.tls.clone().unwrap_or_default();
        let tls = files
            .read(context.build.files)
            .map_err(|(file, reason)| BuildError(format!("cannot use {}: {reason}", file.path)))?;
        let server_name = self.server_name.clone();
        Ok(Some(Arc::new(TlsClientSettings { server_name, ..tls })))
    }

    fn takes(&self, name: &Name) -> bool {
        let excepted = self.except.iter().any(|zone| *zone != self.from && name.is_within(zone));
        name.is_within(&self.from) && !excepted
    }
}

impl GrpcTarget {
    fn addresses(&self, context: &mut PluginContext<'_>) -> Vec<SocketAddr> {
        let path = match self {
            Self::Address(address) => {
                return context.resolve(DIRECTIVE.name, address).into_iter().collect();
            }
            Self::File(path) => path,
        };
        let words: Vec<String> = match context.file(path) {
            Ok(text) => text.lines().filter_map(name_server).map(str::to_owned).collect(),
            Err(reason) => {
                let text = format!("{path} cannot be read: {reason}");
                context.warn(DIRECTIVE.name, text);
                Vec::new()
            }
        };
        let read = |word: &String| ScopedAddress::parse(word, Scheme::Dns.port());
        let resolve = |address| context.resolve(DIRECTIVE.name, &address);
        let addresses: Vec<_> = words.iter().filter_map(read).filter_map(resolve).collect();
        if addresses.is_empty() {
            context.outputs.awaited.push(Awaited::File(path.clone()));
        }
        addresses
    }
}

impl Plugin for Grpc {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, _cx: &mut Cx, query: &Query) -> Flow {
        if !self.settings.takes(&query.question.name) {
            return Flow::Next;
        }
        forwarded(query, &self.group)
    }

    fn response(&self, _cx: &mut Cx, query: &Query, reply: Reply) -> Back {
        let name = &query.question.name;
        let missing = match &reply {
            Ok(response) => response.rcode == Rcode::NXDOMAIN,
            Err(error) => matches!(error, QueryError::Upstream(_)),
        };
        if missing && self.settings.takes(name) && self.settings.fallthrough.includes(name) {
            return Back::PassOn;
        }
        Back::Up(reply)
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let root = Root::of(lines);
    let mut settings = None;
    lines.once(|arguments| {
        settings = read_line(arguments, root.clone());
        if settings.is_none() {
            arguments.skip();
        }
    });
    settings.map(|settings| Box::new(settings) as Box<dyn PluginSettings>)
}

fn read_line(arguments: &mut Arguments<'_>, root: Root) -> Option<GrpcSettings> {
    let zone = arguments.required("the zone to forward and the upstreams")?;
    let from = names(&arguments.zones_of(zone)).into_iter().next()?;
    let mut settings = GrpcSettings {
        from,
        except: Vec::new(),
        to: Vec::new(),
        tls: None,
        server_name: None,
        policy: Policy::Random,
        fallthrough: Fallthrough::default(),
        root,
    };
    let first = arguments.required("an upstream")?;
    let targets: Vec<_> = [first].into_iter().chain(arguments.rest()).collect();
    if let Some(extra) = targets.get(limits::FORWARD_TARGETS) {
        let message =
            format!("more than {} TOs configured: {}", limits::FORWARD_TARGETS, targets.len());
        arguments.error(extra.span, &message);
    }
    for token in targets {
        settings.to.extend(read_target(arguments, token));
    }
    OPTIONS.read(arguments, &mut settings);
    Some(settings)
}

/// Without a scheme the default port is that of plain DNS, as in CoreDNS.
fn read_target(arguments: &mut Arguments<'_>, token: &Token) -> Option<GrpcTarget> {
    let (text, port) = match token.text.strip_prefix("grpc://") {
        Some(text) => (text, Scheme::Grpc.port()),
        None => (token.text.as_str(), Scheme::Dns.port()),
    };
    if let Some(address) = ScopedAddress::parse(text, port) {
        return Some(GrpcTarget::Address(address));
    }
    if text.contains('/') {
        return Some(GrpcTarget::File(text.to_owned()));
    }
    arguments
        .error(token.span, &format!("not an IP address or file: \"{text}\""))
        .help("an upstream is `10.0.0.2:443`, `[fd00::2]:443`, or a file such as /etc/resolv.conf");
    None
}
