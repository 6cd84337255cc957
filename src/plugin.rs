//! One file a directive, in CoreDNS's order: what was written becomes [`Settings`], and settings
//! become plugins.
//!
//! A plugin never touches a socket, file or clock. What it needs from outside it declares as a
//! [`Need`]; `app` serves the needs, and what they bring comes back through the [`PluginContext`]
//! that plugins are built on.

mod authority;
mod autopath;
mod bind;
mod bufsize;
mod cache;
mod cancel;
mod debug;
mod errors;
mod forward;
mod health;
mod hosts;
mod k8s_external;
mod k8s_gateway;
mod kubernetes;
mod loadbalance;
mod log;
mod loop_;
mod prometheus;
mod ready;
mod reload;
mod tls;
mod transfer;
mod whoami;

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    cache::Cache,
    chain::{self, Cx, Plugin, Transport},
    corefile::{Arguments, Block, Diagnostics, Line, nearest},
    limits,
    metrics::Metrics,
    model::Kind,
    upstream,
    wire::{Name, Question},
    zone::Store,
};

pub use forward::{UpstreamTls, target as forward_target};
pub use kubernetes::{ClientTls, Origin, Source, Throttle};
pub use ready::Readiness;
pub use tls::{ClientAuth, Tls, TlsFile};

/// A directive that CoreDNS knows.
pub struct Entry {
    pub name: &'static str,
    /// `None`: not here yet, and said so.
    read: Option<Read>,
}

impl Entry {
    pub fn is_here(&self) -> bool {
        self.read.is_some()
    }
}

/// Reads a directive's lines; `None` where they are too wrong to go on.
type Read = fn(&mut Reading<'_>) -> Option<Box<dyn Settings>>;

/// All directives of CoreDNS 1.15 in the order in which their plugins are called, whatever the
/// Corefile's order.
pub static ALL: &[Entry] = &[
    missing("root"),
    missing("metadata"),
    missing("geoip"),
    here("cancel", cancel::read),
    missing("proxyproto"),
    missing("quic"),
    missing("grpc_server"),
    missing("https"),
    missing("https3"),
    missing("timeouts"),
    missing("multisocket"),
    here("reload", reload::read),
    missing("nsid"),
    here("bufsize", bufsize::read),
    here("bind", bind::read),
    here("debug", debug::read),
    missing("trace"),
    here("ready", ready::read),
    here("health", health::read),
    missing("pprof"),
    missing("shed"),
    here("prometheus", prometheus::read),
    here("errors", errors::read),
    here("log", log::read),
    missing("dnstap"),
    missing("local"),
    missing("dns64"),
    missing("siit"),
    missing("any"),
    missing("chaos"),
    here("loadbalance", loadbalance::read),
    missing("tsig"),
    missing("rewrite"),
    here("autopath", autopath::read),
    missing("acl"),
    here("cache", cache::read),
    missing("header"),
    missing("dnssec"),
    here("tls", tls::read),
    missing("minimal"),
    missing("template"),
    here("transfer", transfer::read),
    missing("dynupdate"),
    here("hosts", hosts::read),
    missing("route53"),
    missing("azure"),
    missing("clouddns"),
    // Not of CoreDNS itself: where its own plugin.cfg wants it.
    here("k8s_gateway", k8s_gateway::read),
    here("k8s_external", k8s_external::read),
    here("kubernetes", kubernetes::read),
    missing("file"),
    missing("auto"),
    missing("secondary"),
    missing("etcd"),
    here("loop", loop_::read),
    here("forward", forward::read),
    missing("grpc"),
    missing("erratic"),
    here("whoami", whoami::read),
    missing("on"),
    missing("sign"),
    missing("view"),
    missing("nomad"),
];

/// Plugins of CoreDNS versions before this one, and what is done now.
const REMOVED: [(&str, &str); 3] = [
    ("proxy", "write `forward FROM TO…` instead, as since CoreDNS 1.5"),
    ("federation", "delete this line: Kubernetes has no federation v1 any more"),
    ("reverse", "`template` answers names that are made of addresses, as since CoreDNS 1.2"),
];

/// Registers the metrics that CoreDNS shows whether their plugin is in use or not.
pub fn declare_metrics(metrics: &Metrics) {
    hosts::declare_metrics(metrics);
}

const fn here(name: &'static str, read: Read) -> Entry {
    Entry { name, read: Some(read) }
}

const fn missing(name: &'static str) -> Entry {
    Entry { name, read: None }
}

/// What a directive says, checked; nothing is resolved or opened yet. Two that print alike are
/// equal.
pub trait Settings: fmt::Debug + Send + Sync {
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }

    /// The plugins, none for a directive that only has needs.
    ///
    /// # Errors
    /// A sentence, where what the needs brought is of no use.
    fn build(&self, _site: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        Ok(Vec::new())
    }
}

