//! What a reply means, and the NSEC record that proves it.

use crate::{
    dnssec::{nsec, successor, successor_of_subtree},
    limits,
    wire::{Name, Owner, Question, Rcode, Rdatas, RecordSet, Response, Type},
};

/// The meaning of a reply, after its aliases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It has the records, or proofs of its own.
    Complete,
    /// This name does not exist, or has no records of the type.
    Denial(Name),
    /// This name is delegated, and has no DS records.
    Cut(Name),
    /// Other servers have the records: those of the zone with this name.
    Referral(Name),
}

impl Meaning {
    pub(super) fn of(
        response: &Response,
        question: &Question,
        is_apex: &dyn Fn(&Name) -> bool,
    ) -> Self {
        let named = |set: &RecordSet| set.owner.name(&question.name);
        let mut name = question.name.clone();
        for _ in 0..=limits::CNAME_HOPS {
            let here = || response.answer.iter().filter(|set| named(set) == name);
            let wanted = |set: &RecordSet| {
                set.rtype == question.qtype
                    || question.qtype == Type::ANY && set.rtype != Type::RRSIG
            };
            if here().any(wanted) {
                return Self::Complete;
            }
            let alias = here().find(|set| set.rtype == Type::CNAME);
            let target = alias.and_then(|alias| Name::from_wire(alias.targets().next()?.wire()));
            let Some(target) = target else { break };
            name = target;
        }
        let has = |rtype| response.authority.iter().any(|set| set.rtype == rtype);
        if has(Type::NSEC) || has(Type::NSEC3) {
            return Self::Complete;
        }
        let servers = response.authority.iter().find(|set| set.rtype == Type::NS);
        let cut = servers.map(named).filter(|cut| name.is_within(cut) && !is_apex(cut));
        match cut {
            Some(cut)
                if response.rcode == Rcode::NOERROR
                    && !response.authoritative
                    && !has(Type::SOA) =>
            {
                Self::Referral(cut)
            }
            _ => Self::Denial(name),
        }
    }

    /// The owner of the NSEC record.
    pub(super) fn name(&self) -> Option<&Name> {
        match self {
            Self::Complete => None,
            Self::Denial(name) | Self::Cut(name) | Self::Referral(name) => Some(name),
        }
    }

    /// The NSEC record that proves the meaning, if one is needed.
    pub(super) fn nsec(
        &self,
        question: &Question,
        response: &Response,
        is_apex: &dyn Fn(&Name) -> bool,
    ) -> Option<RecordSet> {
        let name = self.name()?;
        let authority = || response.authority.iter();
        let delegation = [Type::NS, Type::RRSIG, Type::NSEC].to_vec();
        let (next, types) = match self {
            Self::Complete => return None,
            Self::Referral(_) if authority().any(|set| set.rtype == Type::DS) => return None,
            Self::Referral(_) | Self::Cut(_) => (successor_of_subtree(name), delegation),
            Self::Denial(_) => {
                let more = if is_apex(name) { AT_APEX } else { &[] };
                let all = AT_NAME.iter().chain(more).copied();
                // The answer to a question for NSEC is this record, so NSEC is not denied.
                let denied = |rtype: &Type| *rtype == question.qtype && *rtype != Type::NSEC;
                (successor(name), all.filter(|rtype| !denied(rtype)).collect())
            }
        };
        let owner = if *name == question.name { Owner::Question } else { Owner::from(name) };
        // Resolvers do not cache a denial without an SOA record (RFC 2308 §5).
        let kept = authority().find(|set| matches!(set.rtype, Type::SOA | Type::NS));
        let ttl = kept.map_or(0, |set| set.ttl);
        Some(RecordSet::new(owner, Type::NSEC, ttl, Rdatas::one(&nsec(&next, types))))
    }
}

/// The types that an NSEC record claims, except the one that is denied. A resolver may deny all
/// other types from its cache (RFC 8198), so this list has all types that a name may have.
const AT_NAME: &[Type] = &[
    Type::A,
    Type::PTR,
    Type::HINFO,
    Type::MX,
    Type::TXT,
    Type::RP,
    Type::AAAA,
    Type::LOC,
    Type::SRV,
    Type::NAPTR,
    Type::CERT,
    Type::SSHFP,
    Type::RRSIG,
    Type::NSEC,
    Type::TLSA,
    Type::SMIMEA,
    Type(55), // HIP
    Type::OPENPGPKEY,
    Type::SVCB,
    Type::HTTPS,
    Type::SPF,
    Type::URI,
    Type::CAA,
];

/// The types that only the apex of a zone has.
const AT_APEX: &[Type] = &[Type::NS, Type::SOA, Type::DNSKEY];
