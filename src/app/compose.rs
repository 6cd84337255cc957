//! Reads files, resolves names and lists interfaces for a configuration, and builds the server.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Instant, SystemTime},
};

use anyhow::{Context, anyhow, bail};
use futures_util::future::join_all;

use crate::{
    chain::UnixClock,
    metrics::Metrics,
    net::{
        listeners::{self, ListenConfig},
        signing, unix_time,
    },
    plugin::{
        self, Awaited, Host, Need, ReadFile, ReloadState, ScopedAddress, Source, ZoneDirectory,
    },
    server::{
        AssembleError, Assembled, BlockConfig, BuildContext, CheckedBlock, Listen, Overlap,
        assemble,
    },
    wire::CookieSecret,
    zone::Store,
};

use super::{
    config::Configuration,
    database,
    facts::Needed,
    listen_config::{self, ListenConfigs},
    octets, resolve, zone_files,
};

/// The sources that the configuration needs, with the kinds of each.
pub(super) fn sources(configuration: &Configuration) -> Needed {
    let mut sources = Needed::new();
    for need in configuration.blocks.iter().flat_map(CheckedBlock::needs) {
        match need {
            Need::Source { source, kinds, endpoint_fields } => {
                let facts = sources.entry(source).or_default();
                facts.kinds.extend(kinds);
                facts.endpoint_fields = facts.endpoint_fields | endpoint_fields;
            }
            Need::Snapshot { source, file } => {
                sources.entry(source).or_default().snapshot.get_or_insert_with(|| file.into());
            }
            _ => {}
        }
    }
    sources
}

/// The directories of zone files that the configuration's plugins read.
pub(super) fn directories(configuration: &Configuration) -> Vec<ZoneDirectory> {
    let needs = configuration.blocks.iter().flat_map(CheckedBlock::needs);
    needs
        .filter_map(
            |need| {
                if let Need::ZoneDirectory(directory) = need { Some(directory) } else { None }
            },
        )
        .collect()
}

/// The files that the configuration's plugins read.
pub(super) fn files(configuration: &Configuration) -> BTreeSet<String> {
    let needs = configuration.blocks.iter().flat_map(CheckedBlock::needs);
    needs
        .flat_map(|need| match need {
            Need::File(path) | Need::Octets(path) => BTreeSet::from([path]),
            Need::ZoneFile { path, .. } => zone_files::paths(&path),
            Need::ZoneDirectory(directory) => {
                let files = zone_files::list(&directory);
                files.iter().flat_map(|path| zone_files::paths(path)).collect()
            }
            _ => BTreeSet::new(),
        })
        .collect()
}

/// The secret of DNS cookies, which stays the same through reloads.
pub(super) fn cookie_secret() -> CookieSecret {
    let now = Instant::now();
    CookieSecret::new(rand::random(), now, unix_at(now))
}

/// Converts a moment into seconds since 1970.
fn unix_at(moment: Instant) -> u32 {
    unix_time().saturating_sub(moment.elapsed().as_secs()) as u32
}

/// A server, and its listeners.
pub(super) struct Built {
    pub(super) assembled: Assembled,
    pub(super) listen_configs: Vec<ListenConfig>,
    /// What the server waits for, with the content that files had.
    pub(super) awaited: Vec<(Awaited, Option<String>)>,
}

