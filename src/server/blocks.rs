//! Server blocks and the selection by the longest zone.

use std::{collections::HashMap, sync::Arc};

use crate::{
    chain::{Cx, Metadata, Plugin, UnixClock},
    limits,
    plugin::{ProxyPolicy, ProxyReader, Timeouts},
    wire::{Class, CookieSecret, Name, Query, Type},
};

use super::Listen;

/// One server block with its plugins.
pub struct Block {
    /// The zones of its keys, with the addresses at which each is served.
    pub keys: Vec<(Name, Listen)>,
    /// In CoreDNS's order.
    pub plugins: Vec<Arc<dyn Plugin>>,
    /// Those plugins that get copies of the block's messages.
    pub taps: Vec<Arc<dyn Plugin>>,
    /// The size limit of UDP replies in octets, which is also the advertised EDNS size.
    pub udp_octets: u16,
    /// Whether classes other than IN are passed to the plugins.
    pub any_class: bool,
    /// Whether AXFR and IXFR queries are passed to the plugins.
    pub transfers: bool,
    /// Whether UPDATE messages are passed to the plugins.
    pub updates: bool,
    /// The read, write and idle timeouts of its listeners; `None` without the plugin `timeouts`.
    pub timeouts: Option<Timeouts>,
    /// Which peers may send a PROXY header with the client's address.
    pub proxy: Option<ProxyPolicy>,
    /// The zones for whose queries plugins collect metadata; `None` without the plugin `metadata`.
    pub metadata: Option<Vec<Name>>,
    /// The name of the view that selects the queries of this block; empty without one.
    pub view: String,
}

impl Block {
    /// A block of these keys, without plugins.
    pub fn new(keys: Vec<(Name, Listen)>) -> Self {
        Self {
            keys,
            plugins: Vec::new(),
            taps: Vec::new(),
            udp_octets: limits::UDP_OCTETS,
            any_class: false,
            transfers: false,
            updates: false,
            timeouts: None,
            proxy: None,
            metadata: None,
            view: String::new(),
        }
    }

    /// Lets the plugins add what they know about a query.
    fn collect(&self, cx: &mut Cx, query: &Query) {
        let Some(zones) = &self.metadata else {
            cx.metadata = Metadata::default();
            return;
        };
        let mut metadata = Metadata::collecting();
        if zones.iter().any(|zone| query.question.name.is_within(zone)) {
            for plugin in &self.plugins {
                plugin.metadata(cx, query, &mut metadata);
            }
        }
        cx.metadata = metadata;
    }

    /// Whether the block's view takes the query. Its expressions may use metadata.
    fn accepts(&self, cx: &mut Cx, query: &Query) -> bool {
        if self.view.is_empty() {
            return true;
        }
        self.collect(cx, query);
        let mut filters = self.plugins.iter().filter_map(|plugin| plugin.filter());
        filters.all(|filter| filter.accepts(cx, query))
    }
}

/// All blocks; immutable.
#[derive(Default)]
pub struct Server {
    blocks: Vec<Block>,
    /// Sorted by their addresses, because each query looks its listener up.
    listeners: Vec<Listener>,
    /// The plugin that counts and logs the queries that match no block.
    pub unrouted: Option<Arc<dyn Plugin>>,
    /// Whether the level DEBUG is logged. A panic then ends the process; otherwise only the query
    /// fails.
    pub debug: bool,
    /// Without a secret the server sends no DNS cookies.
    pub cookies: Option<CookieSecret>,
    /// The time of day, for signatures.
    pub clock: UnixClock,
}

struct Listener {
    listen: Listen,
    /// The blocks of each zone. There are several if they have views; the first block whose view
    /// accepts the query answers.
    zones: HashMap<Name, Vec<usize>, foldhash::fast::RandomState>,
    any_class: bool,
    timeouts: Timeouts,
    proxy: Option<ProxyReader>,
}

/// Two blocks that serve the same zone at the same address. `block` is the index of the second one.
#[derive(Debug, PartialEq, Eq)]
pub struct Overlap {
    pub block: usize,
    pub zone: Name,
    pub listen: Listen,
}

