//! The OPT record of messages that this server sends (RFC 6891).

use crate::limits;

use super::{
    Cookie, Ede, Edns, EdnsOptions, Response, Type,
    query::{DO, OPTION_COOKIE, OPTION_KEEPALIVE, OPTION_NSID, OPTION_PADDING},
    room::Room,
};

pub(super) const OPTION_EDE: u16 = 15;

#[derive(Clone, Copy, Default)]
pub(super) struct Opt<'r> {
    size: u16,
    dnssec_ok: bool,
    /// The upper eight bits of the response code.
    rcode: u8,
    cookie: Option<Cookie>,
    keepalive: Option<u16>,
    ede: Option<&'r Ede>,
    nsid: Option<&'r [u8]>,
    others: Option<&'r EdnsOptions>,
    padding: Option<Padding>,
}

/// Zeros that hide the size of an encrypted message (RFC 7830).
#[derive(Clone, Copy)]
struct Padding {
    /// The message is padded to a multiple of this.
    block: u16,
    octets: u16,
}

impl<'r> Opt<'r> {
    /// The OPT record of a query to an upstream.
    pub(super) fn of_question(edns: Edns, others: &'r EdnsOptions) -> Self {
        let padding = edns.padding.then_some(Padding { block: limits::QUERY_PADDING, octets: 0 });
        let others = Some(others);
        Self { size: edns.size, dnssec_ok: edns.dnssec_ok, padding, others, ..Self::default() }
    }

    /// The OPT record of a reply whose header and question take `used` octets. The extended error
    /// and then the server's identifier are left out if there is no room for them.
    pub(super) fn of_reply(response: &'r Response, edns: Edns, room: Room, used: usize) -> Self {
        let Room { limit, advertise: size, cookie, keepalive, padding } = room;
        let opt = Self {
            size,
            dnssec_ok: edns.dnssec_ok,
            rcode: (response.rcode.0 >> 4) as u8,
            cookie,
            keepalive,
            ede: response.ede.as_ref(),
            others: None,
            padding: padding.map(|block| Padding { block, octets: 0 }),
            nsid: response.nsid.as_deref(),
        };
        let fits = |opt: &Self| used + opt.len() <= limit;
        let smaller = [opt, Self { ede: None, ..opt }];
        smaller.into_iter().find(fits).unwrap_or(Self { ede: None, nsid: None, ..opt })
    }

    /// Sets the padding of a message whose other parts take `used` octets. The message does not
    /// become longer than `limit`.
    pub(super) fn pad(&mut self, used: usize, limit: usize) {
        let unpadded = used + self.len();
        if let Some(Padding { block, octets }) = &mut self.padding {
            let full = unpadded.next_multiple_of(usize::from(*block)).min(limit);
            *octets = full.saturating_sub(unpadded) as u16;
        }
    }

    pub(super) fn len(&self) -> usize {
        // Root, type, class, TTL and length. Each option has a code and a length, too.
        11 + self.options_len()
    }

    fn options_len(&self) -> usize {
        let cookie = self.cookie.map_or(0, |cookie| 4 + cookie.len());
        let keepalive = self.keepalive.map_or(0, |_| 4 + 2);
        let others = self.others.map_or(0, |others| others.wire().len());
        let padding = self.padding.map_or(0, |padding| 4 + usize::from(padding.octets));
        let nsid = self.nsid.map_or(0, |nsid| 4 + nsid.len());
        padding
            + cookie
            + keepalive
            + nsid
            + others
            + self.ede.map_or(0, |ede| 4 + 2 + ede.text.len())
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(0);
        for word in [Type::OPT.0, self.size] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        let flags = u32::from(self.rcode) << 24 | if self.dnssec_ok { DO } else { 0 };
        out.extend_from_slice(&flags.to_be_bytes());
        out.extend_from_slice(&(self.options_len() as u16).to_be_bytes());
        if let Some(nsid) = self.nsid {
            option(OPTION_NSID, &[nsid], out);
        }
        if let Some(cookie) = &self.cookie {
            option(OPTION_COOKIE, &[cookie], out);
        }
        if let Some(keepalive) = self.keepalive {
            option(OPTION_KEEPALIVE, &[&keepalive.to_be_bytes()], out);
        }
        if let Some(ede) = self.ede {
            option(OPTION_EDE, &[&ede.code.to_be_bytes(), &ede.text], out);
        }
        if let Some(others) = self.others {
            out.extend_from_slice(others.wire());
        }
        if let Some(Padding { octets, .. }) = self.padding {
            option(OPTION_PADDING, &[], out);
            let end = out.len();
            out[end - 2..].copy_from_slice(&octets.to_be_bytes());
            out.resize(end + usize::from(octets), 0);
        }
    }
}

fn option(code: u16, parts: &[&[u8]], out: &mut Vec<u8>) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    for word in [code, length as u16] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Owner, Query, Question, Rcode, RecordSet};
    use hickory_proto::op::Message;

    fn query(name: &str, edns: Option<Edns>) -> Query {
        let question = Question::new(name.parse().unwrap(), Type::A);
        Query { edns, ..Query::internal(question) }
    }

    #[test]
    fn a_reply_is_padded_to_blocks_within_its_limit() {
        let check = |records: u8, limit: usize, expected: usize| {
            let mut response = Response::authoritative(Rcode::NOERROR);
            let rdatas = (0..records).map(|last| [10, 0, 0, last]).collect();
            response.answer.push(RecordSet::new(Owner::Question, Type::A, 5, rdatas));
            let room = Room { limit, padding: Some(468), ..Room::stream(1232) };
            let mut packet = vec![0; 3];
            response.encode(&query("a.b", Some(Edns::new(1232, false))), room, &mut packet);
            assert_eq!(packet.len() - 3, expected, "{records} {limit}");
            let message = Message::from_vec(&packet[3..]).unwrap();
            assert_eq!(message.answers.len(), usize::from(records));
        };
        // 12 + 9 octets, 16 a record, 11 for the OPT record and 4 for the option.
        check(1, 65_535, 468);
        check(27, 65_535, 468);
        check(28, 65_535, 936);
        check(200, 65_535, 3276);
        check(1, 400, 400);
        check(1, 52, 52);
        let without = query("a.b", None);
        let mut packet = Vec::new();
        Response::of(Rcode::NOERROR).encode(
            &without,
            Room { padding: Some(468), ..Room::stream(1232) },
            &mut packet,
        );
        assert_eq!(packet.len(), 21, "padding needs EDNS");
    }

    #[test]
    fn a_query_is_padded_to_128_octets() {
        // 12 + 1 + 4 octets, 2 a label, 11 for the OPT record and 4 for the option.
        for (labels, expected) in [(1, 128), (48, 128), (49, 256), (112, 256)] {
            let name = "a.".repeat(labels);
            let edns = Edns { padding: true, ..Edns::new(1232, false) };
            let query = query(&name, Some(edns));
            let mut packet = vec![0; 5];
            query.encode(&mut packet);
            let length = packet.len() - 5;
            assert_eq!(length, expected, "{labels}");
            assert!(Message::from_vec(&packet[5..]).is_ok());
        }
    }
}
