//! The records of a zone for clients outside, for zone transfers (RFC 5936).

use crate::{
    model::Service,
    wire::{Name, Owner, Question, RecordSet, Sets, Type},
    zone::{answer::Found, serial::Serial, view::View},
};

/// The types of records below the apex.
const TYPES: [Type; 3] = [Type::A, Type::AAAA, Type::SRV];

/// Takes the facts that belong to a serial. If something changes meanwhile, they are taken again, up
/// to three times. The facts are never older than the serial, so a secondary that gets newer ones
/// gets them once more with the next serial.
pub(super) fn at_one_serial<F>(serial: &Serial, take: impl Fn() -> F) -> (u32, F) {
    let mut known = serial.read();
    let mut facts = take();
    for _ in 0..3 {
        let now = serial.read();
        if now == known {
            break;
        }
        (known, facts) = (now, take());
    }
    (known, facts)
}

/// The NS records, and the addresses of the name servers whose names are not in the zone for another
/// reason.
pub(super) fn top(
    view: &impl View,
    question: &Question,
    is_in_zone: impl Fn(&Name) -> bool,
) -> Sets {
    let Found::Records { answer, additional } =
        view.find(&Question { qtype: Type::NS, ..question.clone() })
    else {
        return Sets::new();
    };
    let is_glue = |set: &RecordSet| match &set.owner {
        Owner::Name(wire) => Name::from_wire(wire).is_some_and(|name| !is_in_zone(&name)),
        Owner::Question | Owner::QuestionFrom(_) => false,
    };
    answer.into_iter().chain(additional.into_iter().filter(is_glue)).collect()
}

/// The labels `_http._tcp` of the ports of a Service that have names.
pub(super) fn port_labels(service: &Service) -> impl Iterator<Item = [Vec<u8>; 2]> {
    let label = |text: &str| format!("_{text}").into_bytes();
    let named = service.ports.iter().filter(|port| !port.name.is_empty());
    named.map(move |port| [label(&port.name), label(port.protocol.label())])
}

/// The names of the ports under the name of their Service.
pub(super) fn port_names(name: &Name, service: &Service) -> impl Iterator<Item = Name> {
    port_labels(service).filter_map(|labels| Name::join(labels.iter().map(Vec::as_slice), name))
}

/// The record sets of a name. `find` looks up a type.
pub(super) fn sets(name: &Name, find: impl Fn(Type) -> Found) -> Sets {
    let owned = |set: RecordSet| RecordSet { owner: Owner::from(name), ..set };
    let of_type = |qtype: Type| match find(qtype) {
        Found::Records { answer, .. } => answer.into_iter().map(owned).collect(),
        // Both address types find the CNAME record; it is sent once.
        Found::Alias { cname, .. } if qtype == Type::A => [owned(cname)].into_iter().collect(),
        _ => Sets::new(),
    };
    TYPES.into_iter().flat_map(of_type).collect()
}
