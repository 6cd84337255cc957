//! Which objects may claim a name. Every namespace can write any host into its objects, so a name
//! that belongs to others needs protection.

use crate::{
    model::Object,
    wire::Name,
    zone::claims::{Claim, Claims, Path},
};

use super::{super::apex::labels, Gateway};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimRules {
    pub protection: Protection,
    /// Names that only objects of the namespace may claim, with all names below them. If a name
    /// stands with several namespaces, objects of each of them may claim it.
    pub reserved: Vec<(Name, Box<str>)>,
}

/// Whether hosts in objects may take the names that the zone itself needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protection {
    /// No host takes the apex, a name server, or the wildcard directly below the apex. The name
    /// `NAME.NAMESPACE` of a Service can be taken only from its own namespace.
    #[default]
    Protected,
    Unprotected,
}

impl Gateway {
    /// The claims on a name, either in full or relative to the zone, that count.
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

    /// Whether the name that has these labels left of the zone may be taken by a host of this
    /// claim. `services` are the Services with that name.
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
