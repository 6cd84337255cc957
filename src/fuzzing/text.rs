//! Texts from operators: the bodies of `template`, and zone files.

use std::{collections::HashMap, sync::Arc, time::Instant};

use hickory_proto::op::Message;

use crate::{
    corefile::{self, Diagnostics},
    server::{BlockConfig, NothingOutside, Server, assemble, check},
    wire::{Name, Owner, Query, Question, Rcode, Room, Transfer, Type},
    zonefile::{self, Answer, Zone, ZoneBuilder},
};

use super::{LISTEN, NoFiles, check_reply};

/// Reads a name from the first line, and a body of `template` from the others. If the check accepts
/// the body, queries of several types get replies that keep the promises of [`super::query`].
///
/// # Panics
/// If one of these promises is broken.
pub fn template(data: &[u8], now: Instant) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((name, body)) = text.split_once('\n') else { return };
    let Ok(name) = name.parse::<Name>() else { return };
    let Some(server) = server(&format!(".:53 {{\n    metadata\n    template {body}\n}}\n")) else {
        return;
    };
    for qtype in [Type::A, Type::AAAA, Type::TXT, Type::PTR, Type::MX, Type::SRV, Type::HTTPS] {
        let question = Question::new(name.clone(), qtype);
        let query = Query { id: 7, ..Query::internal(question) };
        let mut packet = Vec::new();
        query.encode(&mut packet);
        check_reply(&server, &packet, now);
    }
}

/// A server with the first block of a Corefile; `None` if the Corefile has errors.
fn server(text: &str) -> Option<Server> {
    let mut diagnostics = Diagnostics::default();
    let corefile = corefile::parse("Corefile", text, &NoFiles, &mut diagnostics);
    let checked = check(&corefile, 53, &mut diagnostics);
    if diagnostics.has_errors() {
        return None;
    }
    let block = checked.into_iter().next()?;
    let config = BlockConfig { keys: vec![(Name::root(), LISTEN)], checked: block.checked };
    let (outside, stores) = (NothingOutside::default(), HashMap::new());
    let context = outside.context(&stores);
    assemble(&[config], &context).ok().map(|assembled| assembled.server)
}

/// Reads any zone file. If it is valid, the records of the zone make the same zone again, every
/// name that has records exists, and hickory-proto can parse the answers.
///
/// # Panics
/// If one of these promises is broken.
pub fn zone_file(data: &[u8]) {
    /// Names of a zone that are asked for. A zone can have millions.
    const NAMES: usize = 64;
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(origin) = "example.org".parse::<Name>() else { return };
    let read = |path: &str| match path {
        "/zones/more" => Ok("inside 60 A 192.0.2.9\n$ORIGIN far\nwww 60 A 192.0.2.8\n"),
        "/zones/circle" => Ok("$INCLUDE circle\n"),
        _ => Err("no such file".to_owned()),
    };
    zonefile::included("/zones/db", text);
    let Ok(parsed) = zonefile::parse("/zones/db", text, &origin, &read) else { return };
    let zone = Arc::new(parsed.zone);
    assert_eq!(ZoneBuilder::of(&zone).build().as_ref(), Some(&*zone), "the zone has changed");
    // Data in this form can be anything.
    let has_raw_data = text.contains("\\#");
    let Transfer { records, .. } = zone.transfer();
    for set in records.take(NAMES) {
        let Owner::Name(owner) = &set.owner else { continue };
        let Some(owner) = Name::from_wire(owner) else { continue };
        let below = |label: &[u8]| Name::join([label], &owner);
        for name in [Some(owner.clone()), below(b"x"), below(b"*")] {
            let Some(name) = name else { continue };
            let is_there = name == owner;
            let answer = check_answer(&zone, Question::new(name, set.rtype), has_raw_data);
            let says_no = answer.response.rcode == Rcode::NXDOMAIN;
            assert!(
                !is_there || !says_no || !answer.response.answer.is_empty(),
                "{owner} has records"
            );
        }
    }
}

fn check_answer(zone: &Zone, question: Question, has_raw_data: bool) -> Answer {
    let query = Query::internal(question);
    let check = |dnssec| {
        let answer = zone.answer(&query.question, dnssec);
        let mut packet = Vec::new();
        answer.response.encode(&query, Room::stream(1232), &mut packet);
        let message = Message::from_vec(&packet);
        assert!(has_raw_data || message.is_ok(), "{message:?} {packet:02x?}");
        answer
    };
    check(true);
    check(false)
}
