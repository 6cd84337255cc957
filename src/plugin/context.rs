//! The context in which plugins are built, and what they give to the server besides themselves.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Instant, SystemTime},
};

use thiserror::Error;

use crate::{
    cache::Cache,
    chain::{self, Cx, Plugin, Transport, UnixClock},
    dnssec::MakeSigner,
    dnstap::TapQueue,
    limits,
    metrics::{CounterFamily, Family, Metrics},
    skydns::SkydnsStore,
    trace::SpanQueue,
    upstream,
    wire::{CookieSecret, Name, Question},
    zone::Store,
    zonefile::{DatabaseFile, DynamicZone, Members, ZoneSlot},
};

use super::{
    CatalogZone, DnstapSink, EtcdKeys, EtcdSource, Host, Interface, Keyring, LoadedZone, NamedKey,
    Readiness, ScopedAddress, SecondaryZone, Source, Top, UpdatedZone, ZoneNotice, ZoneSigner,
    scoped::UnknownInterface, trace_sink::TraceSink,
};

static DNSTAP_DROPPED: CounterFamily<1> = Family::new(
    "dnstap_dropped_messages_total",
    "Messages that a receiver of dnstap did not get, because it was unreachable or too slow.",
    ["endpoint"],
);

static SPANS_DROPPED: CounterFamily<0> = Family::new(
    "trace_dropped_spans_total",
    "Spans that a collector did not get, because it was unreachable or too slow.",
    [],
);

/// Why a plugin cannot be built: a file, name or socket that it needs is not usable.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct BuildError(pub String);

/// A thing that a directive names and that cannot be used yet. ndots reloads the configuration as
/// soon as it can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// A file that is missing, or that contains nothing usable.
    File(String),
    /// A host name that cannot be resolved.
    Host(Host),
    /// The name or the index of an interface.
    Interface(String),
}

/// What a server is built with besides its settings.
pub struct BuildContext<'g> {
    pub metrics: &'g Arc<Metrics>,
    /// The facts of each source that a directive needs.
    pub stores: &'g HashMap<Source, Arc<Store>>,
    /// The text of each file that a directive needs, or why it cannot be read.
    pub files: &'g HashMap<String, Result<String, String>>,
    /// The octets of each file that a directive needs and that is not text, or why it cannot be
    /// read.
    pub octets: &'g HashMap<String, Result<ReadFile, String>>,
    /// The time of the last change of each text file.
    pub modified: &'g HashMap<String, SystemTime>,
    /// The addresses of each host that a directive needs, or why there are none.
    pub hosts: &'g HashMap<Host, Result<Vec<IpAddr>, String>>,
    /// The addresses at which other machines reach this one.
    pub own_addresses: &'g [IpAddr],
    /// The interfaces of this machine.
    pub interfaces: &'g [Interface],
    /// The name of this machine. In a cluster this is the name of the Pod.
    pub host_name: &'g str,
    /// The state of the previous server. A plugin with equal settings takes it over.
    pub previous: &'g ReloadState,
    /// A number that clients cannot know. Each reload has another one.
    pub seed: u64,
    /// Without a secret the server sends no DNS cookies.
    pub cookies: Option<CookieSecret>,
    /// The time of day, for signatures.
    pub clock: UnixClock,
    /// Makes a signer of a private key.
    pub signer: MakeSigner,
    /// The database with this path.
    pub database: fn(&str) -> Arc<dyn DatabaseFile>,
}

/// A file that a reload reads again only if it has changed.
#[derive(Clone)]
pub struct ReadFile {
    pub version: FileVersion,
    pub octets: Arc<[u8]>,
}

/// Differs between two versions of a file. Times are in seconds and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileVersion {
    pub inode: u64,
    pub octets: u64,
    pub changed: (i64, i64),
    pub modified: (i64, i64),
}

/// State that outlives a reload if the settings behind it stay equal.
#[derive(Default)]
pub struct ReloadState {
    pub caches: HashMap<String, Arc<Cache>>,
    pub groups: HashMap<String, Arc<upstream::Group>>,
    /// The key is the file and the zone.
    pub zones: HashMap<String, LoadedZone>,
    /// The key is the zone and its primary servers.
    pub secondaries: HashMap<String, Arc<ZoneSlot>>,
    /// The key is the secondary zones of the block.
    pub members: HashMap<String, Arc<Members>>,
    /// The zones that clients update. The key is the zone and its file.
    pub updated: HashMap<String, Arc<DynamicZone>>,
    /// The files that are not text. The key is the path.
    pub octets: HashMap<String, ReadFile>,
    /// The key is the source.
    pub etcd: HashMap<String, Arc<SkydnsStore>>,
    /// The key is the sink.
    pub dnstap: HashMap<String, Arc<TapQueue>>,
    /// The key is the collector.
    pub traces: HashMap<String, Arc<SpanQueue>>,
    pub top: Option<Arc<Top>>,
    /// Whether this reload uses zone files with an unchanged serial, too: the Corefile has changed,
    /// or an operator asked for the reload.
    pub reread: bool,
}

