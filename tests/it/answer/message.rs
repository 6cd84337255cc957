//! Queries and replies of scenarios, as text.

use std::fmt::Write;

use hickory_proto::op::Message;
use ndots::wire::{self, Query};

/// A query to an upstream: `example.com. A do`, with its EDNS options by code.
pub(crate) fn asked(query: &Query) -> String {
    let dnssec_ok = if query.dnssec_ok() { " do" } else { "" };
    let options: String = query.options.iter().map(option).collect();
    let class = match query.question.class {
        wire::Class::IN => String::new(),
        class => format!("{class}/"),
    };
    format!("{} {class}{}{dnssec_ok}{options}", query.question.name, query.question.qtype)
}

fn option((code, data): (u16, &[u8])) -> String {
    let data: String = data.iter().map(|octet| format!("{octet:02x}")).collect();
    format!(" {code}={data}")
}

pub(crate) fn request(
    name: &str,
    qtype: &str,
    options: &[&str],
    edns: Option<&str>,
    serial: Option<&str>,
) -> Vec<u8> {
    let name: wire::Spelled = name.parse().unwrap();
    let (qtype, class) = match qtype.split_once('/') {
        Some((class, qtype)) => (qtype, if class == "CH" { 3 } else { 1 }),
        None => (qtype, 1_u16),
    };
    let qtype: wire::Type = qtype.parse().unwrap();
    let bit = |option, bit| if options.contains(&option) { bit } else { 0 };
    let flags = bit("cd", 0x10) | bit("ad", 0x20);
    let mut packet = vec![
        0,
        1,
        1,
        flags,
        0,
        1,
        0,
        0,
        0,
        u8::from(serial.is_some()),
        0,
        u8::from(edns.is_some()),
    ];
    packet.extend_from_slice(name.wire());
    packet.extend_from_slice(&qtype.0.to_be_bytes());
    packet.extend_from_slice(&class.to_be_bytes());
    if let Some(serial) = serial {
        // An SOA record at the name of the query; its MNAME and RNAME are the same name.
        packet
            .extend_from_slice(b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x18\xc0\x0c\xc0\x0c");
        packet.extend_from_slice(&serial.parse::<u32>().unwrap().to_be_bytes());
        packet.extend_from_slice(&[0; 16]);
    }
    if let Some(size) = edns {
        let size: u16 = size.parse().unwrap();
        let flags = if options.contains(&"do") { 0x80 } else { 0 };
        packet.extend_from_slice(&[0, 0, 41]);
        packet.extend_from_slice(&size.to_be_bytes());
        packet.extend_from_slice(&[0, 0, flags, 0, 0, 0]);
    }
    packet
}

/// A reply, parsed by hickory-proto, which is independent of our encoder.
pub(crate) fn printed(packet: &[u8]) -> String {
    let message = Message::from_vec(packet).expect("a reply that others can read");
    let mut out = String::new();
    let meta = &message.metadata;
    let flags = [
        (meta.authoritative, "aa"),
        (meta.truncation, "tc"),
        (meta.recursion_desired, "rd"),
        (meta.recursion_available, "ra"),
        (meta.authentic_data, "ad"),
        (meta.checking_disabled, "cd"),
    ];
    let flags: String =
        flags.iter().filter(|(set, _)| *set).map(|(_, name)| format!(" {name}")).collect();
    let question =
        message.queries.first().map(|query| query.name().to_string()).unwrap_or_default();
    let rcode = wire::Rcode(meta.response_code.into());
    writeln!(out, "{rcode}{flags} {question} {} octets", packet.len()).unwrap();
    if let Some(edns) = &message.edns {
        let options: Vec<_> = edns
            .options()
            .as_ref()
            .iter()
            .map(|(code, option)| format!(" {code:?}={option:?}"))
            .collect();
        let dnssec = if edns.flags().dnssec_ok { " do" } else { "" };
        writeln!(out, "edns {}{dnssec}{}", edns.max_payload(), options.concat()).unwrap();
    }
    for (mark, section) in
        [("", &message.answers), ("~ ", &message.authorities), ("+ ", &message.additionals)]
    {
        let mut lines: Vec<String> = Vec::new();
        let mut from = 0;
        for (at, record) in section.iter().enumerate() {
            if at > 0
                && (record.record_type() != section[at - 1].record_type()
                    || record.name != section[at - 1].name)
            {
                lines[from..].sort();
                from = at;
            }
            let data = record.data.to_string().replace(" 1700000000 ", " SERIAL ");
            lines.push(format!(
                "{mark}{} {} {} {data}",
                record.name,
                record.ttl,
                record.record_type()
            ));
        }
        lines[from..].sort();
        lines.iter().for_each(|line| writeln!(out, "{line}").unwrap());
    }
    out
}
