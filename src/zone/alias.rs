//! The CNAME record of a name that stands for another one.

use std::net::IpAddr;

use smallvec::smallvec;

use crate::wire::{Name, Owner, Rdatas, RecordSet, Sets, Spelled, Type};

use super::answer::Found;

/// The target of an ExternalName Service or of a load balancer with a host name.
#[derive(Clone, Debug)]
pub(super) struct Alias {
    pub(super) rdata: Rdatas,
    target: Name,
}

impl Alias {
    /// `None` for a target that a CNAME record cannot have: an address, or an invalid name.
    pub(super) fn new(target: &str) -> Option<Self> {
        let spelled =
            target.parse::<Spelled>().ok().filter(|_| target.parse::<IpAddr>().is_err())?;
        Some(Self { rdata: Rdatas::one(spelled.wire()), target: Name::from_wire(spelled.wire())? })
    }

    pub(super) fn answer(&self, qtype: Type, ttl: u32) -> Found {
        match qtype {
            Type::A | Type::AAAA | Type::CNAME => self.lead(qtype, ttl),
            // As in CoreDNS: a query for another type gets no CNAME record.
            _ => Found::NoData,
        }
    }

    /// A CNAME applies to every type (RFC 1034 §3.6.2).
    pub(super) fn lead(&self, qtype: Type, ttl: u32) -> Found {
        let cname = RecordSet::new(Owner::Question, Type::CNAME, ttl, self.rdata.clone());
        if qtype == Type::CNAME {
            return Found::Records { answer: smallvec![cname], additional: Sets::new() };
        }
        Found::Alias { cname, target: self.target.clone() }
    }
}
