//! From checked settings to a server: plugins are built on what their needs brought. Pure: files
//! are read and sources run elsewhere.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    chain::Plugin,
    metrics::{Family, GaugeFamily, Metrics},
    plugin::{
        Checked, Host, Need, Page, PluginContext, Readiness, ReloadState, Servers, Source, Timed,
    },
    wire::{CookieSecret, Name, Question},
    zone::Store,
};

use super::{Block, Listen, Overlap, Scheme, Server};

static PLUGIN_ENABLED: GaugeFamily<4> = Family::new(
    "plugin_enabled",
    "Plugins that are in use, by server and zone.",
    ["server", "zone", "view", "name"],
);

/// A server block that is checked, with the addresses at which each of its zones is served.
pub struct Written {
    pub keys: Vec<(Name, Listen)>,
    pub checked: Checked,
}

/// What a server is built on besides its settings.
pub struct BuildContext<'g> {
    pub metrics: &'g Arc<Metrics>,
    /// The facts of the sources that were needed.
    pub stores: &'g HashMap<Source, Arc<Store>>,
    /// The texts of the files that were needed, or why they cannot be read.
    pub files: &'g HashMap<String, Result<String, String>>,
    /// When they were written.
    pub modified: &'g HashMap<String, SystemTime>,
    /// Addresses of the hosts that were needed, or why there are none.
    pub hosts: &'g HashMap<Host, Result<Vec<IpAddr>, String>>,
    /// The machine's addresses that others reach it at.
    pub own_addresses: &'g [IpAddr],
    /// What the server before had, for what stays the same.
    pub kept: &'g ReloadState,
    /// A number that clients do not know.
    pub seed: u64,
    /// Without one no DNS cookies are given.
    pub cookies: Option<CookieSecret>,
}

/// What a configuration becomes.
#[derive(Default)]
pub struct Assembled {
    pub server: Server,
    pub pages: Vec<Page>,
    pub readiness: Arc<Readiness>,
    /// What is surely not meant and shows only in files.
    pub warnings: Vec<String>,
    /// To be asked now and then what they have to say.
    pub timed: Vec<Arc<dyn Timed>>,
    /// Whether a panic's way through the program is written.
    pub stacktrace: bool,
    pub lameduck: Duration,
    /// Whether a change of the Corefile is taken over.
    pub watch_corefile: bool,
    /// Whether a change of a file that its plugins read is.
    pub watch_files: bool,
    /// Questions to ask at an address once something answers there.
    pub probes: Vec<(Listen, Question)>,
    pub kept: ReloadState,
    /// For metrics, when this configuration is in force.
    pub enabled: Vec<Enabled>,
}

/// A plugin that answers, or looks on, at an address; with the first zone of its block, as CoreDNS
/// tells it.
#[derive(Debug, PartialEq, Eq)]
pub struct Enabled {
    pub server: String,
    pub zone: String,
    pub plugin: &'static str,
}

impl Assembled {
    /// Says in metrics which plugins are at work, and no others.
    pub fn tell_enabled(&self, metrics: &Metrics) {
        PLUGIN_ENABLED.reset(metrics);
        for Enabled { server, zone, plugin } in &self.enabled {
            PLUGIN_ENABLED.with(metrics, [server, zone, "", plugin]).set(1);
        }
    }
}

/// Why checked settings make no server.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    Overlap(Overlap),
    /// What the needs of a plugin brought is of no use.
    Plugin(String),
}

/// # Errors
/// As [`Fault`] says.
pub fn assemble(written: &[Written], context: &BuildContext<'_>) -> Result<Assembled, Fault> {
    let all_servers = servers(written.iter().flat_map(Written::listens));
    let mut assembly = Assembly {
        context,
        assembled: Assembled::default(),
        all_servers,
        unrouted: None,
        debug: false,
    };
    let blocks = written
        .iter()
        .map(|written| assembly.block(written))
        .collect::<Result<_, _>>()
        .map_err(Fault::Plugin)?;
    let Assembly { mut assembled, unrouted, debug, .. } = assembly;
    assembled.server = Server::new(blocks).map_err(Fault::Overlap)?;
    (assembled.server.unrouted, assembled.server.debug, assembled.server.cookies) =
        (unrouted, debug, context.cookies);
    Ok(assembled)
}

