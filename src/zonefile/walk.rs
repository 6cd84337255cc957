//! The way from the apex to a name (RFC 1034 §4.3.2).

use crate::wire::Type;

use super::{
    key::Key,
    zone::{Node, Zone},
};

/// What the zone has for a name.
pub(super) enum Hit<'z> {
    Node(&'z Node),
    /// The name does not exist, and gets the records of this node.
    Wildcard(&'z Node),
    /// A wildcard without records exists, because names below it exist (RFC 4592 §2.2.3).
    EmptyWildcard,
    /// The node with a DNAME record for all names below it, and its number of labels below the
    /// apex.
    Dname(&'z Node, usize),
    /// The node at which another zone begins.
    Referral(&'z Node),
    /// The name has no records, but names below it exist.
    Empty,
    /// The longest ancestor that exists has this many labels below the apex.
    Missing {
        encloser: usize,
    },
}

impl Zone {
    pub(super) fn walk(&self, key: &Key, qtype: Type) -> Hit<'_> {
        for depth in 0..=key.depth() {
            let (here, last) = (key.ancestor(depth), depth == key.depth());
            match self.nodes.get(here) {
                Some(node) if !last && node.get(Type::DNAME).is_some() => {
                    return Hit::Dname(node, depth);
                }
                // DS records stand above the cut (RFC 4035 §3.1.4.1).
                Some(node)
                    if depth > 0
                        && node.get(Type::NS).is_some()
                        && !(last && qtype == Type::DS) =>
                {
                    return Hit::Referral(node);
                }
                Some(node) if last => return Hit::Node(node),
                None if !self.has_below(here) => return self.instead(key, depth),
                Some(_) | None => {}
            }
        }
        Hit::Empty
    }

    /// The result for a name whose ancestor of `depth` labels does not exist.
    fn instead(&self, key: &Key, depth: usize) -> Hit<'_> {
        let encloser = depth.saturating_sub(1);
        let wildcard = key.wildcard(encloser);
        match self.nodes.get(&wildcard[..]) {
            Some(node) => Hit::Wildcard(node),
            None if self.has_below(&wildcard) => Hit::EmptyWildcard,
            None => Hit::Missing { encloser },
        }
    }
}