/// A host, and who is asked for its addresses: the machine's own resolver where nobody is named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    pub name: String,
    pub resolvers: Vec<SocketAddr>,
}

/// What a directive needs from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Facts of a cluster, of these kinds.
    Source { source: Source, kinds: Vec<Kind> },
    /// The content of a file.
    File(String),
    /// The addresses of a host.
    Host(Host),
    /// Listen on these addresses or interfaces only.
    Bind { only: Vec<String>, except: Vec<String> },
    /// The largest datagram that is sent.
    UdpOctets(u16),
    /// Questions of any class.
    AnyClass,
    /// The Corefile, and the files that its plugins read, are watched.
    Reload,
    /// The files that plugins read are watched.
    WatchFiles,
    /// Questions for whole zones.
    Transfers,
    /// A certificate for the keys whose scheme is encrypted.
    Tls(Tls),
    /// Certificates with which upstreams are spoken to: they are to be looked at before they are
    /// used.
    UpstreamTls(UpstreamTls),
    /// The questions of [`PluginContext::probes`] are asked at the start.
    Probe,
    /// The `ready` page watches this block's plugins.
    Readiness { continuously: bool },
    /// Lines of the level DEBUG are written, and a panic ends the process.
    Debug,
    /// A panic's way through the program is written.
    Stacktrace,
    /// Keep answering for this long after the order to stop.
    Lameduck(Duration),
}

/// A page that is served over HTTP.
#[derive(Clone)]
pub struct Page {
    /// `HOST:PORT`, an empty host for every address.
    pub address: String,
    pub path: &'static str,
    pub render: Arc<dyn Fn() -> PageReply + Send + Sync>,
    /// The process asks for it itself once a second: how long that takes shows whether it still
    /// gets to run.
    pub polled: bool,
}

pub struct PageReply {
    pub status: u16,
    pub content_type: &'static str,
    pub body: String,
    /// For the log.
    pub line: Option<chain::Line>,
}

impl PageReply {
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into(), line: None }
    }
}

/// Says something when a time is over, without a question.
pub trait Timed: Send + Sync {
    /// The lines that are due; where `now` is `None` all that are held back, for it is the end.
    fn due(&self, now: Option<Instant>) -> Vec<chain::Line>;
}

/// What settings are built on: the block, what its needs brought, and what lives through a reload.
pub struct PluginContext<'s> {
    pub zones: &'s [Name],
    /// What the block's addresses are called in metrics, and those of all blocks.
    pub servers: &'s Servers,
    pub all_servers: &'s Servers,
    pub metrics: &'s Arc<Metrics>,
    pub readiness: &'s Arc<Readiness>,
    pub pages: &'s mut Vec<Page>,
    /// Questions to ask this server itself once it answers, until they are answered.
    pub probes: &'s mut Vec<Question>,
    /// What is surely not meant and shows only in what the needs brought.
    pub warnings: &'s mut Vec<String>,
    /// What has something to say when a time is over.
    pub timed: &'s mut Vec<Arc<dyn Timed>>,
    /// Sees replies that no block gave.
    pub unrouted: &'s mut Option<Arc<dyn Plugin>>,
    /// Texts of the files that were needed, or why they cannot be read.
    pub files: &'s HashMap<String, Result<String, String>>,
    /// When they were written.
    pub modified: &'s HashMap<String, SystemTime>,
    /// Addresses of the hosts that were needed, or why there are none.
    pub hosts: &'s HashMap<Host, Result<Vec<IpAddr>, String>>,
    pub stores: &'s HashMap<Source, Arc<Store>>,
    /// The machine's addresses that others reach it at.
    pub own_addresses: &'s [IpAddr],
    /// What the server before had; it goes over where it is asked for again, and else goes with
    /// that server.
    pub before: &'s ReloadState,
    pub kept: &'s mut ReloadState,
    /// A number that clients do not know, and another one after a reload.
    pub seed: u64,
    /// The settings of the block that decide what its cache may hold, printed: with the same ones a
    /// cache lives on.
    pub cache_identity: &'s str,
}

