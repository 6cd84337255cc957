//! `grpc FROM TO… { … }`: upstreams over gRPC.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    chain::{Back, Cx, Flow, Plugin, QueryError, Reply},
    corefile::{Arguments, Token},
    transport::Scheme,
    upstream::{Group, GroupSettings, Policy, Protocol, Target, TlsClientSettings},
    wire::{Query, Rcode},
};

use super::{
    BuildError, Directive, DirectiveLines, Fallthrough, Need, OptionSpec, OptionTable,
    PluginContext, PluginSettings, Role, ScopedAddress, UpstreamTls, ZoneArguments,
    root::Root,
    upstreams::{
        ForwardedNames, client_tls, forwarded, name_servers, read_policy, read_server_name,
        tls_needs, upstreams, usable,
    },
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
        |grpc, option| grpc.names.read_except(option),
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
        |grpc, option| read_server_name(&mut grpc.server_name, option),
    ),
    OptionSpec::new(
        "policy",
        "random|round_robin|sequential",
        "Sets the order in which upstreams are tried; the default is random.",
        |grpc, option| read_policy(&mut grpc.policy, option),
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
    names: ForwardedNames,
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
        let of_tls = self.tls.iter().flat_map(|tls| tls_needs(DIRECTIVE.name, tls));
        files.map(Need::File).chain(of_tls).collect()
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let tls = self.client_tls(context)?;
        let mut addresses = Vec::new();
        for to in &self.to {
            addresses.extend(to.addresses(context));
        }
        let protocol = Protocol::Grpc(tls);
        let target = |address| Target { address, protocol: protocol.clone() };
        let targets = addresses.into_iter().map(target).collect();
        let targets = usable(targets, &self.names.from, DIRECTIVE.name, context)?;
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
        let tls = client_tls(&self.tls.clone().unwrap_or_default(), context)?;
        let server_name = self.server_name.clone();
        Ok(Some(Arc::new(TlsClientSettings { server_name, ..tls })))
    }
}

impl GrpcTarget {
    fn addresses(&self, context: &mut PluginContext<'_>) -> Vec<SocketAddr> {
        match self {
            Self::Address(address) => {
                context.resolve(DIRECTIVE.name, address).into_iter().collect()
            }
            Self::File(path) => name_servers(path, DIRECTIVE.name, context),
        }
    }
}

impl Plugin for Grpc {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, _cx: &mut Cx, query: &Query) -> Flow {
        if !self.settings.names.include(&query.question.name) {
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
        if missing && self.settings.names.include(name) && self.settings.fallthrough.includes(name)
        {
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
    let mut settings = GrpcSettings {
        names: ForwardedNames::read(arguments)?,
        to: Vec::new(),
        tls: None,
        server_name: None,
        policy: Policy::Random,
        fallthrough: Fallthrough::default(),
        root,
    };
    for token in upstreams(arguments)? {
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
