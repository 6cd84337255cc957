//! From checked settings to a server: needs are served, plugins are built on what they bring.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};

use crate::{
    limits,
    metrics::Metrics,
    plugin::{Kept, Need, Page, Readiness, Site, Source},
    server::{self, Listen, Scheme, Server},
    wire::Name,
    zone::Store,
};

use super::config::{Block, Configuration};

/// What a configuration becomes.
pub(super) struct Built {
    pub(super) server: Server,
    pub(super) listens: Vec<Listen>,
    pub(super) pages: Vec<Page>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) lameduck: Duration,
    pub(super) kept: Kept,
}

/// What a server is built on besides its settings.
pub(super) struct Ground<'g> {
    pub(super) metrics: &'g Arc<Metrics>,
    pub(super) stores: &'g HashMap<Source, Arc<Store>>,
    /// What the server before had, for what stays the same.
    pub(super) kept: &'g Kept,
    pub(super) seed: u64,
}

/// The sources that the configuration needs.
pub(super) fn sources(configuration: &Configuration) -> Vec<Source> {
    let needs = configuration.blocks.iter().flat_map(Block::needs);
    needs.filter_map(|need| if let Need::Source(source) = need { Some(source) } else { None }).collect()
}

pub(super) fn build(configuration: &mut Configuration, ground: &Ground<'_>) -> anyhow::Result<Built> {
    let interfaces = if_addrs::get_if_addrs().context("cannot read this machine's addresses")?;
    let mut builder = Builder {
        ground,
        own_addresses: own_addresses(&interfaces),
        interfaces,
        kept: Kept::default(),
        pages: Vec::new(),
        unrouted: None,
        readiness: Arc::default(),
        lameduck: Duration::ZERO,
    };
    let mut blocks = Vec::new();
    for block in &configuration.blocks {
        blocks.push(builder.block(block)?);
    }
    let Builder { kept, pages, unrouted, readiness, lameduck, .. } = builder;
    let mut server = Server::new(blocks).map_err(|overlap| {
        let keys = &configuration.blocks[overlap.block].keys;
        let span = keys.iter().rev().find(|(zone, _)| *zone == overlap.zone).map_or_else(Default::default, |(_, key)| key.span);
        let message = format!("cannot serve dns://{}:{} - it is already defined", overlap.zone, overlap.listen.address.port());
        configuration.mistake(span, message)
    })?;
    server.unrouted = unrouted;
    let listens = server.listens().collect();
    Ok(Built { server, listens, pages, readiness, lameduck, kept })
}

struct Builder<'b> {
    ground: &'b Ground<'b>,
    interfaces: Vec<if_addrs::Interface>,
    own_addresses: Vec<IpAddr>,
    kept: Kept,
    pages: Vec<Page>,
    unrouted: Option<Arc<dyn crate::chain::Plugin>>,
    readiness: Arc<Readiness>,
    lameduck: Duration,
}

impl Block {
    fn needs(&self) -> impl Iterator<Item = Need> {
        self.checked.settings.iter().flat_map(|(_, settings)| settings.needs())
    }

    /// The settings that decide what the block's cache may hold.
    fn cache_identity(&self) -> String {
        let matter = |name: &str| ["cache", "forward", "rewrite", "template", "hosts"].contains(&name);
        let settings: Vec<_> = self.checked.settings.iter().filter(|(name, _)| matter(name)).collect();
        let zones: Vec<_> = self.keys.iter().map(|(zone, key)| (zone, key.port)).collect();
        format!("{zones:?} {settings:?}")
    }
}