struct Assembly<'a> {
    context: &'a BuildContext<'a>,
    assembled: Assembled,
    all_servers: Servers,
    unrouted: Option<Arc<dyn Plugin>>,
    debug: bool,
}

fn servers(listens: impl Iterator<Item = Listen>) -> Servers {
    // Each zone of a block is listened for at the same addresses.
    let listens: BTreeSet<_> = listens.collect();
    Servers::new(
        listens
            .into_iter()
            .map(|listen| (listen.scheme.transport(), listen.address, listen.to_string())),
    )
}

impl Written {
    fn needs(&self) -> impl Iterator<Item = Need> {
        self.checked.settings.iter().flat_map(|(_, settings)| settings.needs())
    }

    /// The settings that decide what the block's cache may hold, printed: with the same ones a
    /// cache lives on.
    fn cache_identity(&self) -> String {
        let matter =
            |name: &str| ["cache", "forward", "rewrite", "template", "hosts"].contains(&name);
        let settings: Vec<_> =
            self.checked.settings.iter().filter(|(name, _)| matter(name)).collect();
        format!("{:?} {settings:?}", self.keys)
    }

    fn listens(&self) -> impl Iterator<Item = Listen> {
        self.keys.iter().map(|(_, listen)| *listen)
    }
}

impl Assembly<'_> {
    fn block(&mut self, written: &Written) -> Result<Block, String> {
        let mut block = Block::new(written.keys.clone());
        let mut monitored = None;
        for need in written.needs() {
            match need {
                Need::UdpOctets(octets) => block.udp_octets = octets,
                Need::AnyClass => block.any_class = true,
                Need::Transfers => block.transfers = true,
                Need::Lameduck(time) => self.assembled.lameduck = self.assembled.lameduck.max(time),
                Need::Readiness { continuously } => monitored = Some(continuously),
                Need::Debug => self.debug = true,
                Need::Stacktrace => self.assembled.stacktrace = true,
                Need::Reload => {
                    (self.assembled.watch_corefile, self.assembled.watch_files) = (true, true)
                }
                Need::WatchFiles => self.assembled.watch_files = true,
                Need::Source { .. }
                | Need::File(_)
                | Need::Host(_)
                | Need::Bind { .. }
                | Need::Tls(_)
                | Need::UpstreamTls(_)
                | Need::Probe => {}
            }
        }
        let mut zones: Vec<Name> = written.keys.iter().map(|(zone, _)| zone.clone()).collect();
        zones.dedup();
        let (servers, identity, mut probes) =
            (servers(written.listens()), written.cache_identity(), Vec::new());
        for (name, settings) in &written.checked.settings {
            let zone = zones.first().map_or_else(String::new, ToString::to_string);
            let plugins =
                settings.build(&mut self.context(&zones, &servers, &identity, &mut probes))?;
            if !plugins.is_empty() {
                let enabled = servers.labels().map(|server| Enabled {
                    server: server.to_owned(),
                    zone: zone.clone(),
                    plugin: name,
                });
                self.assembled.enabled.extend(enabled);
            }
            block.plugins.extend(plugins);
        }
        // They are asked by datagram.
        if let Some((_, listen)) =
            written.keys.iter().find(|(_, listen)| listen.scheme == Scheme::Dns)
        {
            self.assembled.probes.extend(probes.into_iter().map(|question| (*listen, question)));
        }
        if let Some(continuously) = monitored {
            self.assembled.readiness.watch(&block.plugins, continuously);
        }
        Ok(block)
    }

    fn context<'s>(
        &'s mut self,
        zones: &'s [Name],
        servers: &'s Servers,
        identity: &'s str,
        probes: &'s mut Vec<Question>,
    ) -> PluginContext<'s> {
        let Self { context, assembled, all_servers, unrouted, .. } = self;
        PluginContext {
            zones,
            servers,
            all_servers,
            metrics: context.metrics,
            readiness: &assembled.readiness,
            pages: &mut assembled.pages,
            probes,
            warnings: &mut assembled.warnings,
            timed: &mut assembled.timed,
            unrouted,
            files: context.files,
            modified: context.modified,
            hosts: context.hosts,
            stores: context.stores,
            own_addresses: context.own_addresses,
            before: context.kept,
            kept: &mut assembled.kept,
            seed: context.seed,
            cache_identity: identity,
        }
    }
}
