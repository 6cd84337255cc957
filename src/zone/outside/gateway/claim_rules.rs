//! The settings that protect the names of a namespace from objects of others.

use crate::{
    wire::Name,
    zone::claims::{Claim, Path},
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimRules {
    pub protection: Protection,
    /// Names that only objects of the namespace may claim, with all names below them. If a name is
    /// listed with several namespaces, objects of each of them may claim it.
    pub reserved: Vec<(Name, Box<str>)>,
}

/// Whether an object may claim a host that belongs to another namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protection {
    /// No host can claim the apex, a name server or the wildcard directly below the apex. Only
    /// objects in the namespace of a Service can claim its name `NAME.NAMESPACE`. Any other host
    /// belongs to the namespace of the oldest object that has it.
    #[default]
    Protected,
    Unprotected,
}

impl ClaimRules {
    /// Whether the name is not reserved for other namespaces.
    pub(super) fn admit(&self, path: &Path, claim: &Claim) -> bool {
        !self.reserve(path)
            || self.rules(path).any(|(_, admitted)| claim.namespace() == admitted.as_bytes())
    }

    /// Whether the name is reserved for namespaces.
    pub(super) fn reserve(&self, path: &Path) -> bool {
        self.rules(path).next().is_some()
    }

    fn rules(&self, path: &Path) -> impl Iterator<Item = &(Name, Box<str>)> {
        self.reserved.iter().filter(|(host, _)| path.starts_with(&Path::new(host.wire())))
    }
}
