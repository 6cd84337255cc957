//! The simulated upstream of a scenario.

use std::{collections::HashMap, str::FromStr};

use hickory_proto::{
    op::{Edns, Message, OpCode, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::opt::EdnsOption},
    serialize::binary::BinDecodable,
};
use ndots::wire::Query;

/// The parts of each reply, by the question's name (with its final dot) and type.
pub(crate) struct Upstream(HashMap<(String, String), Vec<String>>);

impl Upstream {
    pub(crate) fn parse(text: &str) -> Self {
        let mut upstream = Self(HashMap::new());
        text.lines().for_each(|line| upstream.change(line));
        upstream
    }

    /// Takes a line `NAME TYPE = REPLY`. Other lines are ignored.
    pub(crate) fn change(&mut self, line: &str) {
        if let Some((question, records)) = line.split_once(" = ") {
            let (name, qtype) = question.split_once(' ').unwrap();
            let records = records.split(" | ").map(str::to_owned).collect();
            self.0.insert((name.to_owned(), qtype.to_owned()), records);
        }
    }

    /// The reply. `None` for silence.
    pub(crate) fn reply(&self, query: &Query) -> Option<Vec<u8>> {
        let question = &query.question;
        let key = (question.name.to_string(), question.qtype.to_string());
        let lines = self.0.get(&key).cloned().unwrap_or_else(|| vec!["NXDOMAIN".to_owned()]);
        let mut message = Message::response(query.id, OpCode::Query);
        message.metadata.recursion_available = true;
        message.metadata.recursion_desired = query.recursion_desired;
        message.add_query(hickory_proto::op::Query::query(
            Name::from_str(&question.spelled().to_string())
                // hickory-proto reads no braces in texts.
                .or_else(|_| Name::from_bytes(question.spelled().wire()))
                .unwrap(),
            RecordType::from(question.qtype.0),
        ));
        for line in &lines {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["SILENCE"] => return None,
                ["REFUSED"] => message.metadata.response_code = ResponseCode::Refused,
                ["SERVFAIL"] => message.metadata.response_code = ResponseCode::ServFail,
                ["TC"] => message.metadata.truncation = true,
                ["AD"] => message.metadata.authentic_data = query.authentic_data,
                ["EDE", code, ..] => {
                    let text = line.splitn(3, ' ').nth(2).unwrap_or_default();
                    let code: u16 = code.parse().unwrap();
                    let data = [&code.to_be_bytes(), text.as_bytes()].concat();
                    let mut edns = Edns::new();
                    edns.options_mut().insert(EdnsOption::Unknown(15, data));
                    message.set_edns(edns);
                }
                ["NXDOMAIN"] => message.metadata.response_code = ResponseCode::NXDomain,
                [owner, ttl, rtype, ..] => {
                    let rdata = line.splitn(4, ' ').nth(3).unwrap();
                    let rtype = RecordType::from_str(rtype).unwrap();
                    let rdata = RData::try_from_str(rtype, rdata).unwrap();
                    let owner = Name::from_str(owner).unwrap();
                    let record = Record::from_rdata(owner, ttl.parse().unwrap(), rdata);
                    if rtype == RecordType::SOA && question.qtype.0 != 6 {
                        message.add_authority(record)
                    } else {
                        message.add_answer(record)
                    };
                }
                _ => panic!("upstream line {line:?}"),
            }
        }
        Some(message.to_vec().unwrap())
    }
}
