//! The questions about all names of a zone, from a transfer of the zone.

use std::collections::BTreeSet;

use hickory_proto::{op::Message, rr::RecordType};

use super::question::Asked;
use crate::wire::Type;

/// A name without records in each namespace.
const MISSING: &str = "ndots-diff-missing";
/// Types that name the server itself.
const OF_THE_SERVER: [RecordType; 2] = [RecordType::SOA, RecordType::NS];

/// A function that says whether a message is the last one of a transfer: the one with the second
/// SOA record, or one without records, which is an error.
pub fn is_last() -> impl FnMut(&[u8]) -> bool {
    let mut seen = 0;
    move |message| {
        let Ok(message) = Message::from_vec(message) else { return true };
        let records = message.answers.iter();
        seen += records.filter(|record| record.record_type() == RecordType::SOA).count();
        seen >= 2 || message.answers.is_empty()
    }
}

/// The owners and types in the messages of a transfer, without those that name the server itself.
pub fn own_records(messages: &[Vec<u8>]) -> BTreeSet<(String, Type)> {
    messages
        .iter()
        .filter_map(|message| Message::from_vec(message).ok())
        .flat_map(|message| message.answers)
        .filter(|record| !OF_THE_SERVER.contains(&record.record_type()))
        .map(|record| (record.name.to_string().to_lowercase(), record.record_type()))
        .filter(|(name, _)| !names_server(name))
        .map(|(name, rtype)| (name, Type(rtype.into())))
        .collect()
}

/// Whether the records of the name have the address of the server that is asked.
fn names_server(name: &str) -> bool {
    name.starts_with("ns.dns.")
}

/// The questions about the records of a zone. They are about each name with its types, and about A
/// and AAAA if the name has one of them. Others are about names that do not exist, and about names
/// that a client tries while it follows its search list.
pub fn of_zone(records: &BTreeSet<(String, Type)>, zone: &str) -> Vec<Asked> {
    let mut questions = BTreeSet::new();
    for (name, qtype) in records {
        questions.insert((name.clone(), *qtype));
        if [Type::A, Type::AAAA].contains(qtype) {
            questions.insert((name.clone(), Type::A));
            questions.insert((name.clone(), Type::AAAA));
        }
    }
    let suffix = format!(".svc.{zone}.");
    let namespaces: BTreeSet<&str> = records
        .iter()
        .filter_map(|(name, _)| name.strip_suffix(&suffix)?.rsplit('.').next())
        .collect();
    for namespace in namespaces {
        for name in [
            format!("{MISSING}.{namespace}{suffix}"),
            format!("kubernetes.default.{namespace}{suffix}"),
            format!("192-0-2-1.{namespace}.pod.{zone}."),
        ] {
            questions.insert((name.clone(), Type::A));
            questions.insert((name, Type::AAAA));
        }
    }
    questions.insert((format!("dns-version.{zone}."), Type::TXT));
    questions.into_iter().map(|(name, qtype)| Asked::new(&name, qtype)).collect()
}

impl Asked {
    /// Whether the reply has the address of the server that is asked.
    pub fn is_about_the_server(&self) -> bool {
        self.qtype == Type::NS || names_server(&self.name.to_lowercase())
    }
}