/// What lives through a reload where the settings behind it stay the same.
#[derive(Default)]
pub struct ReloadState {
    pub caches: HashMap<String, Arc<Cache>>,
    pub groups: HashMap<String, Arc<upstream::Group>>,
}

impl PluginContext<'_> {
    /// The block's cache, with what it held before a reload that did not touch its settings.
    pub fn cache(&mut self, make: impl FnOnce(u64) -> Cache) -> Arc<Cache> {
        let (identity, seed) = (self.cache_identity.to_owned(), self.seed);
        let before = self.before.caches.get(&identity).cloned();
        Arc::clone(
            self.kept
                .caches
                .entry(identity)
                .or_insert_with(|| before.unwrap_or_else(|| Arc::new(make(seed)))),
        )
    }

    /// The upstreams of these settings, with what is known of their health.
    pub fn group(&mut self, settings: upstream::GroupSettings) -> Arc<upstream::Group> {
        let identity = format!("{settings:?}");
        let before = self.before.groups.get(&identity).cloned();
        let make = || before.unwrap_or_else(|| Arc::new(upstream::Group::new(settings)));
        Arc::clone(self.kept.groups.entry(identity).or_insert_with(make))
    }
}

/// What addresses that are listened on are called in metrics, such as `dns://:53`.
#[derive(Clone, Debug)]
pub struct Servers(Vec<(Transport, SocketAddr, String)>);

impl Servers {
    /// Of what comes over these transports, or over UDP where TCP stands, at these addresses.
    pub fn new(listened: impl IntoIterator<Item = (Transport, SocketAddr, String)>) -> Self {
        Self(listened.into_iter().collect())
    }

    /// The number of the address at which a query came in.
    pub fn index(&self, cx: &Cx) -> usize {
        let transport = if cx.transport == Transport::Udp { Transport::Tcp } else { cx.transport };
        let here = |(spoken, address, _): &&(Transport, SocketAddr, String)| {
            let port = address.port() == 0 || address.port() == cx.local.port();
            *spoken == transport
                && port
                && (address.ip().is_unspecified() || address.ip() == cx.local.ip())
        };
        self.0.iter().position(|server| here(&server)).unwrap_or(0)
    }

    /// The label of the address with this number.
    pub fn label(&self, index: usize) -> &str {
        self.0.get(index).map_or("", |(.., label)| label)
    }

    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(.., label)| &**label)
    }

    /// Whether something is listened on at the port.
    pub fn have_port(&self, port: u16) -> bool {
        self.0.iter().any(|(_, address, _)| address.port() == port)
    }
}

/// A directive's lines in one block, while they are read.
pub struct Reading<'r> {
    pub name: &'static str,
    lines: Vec<&'r Line>,
    /// The zones of the block's keys.
    pub zones: &'r [Name],
    /// Everything that stands in the block.
    block: &'r Block,
    diagnostics: &'r mut Diagnostics,
}

impl<'r> Reading<'r> {
    fn new(
        name: &'static str,
        block: &'r Block,
        zones: &'r [Name],
        diagnostics: &'r mut Diagnostics,
    ) -> Option<Self> {
        let lines: Vec<_> = block.directives.iter().filter(|line| line.name.text == name).collect();
        (!lines.is_empty()).then_some(Self { name, lines, zones, block, diagnostics })
    }

