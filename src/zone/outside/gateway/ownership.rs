//! Which objects may claim a name. An object of any namespace can contain any host, so the names of
//! other namespaces need protection.

use crate::{
    model::Object,
    wire::Name,
    zone::claims::{Claim, Claims, Path},
};

use super::{super::apex::labels, Gateway};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimRules {
    pub protection: Protection,
    /// Names that only objects of the namespace may claim, with all names below them. If a name is
    /// listed with several namespaces, objects of each of them may claim it.
    pub reserved: Vec<(Name, Box<str>)>,
}

/// Whether hosts in objects may take the names that the zone itself needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protection {
    /// No host can claim the apex, a name server or the wildcard directly below the apex. Only
    /// objects in the namespace of a Service can claim its name `NAME.NAMESPACE`.
    #[default]
    Protected,
    Unprotected,
}

impl Gateway {
    /// The valid claims on a name. Hosts are compared with the whole name, and Services with the
    /// part before the zone.
    pub(super) fn claims(&self, name: &[u8], zone: &[u8]) -> Claims {
        let facts = &self.store.outside;
        let left = &name[..name.len() - zone.len()];
        let mut services = facts.services.at(&Path::new(left));
        services.retain(|claim| self.counts(claim));
        let mut claims = facts.hosts.at(&Path::new(name));
        claims.retain(|claim| {
            self.counts(claim)
                && self.is_free(left, claim, &services)
                && self.is_admitted(name, claim)
        });
        claims.extend(services);
        claims
    }

    /// Whether a host of this claim may have the name with the labels `left` before the zone.
    /// `services` are the Services with that name.
    fn is_free(&self, left: &[u8], claim: &Claim, services: &Claims) -> bool {
        if self.settings.claims.protection == Protection::Unprotected {
            return true;
        }
        let server = self.settings.top.servers.iter().any(|server| labels(server) == left);
        let owned = services.iter().any(|owner| namespace(owner) != namespace(claim));
        !left.is_empty() && left != b"\x01*" && !server && !owned
    }

    /// Whether the name is not reserved for other namespaces.
    fn is_admitted(&self, name: &[u8], claim: &Claim) -> bool {
        let reserved = &self.settings.claims.reserved;
        if reserved.is_empty() {
            return true;
        }
        let path = Path::new(name);
        let mut rules =
            reserved.iter().filter(|(host, _)| path.is_within(&Path::new(host.wire()))).peekable();
        rules.peek().is_none() || rules.any(|(_, admitted)| namespace(claim) == admitted.as_bytes())
    }
}

/// The namespace of the object that claims a name.
fn namespace(claim: &Claim) -> &[u8] {
    match claim {
        // `svc.ns` in wire form.
        Claim::Service(key) => {
            let length = key.first().map_or(0, |length| usize::from(*length));
            key.get(length + 2..).unwrap_or_default()
        }
        Claim::Object(object) => match &**object {
            Object::Ingress(ingress) => ingress.namespace.as_bytes(),
            Object::Route(route) => route.namespace.as_bytes(),
            _ => b"",
        },
    }
}