/// What plugins give to the server besides themselves.
#[derive(Default)]
pub struct Outputs {
    /// Pages to serve over HTTP.
    pub pages: Vec<Page>,
    /// Problems of the files, names and sockets that the plugins need.
    pub warnings: Vec<chain::LogLine>,
    pub awaited: Vec<Awaited>,
    /// Zone files to sign.
    pub signers: Vec<ZoneSigner>,
    /// Zones to transfer from their primary servers.
    pub secondaries: Vec<SecondaryZone>,
    /// Zones that clients update, with secondary servers.
    pub updated: Vec<UpdatedZone>,
    /// Keys of etcd to follow.
    pub etcd: Vec<EtcdKeys>,
    /// Receivers of dnstap, each with the queue of its messages.
    pub dnstap: Vec<(DnstapSink, Arc<TapQueue>)>,
    /// Collectors of traces, each with the queue of its spans.
    pub traces: Vec<(TraceSink, Arc<SpanQueue>)>,
    /// The zones that this configuration changes, for their secondary servers.
    pub notices: Vec<ZoneNotice>,
    /// The TSIG keys of all blocks.
    pub keys: Arc<Keyring>,
    /// Plugins whose log lines become due without a query. The process asks them regularly.
    pub timed: Vec<Arc<dyn Timed>>,
    /// Is called for queries that match no block, to count and log them.
    pub unrouted: Option<Arc<dyn Plugin>>,
    pub readiness: Arc<Readiness>,
    pub reload_state: ReloadState,
}

/// What the plugins of one block are built with.
pub struct PluginContext<'s> {
    pub zones: &'s [Name],
    /// The labels of the block's listeners in metrics.
    pub servers: &'s ServerLabels,
    /// The labels of all listeners.
    pub all_servers: &'s ServerLabels,
    pub build: &'s BuildContext<'s>,
    pub outputs: &'s mut Outputs,
    /// The servers to which `transfer` sends NOTIFY messages about its zones.
    pub notices: Vec<ZoneNotice>,
    /// Queries to send to this server once it answers, repeated until a reply arrives.
    pub probes: &'s mut Vec<Question>,
    /// Identifies the settings that decide what the block's cache may hold. The cache outlives a
    /// reload that leaves this text equal.
    pub cache_identity: &'s str,
    /// The name of the block's view, for metrics; empty without one.
    pub view: &'s str,
}

