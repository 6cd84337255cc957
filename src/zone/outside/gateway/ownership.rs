//! Which objects may claim a name. An object of any namespace can contain any host, so the names of
//! other namespaces need protection.

use std::{cmp::Ordering, fmt};

use crate::{
    model::{Key, Object},
    wire::Name,
    zone::{
        claims::{Claim, Claims, Path},
        view::longest,
    },
};

use super::{super::apex::labels, Gateway, claim_rules::Protection};

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
        let path = Path::new(name);
        self.judge(&path, &name[..name.len() - zone.len()], self.hosts.at(&path), |_, _| {})
    }

    /// All hosts in the view's zones that are not answered with the addresses of their objects.
    pub fn refused_claims(&self) -> Vec<RefusedClaim> {
        let zones = &self.settings.zones;
        let mut all = Vec::new();
        for zone in zones {
            let hosts = self.store.outside.hosts.all();
            for (path, mut claims) in hosts.within(&Path::new(zone.wire())) {
                let Some(host) = path.name(&Name::root()) else { continue };
                if longest(zones, &host) != Some(zone) {
                    continue;
                }
                claims.retain(|claim| self.settings.shows(claim));
                let left = &host.wire()[..host.wire().len() - zone.wire().len()];
                self.judge(&path, left, claims, |claim, why| {
                    let (zone, host, object) = (zone.clone(), host.clone(), claim.key());
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

    /// The valid ones of the claims on a name, and the Services with that name. `left` has the
    /// labels before the zone.
    fn judge(
        &self,
        path: &Path,
        left: &[u8],
        mut claims: Claims,
        mut on_refusal: impl FnMut(&Claim, ClaimRefusal),
    ) -> Claims {
        let services = self.services().map(|services| services.at(&Path::new(left)));
        let services = services.unwrap_or_default();
        claims.retain(|claim| {
            let refusal = match self.refusal(left, claim, &services) {
                None if !self.settings.claims.admit(path, claim) => Some(ClaimRefusal::Reserved),
                refusal => refusal,
            };
            let is_valid = refusal.is_none();
            refusal.into_iter().for_each(|refusal| on_refusal(claim, refusal));
            is_valid
        });
        if claims.len() > 1 && self.is_contested(path) {
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
        let owner = services.iter().find(|owner| owner.namespace() != claim.namespace());
        owner.map(|owner| ClaimRefusal::NameOf(owner.key()))
    }

    /// Whether the oldest object wins. The namespaces that `claims` lists share the name.
    fn is_contested(&self, path: &Path) -> bool {
        self.settings.claims.protection == Protection::Protected
            && !self.settings.claims.reserve(path)
    }

    /// Keeps the claims of the namespace whose object is the oldest. Of objects of the same second,
    /// the first by namespace and name counts, as in the Gateway API.
    fn keep_oldest(&self, claims: &mut Claims, mut on_refusal: impl FnMut(&Claim, ClaimRefusal)) {
        let Some(oldest) = claims.iter().min_by(|one, other| self.by_age(one, other)).cloned()
        else {
            return;
        };
        claims.retain(|claim| {
            let is_owner = claim.namespace() == oldest.namespace();
            if !is_owner {
                on_refusal(claim, ClaimRefusal::Older(oldest.key()));
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
        let names = || (one.namespace(), one.name()).cmp(&(other.namespace(), other.name()));
        age(one).cmp(&age(other)).then_with(names)
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
