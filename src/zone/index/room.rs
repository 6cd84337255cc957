//! The bound on the memory that the facts take. At the bound, the objects of a kind that was synced
//! stay as they are: they may shrink, be removed and change, but not grow.

use crate::model::{Key, Kind, Object};

use super::Index;

/// Changes that were left out because the facts take as much memory as they may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The kinds of these objects.
    pub kinds: Vec<Kind>,
    pub count: usize,
    /// The object of the last change.
    pub last: Key,
}

#[derive(Debug)]
pub(super) struct Room {
    most: usize,
    left_out: Option<LeftOut>,
}

impl Default for Room {
    fn default() -> Self {
        Self { most: usize::MAX, left_out: None }
    }
}

impl Index {
    /// Sets how many octets of memory all facts may take from now on.
    pub fn bound_octets(&mut self, most: usize) {
        self.room.most = most;
    }

    /// About how many octets of memory the facts of a kind take.
    pub fn octets(&self, kind: Kind) -> usize {
        match kind {
            Kind::Namespace => self.namespaces.octets(),
            Kind::Service => self.services.octets(),
            Kind::ServiceImport => self.imports.octets(),
            Kind::EndpointSlice => self.slices.octets(),
            Kind::Pod => self.pods.octets(),
            // Every other kind matters only for clients outside of the cluster.
            _ => self.outside.octets(kind),
        }
    }

    /// The changes that were left out since the last call.
    pub fn take_left_out(&mut self) -> Option<LeftOut> {
        self.room.left_out.take()
    }

    /// Whether the object must be left out. The known object is then kept as it is, also by a list
    /// in progress.
    pub(super) fn leaves_out(&mut self, object: &Object) -> bool {
        let (kind, octets) = (object.kind(), object.octets());
        let known = |index: &Self| Kind::ALL.iter().map(|kind| index.octets(*kind)).sum::<usize>();
        // A list of a kind that was never synced is abandoned by its source if it is too large.
        if self.room.most == usize::MAX
            || !self.store.is_synced(kind)
            || known(self) + octets <= self.room.most
        {
            return false;
        }
        let (namespace, name) = (object.namespace(), object.name());
        let before = match kind {
            Kind::Namespace => self.namespaces.seen_octets(namespace, name),
            Kind::Service => self.services.seen_octets(namespace, name),
            Kind::ServiceImport => self.imports.seen_octets(namespace, name),
            Kind::EndpointSlice => self.slices.seen_octets(namespace, name),
            Kind::Pod => self.pods.seen_octets(namespace, name),
            // Every other kind matters only for clients outside of the cluster.
            _ => self.outside.table(kind).seen_octets(namespace, name),
        };
        let before = before.unwrap_or_default();
        if octets <= before || known(self) - before + octets <= self.room.most {
            return false;
        }
        let key = object.key();
        match &mut self.room.left_out {
            Some(left_out) => {
                left_out.count += 1;
                if !left_out.kinds.contains(&kind) {
                    left_out.kinds.push(kind);
                }
                left_out.last = key;
            }
            None => {
                self.room.left_out = Some(LeftOut { kinds: vec![kind], count: 1, last: key });
            }
        }
        true
    }
}
