//! All records of a zone for clients outside (RFC 5936), found by a lookup of every type at every
//! name.

use std::collections::BTreeSet;

use crate::{
    model::Service,
    wire::{Name, Owner, Question, RecordSet, Sets, Transfer, Type},
    zone::{answer::Found, view::View},
};

/// The types of records below the apex.
const TYPES: [Type; 4] = [Type::A, Type::AAAA, Type::SRV, Type::PTR];

/// The records of the zone that the question names. `soa` makes the SOA record for a serial. If
/// something changes meanwhile, the records are collected again, up to three times, so that they
/// belong to the serial.
pub(super) fn whole(
    view: &dyn View,
    question: &Question,
    serial: impl Fn() -> u32,
    soa: impl Fn(u32) -> RecordSet,
    names: impl Fn() -> BTreeSet<Name>,
) -> Transfer {
    let mut known = serial();
    let mut records = gather(view, question, &names());
    for _ in 0..3 {
        let now = serial();
        if now == known {
            break;
        }
        (known, records) = (now, gather(view, question, &names()));
    }
    Transfer { soa: soa(known), serial: known, records: Box::new(records.into_iter()) }
}

/// The name of a Service and the names of its ports.
pub(super) fn with_ports(name: Name, service: &Service) -> impl Iterator<Item = Name> {
    let label = |text: &str| format!("_{text}").into_bytes();
    let named = service.ports.iter().filter(|port| !port.name.is_empty());
    let labels: Vec<_> =
        named.map(|port| [label(&port.name), label(port.protocol.label())]).collect();
    let base = name.clone();
    let ports = labels
        .into_iter()
        .filter_map(move |labels| Name::join(labels.iter().map(Vec::as_slice), &base));
    [name].into_iter().chain(ports)
}

fn gather(view: &dyn View, question: &Question, names: &BTreeSet<Name>) -> Sets {
    let mut records = Sets::new();
    if let Found::Records { answer, additional } =
        view.find(&Question { qtype: Type::NS, ..question.clone() })
    {
        records.extend(answer);
        // The addresses of name servers that have no other name in the zone.
        records.extend(additional.into_iter().filter(|set| match &set.owner {
            Owner::Name(wire) => Name::from_wire(wire).is_some_and(|name| !names.contains(&name)),
            Owner::Question | Owner::QuestionFrom(_) => false,
        }));
    }
    for name in names {
        records.extend(TYPES.iter().flat_map(|qtype| sets(view, name, *qtype)));
    }
    records
}

fn sets(view: &dyn View, name: &Name, qtype: Type) -> Sets {
    let owned = |set: RecordSet| RecordSet { owner: Owner::from(name), ..set };
    match view.find(&Question::new(name.clone(), qtype)) {
        Found::Records { answer, .. } => answer.into_iter().map(owned).collect(),
        // Both address types find the CNAME record; it is sent once.
        Found::Alias { cname, .. } if qtype == Type::A => [owned(cname)].into_iter().collect(),
        _ => Sets::new(),
    }
}