/// Builds a server on the facts that are known, with the caches and upstreams of the previous one.
pub(super) async fn compose(
    mut configuration: Configuration,
    metrics: &Arc<Metrics>,
    stores: &HashMap<Source, Arc<Store>>,
    previous: &ReloadState,
    cookies: CookieSecret,
) -> anyhow::Result<Built> {
    let interfaces = if_addrs::get_if_addrs().context("cannot read this machine's addresses")?;
    let mut written = Vec::new();
    let (mut files, mut modified, mut octets) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut listen_configs = ListenConfigs::default();
    for block in &configuration.blocks {
        read_files(block, &mut files, &mut modified);
        read_octets(block, &previous.octets, &mut octets);
    }
    let names = look_up(&configuration.blocks, &files).await;
    for block in std::mem::take(&mut configuration.blocks) {
        let hosts = hosts(&block, &interfaces)?;
        let identity = listen_config::identity(&block, &files)
            .map_err(|mistake| configuration.mistake(mistake.span, mistake.message))?;
        listen_config::check_upstreams(&block, &files)
            .map_err(|mistake| configuration.mistake(mistake.span, mistake.message))?;
        let sockets = block.needs().find_map(|need| match need {
            Need::Sockets(count) => Some(count),
            _ => None,
        });
        let mut keys = Vec::new();
        for (zone, key) in &block.keys {
            let listens = hosts.iter().map(|host| {
                let mut address = *host;
                address.set_port(key.port_or(53));
                Listen { scheme: key.scheme, address }
            });
            for listen in listens {
                listen_configs
                    .add(listen, identity.as_ref(), key.span)
                    .map_err(|mistake| configuration.mistake(mistake.span, mistake.message))?;
                if let Some(sockets) = sockets {
                    listen_configs.set_sockets(listen, sockets);
                }
                keys.push((zone.clone(), listen));
            }
        }
        let spans: Vec<_> = block.keys.iter().map(|(zone, key)| (zone.clone(), key.span)).collect();
        written.push((BlockConfig { keys, checked: block.checked }, spans));
    }
    let (written, spans): (Vec<_>, Vec<_>) = written.into_iter().unzip();
    let own_addresses = &own_addresses(&interfaces);
    let interfaces = &indexed(&interfaces);
    let (files, modified, octets) = (&files, &modified, &octets);
    let (hosts, cookies) = (&names, Some(cookies));
    let context = BuildContext {
        metrics,
        stores,
        files,
        octets,
        modified,
        hosts,
        own_addresses,
        interfaces,
        host_name: &host_name(),
        previous,
        seed: rand::random(),
        cookies,
        clock: UnixClock(unix_at),
        signer: signing::signer,
        database: database::open,
    };
    let mut assembled = assemble(&written, &context).map_err(|error| match error {
        AssembleError::Plugin { .. } => anyhow!(error),
        AssembleError::Overlap(overlap) => {
            let mut keys = spans[overlap.block].iter().rev();
            let span = keys.find(|(zone, _)| *zone == overlap.zone).map(|(_, span)| *span);
            configuration.mistake(span.unwrap_or_default(), already_defined(&overlap))
        }
    })?;
    let read = octets.iter().filter_map(|(path, file)| Some((path.clone(), file.clone().ok()?)));
    assembled.outputs.reload_state.octets = read.collect();
    let content = |awaited: Awaited| {
        let Awaited::File(path) = &awaited else { return (awaited, None) };
        let content = files.get(path).and_then(|text| text.as_ref().ok().cloned());
        (awaited, content)
    };
    let awaited = std::mem::take(&mut assembled.outputs.awaited).into_iter().map(content).collect();
    Ok(Built { assembled, listen_configs: listen_configs.into_inner(), awaited })
}

fn already_defined(Overlap { listen, zone, .. }: &Overlap) -> String {
    let (scheme, port) = (listen.scheme.name(), listen.address.port());
    format!("cannot serve {scheme}://{zone}:{port} - it is already defined")
}

/// The name of this machine, or `localhost` where the system does not tell it.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

fn read_files(
    block: &CheckedBlock,
    files: &mut HashMap<String, Result<String, String>>,
    modified: &mut HashMap<String, SystemTime>,
) {
    for need in block.needs() {
        if let Need::ZoneFile { path, .. } = need {
            zone_files::read(path, files, modified);
        } else if let Need::ZoneDirectory(directory) = need {
            for path in zone_files::list(&directory) {
                zone_files::read(path, files, modified);
            }
        } else if let Need::File(path) = need {
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
            modified.extend(
                std::fs::metadata(&path)
                    .and_then(|file| file.modified())
                    .ok()
                    .map(|time| (path.clone(), time)),
            );
            files.insert(path, text);
        }
    }
}

