//! Keys of the maps: labels in wire form without a root label, so that a slice of the question's
//! name finds an entry without a copy.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::wire::Name;

/// `web.default` in wire form without a root label: the labels that a Service's name has left of
/// `svc.ZONE`.
pub(super) type ServiceKey = Arc<[u8]>;

/// The label of a namespace, without its length octet.
pub(super) type NamespaceKey = Box<[u8]>;

/// `None` if a name is not a valid label.
pub(super) fn service_key(namespace: &str, name: &str) -> Option<ServiceKey> {
    let name = Name::join([name.as_bytes(), namespace.as_bytes()], &Name::root())?;
    Some(name.left_of(&Name::root())?.into())
}

pub(super) fn lower(name: &str) -> Vec<u8> {
    name.to_ascii_lowercase().into_bytes()
}

/// The offsets at which the labels of a name without a root label begin.
pub(super) fn label_offsets(labels: &[u8]) -> SmallVec<[usize; 8]> {
    let mut at = 0;
    let mut offsets = SmallVec::new();
    while let Some(&length) = labels.get(at) {
        offsets.push(at);
        at += usize::from(length) + 1;
    }
    offsets
}
