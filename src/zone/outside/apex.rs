//! The apex of a zone for clients outside: its SOA and NS records, and the addresses of its name
//! servers.

use std::net::IpAddr;

use crate::{
    wire::{Name, Owner, Question, RecordSet, Sets, Spelled, Type},
    zone::{answer::Found, derive::address_data, view::Soa},
};

/// The names of the zone's own NS and SOA records, relative to the zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apex {
    /// The name servers; there is at least one.
    pub servers: Vec<Name>,
    pub hostmaster: Name,
}

impl Apex {
    /// The apex with these name servers, and `hostmaster` under the first of them.
    pub fn of_server(first: &Name, second: Option<&Name>) -> Self {
        let hostmaster =
            Name::join([b"hostmaster".as_slice()], first).unwrap_or_else(|| first.clone());
        Self { servers: [first].into_iter().chain(second).cloned().collect(), hostmaster }
    }
}

/// An apex with the current serial.
pub(super) struct Top<'a> {
    pub(super) apex: &'a Apex,
    pub(super) serial: u32,
    /// TTL in seconds of the SOA and NS records, and of negative answers.
    pub(super) ttl: u32,
}

/// The labels of a relative name.
pub(super) fn labels(name: &Name) -> &[u8] {
    name.left_of(&Name::root()).unwrap_or_default()
}

impl Top<'_> {
    pub(super) fn soa(&self, question: &Question, zone: &Name) -> RecordSet {
        let (server, hostmaster) = (labels(&self.apex.servers[0]), labels(&self.apex.hostmaster));
        Soa { server, hostmaster, serial: self.serial, ttl: self.ttl, minimum: self.ttl }
            .record(question, zone)
    }

    /// The SOA or NS records of the zone; `None` for other types.
    pub(super) fn answer(
        &self,
        question: &Question,
        zone: &Name,
        glue: impl Fn(&Name) -> Vec<IpAddr>,
    ) -> Option<Found> {
        match question.qtype {
            Type::SOA => Some(Found::Records {
                answer: [self.soa(question, zone)].into_iter().collect(),
                additional: Sets::new(),
            }),
            Type::NS => Some(self.name_servers(
                &question.spelled_from(question.name.wire().len() - zone.wire().len()),
                glue,
            )),
            _ => None,
        }
    }

    fn name_servers(&self, zone: &Spelled, glue: impl Fn(&Name) -> Vec<IpAddr>) -> Found {
        let names = self.apex.servers.iter().map(|server| [labels(server), zone.wire()].concat());
        let additional = self.apex.servers.iter().zip(names.clone()).flat_map(|(server, name)| {
            let addresses = glue(server);
            let set = |rtype| {
                RecordSet::new(
                    Owner::Name(name.clone().into()),
                    rtype,
                    self.ttl,
                    address_data(rtype, &addresses),
                )
            };
            [set(Type::A), set(Type::AAAA)]
        });
        let additional = additional.filter(|set| !set.rdatas.is_empty()).collect();
        match Found::set(Type::NS, self.ttl, names.collect()) {
            Found::Records { answer, .. } => Found::Records { answer, additional },
            other => other,
        }
    }
}
