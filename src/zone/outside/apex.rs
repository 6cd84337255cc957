//! The top of a zone for clients outside: its SOA and NS records, and the addresses of its name
//! servers.

use std::net::IpAddr;

use crate::{
    wire::{Name, Owner, Question, RecordSet, Sets, Spelled, Type},
    zone::{Found, derive::address_data, view::Soa},
};

/// Names are relative to the zone: its labels come after theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apex {
    /// At least one.
    pub servers: Vec<Name>,
    pub hostmaster: Name,
}

impl Apex {
    /// With `hostmaster` under the first name server.
    pub fn of_server(first: &Name, second: Option<&Name>) -> Self {
        let hostmaster =
            Name::join([b"hostmaster".as_slice()], first).unwrap_or_else(|| first.clone());
        Self { servers: [first].into_iter().chain(second).cloned().collect(), hostmaster }
    }
}

/// An apex as it is shown now.
pub(super) struct Top<'a> {
    pub(super) apex: &'a Apex,
    pub(super) serial: u32,
    /// Seconds of the SOA and NS records, and of a negative answer.
    pub(super) ttl: u32,
}

/// The labels of a name that is relative.
pub(super) fn labels(name: &Name) -> &[u8] {
    name.left_of(&Name::root()).unwrap_or_default()
}

impl Top<'_> {
    pub(super) fn soa(&self, question: &Question, zone: &Name) -> RecordSet {
        let (server, hostmaster) = (labels(&self.apex.servers[0]), labels(&self.apex.hostmaster));
        Soa { server, hostmaster, serial: self.serial, ttl: self.ttl, minimum: self.ttl }
            .record(question, zone)
    }

    /// What the zone itself has; `None` for what its name servers say nothing of.
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
