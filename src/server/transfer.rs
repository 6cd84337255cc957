//! Zone transfers: the SOA record, all records, and the SOA record again, in as many messages as
//! needed (RFC 5936 §2.2). A client that has the current version gets the SOA record alone (RFC
//! 1995 §2).

use std::{iter::once, time::Instant};

use crate::{
    chain::{Cx, Level, Sent, UnixClock},
    limits,
    wire::{
        Owner, Query, Rcode, RecordSet, Records, Response, Room, Sets, Transfer, TsigChain, Type,
    },
};

use super::{At, Server};

/// A transfer in progress.
pub struct Outgoing {
    query: Query,
    at: At,
    room: Room,
    serial: u32,
    /// Whether the client has this version.
    is_current: bool,
    records: Records,
    /// The records that did not fit into the last message.
    rest: Option<RecordSet>,
    messages: usize,
    /// The flags of the first message.
    flags: u16,
    written: usize,
    octets: usize,
    is_complete: bool,
    /// How the messages are signed, if the request was.
    signing: Option<(TsigChain, UnixClock)>,
}

impl Outgoing {
    pub(super) fn new(query: Query, at: At, room: Room, zone: Transfer) -> Self {
        let Transfer { soa, serial, records } = zone;
        let is_current = query.question.qtype == Type::IXFR
            && query.serial.is_some_and(|known| !is_newer(serial, known));
        let records: Records = if is_current {
            Box::new(once(soa))
        } else {
            Box::new(once(soa.clone()).chain(records).chain(once(soa)))
        };
        Self {
            query,
            at,
            room,
            serial,
            is_current,
            records,
            rest: None,
            messages: 0,
            flags: 0,
            written: 0,
            octets: 0,
            is_complete: false,
            signing: None,
        }
    }

    pub(super) fn signed(self, signing: Option<(TsigChain, UnixClock)>) -> Self {
        Self { signing, ..self }
    }

    /// Appends the next message. Returns false after the last one.
    pub fn write(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let answer = self.next_records();
        self.is_complete = answer.is_empty();
        if self.is_complete {
            return false;
        }
        let start = out.len();
        let response = Response { answer, ..Response::authoritative(Rcode::NOERROR) };
        response.encode(&self.query, self.room, out);
        if let Some((chain, clock)) = &mut self.signing {
            chain.sign(start, clock.0(now).into(), out);
        }
        let word = |at: usize| u16::from_be_bytes([out[start + at], out[start + at + 1]]);
        if self.messages == 0 {
            self.flags = word(2);
        }
        self.messages += 1;
        self.written += usize::from(word(6));
        self.octets += out.len() - start;
        true
    }

    /// A message with as many records as fit, but at least one if any is left.
    fn next_records(&mut self) -> Sets {
        let (mut answer, mut room) = (Sets::new(), limits::TRANSFER_OCTETS);
        while let Some(set) = self.rest.take().or_else(|| self.records.next()) {
            let fixed = 10 + self.owner_octets(&set);
            let fits = |rdata: &&[u8]| {
                let left = room.checked_sub(fixed + rdata.len());
                room = left.unwrap_or(room);
                left.is_some()
            };
            let count =
                set.rdatas.iter().take_while(fits).count().max(usize::from(answer.is_empty()));
            if count == set.rdatas.iter().count() {
                answer.push(set);
                continue;
            }
            let part = |rdatas| RecordSet { rdatas, ..set.clone() };
            if count > 0 {
                answer.push(part(set.rdatas.iter().take(count).collect()));
            }
            self.rest = Some(part(set.rdatas.iter().skip(count).collect()));
            break;
        }
        answer
    }

    fn owner_octets(&self, set: &RecordSet) -> usize {
        match &set.owner {
            Owner::Name(wire) => wire.len(),
            Owner::Question | Owner::QuestionFrom(_) => self.query.question.name.wire().len(),
        }
    }
}

impl Server {
    /// Logs the end of a transfer, complete or not.
    pub fn transferred(&self, outgoing: &Outgoing, cx: &mut Cx) {
        let Outgoing { query, serial, written, .. } = outgoing;
        let (zone, to) = (&query.question.name, cx.peer.ip());
        let line = match (outgoing.is_complete, outgoing.is_current) {
            (true, true) => format!(
                "Outgoing noop, incremental transfer for up to date zone \"{zone}\" to {to} for {serial} SOA serial"
            ),
            (true, false) => format!(
                "Outgoing transfer of {written} records of zone \"{zone}\" to {to} for {serial} SOA serial"
            ),
            (false, _) => format!(
                "Outgoing transfer of zone \"{zone}\" to {to} was cut off after {written} records"
            ),
        };
        let level = if outgoing.is_complete { Level::Info } else { Level::Warning };
        cx.log(level, "transfer", line);
        let sent = Sent {
            rcode: Rcode::NOERROR,
            flags: outgoing.flags,
            answers: u16::try_from(*written).unwrap_or(u16::MAX),
            has_soa: false,
            has_name_servers: false,
            request_octets: outgoing.at.request_octets,
            reply_octets: outgoing.octets,
        };
        self.notify_sent(outgoing.at.block, cx, query, &sent);
    }

    /// Appends a SERVFAIL reply for a client that cannot be served now.
    pub fn put_off(&self, outgoing: &Outgoing, cx: &mut Cx, out: &mut Vec<u8>) {
        let At { block, request_octets, .. } = outgoing.at;
        let udp_octets = self.blocks()[block].udp_octets;
        let sent = self.write(
            &Response::of(Rcode::SERVFAIL),
            &outgoing.query,
            udp_octets,
            request_octets,
            cx,
            out,
        );
        self.notify_sent(block, cx, &outgoing.query, &sent);
    }
}

/// Whether a serial is newer than another, with wrap-around (RFC 1982 §3.2).
fn is_newer(serial: u32, other: u32) -> bool {
    (1..1 << 31).contains(&serial.wrapping_sub(other))
}

#[cfg(test)]
mod tests {
    use super::is_newer;

    #[test]
    fn serials_wrap_around() {
        let check = |serial, other, expected| {
            assert_eq!(is_newer(serial, other), expected, "{serial} {other}");
        };
        check(2, 1, true);
        check(1, 1, false);
        check(1, 2, false);
        check(0, u32::MAX, true);
        check(u32::MAX, 0, false);
    }
}