impl PluginContext<'_> {
    /// The text of a file that the directive needs.
    ///
    /// # Errors
    /// The reason why the file cannot be read.
    pub fn file(&self, path: &str) -> Result<&str, String> {
        match self.build.files.get(path) {
            Some(text) => text.as_deref().map_err(Clone::clone),
            None => Err("it was not read".to_owned()),
        }
    }

    /// The octets of a file that the directive needs.
    ///
    /// # Errors
    /// The reason why the file cannot be read.
    pub fn octets(&self, path: &str) -> Result<Arc<[u8]>, String> {
        match self.build.octets.get(path) {
            Some(file) => file.as_ref().map(|file| Arc::clone(&file.octets)).map_err(Clone::clone),
            None => Err("it was not read".to_owned()),
        }
    }

    /// Logs a problem that was not visible when the Corefile was read.
    pub fn warn(&mut self, directive: &'static str, text: String) {
        self.outputs.warnings.push(chain::LogLine::new(chain::Level::Warning, directive, text));
    }

    /// The addresses of a host that the directive needs.
    ///
    /// # Errors
    /// The reason why there are none.
    pub fn addresses(&self, host: &Host) -> Result<&[IpAddr], String> {
        match self.build.hosts.get(host) {
            Some(addresses) => addresses.as_deref().map_err(Clone::clone),
            None => Ok(&[]),
        }
    }

    /// The address with the index of its interface. `None` if there is no such interface, which is
    /// logged and awaited.
    pub fn resolve(
        &mut self,
        directive: &'static str,
        address: &ScopedAddress,
    ) -> Option<SocketAddr> {
        let UnknownInterface(zone) = match address.resolve(self.build.interfaces) {
            Ok(address) => return Some(address),
            Err(unknown) => unknown,
        };
        let ip = address.address.ip();
        let text = match &zone {
            Some(zone) => format!(
                "{ip}%{zone} is not used: this machine has no interface \"{zone}\"; `ip address` lists the interfaces"
            ),
            None => format!(
                "{ip} is not used: a link-local address needs its interface, such as {ip}%eth0"
            ),
        };
        self.warn(directive, text);
        self.outputs.awaited.extend(zone.map(Awaited::Interface));
        None
    }

    /// Whether the previous server had at least one upstream in each group. A reload that finds no
    /// upstream must not replace such a server.
    pub fn replaces_upstreams(&self) -> bool {
        let mut groups = self.build.previous.groups.values().peekable();
        groups.peek().is_some() && groups.all(|group| !group.settings.targets.is_empty())
    }

    /// The facts of a source that the directive needs; an empty store if there is none.
    pub fn store(&self, source: &Source) -> Arc<Store> {
        self.build.stores.get(source).cloned().unwrap_or_default()
    }

    /// The block's cache. It keeps its entries if a reload did not change its settings.
    pub fn cache(&mut self, make: impl FnOnce(u64) -> Cache) -> Arc<Cache> {
        let (identity, seed) = (self.cache_identity.to_owned(), self.build.seed);
        let previous = self.build.previous.caches.get(&identity).cloned();
        let make = || previous.unwrap_or_else(|| Arc::new(make(seed)));
        Arc::clone(self.outputs.reload_state.caches.entry(identity).or_insert_with(make))
    }

    /// The TSIG key with this name.
    pub fn key(&self, name: &Name) -> NamedKey {
        NamedKey { name: name.clone(), ring: Arc::clone(&self.outputs.keys) }
    }

    /// The slot of a secondary zone. A reload keeps its records.
    pub fn secondary(
        &mut self,
        origin: &Name,
        primaries: &[SocketAddr],
        key: Option<&Name>,
        catalog: Option<CatalogZone>,
    ) -> Arc<ZoneSlot> {
        let identity = format!("{origin} {primaries:?}");
        let previous = self.build.previous.secondaries.get(&identity).cloned();
        let state = &mut self.outputs.reload_state.secondaries;
        let slot =
            Arc::clone(state.entry(identity).or_insert_with(|| previous.unwrap_or_default()));
        let (notice, primaries) = (self.notice(origin), primaries.to_vec());
        let key = key.map(|name| self.key(name));
        let (origin, shared) = (origin.clone(), Arc::clone(&slot));
        let zone = SecondaryZone { origin, primaries, key, slot: shared, notice, catalog };
        self.outputs.secondaries.push(zone);
        slot
    }

    /// The member zones of the catalogs of a block. They stay through a reload that changes no zone
    /// of the block's `secondary`.
    pub fn members(&mut self, identity: String, fixed: HashSet<Name>) -> Arc<Members> {
        let previous = self.build.previous.members.get(&identity).cloned();
        let members = previous.unwrap_or_else(|| Arc::new(Members::new(fixed)));
        Arc::clone(self.outputs.reload_state.members.entry(identity).or_insert(members))
    }

    /// The store with the services of etcd. A reload keeps it.
    pub fn etcd(&mut self, source: EtcdSource) -> Arc<SkydnsStore> {
        let mut keys = EtcdKeys { source, store: Arc::default() };
        let identity = keys.identity();
        if let Some(previous) = self.build.previous.etcd.get(&identity) {
            keys.store = Arc::clone(previous);
        }
        let state = &mut self.outputs.reload_state.etcd;
        keys.store = Arc::clone(state.entry(identity).or_insert(keys.store));
        let store = Arc::clone(&keys.store);
        self.outputs.etcd.push(keys);
        store
    }

    /// The queue of a receiver of dnstap. A reload keeps it and its connection.
    pub fn dnstap(&mut self, sink: DnstapSink, most: usize) -> Arc<TapQueue> {
        let identity = format!("{sink:?} {most}");
        let known = self.outputs.reload_state.dnstap.get(&identity);
        if let Some(queue) = known {
            return Arc::clone(queue);
        }
        let dropped = DNSTAP_DROPPED.with(self.build.metrics, [&sink.endpoint.to_string()]);
        let previous = self.build.previous.dnstap.get(&identity).cloned();
        let queue = previous
            .unwrap_or_else(|| Arc::new(TapQueue::new(most, limits::DNSTAP_OCTETS, dropped)));
        self.outputs.reload_state.dnstap.insert(identity, Arc::clone(&queue));
        self.outputs.dnstap.push((sink, Arc::clone(&queue)));
        queue
    }

    /// The queue of a collector of traces. A reload keeps it.
    pub fn trace(&mut self, sink: TraceSink) -> Arc<SpanQueue> {
        let identity = format!("{sink:?}");
        if let Some(queue) = self.outputs.reload_state.traces.get(&identity) {
            return Arc::clone(queue);
        }
        let previous = self.build.previous.traces.get(&identity).cloned();
        let dropped = SPANS_DROPPED.with(self.build.metrics, []);
        let queue = previous
            .unwrap_or_else(|| Arc::new(SpanQueue::new(limits::TRACE_SPANS, usize::MAX, dropped)));
        self.outputs.reload_state.traces.insert(identity, Arc::clone(&queue));
        self.outputs.traces.push((sink, Arc::clone(&queue)));
        queue
    }

    /// The servers that get a NOTIFY message when a zone changes.
    pub fn notice(&self, zone: &Name) -> Option<ZoneNotice> {
        ZoneNotice::find(&self.notices, zone)
    }

    /// The group of upstreams with these settings. It keeps its health state through a reload.
    pub fn group(&mut self, settings: upstream::GroupSettings) -> Arc<upstream::Group> {
        let identity = format!("{settings:?}");
        let previous = self.build.previous.groups.get(&identity).cloned();
        let make = || previous.unwrap_or_else(|| Arc::new(upstream::Group::new(settings)));
        let group =
            Arc::clone(self.outputs.reload_state.groups.entry(identity).or_insert_with(make));
        // Creates the series, so that the page shows the upstreams before the first query.
        for upstream in group.upstreams() {
            upstream.metrics(self.build.metrics);
        }
        group
    }
}

