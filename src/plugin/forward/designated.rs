//! `resolver.arpa`, in which clients look for encrypted resolvers (RFC 9462).

use crate::wire::{Name, Owner, Question, Rcode, Rdatas, RecordSet, Response, Type};

/// `resolver.arpa`. Its names describe the resolver that the client queries, so an upstream's
/// answer would be wrong. Therefore every name gets NODATA here (RFC 9462 §6.1, §6.4).
pub(super) struct DesignatedResolvers(Option<Name>);

impl DesignatedResolvers {
    /// A `forward` line that names the zone itself forwards it.
    pub(super) fn new(from: &Name) -> Self {
        let zone: Option<Name> = "resolver.arpa".parse().ok();
        Self(zone.filter(|zone| !from.is_within(zone)))
    }

    pub(super) fn answer(&self, question: &Question) -> Option<Response> {
        let zone = self.0.as_ref().filter(|zone| question.name.is_within(zone))?;
        // The values of an empty zone (RFC 6303 §3): serial, refresh, retry, expire, minimum.
        const TTL: u32 = 10_800;
        let numbers = [1, 3600, 1200, 604_800, TTL].map(u32::to_be_bytes).concat();
        let rdata = [zone.wire(), b"\x06nobody\x07invalid\0", &numbers].concat();
        let soa = RecordSet::new(Owner::from(zone), Type::SOA, TTL, Rdatas::one(&rdata));
        let authority = [soa].into_iter().collect();
        Some(Response { authority, ..Response::authoritative(Rcode::NOERROR) })
    }
}
