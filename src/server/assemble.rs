//! Builds a server from checked settings, and from the files, names and sockets that `app` got for
//! them. This module is pure: `app` reads the files and runs the sources.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use thiserror::Error;

use crate::{
    metrics::Metrics,
    plugin::{
        BuildContext, BuildError, Checked, Monitor, Need, Outputs, PLUGIN_ENABLED, PluginContext,
        Role, ServerLabels,
    },
    wire::{Name, Question},
};

use super::{Block, Listen, Overlap, Scheme, Server};

/// The settings of a server block, with the addresses at which each of its zones is served.
pub struct BlockConfig {
    /// Each zone, with an address at which it is served. A zone with several addresses has several
    /// entries.
    pub keys: Vec<(Name, Listen)>,
    /// The directives of the block, in CoreDNS's order, with their settings.
    pub checked: Checked,
}

/// A server, and what `app` needs to run it.
#[derive(Default)]
pub struct Assembled {
    /// The blocks with their plugins.
    pub server: Server,
    /// What the plugins give to `app`, such as pages to serve over HTTP.
    pub outputs: Outputs,
    /// Whether the stack trace of a panic is written.
    pub stacktrace: bool,
    /// How long the server goes on answering after the signal to stop. `/ready` fails from that
    /// signal on.
    pub lameduck: Duration,
    /// Whether a change of the Corefile causes a reload.
    pub watch_corefile: bool,
    /// Whether a change of a file that plugins read causes a reload.
    pub watch_files: bool,
    /// Queries to send to an address once it answers. `loop` recognizes them if an upstream sends
    /// them back.
    pub probes: Vec<(Listen, Question)>,
    /// The plugins of this configuration, for `coredns_plugin_enabled`.
    pub enabled: Vec<EnabledPlugin>,
}

/// A plugin at an address. As in CoreDNS, the label `zone` is the first zone of its block.
#[derive(Debug, PartialEq, Eq)]
pub struct EnabledPlugin {
    /// The label of the address, such as `dns://:53`.
    pub server: String,
    /// The first zone of the block.
    pub zone: String,
    /// Empty for a block without a view.
    pub view: String,
    /// The name of the directive.
    pub plugin: &'static str,
}

impl Assembled {
    /// Sets the metric of enabled plugins to those of this configuration.
    pub fn count_enabled(&self, metrics: &Metrics) {
        PLUGIN_ENABLED.reset(metrics);
        for EnabledPlugin { server, zone, view, plugin } in &self.enabled {
            PLUGIN_ENABLED.with(metrics, [server, zone, view, plugin]).set(1);
        }
    }
}

/// Why no server can be built from checked settings.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum AssembleError {
    #[error("cannot serve {} at {} - it is already defined", .0.zone, .0.listen)]
    Overlap(Overlap),
    #[error("plugin/{plugin}: {error}")]
    Plugin { plugin: &'static str, error: BuildError },
}

/// Builds all plugins and the server.
///
/// # Errors
/// If two blocks serve the same zone at the same address, or if a plugin cannot be built.
pub fn assemble(
    configs: &[BlockConfig],
    context: &BuildContext<'_>,
) -> Result<Assembled, AssembleError> {
    let all_servers = labels(configs.iter().flat_map(BlockConfig::listens));
    let mut assembly =
        Assembly { context, assembled: Assembled::default(), all_servers, debug: false };
    let blocks =
        configs.iter().map(|config| assembly.block(config)).collect::<Result<Vec<_>, _>>()?;
    let Assembly { mut assembled, debug, .. } = assembly;
    assembled.server = Server::new(blocks).map_err(AssembleError::Overlap)?;
    assembled.server.unrouted = assembled.outputs.unrouted.take();
    (assembled.server.debug, assembled.server.cookies) = (debug, context.cookies);
    assembled.server.clock = context.clock;
    Ok(assembled)
}

struct Assembly<'a> {
    context: &'a BuildContext<'a>,
    assembled: Assembled,
    all_servers: ServerLabels,
    debug: bool,
}

fn labels(listens: impl Iterator<Item = Listen>) -> ServerLabels {
    // Several zones can be served at one address. Each address gets one label.
    let listens: BTreeSet<_> = listens.collect();
    ServerLabels::new(
        listens
            .into_iter()
            .map(|listen| (listen.scheme.transport(), listen.address, listen.to_string())),
    )
}

impl BlockConfig {
    /// Identifies the settings that decide what the block's cache may hold. The cache outlives a
    /// reload that leaves this text equal.
    fn cache_identity(&self) -> String {
        let directives = self.checked.directives.iter();
        let settings: Vec<_> = directives
            .filter(|checked| checked.directive.has(Role::DecidesCacheContents))
            .collect();
        format!("{:?} {settings:?}", self.keys)
    }