/// A page that is served over HTTP.
#[derive(Clone)]
pub struct Page {
    /// `HOST:PORT`; an empty host stands for every address.
    pub address: String,
    pub path: &'static str,
    pub render: Arc<dyn Fn() -> PageReply + Send + Sync>,
    /// The process requests the page itself once a second and measures how long that takes, which
    /// shows whether the process is overloaded.
    pub polled: bool,
    /// The process does not start if the page's address is taken.
    pub essential: bool,
    /// The file with the TLS settings of the page's address; `None` without TLS.
    pub tls: Option<String>,
}

pub struct PageReply {
    pub status: u16,
    pub content_type: &'static str,
    pub body: String,
    /// A line for the log.
    pub line: Option<chain::LogLine>,
}

impl PageReply {
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into(), line: None }
    }
}

/// Writes log lines when a time has passed, without a query.
pub trait Timed: Send + Sync {
    /// The lines that are due. At shutdown `now` is `None`, and all pending lines are due.
    fn due(&self, now: Option<Instant>) -> Vec<chain::LogLine>;
}

/// The labels of listeners in metrics, such as `dns://:53`.
#[derive(Clone, Debug)]
pub struct ServerLabels(Vec<(Transport, SocketAddr, String)>);

impl ServerLabels {
    /// Takes the transport, address and label of each listener. TCP stands for UDP, too.
    pub fn new(listeners: impl IntoIterator<Item = (Transport, SocketAddr, String)>) -> Self {
        Self(listeners.into_iter().collect())
    }

    /// The index of the listener that received the query.
    pub fn index(&self, cx: &Cx) -> usize {
        let transport = if cx.transport == Transport::Udp { Transport::Tcp } else { cx.transport };
        let received = |(spoken, address, _): &(Transport, SocketAddr, String)| {
            let port = address.port() == 0 || address.port() == cx.local.port();
            *spoken == transport
                && port
                && (address.ip().is_unspecified() || address.ip() == cx.local.ip())
        };
        self.0.iter().position(received).unwrap_or(0)
    }

    /// The label of the listener with this index.
    pub fn label(&self, index: usize) -> &str {
        self.0.get(index).map_or("", |(.., label)| label)
    }

    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(.., label)| &**label)
    }

    /// Whether one of the listeners has this port.
    pub fn have_port(&self, port: u16) -> bool {
        self.0.iter().any(|(_, address, _)| address.port() == port)
    }
}
