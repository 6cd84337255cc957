//! Server blocks and the selection by the longest zone.

use std::{collections::HashMap, sync::Arc};

use crate::{
    chain::Plugin,
    limits,
    wire::{Class, CookieSecret, Name, Question, Type},
};

use super::Listen;

/// One server block with its plugins.
pub struct Block {
    /// The zones of its keys, with the addresses at which each is served.
    pub keys: Vec<(Name, Listen)>,
    /// In CoreDNS's order.
    pub plugins: Vec<Arc<dyn Plugin>>,
    /// The size limit of UDP replies in octets, which is also the advertised EDNS size.
    pub udp_octets: u16,
    /// Whether classes other than IN are passed to the plugins.
    pub any_class: bool,
    /// Whether AXFR and IXFR queries are passed to the plugins.
    pub transfers: bool,
}

impl Block {
    /// A block of these keys, without plugins.
    pub fn new(keys: Vec<(Name, Listen)>) -> Self {
        Self {
            keys,
            plugins: Vec::new(),
            udp_octets: limits::UDP_OCTETS,
            any_class: false,
            transfers: false,
        }
    }
}

/// All blocks; immutable.
#[derive(Default)]
pub struct Server {
    blocks: Vec<Block>,
    listeners: Vec<Listener>,
    /// Observes replies that no block gave.
    pub unrouted: Option<Arc<dyn Plugin>>,
    /// Whether log lines of the level DEBUG are written, and a panic ends the process instead of its
    /// query.
    pub debug: bool,
    /// Without a secret the server sends no DNS cookies.
    pub cookies: Option<CookieSecret>,
}

struct Listener {
    listen: Listen,
    zones: HashMap<Name, usize, foldhash::fast::RandomState>,
    any_class: bool,
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
                            });
                            server.listeners.len() - 1
                        }
                    };
                let listener = &mut server.listeners[at];
                listener.any_class |= block.any_class;
                if listener.zones.insert(zone.clone(), index).is_some() {
                    return Err(Overlap { block: index, zone: zone.clone(), listen: *listen });
                }
            }
        }
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
        let mut all: Vec<_> = self.listeners.iter().map(sorted).collect();
        all.sort_unstable_by_key(|(listen, _)| *listen);
        all
    }

    /// The listeners that the blocks need.
    pub fn listens(&self) -> impl Iterator<Item = Listen> {
        self.listeners.iter().map(|listener| listener.listen)
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    pub(super) fn listener(&self, listen: Listen) -> Option<usize> {
        self.listeners.iter().position(|listener| listener.listen == listen)
    }

    /// The block with the longest zone that contains the name. DS records belong to the parent zone
    /// (RFC 4035 §3.1.4.1), so a DS query prefers the next shorter zone. `None` means REFUSED.
    pub(super) fn block_for(&self, listener: usize, question: &Question) -> Option<usize> {
        let listener = &self.listeners[listener];
        if question.class != Class::IN && !listener.any_class {
            return None;
        }
        let wire = question.name.wire();
        let mut matches =
            question.name.offsets().filter_map(|at| Some((at, *listener.zones.get(&wire[at..])?)));
        let (at, block) = matches.next()?;
        let parent = if question.qtype == Type::DS && at == 0 { matches.next() } else { None };
        let block = parent.map_or(block, |(_, block)| block);
        let Block { plugins, transfers, .. } = &self.blocks[block];
        (!plugins.is_empty() && (*transfers || !question.qtype.is_transfer())).then_some(block)
    }
}
