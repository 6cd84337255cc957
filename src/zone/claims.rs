//! The objects that claim a name, sorted by name, because a lookup needs to know whether any name
//! below another one exists.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Bound, Deref},
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
};

use smallvec::SmallVec;

use crate::{
    model::{Key, Kind, Object},
    wire::Name,
};

use super::key::ServiceKey;

/// An object that provides the addresses of a name.
#[derive(Clone, Debug)]
pub(super) enum Claim {
    Service(ServiceKey),
    /// An Ingress or a route.
    Object(Arc<Object>),
}

impl Claim {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Object(object) => object.kind(),
        }
    }

    pub(super) fn namespace(&self) -> &[u8] {
        match self {
            Self::Service(key) => service_labels(key).1,
            Self::Object(object) => object.namespace().as_bytes(),
        }
    }

    pub(super) fn name(&self) -> &[u8] {
        match self {
            Self::Service(key) => service_labels(key).0,
            Self::Object(object) => object.name().as_bytes(),
        }
    }

    /// The object that has the claim.
    pub(super) fn key(&self) -> Key {
        match self {
            Self::Service(key) => {
                let (name, namespace) = service_labels(key);
                let [namespace, name] = [namespace, name].map(String::from_utf8_lossy);
                Key::new(Kind::Service, &namespace, &name)
            }
            Self::Object(object) => object.key(),
        }
    }
}

/// The labels of `svc.ns` in wire form, without their lengths.
fn service_labels(key: &[u8]) -> (&[u8], &[u8]) {
    let length = key.first().map_or(0, |length| usize::from(*length));
    (key.get(1..=length).unwrap_or_default(), key.get(length + 2..).unwrap_or_default())
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

    /// Takes a host as objects write it; `None` if it is not a valid name.
    pub(super) fn of_host(host: &str) -> Option<Self> {
        Some(Self::new(host.parse::<Name>().ok()?.wire()))
    }
}

/// The octets. A name is within another one if its octets begin with those of the other.
impl Deref for Path {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Names with one claim on all of them.
pub(super) type NewClaim = Option<(Vec<Path>, Claim)>;

/// The number of names that are copied at once.
const NAMES_AT_ONCE: usize = 256;

/// Claims by name. The index is the only writer, and there are any number of readers.
#[derive(Debug, Default)]
pub(super) struct ClaimMap(RwLock<BTreeMap<Arc<[u8]>, Claims>>);

impl ClaimMap {
    pub(super) fn at(&self, path: &Path) -> Claims {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.get(&**path).cloned().unwrap_or_default()
    }

    /// Whether a name below this one has a claim.
    pub(super) fn is_above(&self, path: &Path) -> bool {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut after = names.range::<[u8], _>((Bound::Excluded(&**path), Bound::Unbounded));
        after.next().is_some_and(|(next, _)| next.starts_with(path))
    }

    /// This name and all names below it, with their claims.
    pub(super) fn within(&self, path: &Path) -> Vec<(Path, Claims)> {
        let (mut within, mut from) = (Vec::new(), Bound::Included(path.clone()));
        loop {
            // The lock is released after each part: while a writer waits for it, all other readers
            // wait, too.
            let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let some = names
                .range::<[u8], _>((from.as_ref().map(|path| &**path), Bound::Unbounded))
                .take_while(|(name, _)| name.starts_with(path))
                .take(NAMES_AT_ONCE);
            let before = within.len();
            within.extend(
                some.map(|(name, claims)| (Path(SmallVec::from_slice(name)), claims.clone())),
            );
            match within.last() {
                Some((last, _)) if within.len() == before + NAMES_AT_ONCE => {
                    from = Bound::Excluded(last.clone());
                }
                _ => return within,
            }
        }
    }

    /// Moves a claim from some names to others. No reader sees one without the other.
    pub(super) fn replace(&self, old: NewClaim, new: NewClaim) {
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let (old_paths, old) = old.unzip();
        for path in old_paths.iter().flatten() {
            if let Some(claims) = names.get_mut(&**path) {
                claims.retain(|it| Some(&*it) != old.as_ref());
                if claims.is_empty() {
                    names.remove(&**path);
                }
            }
        }
        if let Some((paths, claim)) = new {
            for path in paths {
                names.entry(Arc::from(&*path)).or_default().push(claim.clone());
            }
        }
    }

    /// A copy that does not change with this one.
    pub(super) fn copy(&self) -> Self {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        Self(RwLock::new(names))
    }
}

/// Whether a claim on a name counts in a view. The result never changes.
pub(super) trait ClaimRule: fmt::Debug + Send + Sync {
    fn counts(&self, path: &Path, claim: &Claim) -> bool;
}

/// The claims that count in a view. A lookup does not read the others, of which there may be
/// thousands.
#[derive(Debug)]
pub(super) struct CountedClaims {
    rule: Arc<dyn ClaimRule>,
    names: ClaimMap,
}

impl CountedClaims {
    fn new(rule: Arc<dyn ClaimRule>) -> Self {
        Self { rule, names: ClaimMap::default() }
    }

