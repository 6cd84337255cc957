//! Which objects may claim a name. An object of any namespace can contain any host, so the names of
//! other namespaces need protection.

use std::{cmp::Ordering, fmt};

use crate::{
    model::{Key, Kind, Object},
    wire::Name,
    zone::{
        claims::{Claim, Claims, Path},
        view::longest,
    },
};

use super::{super::apex::labels, Gateway};

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

/// Why a host of an object is not answered with the object's addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClaimRefusal {
    Apex,
    NameServer,
    Wildcard,
    /// The name `NAME.NAMESPACE` of this Service.
    NameOf(Key),
    /// The option `claims` lists other namespaces.
    Reserved,
    /// This object of another namespace is older.
    Older(Key),
}

impl ClaimRefusal {
    /// One word, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Apex => "apex",
            Self::NameServer => "name_server",
            Self::Wildcard => "wildcard",
            Self::NameOf(_) => "service",
            Self::Reserved => "reserved",
            Self::Older(_) => "older",
        }
    }
}

impl fmt::Display for ClaimRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apex => write!(f, "it is the zone itself"),
            Self::NameServer => write!(f, "it is a name server of the zone"),
            Self::Wildcard => write!(f, "it stands for all unused names of the zone"),
            Self::NameOf(service) => write!(f, "it is the name of {service}"),
            Self::Reserved => write!(f, "the option `claims` reserves it for another namespace"),
            Self::Older(winner) => write!(f, "{winner} has it and is older"),
        }
    }
}

/// A host of an object that is not answered with the object's addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RefusedClaim {
    pub zone: Name,
    pub host: Name,
    pub object: Key,
    pub why: ClaimRefusal,
}

impl Gateway {
    /// The valid claims on a name. Hosts are compared with the whole name, and Services with the
    /// part before the zone.
    pub(super) fn claims(&self, name: &[u8], zone: &[u8]) -> Claims {
        self.judge(name, zone, |_, _| {})
    }

    /// All hosts in the view's zones that are not answered with the addresses of their objects.
    pub fn refused_claims(&self) -> Vec<RefusedClaim> {
        let zones = &self.settings.zones;
        let mut all = Vec::new();
        for zone in zones {
            for (path, _) in self.store.outside.hosts.within(&Path::new(zone.wire())) {
                let Some(host) = path.name(&Name::root()) else { continue };
                if longest(zones, &host) != Some(zone) {
                    continue;
                }
                self.judge(host.wire(), zone.wire(), |claim, why| {
                    let (zone, host, object) = (zone.clone(), host.clone(), key(claim));
                    all.push(RefusedClaim { zone, host, object, why });
                });
            }
        }
        all
    }

    /// How many times the facts behind the answers have changed. Two changes within one second may
    /// have the same serial, but never the same number.
    pub fn changes(&self) -> u64 {
        self.store.outside.changes()
    }

    fn judge(
        &self,
        name: &[u8],
        zone: &[u8],
        mut on_refusal: impl FnMut(&Claim, ClaimRefusal),
    ) -> Claims {
        let facts = &self.store.outside;
        let left = &name[..name.len() - zone.len()];
        let path = Path::new(name);
        let mut services = facts.services.at(&Path::new(left));
        services.retain(|claim| self.counts(claim));
        let mut claims = facts.hosts.at(&path);
        claims.retain(|claim| {
            if !self.counts(claim) {
                return false;
            }
            let refusal = match self.refusal(left, claim, &services) {
                None if !self.is_admitted(&path, claim) => Some(ClaimRefusal::Reserved),
                refusal => refusal,
            };
            let is_valid = refusal.is_none();
            refusal.into_iter().for_each(|refusal| on_refusal(claim, refusal));
            is_valid
        });
        if claims.len() > 1 && self.is_contested(&path) {
            self.keep_oldest(&mut claims, on_refusal);
        }
        claims.extend(services);
        claims
    }