fn read_octets(
    block: &CheckedBlock,
    before: &HashMap<String, ReadFile>,
    octets: &mut HashMap<String, Result<ReadFile, String>>,
) {
    for need in block.needs() {
        if let Need::Octets(path) = need {
            let read = octets::read(&path, before).map_err(|error| error.to_string());
            octets.insert(path, read);
        }
    }
}

/// Resolves all names at the same time, because each may take seconds.
async fn look_up(
    blocks: &[CheckedBlock],
    files: &HashMap<String, Result<String, String>>,
) -> HashMap<Host, Result<Vec<IpAddr>, String>> {
    // A word that may be a file or a host is a file, if there is one.
    let is_file = |host: &Host| files.get(&host.name).is_some_and(Result::is_ok);
    let needs = blocks.iter().flat_map(CheckedBlock::needs);
    let hosts: HashSet<Host> = needs
        .filter_map(|need| if let Need::Host(host) = need { Some(host) } else { None })
        .filter(|host| !is_file(host))
        .collect();
    join_all(hosts.into_iter().map(async |host| {
        let found = resolve::addresses(&host).await;
        (host, found)
    }))
    .await
    .into_iter()
    .collect()
}

/// The addresses of a block, with port 0: those of its `bind`, else all.
fn hosts(
    block: &CheckedBlock,
    interfaces: &[if_addrs::Interface],
) -> anyhow::Result<Vec<SocketAddr>> {
    let mut hosts = Vec::new();
    let mut bound = false;
    for need in block.needs() {
        let Need::Bind { only, except } = need else { continue };
        bound = true;
        let of_all = |names: &[String]| {
            names
                .iter()
                .map(|name| addresses_of(name, interfaces))
                .collect::<anyhow::Result<Vec<_>>>()
        };
        let without = of_all(&except)?.concat();
        hosts.extend(
            of_all(&only)?.concat().into_iter().filter(|address| !without.contains(address)),
        );
    }
    if !bound {
        let all: IpAddr = if listeners::has_ipv6() {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        hosts.push(SocketAddr::new(all, 0));
    }
    hosts.sort_unstable();
    hosts.dedup();
    Ok(hosts)
}

/// The address itself, or all addresses of the interface with this name. As in CoreDNS, the
/// link-local IPv6 addresses of an interface are left out: each must be named, with the interface.
fn addresses_of(host: &str, interfaces: &[if_addrs::Interface]) -> anyhow::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, 0)]);
    }
    if host.contains('%') {
        let scoped = ScopedAddress::parse(host, 0)
            .with_context(|| format!("plugin/bind: not a valid IP address: {host:?}"))?;
        let address = scoped.resolve(&indexed(interfaces)).map_err(|_| {
            anyhow!(
                "plugin/bind: {host:?} names no interface of this machine; `ip link` lists them"
            )
        })?;
        return Ok(vec![address]);
    }
    let can_bind =
        |address: &IpAddr| !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let of_interface = interfaces.iter().filter(|it| it.name == host);
    let addresses: Vec<_> = of_interface.map(if_addrs::Interface::ip).filter(can_bind).collect();
    if addresses.is_empty() {
        bail!(
            "plugin/bind: not a valid IP address or interface name: {host:?}; `ip address` lists both"
        );
    }
    Ok(addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
}

/// The interfaces that have an index, each once for every address.
pub(super) fn indexed(interfaces: &[if_addrs::Interface]) -> Vec<plugin::Interface> {
    let indexed = |it: &if_addrs::Interface| {
        Some(plugin::Interface { name: it.name.clone(), index: it.index? })
    };
    interfaces.iter().filter_map(indexed).collect()
}

/// The addresses at which other machines reach this one.
fn own_addresses(interfaces: &[if_addrs::Interface]) -> Vec<IpAddr> {
    let reachable = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let mut addresses: Vec<_> =
        interfaces.iter().map(if_addrs::Interface::ip).filter(reachable).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