    /// Reads another directive of the block, if it is there.
    fn beside<T>(
        &self,
        name: &'static str,
        diagnostics: &mut Diagnostics,
        read: impl FnOnce(&mut Reading<'_>) -> T,
    ) -> Option<T> {
        Reading::new(name, self.block, self.zones, diagnostics)
            .map(|mut reading| read(&mut reading))
    }

    /// Reads each of the lines.
    pub fn each(&mut self, mut read: impl FnMut(&mut Arguments<'_>)) {
        for line in &self.lines {
            read(&mut Arguments::new(self.name, line, self.diagnostics));
        }
    }

    /// Reads the only line there may be.
    pub fn once(&mut self, mut read: impl FnMut(&mut Arguments<'_>)) {
        for extra in self.lines.iter().skip(1) {
            let message =
                format!("plugin/{}: this plugin can only be used once per Server Block", self.name);
            self.diagnostics.error(extra.name.span, message).label("the second one");
        }
        self.lines.truncate(1);
        self.each(&mut read);
    }
}

/// A server block whose every directive is read.
#[derive(Debug)]
pub struct Checked {
    /// By name, in the order of [`ALL`].
    pub settings: Vec<(&'static str, Box<dyn Settings>)>,
}

/// Reads a block's directives; mistakes go to `diagnostics`.
pub fn check(block: &Block, zones: &[Name], diagnostics: &mut Diagnostics) -> Checked {
    for line in &block.directives {
        known_directive(line, diagnostics);
    }
    let mut settings = Vec::new();
    for entry in ALL {
        let (Some(read), Some(mut reading)) =
            (entry.read, Reading::new(entry.name, block, zones, diagnostics))
        else {
            continue;
        };
        settings.extend(read(&mut reading).map(|settings| (entry.name, settings)));
    }
    Checked { settings }
}

fn known_directive(line: &Line, diagnostics: &mut Diagnostics) {
    let name = &line.name.text;
    match ALL.iter().find(|entry| entry.name == name) {
        Some(entry) if entry.read.is_some() => {}
        Some(_) => {
            let message = format!("the plugin `{name}` is known to CoreDNS, not here yet");
            diagnostics.error(line.name.span, message).label("not here yet");
        }
        None if let Some((_, help)) = REMOVED.iter().find(|(removed, _)| removed == name) => {
            diagnostics
                .error(line.name.span, format!("Unknown directive '{name}'"))
                .label("CoreDNS had this plugin once")
                .help(*help);
        }
        None => {
            let names: Vec<_> = ALL.iter().map(|entry| entry.name).collect();
            let error = diagnostics.error(line.name.span, format!("Unknown directive '{name}'"));
            match nearest(name, &names) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.label("no plugin has this name"),
            };
        }
    }
}

/// `fallthrough [ZONES]`: where a name that does not exist goes to the next plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fallthrough(Vec<Name>);

impl Fallthrough {
    /// Reads the zones after the word; none means all.
    pub fn read(arguments: &mut Arguments<'_>) -> Self {
        let zones = names(&arguments.zones());
        Self(if zones.is_empty() { vec![Name::root()] } else { zones })
    }

    pub fn includes(&self, name: &Name) -> bool {
        self.0.iter().any(|zone| name.is_within(zone))
    }
}

/// A word that is a name within each of the zones, such as `dns` or `ns.kube-system`, with room for
/// a label before it.
fn relative_name(arguments: &mut Arguments<'_>, what: &str, zones: &[Name]) -> Option<Name> {
    let token = arguments.required(what)?;
    let name = token.text.parse::<Name>().ok().filter(|name| !name.is_root());
    let longest = zones.iter().map(|zone| zone.wire().len()).max().unwrap_or(0);
    let fits =
        |name: &Name| name.wire().len() + longest <= limits::NAME_OCTETS - "hostmaster.".len();
    let found = name.filter(fits);
    if found.is_none() {
        arguments
            .error(token.span, &format!("`{}` is no name that fits before the zone", token.text))
            .help("such as `dns`, or `ns.kube-system`");
    }
    found
}

/// Zones that the Corefile layer has checked already.
pub fn names(zones: &[String]) -> Vec<Name> {
    zones.iter().filter_map(|zone| zone.parse().ok()).collect()
}
