//! The objects that claim a name, sorted by name, because a lookup needs to know whether any name
//! below another one exists.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
};

use smallvec::SmallVec;

use crate::{model::Object, wire::Name};

use super::key::ServiceKey;

/// An object that provides the addresses of a name.
#[derive(Clone, Debug)]
pub(super) enum Claim {
    Service(ServiceKey),
    /// An Ingress or a route.
    Object(Arc<Object>),
}

impl PartialEq for Claim {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Service(a), Self::Service(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

pub(super) type Claims = SmallVec<[Claim; 1]>;

/// The labels of a name from right to left, in wire form. The names below another one begin with
/// it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(SmallVec<[u8; 64]>);

impl Path {
    /// Takes a name, or labels in wire form without a root label.
    pub(super) fn new(wire: &[u8]) -> Self {
        let mut labels: SmallVec<[&[u8]; 8]> = SmallVec::new();
        let mut rest = wire;
        while let Some(&length) = rest.first().filter(|length| **length > 0) {
            let (label, tail) = rest.split_at((usize::from(length) + 1).min(rest.len()));
            labels.push(label);
            rest = tail;
        }
        Self(labels.into_iter().rev().flatten().copied().collect())
    }

    /// The name under a zone.
    pub(super) fn name(&self, zone: &Name) -> Option<Name> {
        let mut labels: SmallVec<[&[u8]; 8]> = SmallVec::new();
        let mut rest = &self.0[..];
        while let Some((&length, tail)) = rest.split_first() {
            let (label, tail) = tail.split_at(usize::from(length).min(tail.len()));
            labels.push(label);
            rest = tail;
        }
        Name::join(labels.into_iter().rev(), zone)
    }

    /// Whether this is the other name or lies below it.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Takes a host as objects write it; `None` if it is not a valid name.
    pub(super) fn of_host(host: &str) -> Option<Self> {
        Some(Self::new(host.parse::<Name>().ok()?.wire()))
    }
}

/// The number of names that are copied at once.
const NAMES_AT_ONCE: usize = 256;

/// The claims of all names. The index is the only writer, and there are any number of readers.
#[derive(Debug, Default)]
pub(super) struct ClaimedNames(RwLock<BTreeMap<Path, Claims>>);

impl ClaimedNames {
    pub(super) fn at(&self, path: &Path) -> Claims {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned().unwrap_or_default()
    }

    /// Whether a name below this one has a claim that `counts` accepts.
    pub(super) fn is_above(&self, path: &Path, counts: impl Fn(&Path, &Claim) -> bool) -> bool {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let after = names.range((Bound::Excluded(path.clone()), Bound::Unbounded));
        let mut below = after.take_while(|(below, _)| below.0.starts_with(&path.0));
        below.any(|(name, claims)| claims.iter().any(|claim| counts(name, claim)))
    }

    /// This name and all names below it, with their claims.
    pub(super) fn within(&self, path: &Path) -> Vec<(Path, Claims)> {
        let (mut within, mut from) = (Vec::new(), Bound::Included(path.clone()));
        loop {
            // The lock is released after each part: while a writer waits for it, all other readers
            // wait, too.
            let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let some = names
                .range((from, Bound::Unbounded))
                .take_while(|(name, _)| name.0.starts_with(&path.0))
                .take(NAMES_AT_ONCE);
            let before = within.len();
            within.extend(some.map(|(name, claims)| (name.clone(), claims.clone())));
            match within.last() {
                Some((last, _)) if within.len() == before + NAMES_AT_ONCE => {
                    from = Bound::Excluded(last.clone());
                }
                _ => return within,
            }
        }
    }

    /// Moves a claim from some names to others. No reader sees one without the other.
    pub(super) fn replace(&self, old: Option<(Vec<Path>, Claim)>, new: Option<(Vec<Path>, Claim)>) {
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let (old_paths, old) = old.unzip();
        for path in old_paths.iter().flatten() {
            if let Some(claims) = names.get_mut(path) {
                claims.retain(|it| Some(&*it) != old.as_ref());
                if claims.is_empty() {
                    names.remove(path);
                }
            }
        }
        if let Some((paths, claim)) = new {
            for path in paths {
                names.entry(path).or_default().push(claim.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_are_found_however_many() {
        let names = ClaimedNames::default();
        let claim = Claim::Service(b"\x03web\x07default".as_slice().into());
        let hosts = |count: usize| {
            (0..count)
                .map(|number| Path::of_host(&format!("h{number}.example.com")).unwrap())
                .collect()
        };
        for count in [0, 1, NAMES_AT_ONCE - 1, NAMES_AT_ONCE, NAMES_AT_ONCE + 1, 3 * NAMES_AT_ONCE]
        {
            names.replace(None, Some((hosts(count), claim.clone())));
            assert_eq!(names.within(&Path::of_host("example.com").unwrap()).len(), count);
            names.replace(Some((hosts(count), claim.clone())), None);
        }
    }

    #[test]
    fn names_below_a_name_are_found() {
        let names = ClaimedNames::default();
        let path = |host: &str| Path::of_host(host).unwrap();
        let claim = Claim::Service(b"\x03web\x07default".as_slice().into());
        let first = vec![path("a.b.example.com"), path("bb.example.com")];
        names.replace(None, Some((first.clone(), claim.clone())));
        let check = |name: &str, at: usize, above: bool| {
            assert_eq!(
                (names.at(&path(name)).len(), names.is_above(&path(name), |_, _| true)),
                (at, above),
                "{name}"
            );
        };
        check("example.com", 0, true);
        check("b.example.com", 0, true);
        check("a.b.example.com", 1, false);
        check("bb.example.com", 1, false);
        check("c.example.com", 0, false);
        assert!(!names.is_above(&path("example.com"), |_, _| false));
        assert_eq!(names.within(&path("b.example.com")).len(), 1);
        names.replace(Some((first, claim.clone())), Some((vec![path("c.example.com")], claim)));
        check("b.example.com", 0, false);
        check("c.example.com", 1, false);
    }
}
