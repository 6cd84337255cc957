//! The answers that follow from the objects, computed by the code that serves queries.

use std::{fmt, sync::Arc};

use crate::{
    limits,
    model::Change,
    wire::{Name, Query, Question, Rcode, Response, Room, Sets, Type},
    zone::{Found, Index, PodMode, Settings, Store, Zone},
};

use crate::explain::{Answer, answer::Record};

/// The cluster's zone, built from the objects that were read.
pub struct ExpectedZone {
    zone: Zone,
    store: Arc<Store>,
}

/// The expected answer for a name and a type, with the CNAMEs that lead to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedAnswer {
    pub records: Vec<Record>,
    pub end: ExpectedEnd,
}

/// How the look-up ends after its CNAMEs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedEnd {
    Records,
    NoData,
    NoName,
    /// The CNAMEs lead to a name outside of the cluster, which the upstream answers.
    Outside(String),
    /// The answer depends on objects that could not be read.
    Unread,
    AliasLoop,
}

impl ExpectedZone {
    /// # Errors
    /// If `zone` is not a valid name.
    pub fn new(changes: impl IntoIterator<Item = Change>, zone: &str) -> Result<Self, String> {
        let mut index = Index::default();
        for change in changes {
            index.stage(change);
        }
        index.publish_staged(1);
        let names = [zone, "in-addr.arpa", "ip6.arpa"]
            .map(|text| text.parse::<Name>().map_err(|reason| format!("{text}: {reason}")));
        let zones = names.into_iter().collect::<Result<_, _>>()?;
        let settings = Settings { pods: PodMode::Insecure, ..Settings::new(zones) };
        let store = index.store();
        Ok(Self { zone: Zone::new(Arc::clone(&store), settings), store })
    }

    /// The facts that were decoded from the objects.
    pub(in crate::explain) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub fn ask(&self, name: &str, qtype: Type) -> ExpectedAnswer {
        let Ok(mut name) = name.parse::<Name>() else {
            return ExpectedAnswer { records: Vec::new(), end: ExpectedEnd::NoName };
        };
        let mut records = Vec::new();
        for _ in 0..limits::CNAME_HOPS {
            let question = Question::new(name.clone(), qtype);
            let end = match self.zone.find(&question) {
                Found::Records { answer, .. } => {
                    records.extend(printed(question, answer));
                    ExpectedEnd::Records
                }
                Found::Alias { cname, target } => {
                    records.extend(printed(question, [cname].into_iter().collect()));
                    name = target;
                    continue;
                }
                Found::NoData => ExpectedEnd::NoData,
                Found::NoName => ExpectedEnd::NoName,
                Found::Unsynced => ExpectedEnd::Unread,
                Found::NotInZone => ExpectedEnd::Outside(name.to_string()),
            };
            return ExpectedAnswer { records, end };
        }
        ExpectedAnswer { records, end: ExpectedEnd::AliasLoop }
    }
}

fn printed(question: Question, answer: Sets) -> Vec<Record> {
    let mut response = Response::of(Rcode::NOERROR);
    response.answer = answer;
    let mut message = Vec::new();
    response.encode(&Query::internal(question), Room::stream(limits::UDP_OCTETS), &mut message);
    Answer::decode(&message).map(|answer| answer.records).unwrap_or_default()
}

impl ExpectedAnswer {
    pub fn data(&self, rtype: Type) -> Vec<&str> {
        let rtype = rtype.to_string();
        let mut data: Vec<_> =
            self.records.iter().filter(|it| it.rtype == rtype).map(|it| it.data.as_str()).collect();
        data.sort_unstable();
        data
    }

    pub fn exists(&self) -> bool {
        !matches!(self.end, ExpectedEnd::NoName | ExpectedEnd::Outside(_) | ExpectedEnd::Unread)
            || !self.records.is_empty()
    }
}

/// `10.96.0.1`, `NXDOMAIN`, `CNAME my.database.example.com.`.
impl fmt::Display for ExpectedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = Vec::new();
        for record in self.records.iter().filter(|record| record.rtype == "CNAME") {
            if !printed.contains(&&record.data) {
                write!(f, "CNAME {} → ", record.data)?;
                printed.push(&record.data);
            }
        }
        match &self.end {
            ExpectedEnd::Records => {
                let others: Vec<_> = self
                    .records
                    .iter()
                    .filter(|record| record.rtype != "CNAME")
                    .map(|record| record.data.as_str())
                    .collect();
                f.write_str(&others.join(", "))
            }
            ExpectedEnd::NoData => f.write_str("no such records"),
            ExpectedEnd::NoName => f.write_str("NXDOMAIN"),
            ExpectedEnd::Outside(_) => f.write_str("not a cluster name: forwarded to the upstream"),
            ExpectedEnd::Unread => f.write_str("depends on objects that could not be read"),
            ExpectedEnd::AliasLoop => f.write_str("a loop of aliases"),
        }
    }
}