    fn replace(&self, old: &NewClaim, new: &NewClaim) {
        let counted = |claim: &NewClaim| {
            let (paths, claim) = claim.as_ref()?;
            let paths: Vec<_> =
                paths.iter().filter(|path| self.rule.counts(path, claim)).cloned().collect();
            (!paths.is_empty()).then(|| (paths, claim.clone()))
        };
        let (old, new) = (counted(old), counted(new));
        if old.is_some() || new.is_some() {
            self.names.replace(old, new);
        }
    }

    /// A copy that does not change with this one.
    pub(super) fn copy(&self) -> Self {
        Self { rule: Arc::clone(&self.rule), names: self.names.copy() }
    }
}

impl Deref for CountedClaims {
    type Target = ClaimMap;

    fn deref(&self) -> &ClaimMap {
        &self.names
    }
}

/// The claims of all names, and those that count in each view.
#[derive(Debug, Default)]
pub(super) struct ClaimedNames {
    all: ClaimMap,
    views: Mutex<Vec<Weak<CountedClaims>>>,
}

impl ClaimedNames {
    pub(super) fn all(&self) -> &ClaimMap {
        &self.all
    }

    /// The claims that count, now and after each change.
    pub(super) fn counted(&self, rule: Arc<dyn ClaimRule>) -> Arc<CountedClaims> {
        // While this lock is held, no claim changes.
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = Arc::new(CountedClaims::new(rule));
        for (path, claims) in self.all.within(&Path::new(b"")) {
            for claim in claims {
                counted.replace(&None, &Some((vec![path.clone()], claim)));
            }
        }
        views.retain(|view| view.strong_count() > 0);
        views.push(Arc::downgrade(&counted));
        counted
    }

    /// See [`ClaimMap::replace`].
    pub(super) fn replace(&self, old: NewClaim, new: NewClaim) {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.iter().filter_map(Weak::upgrade).for_each(|view| view.replace(&old, &new));
        self.all.replace(old, new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_are_found_however_many() {
        let names = ClaimMap::default();
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
        let names = ClaimMap::default();
        let path = |host: &str| Path::of_host(host).unwrap();
        let claim = Claim::Service(b"\x03web\x07default".as_slice().into());
        let first = vec![path("a.b.example.com"), path("bb.example.com")];
        names.replace(None, Some((first.clone(), claim.clone())));
        let check = |name: &str, at: usize, above: bool| {
            assert_eq!(
                (names.at(&path(name)).len(), names.is_above(&path(name))),
                (at, above),
                "{name}"
            );
        };
        check("example.com", 0, true);
        check("b.example.com", 0, true);
        check("a.b.example.com", 1, false);
        check("bb.example.com", 1, false);
        check("c.example.com", 0, false);
        assert_eq!(names.within(&path("b.example.com")).len(), 1);
        names.replace(Some((first, claim.clone())), Some((vec![path("c.example.com")], claim)));
        check("b.example.com", 0, false);
        check("c.example.com", 1, false);
    }

    #[derive(Debug)]
    struct Below(Path);

    impl ClaimRule for Below {
        fn counts(&self, path: &Path, _: &Claim) -> bool {
            path.starts_with(&self.0)
        }
    }

    #[test]
    fn a_view_has_the_claims_that_count_before_and_after_a_change() {
        let names = ClaimedNames::default();
        let path = |host: &str| Path::of_host(host).unwrap();
        let claim = |name: &[u8]| Claim::Service(name.into());
        let claimed = |hosts: &[&str], name: &[u8]| {
            Some((hosts.iter().map(|host| path(host)).collect(), claim(name)))
        };
        names.replace(None, claimed(&["a.good.example", "a.bad.example"], b"\x01a"));
        let good = names.counted(Arc::new(Below(path("good.example"))));
        let check = |name: &str, all: usize, counted: usize| {
            let path = path(name);
            assert_eq!(
                (names.all().at(&path).len(), good.at(&path).len()),
                (all, counted),
                "{name}"
            );
        };
        check("a.good.example", 1, 1);
        check("a.bad.example", 1, 0);
        assert!(good.is_above(&path("example")) && !good.is_above(&path("bad.example")));
        let copy = good.copy();
        names.replace(None, claimed(&["a.good.example", "b.bad.example"], b"\x01b"));
        names.replace(claimed(&["a.good.example", "a.bad.example"], b"\x01a"), None);
        check("a.good.example", 1, 1);
        check("a.bad.example", 0, 0);
        assert_eq!(good.at(&path("a.good.example"))[..], [claim(b"\x01b")]);
        assert_eq!(copy.at(&path("a.good.example"))[..], [claim(b"\x01a")]);
        // A view that is gone gets no claims any more.
        drop(good);
        names.counted(Arc::new(Below(path("example"))));
        assert_eq!(names.views.lock().unwrap().len(), 1);
    }
}
