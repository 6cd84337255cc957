//! What ndots itself answers from the objects that were read.

use std::fmt;

use crate::{
    limits,
    model::Change,
    wire::{Name, Query, Question, Rcode, Response, Room, Sets, Type},
    zone::{Found, Index, PodMode, Settings, Zone},
};

use super::{Answer, answer::Record};

/// The names of the cluster as the objects make them.
pub struct OwnZone(Zone);

/// What a name has, with the aliases on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    pub records: Vec<Record>,
    pub end: End,
}

/// Where the aliases end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Records,
    NoData,
    NoName,
    /// At a name that is none of the cluster's.
    Outside(String),
    /// It depends on what could not be read.
    Unread,
    Circle,
}

impl OwnZone {
    /// # Errors
    /// A zone that is no name.
    pub fn new(changes: impl IntoIterator<Item = Change>, zone: &str) -> Result<Self, String> {
        let mut index = Index::default();
        for change in changes {
            index.apply(change, 1);
        }
        let names = [zone, "in-addr.arpa", "ip6.arpa"]
            .map(|text| text.parse::<Name>().map_err(|reason| format!("{text}: {reason}")));
        let zones = names.into_iter().collect::<Result<_, _>>()?;
        let settings = Settings { pods: PodMode::Insecure, ..Settings::new(zones) };
        Ok(Self(Zone::new(index.store(), settings)))
    }

    pub fn ask(&self, name: &str, qtype: Type) -> Own {
        let Ok(mut name) = name.parse::<Name>() else {
            return Own { records: Vec::new(), end: End::NoName };
        };
        let mut records = Vec::new();
        for _ in 0..limits::CNAME_HOPS {
            let question = Question::new(name.clone(), qtype);
            let end = match self.0.find(&question) {
                Found::Records { answer, .. } => {
                    records.extend(printed(question, answer));
                    End::Records
                }
                Found::Alias { cname, target } => {
                    records.extend(printed(question, [cname].into_iter().collect()));
                    name = target;
                    continue;
                }
                Found::NoData => End::NoData,
                Found::NoName => End::NoName,
                Found::Unsynced => End::Unread,
                Found::NotMine => End::Outside(name.to_string()),
            };
            return Own { records, end };
        }
        Own { records, end: End::Circle }
    }
}

fn printed(question: Question, answer: Sets) -> Vec<Record> {
    let mut response = Response::of(Rcode::NOERROR);
    response.answer = answer;
    let mut message = Vec::new();
    response.encode(&Query::internal(question), Room::stream(limits::UDP_OCTETS), &mut message);
    Answer::decode(&message).map(|answer| answer.records).unwrap_or_default()
}

impl Own {
    pub fn data(&self, rtype: Type) -> Vec<&str> {
        let rtype = rtype.to_string();
        let mut data: Vec<_> =
            self.records.iter().filter(|it| it.rtype == rtype).map(|it| it.data.as_str()).collect();
        data.sort_unstable();
        data
    }

    pub fn exists(&self) -> bool {
        !matches!(self.end, End::NoName | End::Outside(_) | End::Unread) || !self.records.is_empty()
    }
}

/// `10.96.0.1`, `NXDOMAIN`, `CNAME my.database.example.com.`.
impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = Vec::new();
        for record in self.records.iter().filter(|record| record.rtype == "CNAME") {
            if !told.contains(&&record.data) {
                write!(f, "CNAME {} → ", record.data)?;
                told.push(&record.data);
            }
        }
        match &self.end {
            End::Records => {
                let others: Vec<_> = self
                    .records
                    .iter()
                    .filter(|record| record.rtype != "CNAME")
                    .map(|record| record.data.as_str())
                    .collect();
                f.write_str(&others.join(", "))
            }
            End::NoData => f.write_str("no such records"),
            End::NoName => f.write_str("NXDOMAIN"),
            End::Outside(_) => f.write_str("left to the upstream"),
            End::Unread => f.write_str("depends on what could not be read"),
            End::Circle => f.write_str("a circle"),
        }
    }
}