impl Server {
    /// # Errors
    /// If two blocks serve the same zone at the same address.
    pub fn new(blocks: Vec<Block>) -> Result<Self, Overlap> {
        let mut server = Self { blocks, ..Self::default() };
        for (index, block) in server.blocks.iter().enumerate() {
            for (zone, listen) in &block.keys {
                let at =
                    match server.listeners.iter().position(|listener| listener.listen == *listen) {
                        Some(at) => at,
                        None => {
                            server.listeners.push(Listener {
                                listen: *listen,
                                zones: HashMap::default(),
                                any_class: false,
                                timeouts: Timeouts::default(),
                                proxy: None,
                            });
                            server.listeners.len() - 1
                        }
                    };
                let listener = &mut server.listeners[at];
                listener.any_class |= block.any_class;
                listener.timeouts = block.timeouts.unwrap_or(listener.timeouts);
                if let Some(policy) = &block.proxy {
                    listener.proxy = Some(ProxyReader::new(policy.clone()));
                }
                let of_zone = listener.zones.entry(zone.clone()).or_default();
                let is_whole = |block: &Block| block.view.is_empty();
                if is_whole(block) && of_zone.iter().any(|&other| is_whole(&server.blocks[other])) {
                    return Err(Overlap { block: index, zone: zone.clone(), listen: *listen });
                }
                of_zone.push(index);
            }
        }
        server.listeners.sort_unstable_by_key(|listener| listener.listen);
        Ok(server)
    }

    /// The zones of each listener. Listeners and zones are sorted.
    pub fn zones(&self) -> Vec<(Listen, Vec<Name>)> {
        let sorted = |listener: &Listener| {
            let mut zones: Vec<_> =
                listener.zones.keys().map(|zone| (zone.to_string(), zone.clone())).collect();
            zones.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            (listener.listen, zones.into_iter().map(|(_, zone)| zone).collect())
        };
        self.listeners.iter().map(sorted).collect()
    }

    /// The listeners that the blocks need.
    pub fn listens(&self) -> impl Iterator<Item = Listen> {
        self.listeners.iter().map(|listener| listener.listen)
    }

    /// The read, write and idle timeouts of a listener.
    pub fn timeouts(&self, listen: Listen) -> Timeouts {
        self.listener(listen).map_or_else(Timeouts::default, |at| self.listeners[at].timeouts)
    }

    /// Which peers may send a PROXY header to a listener. `None` without the plugin `proxyproto`.
    pub fn proxy(&self, listen: Listen) -> Option<&ProxyReader> {
        self.listeners[self.listener(listen)?].proxy.as_ref()
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    pub(super) fn listener(&self, listen: Listen) -> Option<usize> {
        self.listeners.binary_search_by_key(&listen, |listener| listener.listen).ok()
    }

    /// The block with the longest zone that contains the name, among those that accept the query.
    /// DS records belong to the parent zone (RFC 4035 §3.1.4.1), so a DS query prefers the next
    /// shorter zone. `None` means REFUSED. The context gets the metadata of the block.
    pub(super) fn block_for(&self, listener: usize, cx: &mut Cx, query: &Query) -> Option<usize> {
        let (listener, question) = (&self.listeners[listener], &query.question);
        if question.class != Class::IN && !listener.any_class {
            return None;
        }
        let wire = question.name.wire();
        let mut matches = question.name.offsets().filter_map(|at| {
            let mut blocks = listener.zones.get(&wire[at..])?.iter();
            let block = blocks.find(|block| self.blocks[**block].accepts(cx, query))?;
            Some((at, *block))
        });
        let (at, block) = matches.next()?;
        let parent = if question.qtype == Type::DS && at == 0 { matches.next() } else { None };
        let block = parent.map_or(block, |(_, block)| block);
        self.blocks[block].collect(cx, query);
        let Block { plugins, transfers, .. } = &self.blocks[block];
        (!plugins.is_empty() && (*transfers || !question.qtype.is_transfer())).then_some(block)
    }
}