    /// Why this object may not claim the name that has the labels `left` before the zone.
    /// `services` are the Services with that name.
    fn refusal(&self, left: &[u8], claim: &Claim, services: &Claims) -> Option<ClaimRefusal> {
        if self.settings.claims.protection == Protection::Unprotected {
            return None;
        }
        if left.is_empty() {
            return Some(ClaimRefusal::Apex);
        }
        if left == b"\x01*" {
            return Some(ClaimRefusal::Wildcard);
        }
        if self.settings.top.servers.iter().any(|server| labels(server) == left) {
            return Some(ClaimRefusal::NameServer);
        }
        let owner = services.iter().find(|owner| namespace(owner) != namespace(claim));
        owner.map(|owner| ClaimRefusal::NameOf(key(owner)))
    }

    /// Whether the name is not reserved for other namespaces.
    pub(super) fn is_admitted(&self, path: &Path, claim: &Claim) -> bool {
        let mut rules = self.rules(path).peekable();
        rules.peek().is_none() || rules.any(|(_, admitted)| namespace(claim) == admitted.as_bytes())
    }

    /// Whether the oldest object wins. The namespaces that `claims` lists share the name.
    fn is_contested(&self, path: &Path) -> bool {
        self.settings.claims.protection == Protection::Protected
            && self.rules(path).next().is_none()
    }

    fn rules(&self, path: &Path) -> impl Iterator<Item = &(Name, Box<str>)> {
        let reserved = self.settings.claims.reserved.iter();
        reserved.filter(move |(host, _)| path.is_within(&Path::new(host.wire())))
    }

    /// Keeps the claims of the namespace whose object is the oldest. Of objects of the same second,
    /// the first by namespace and name counts, as in the Gateway API.
    fn keep_oldest(&self, claims: &mut Claims, mut on_refusal: impl FnMut(&Claim, ClaimRefusal)) {
        let Some(oldest) = claims.iter().min_by(|one, other| self.by_age(one, other)).cloned()
        else {
            return;
        };
        claims.retain(|claim| {
            let is_owner = namespace(claim) == namespace(&oldest);
            if !is_owner {
                on_refusal(claim, ClaimRefusal::Older(key(&oldest)));
            }
            is_owner
        });
    }

    fn by_age(&self, one: &Claim, other: &Claim) -> Ordering {
        let age = |claim: &Claim| {
            let created = self.created(claim);
            // An object without a time is not from an API server, and counts as the newest.
            (created.is_none(), created)
        };
        let name = |claim: &Claim| (namespace(claim).to_vec(), key(claim).name);
        age(one).cmp(&age(other)).then_with(|| name(one).cmp(&name(other)))
    }

    fn created(&self, claim: &Claim) -> Option<i64> {
        match claim {
            Claim::Service(key) => {
                let entry = self.store.service(key)?;
                entry.service.as_ref()?.outside.as_ref()?.created
            }
            Claim::Object(object) => match &**object {
                Object::Ingress(ingress) => ingress.created,
                Object::Route(route) => route.created,
                _ => None,
            },
        }
    }
}

/// The labels of `svc.ns` in wire form, without their lengths.
fn service_labels(key: &[u8]) -> (&[u8], &[u8]) {
    let length = key.first().map_or(0, |length| usize::from(*length));
    (key.get(1..=length).unwrap_or_default(), key.get(length + 2..).unwrap_or_default())
}

/// The namespace of the object that claims a name.
fn namespace(claim: &Claim) -> &[u8] {
    match claim {
        Claim::Service(key) => service_labels(key).1,
        Claim::Object(object) => match &**object {
            Object::Ingress(ingress) => ingress.namespace.as_bytes(),
            Object::Route(route) => route.namespace.as_bytes(),
            _ => b"",
        },
    }
}

fn key(claim: &Claim) -> Key {
    match claim {
        Claim::Service(key) => {
            let (name, namespace) = service_labels(key);
            let [namespace, name] = [namespace, name].map(String::from_utf8_lossy);
            Key::new(Kind::Service, &namespace, &name)
        }
        Claim::Object(object) => object.key(),
    }
}
