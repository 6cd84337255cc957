//! NOTIFY messages (RFC 1996).

use super::{
    Query, Question, Rcode,
    query::{AA, HEADER, NOTIFY, OPCODE, QR, RD, words},
};

/// Appends the reply to a NOTIFY message, whose question is known to be readable.
pub fn accept(packet: &[u8], out: &mut Vec<u8>) {
    let Some((header, body)) = packet.split_first_chunk::<HEADER>() else { return };
    let [id, flags, ..]: [u16; 6] = words(header);
    let length = Question::parse(body).map_or(0, |(_, rest)| body.len() - rest.len());
    for word in [id, QR | AA | flags & (OPCODE | RD), 1, 0, 0, 0] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.extend_from_slice(&body[..length]);
}

/// The NOTIFY message about the zone of the query's question.
pub fn request(query: &Query) -> Vec<u8> {
    let mut packet = Vec::new();
    Query { recursion_desired: false, edns: None, ..query.clone() }.encode(&mut packet);
    if let Some(flags) = packet.get_mut(2..4) {
        flags.copy_from_slice(&(NOTIFY | AA).to_be_bytes());
    }
    packet
}

/// The code of a reply to the message of [`request`]; `None` for another message.
pub fn outcome(packet: &[u8], query: &Query) -> Option<Rcode> {
    let [id, flags, ..]: [u16; 6] = words(packet.first_chunk::<HEADER>()?);
    let fits = id == query.id && flags & QR != 0 && flags & OPCODE == NOTIFY;
    fits.then_some(Rcode(flags & 15))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Opcode, RequestError, Type};

    #[test]
    fn a_message_is_read_and_accepted() {
        let asked = Question::new("example.org".parse().unwrap(), Type::SOA);
        let query = Query { id: 7, ..Query::internal(asked.clone()) };
        let packet = request(&query);
        let read = Query { id: 7, opcode: Opcode::Notify, ..Query::internal(asked) };
        assert_eq!(Query::parse(&packet), Err(RequestError::Notify(Box::new(read))));
        let mut reply = Vec::new();
        accept(&packet, &mut reply);
        assert_eq!(reply.len(), packet.len());
        assert_eq!(outcome(&reply, &query), Some(Rcode::NOERROR));
        assert_eq!(outcome(&reply, &Query { id: 8, ..query.clone() }), None);
        assert_eq!(outcome(&packet, &query), None);
    }
}