impl Builder<'_> {
    fn block(&mut self, block: &Block) -> anyhow::Result<server::Block> {
        let zones: Vec<Name> = block.keys.iter().map(|(zone, _)| zone.clone()).collect();
        let hosts = self.hosts(block)?;
        let keys = block.keys.iter().flat_map(|(zone, key)| {
            let port = key.port.unwrap_or(53);
            hosts.iter().map(move |host| (zone.clone(), Listen { scheme: Scheme::Dns, address: SocketAddr::new(*host, port) }))
        });
        let keys: Vec<_> = keys.collect();
        let mut built = server::Block { keys, plugins: Vec::new(), udp_octets: limits::UDP_OCTETS, any_class: false };
        let label = label(&built.keys);
        let mut monitored = None;
        for need in block.needs() {
            match need {
                Need::UdpOctets(octets) => built.udp_octets = octets,
                Need::AnyClass => built.any_class = true,
                Need::Lameduck(time) => self.lameduck = self.lameduck.max(time),
                Need::Readiness { continuously } => monitored = Some(continuously),
                Need::Source(_) | Need::File(_) | Need::Bind { .. } => {}
            }
        }
        let (files, identity) = (files(block), block.cache_identity());
        for (name, settings) in &block.checked.settings {
            let plugins = settings.build(&mut self.site(&zones, &label, &files, &identity)).map_err(|reason| anyhow!(reason))?;
            for plugin in &plugins {
                let zone = zones.first().map_or_else(String::new, ToString::to_string);
                self.ground.metrics.plugin_enabled.with_label_values(&[&label, &zone, "", name]).set(1);
                built.plugins.push(Arc::clone(plugin));
            }
        }
        if let Some(continuously) = monitored {
            self.readiness.watch(&built.plugins, continuously);
        }
        Ok(built)
    }

    fn site<'s>(&'s mut self, zones: &'s [Name], server: &'s str, files: &'s Files, identity: &'s str) -> Site<'s> {
        // What the server before had goes over when it is asked for again; the rest goes with it.
        if let Some(cache) = self.ground.kept.caches.get(identity) {
            self.kept.caches.entry(identity.to_owned()).or_insert_with(|| Arc::clone(cache));
        }
        Site {
            zones,
            server,
            metrics: self.ground.metrics,
            readiness: &self.readiness,
            pages: &mut self.pages,
            unrouted: &mut self.unrouted,
            files,
            stores: self.ground.stores,
            own_addresses: &self.own_addresses,
            kept: &mut self.kept,
            seed: self.ground.seed,
            cache_identity: identity,
        }
    }

    /// The addresses that a block is served at: those of its `bind`, else all.
    fn hosts(&self, block: &Block) -> anyhow::Result<Vec<IpAddr>> {
        let mut hosts = Vec::new();
        let mut bound = false;
        for need in block.needs() {
            let Need::Bind { only, except } = need else { continue };
            bound = true;
            let mut wanted = Vec::new();
            for host in &only {
                wanted.extend(self.addresses_of(host)?);
            }
            for host in &except {
                let without = self.addresses_of(host)?;
                wanted.retain(|address| !without.contains(address));
            }
            hosts.extend(wanted);
        }
        if !bound {
            let any = if has_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { IpAddr::from([0; 4]) };
            hosts.push(any);
        }
        hosts.sort_unstable();
        hosts.dedup();
        Ok(hosts)
    }

    /// An address stands for itself, an interface for all of its addresses.
    fn addresses_of(&self, host: &str) -> anyhow::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let addresses: Vec<_> = self.interfaces.iter().filter(|it| it.name == host).map(if_addrs::Interface::ip).collect();
        if addresses.is_empty() {
            bail!("plugin/bind: not a valid IP address or interface name: {host:?}; `ip address` shows which there are");
        }
        Ok(addresses)
    }
}

type Files = HashMap<String, Result<String, String>>;

fn files(block: &Block) -> Files {
    let paths = block.needs().filter_map(|need| if let Need::File(path) = need { Some(path) } else { None });
    paths.map(|path| (path.clone(), std::fs::read_to_string(&path).map_err(|error| error.to_string()))).collect()
}

/// `dns://:53`, `dns://127.0.0.1:53`.
fn label(keys: &[(Name, Listen)]) -> String {
    let Some((_, listen)) = keys.first() else { return String::new() };
    match listen.address {
        any if any.ip().is_unspecified() => format!("dns://:{}", any.port()),
        address => format!("dns://{address}"),
    }
}

fn has_ipv6() -> bool {
    std::net::UdpSocket::bind("[::]:0").is_ok()
}

/// The addresses that other machines reach this one at.
fn own_addresses(interfaces: &[if_addrs::Interface]) -> Vec<IpAddr> {
    let reachable = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let mut addresses: Vec<_> = interfaces.iter().map(if_addrs::Interface::ip).filter(reachable).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
