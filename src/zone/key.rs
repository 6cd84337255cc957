//! Keys of the store: names in wire form, lower-cased.

use std::sync::Arc;

use crate::wire::Name;

/// `web.default` in wire form without a root label: the labels that a Service's name has left of
/// `svc.ZONE`.
pub(super) type ServiceKey = Arc<[u8]>;

/// A namespace's label.
pub(super) type NamespaceKey = Box<[u8]>;

pub(super) fn lower(name: &str) -> Vec<u8> {
    name.to_ascii_lowercase().into_bytes()
}

/// The key of a Service; `None` if a name is not a label.
pub(super) fn service_key(namespace: &str, name: &str) -> Option<ServiceKey> {
    let name = Name::join([name.as_bytes(), namespace.as_bytes()], &Name::root())?;
    Some(name.left_of(&Name::root())?.into())
}