    fn listens(&self) -> impl Iterator<Item = Listen> {
        self.keys.iter().map(|(_, listen)| *listen)
    }

    /// The zones of the block, each once and in the order of the keys. A zone that is served at
    /// several addresses has several keys, and keys of other zones may be between them.
    fn zones(&self) -> Vec<Name> {
        let mut seen = HashSet::new();
        let zones = self.keys.iter().map(|(zone, _)| zone);
        zones.filter(|zone| seen.insert(*zone)).cloned().collect()
    }
}

impl Assembly<'_> {
    fn block(&mut self, config: &BlockConfig) -> Result<Block, AssembleError> {
        let mut block = Block::new(config.keys.clone());
        let mut monitor = None;
        for need in config.checked.needs() {
            self.provide(&need, &mut block, &mut monitor);
        }
        self.build_plugins(config, &mut block)?;
        let taps = block.plugins.iter().filter(|plugin| plugin.tap().is_some());
        block.taps = taps.cloned().collect();
        if let Some(monitor) = monitor {
            self.assembled.outputs.readiness.watch(&block.plugins, monitor);
        }
        Ok(block)
    }

    /// Provides the needs that concern the block or the server. `app` provides the others.
    fn provide(&mut self, need: &Need, block: &mut Block, monitor: &mut Option<Monitor>) {
        let assembled = &mut self.assembled;
        match *need {
            Need::UdpOctets(octets) => block.udp_octets = octets,
            Need::AnyClass => block.any_class = true,
            Need::Transfers => block.transfers = true,
            Need::Updates => block.updates = true,
            Need::Timeouts(timeouts) => block.timeouts = Some(timeouts),
            Need::ProxyHeaders(ref policy) => block.proxy = Some(policy.clone()),
            Need::Metadata(ref zones) => {
                block.metadata.get_or_insert_default().extend_from_slice(zones);
            }
            Need::View(ref name) => block.view.clone_from(name),
            Need::Lameduck(time) => assembled.lameduck = assembled.lameduck.max(time),
            Need::Readiness(wanted) => *monitor = Some(wanted),
            Need::Debug => self.debug = true,
            Need::Stacktrace => assembled.stacktrace = true,
            Need::Reload => (assembled.watch_corefile, assembled.watch_files) = (true, true),
            Need::WatchFiles => assembled.watch_files = true,
            Need::Source { .. }
            | Need::Snapshot { .. }
            | Need::File(_)
            | Need::Octets(_)
            | Need::Command(_)
            | Need::ZoneFile { .. }
            | Need::ZoneDirectory(_)
            | Need::Host(_)
            | Need::Bind { .. }
            | Need::Sockets(_)
            | Need::Tls(_)
            | Need::UpstreamTls { .. } => {}
        }
    }

    fn build_plugins(
        &mut self,
        config: &BlockConfig,
        block: &mut Block,
    ) -> Result<(), AssembleError> {
        let zones = config.zones();
        let zone = zones.first().map_or_else(String::new, ToString::to_string);
        let (servers, mut probes) = (labels(config.listens()), Vec::new());
        let mut context = PluginContext {
            zones: &zones,
            servers: &servers,
            all_servers: &self.all_servers,
            build: self.context,
            outputs: &mut self.assembled.outputs,
            notices: Vec::new(),
            probes: &mut probes,
            cache_identity: &config.cache_identity(),
            view: &block.view,
        };
        for checked in &config.checked.directives {
            let plugin = checked.directive.name;
            let plugins = checked
                .settings
                .build(&mut context)
                .map_err(|error| AssembleError::Plugin { plugin, error })?;
            if !plugins.is_empty() {
                let enabled = servers.labels().map(|server| EnabledPlugin {
                    server: server.to_owned(),
                    zone: zone.clone(),
                    view: context.view.to_owned(),
                    plugin,
                });
                self.assembled.enabled.extend(enabled);
            }
            block.plugins.extend(plugins);
        }
        // Probes are sent as UDP datagrams.
        let plain = config.keys.iter().find(|(_, listen)| listen.scheme == Scheme::Dns);
        if let Some((_, listen)) = plain {
            self.assembled.probes.extend(probes.into_iter().map(|question| (*listen, question)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_with_several_addresses_is_one_zone() {
        let listen = |scheme, port| Listen { scheme, address: ([127, 0, 0, 1], port).into() };
        let (plain, tls) = (listen(Scheme::Dns, 53), listen(Scheme::Tls, 853));
        let keys = [("b", plain), ("a", plain), ("b", tls), ("a", tls), ("A", plain)];
        let keys = keys.map(|(zone, listen)| (zone.parse().unwrap(), listen)).to_vec();
        let zones = BlockConfig { keys, checked: Checked { directives: Vec::new() } }.zones();
        assert_eq!(zones, ["b", "a"].map(|zone| zone.parse().unwrap()));
    }
}
