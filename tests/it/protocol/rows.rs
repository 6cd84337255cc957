//! The table: each packet, its reply, and the transports that have another reply.

use super::{A, API, BIG, FORMERR, NOTIMP, SILENCE, WORLD};
use crate::support::packet::{self, RD, ask, ask_class, blank, option};

pub(super) struct Row {
    pub(super) what: String,
    pub(super) packet: Vec<u8>,
    pub(super) want: String,
    /// Transports with another reply.
    except: Vec<(&'static [&'static str], String)>,
}

#[expect(clippy::needless_pass_by_value, reason = "a request is made for one row")]
fn row(what: &str, request: packet::Request, want: &str) -> Row {
    raw_row(what, request.packet(), want)
}

fn raw_row(what: &str, packet: Vec<u8>, want: &str) -> Row {
    Row { what: what.to_owned(), packet, want: want.to_owned(), except: Vec::new() }
}

impl Row {
    fn over(mut self, transports: &'static [&'static str], want: &str) -> Self {
        self.except.push((transports, want.to_owned()));
        self
    }

    /// The reply that is expected over this transport. hickory-server serves the `compat` transports,
    /// and deviates as the table [`HICKORY`] says.
    pub(super) fn want(&self, transport: &str) -> String {
        let through_hickory = transport.starts_with("compat ");
        let excepted = HICKORY.iter().find(|(what, over, ..)| {
            *what == self.what && (over.is_empty() || over.contains(&transport))
        });
        if let Some((_, _, want, _)) = excepted.filter(|_| through_hickory) {
            return (*want).to_owned();
        }
        let transport = transport.trim_start_matches("compat ");
        let want = self
            .except
            .iter()
            .find(|(names, _)| names.contains(&transport))
            .map_or(&self.want, |(_, want)| want);
        if through_hickory { without_size(want) } else { want.clone() }
    }
}

/// A reply without its size: hickory-server does not compress owner names, so its replies are
/// larger.
pub(super) fn without_size(told: &str) -> String {
    told.strip_suffix(" octets")
        .and_then(|told| told.rsplit_once(' '))
        .map_or(told, |(told, _)| told)
        .to_owned()
}

/// Other deviations of hickory-server 0.26: the row, the transports (none means all), its reply,
/// and the reason.
pub(super) const HICKORY: [(&str, &[&str], &str, &str); 8] = [
    (
        "half a reply",
        &[],
        "FORMERR 0/0/0/0",
        "it parses the whole message before it checks whether it is a request",
    ),
    (
        "an update",
        &[],
        "FORMERR rd opcode=5 0/0/0/0",
        "it parses the records of an update first, and this update lacks one",
    ),
    (
        "512 without EDNS",
        UDP,
        "NOERROR aa tc rd 1/26/0/0",
        "fewer records fit, because owner names are not compressed",
    ),
    ("our size", UDP, "NOERROR aa tc rd 1/71/0/1 opt=1232", "as above"),
    ("our size, whatever the client takes", UDP, "NOERROR aa tc rd 1/71/0/1 opt=1232", "as above"),
    ("a large reply is padded", UDP, "NOERROR aa tc rd 1/71/0/1 opt=1232", "as above"),
    ("no more than bufsize's", UDP, "NOERROR aa tc rd 1/33/0/1 opt=600", "as above"),
    (
        "a cookie is not cut",
        UDP,
        "NOERROR aa tc rd 1/71/0/0",
        "it reserves no space for the OPT record, and drops it",
    ),
];

const UDP: &[&str] = &["compat udp"];

const STREAMS: &[&str] = &["tcp", "tls", "https", "quic", "https3"];

#[expect(clippy::too_many_lines, reason = "a table with one or two rows for each rule")]
pub(super) fn table() -> Vec<Row> {
    let api = || ask(API, A);
    let mut rows = vec![
        // Answers, as short as they can be.
        row("a question", api(), "NOERROR aa rd 1/1/0/0 70 octets"),
        row("an external name", ask(WORLD, A), "NOERROR rd ra 1/1/0/0 51 octets"),
        row(
            "no such name",
            ask("nope.default.svc.cluster.local", A),
            "NXDOMAIN aa rd 1/0/1/0 102 octets",
        ),
        row("no such type", ask(API, 16), "NOERROR aa rd 1/0/1/0 108 octets"),
        // Flags.
        row("RD is copied", api().flags(0), "NOERROR aa 1/1/0/0 70 octets"),
        row(
            "a query without RD is not forwarded",
            ask(WORLD, A).flags(0).edns(),
            "REFUSED 1/0/0/1 opt=1232 ede=20 76 octets",
        ),
        row("CD is copied", api().flags(RD | 0x10), "NOERROR aa rd cd 1/1/0/0 70 octets"),
        row(
            "CD is copied for an external name",
            ask(WORLD, A).flags(RD | 0x10),
            "NOERROR rd ra cd 1/1/0/0 51 octets",
        ),
        row("the header's Z is cleared", api().flags(RD | 0x40), "NOERROR aa rd 1/1/0/0 70 octets"),
        row(
            "AD is cleared, because nothing is validated",
            api().flags(RD | 0x20),
            "NOERROR aa rd 1/1/0/0 70 octets",
        ),
        row(
            "AA, TC and RA of a request mean nothing",
            api().flags(RD | 0x0680),
            "NOERROR aa rd 1/1/0/0 70 octets",
        ),
        row(
            "a response code of a request means nothing",
            api().flags(RD | 5),
            "NOERROR aa rd 1/1/0/0 70 octets",
        ),
        // EDNS (RFC 6891).
        row("EDNS gets EDNS", api().edns(), "NOERROR aa rd 1/1/0/1 opt=1232 81 octets"),
        row(
            "another version",
            api().opt(1232, 1 << 16, &[]),
            "BADVERS rd 1/0/0/1 opt=1232 65 octets",
        ),
        row(
            "the last version",
            api().opt(1232, 255 << 16, &[]),
            "BADVERS rd 1/0/0/1 opt=1232 65 octets",
        ),
        row(
            "DO is copied",
            api().opt(1232, 0x8000, &[]),
            "NOERROR aa rd 1/1/0/1 opt=1232 do 81 octets",
        ),
        row(
            "EDNS's Z is cleared",
            api().opt(1232, 0x7fff, &[]),
            "NOERROR aa rd 1/1/0/1 opt=1232 81 octets",
        ),
        row(
            "a code in a request's OPT means nothing",
            api().opt(1232, 0xff00_0000, &[]),
            "NOERROR aa rd 1/1/0/1 opt=1232 81 octets",
        ),
        row(
            "unknown options are not echoed",
            api().option(65_001, b"abc"),
            "NOERROR aa rd 1/1/0/1 opt=1232 81 octets",
        ),
        row(
            "a client's subnet is not echoed",
            api().option(8, &[0, 1, 24, 0, 192, 0, 2]),
            "NOERROR aa rd 1/1/0/1 opt=1232 81 octets",
        ),
        row("two OPT records", api().edns().edns(), FORMERR),
        row("OPT not at the root", api().opt_at(b"\x01x\x00", 1232, 0, &[]), FORMERR),
        row("OPT that points to the question", api().opt_at(b"\xc0\x0c", 1232, 0, &[]), FORMERR),
        row("an option that does not fit", api().opt(1232, 0, b"\xfd\xe9\x00\x05a"), FORMERR),
        row("half an option", api().opt(1232, 0, b"\xfd\xe9\x00"), FORMERR),
        // Sizes: the reply announces our own size, and the smaller one limits the reply.
        row(
            "a size of 0 is 512",
            ask(BIG, A).opt(0, 0, &[]),
            "NOERROR aa tc rd 1/28/0/1 opt=1232 506 octets",
        )
        .over(STREAMS, "NOERROR aa rd 1/150/0/1 opt=1232 2458 octets"),
        row("512 without EDNS", ask(BIG, A), "NOERROR aa tc rd 1/29/0/0 511 octets")
            .over(STREAMS, "NOERROR aa rd 1/150/0/0 2447 octets"),
        row(
            "the client's size",
            ask(BIG, A).opt(700, 0, &[]),
            "NOERROR aa tc rd 1/40/0/1 opt=1232 698 octets",
        )
        .over(STREAMS, "NOERROR aa rd 1/150/0/1 opt=1232 2458 octets"),
        row(
            "our size",
            ask(BIG, A).opt(4096, 0, &[]),
            "NOERROR aa tc rd 1/73/0/1 opt=1232 1226 octets",
        )
        .over(STREAMS, "NOERROR aa rd 1/150/0/1 opt=1232 2458 octets"),
        row(
            "our size, whatever the client takes",
            ask(BIG, A).opt(65_535, 0, &[]),
            "NOERROR aa tc rd 1/73/0/1 opt=1232 1226 octets",
        )
        .over(STREAMS, "NOERROR aa rd 1/150/0/1 opt=1232 2458 octets"),
        row(
            "bufsize's size",
            ask("one.sized.example", A).edns(),
            "NOERROR aa rd 1/1/0/1 opt=600 62 octets",
        ),
        row(
            "no more than bufsize's",
            ask("many.sized.example", A).edns(),
            "NOERROR aa tc rd 1/34/0/1 opt=600 591 octets",
        )
        .over(STREAMS, "NOERROR aa rd 1/50/0/1 opt=600 847 octets"),
        // Cookies (RFC 7873, RFC 9018), and the time that connections may be idle (RFC 7828).
        row(
            "a client's cookie",
            api().option(10, b"abcdefgh"),
            "NOERROR aa rd 1/1/0/1 opt=1232 cookie=abcdefgh+16 109 octets",
        ),
        row(
            "a cookie of another server",
            api().option(10, &[b'a'; 40]),
            "NOERROR aa rd 1/1/0/1 opt=1232 cookie=aaaaaaaa+16 109 octets",
        ),
        row(
            "a cookie on an error",
            ask(API, A).opt(1232, 1 << 16, &option(10, b"abcdefgh")),
            "BADVERS rd 1/0/0/1 opt=1232 cookie=abcdefgh+16 93 octets",
        ),
        row(
            "a cookie is not cut",
            ask(BIG, A).option(10, b"abcdefgh"),
            "NOERROR aa tc rd 1/71/0/1 opt=1232 cookie=abcdefgh+16 1222 octets",
        )
        .over(STREAMS, "NOERROR aa rd 1/150/0/1 opt=1232 cookie=abcdefgh+16 2486 octets"),
        row("keepalive", api().option(11, &[]), "NOERROR aa rd 1/1/0/1 opt=1232 81 octets")
            .over(&["tcp", "tls"], "NOERROR aa rd 1/1/0/1 opt=1232 keepalive=100 87 octets"),
        // Extended errors (RFC 8914) of a zone that is not synced yet. The reply is not NXDOMAIN,
        // and the query is not forwarded.
        row("not synced", ask("web.default.svc.dark.example", A), "SERVFAIL rd 1/0/0/0 46 octets"),
        row(
            "not synced, with EDNS",
            ask("web.default.svc.dark.example", A).edns(),
            "SERVFAIL rd 1/0/0/1 opt=1232 ede=14 93 octets",
        ),
        // Messages without exactly one valid question, and padding.
        row("no question", blank([0; 4]), FORMERR),
        row("no question with EDNS", blank([0; 4]).edns(), FORMERR),
        row(
            "no question and a cookie",
            blank([0; 4]).option(10, b"abcdefgh"),
            "NOERROR rd 0/0/0/1 opt=1232 cookie=abcdefgh+16 51 octets",
        ),
        row(
            "padding hides nothing in clear text",
            api().option(12, &[0; 8]),
            "NOERROR aa rd 1/1/0/1 opt=1232 81 octets",
        )
        .over(
            &["tls", "https", "quic", "https3"],
            "NOERROR aa rd 1/1/0/1 opt=1232 padding 468 octets",
        ),
        row(
            "a large reply is padded",
            ask(BIG, A).option(12, &[]),
            "NOERROR aa tc rd 1/73/0/1 opt=1232 1226 octets",
        )
        .over(&["tcp"], "NOERROR aa rd 1/150/0/1 opt=1232 2458 octets")
        .over(
            &["tls", "https", "quic", "https3"],
            "NOERROR aa rd 1/150/0/1 opt=1232 padding 2808 octets",
        ),
        row("a question that is not there", blank([1, 0, 0, 0]), FORMERR),
        row("half a question", blank([1, 0, 0, 0]).raw(b"\x03www\x07exa"), FORMERR),
        row("a question without a class", blank([1, 0, 0, 0]).raw(b"\x01a\x00\x00\x01"), FORMERR),
        row("two questions", api().count(0, 2).raw(b"\x01a\x00\x00\x01\x00\x01"), FORMERR),
        row("two questions of which one is there", api().count(0, 2), FORMERR),
        row("65,535 questions", api().count(0, 65_535), FORMERR),
        row("an answer that is not there", api().count(1, 1), FORMERR),
        row(
            "an answer",
            api()
                .count(1, 1)
                .raw(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x0a\x00\x00\x01"),
            FORMERR,
        ),
        row("an authority that is not there", api().count(2, 1), FORMERR),
        row("an additional record that is not there", api().count(3, 1), FORMERR),
        row("65,535 additional records", api().edns().count(3, 65_535), FORMERR),
        row("a pointer to itself", blank([1, 0, 0, 0]).raw(b"\xc0\x0c\x00\x01\x00\x01"), FORMERR),
        row(
            "a pointer forward",
            blank([1, 0, 0, 0]).raw(b"\xc0\x12\x00\x01\x00\x01\x01a\x00"),
            FORMERR,
        ),
        row(
            "a pointer into the header",
            blank([1, 0, 0, 0]).raw(b"\x01a\xc0\x04\x00\x01\x00\x01"),
            FORMERR,
        ),
        row(
            "a label of an undefined type",
            blank([1, 0, 0, 0]).raw(b"\x40a\x00\x00\x01\x00\x01"),
            FORMERR,
        ),
        row("a bit label", blank([1, 0, 0, 0]).raw(b"\x41\x01a\x00\x00\x01\x00\x01"), FORMERR),
        row("a name of 256 octets", long_name(62), FORMERR),
        row(
            "octets behind the message are left alone",
            api().raw(b"behind"),
            "NOERROR aa rd 1/1/0/0 70 octets",
        ),
        raw_row("less than a header", vec![0x42; 11], SILENCE),
        row("a reply", api().flags(0x8000 | RD), SILENCE),
        row("a reply with an error", api().flags(0x8005), SILENCE),
        row("a reply to a notification", api().flags(0x8000).opcode(4), SILENCE),
        row("half a reply", blank([1, 0, 0, 0]).flags(0x8000).raw(b"\x03ww"), SILENCE),
        // Queries that are never forwarded, and class CH, which is.
        row("AXFR", ask("cluster.local", 252), "REFUSED rd 1/0/0/0 31 octets"),
        row("AXFR of an external zone", ask("world.example", 252), "REFUSED rd 1/0/0/0 31 octets"),
        row("IXFR of an external zone", ask("world.example", 251), "REFUSED rd 1/0/0/0 31 octets"),
        row("a question for OPT", ask(WORLD, 41), FORMERR),
        row("a question for TKEY", ask(WORLD, 249), FORMERR),
        row("a question for TSIG", ask(WORLD, 250), FORMERR),
        row("class NONE", ask_class(WORLD, A, 254), "REFUSED rd 1/0/0/0 35 octets"),
        row("class ANY", ask_class(WORLD, A, 255), "REFUSED rd 1/0/0/0 35 octets"),
        // As in CoreDNS, the upstream answers the query for its version.
        row("class CH", ask_class("version.bind", 16, 3), "NOERROR rd ra 1/0/0/0 30 octets"),
        // Names.
        row("a name of 255 octets", long_name(61), "NXDOMAIN aa rd 1/0/1/0 325 octets"),
        row(
            "a name of 255 octets with EDNS and a cookie",
            long_name(61).option(10, b"abcdefgh"),
            "NXDOMAIN aa rd 1/0/1/1 opt=1232 cookie=abcdefgh+16 364 octets",
        ),
        row(
            "the case of a name comes back",
            ask("KuBeRnEtEs.Default.SVC.clusTER.loCAL", A),
            "NOERROR aa rd 1/1/0/0 70 octets",
        ),
        row(
            "a label with zeros",
            labels(&[b"a\0b", b"default", b"svc"]),
            "NXDOMAIN aa rd 1/0/1/0 101 octets",
        ),
        row(
            "a label with a dot is one label",
            labels(&[b"kubernetes.default", b"svc"]),
            "NXDOMAIN aa rd 1/0/1/0 108 octets",
        ),
        row(
            "a label of spaces",
            labels(&[b"   ", b"default", b"svc"]),
            "NXDOMAIN aa rd 1/0/1/0 101 octets",
        ),
        row(
            "a label beyond ASCII",
            labels(&["käse".as_bytes(), b"default", b"svc"]),
            "NXDOMAIN aa rd 1/0/1/0 103 octets",
        ),
        row(
            "a label of 63 octets",
            labels(&[&[b'x'; 63], b"default", b"svc"]),
            "NXDOMAIN aa rd 1/0/1/0 161 octets",
        ),
        row("an asterisk", labels(&[b"*", b"default", b"svc"]), "NXDOMAIN aa rd 1/0/1/0 99 octets"),
    ];
    // IQUERY, STATUS, NOTIFY, UPDATE, DSO and undefined opcodes.
    rows.extend([1, 2, 3, 4, 5, 6, 7, 14, 15].map(|opcode| {
        row(
            &format!("opcode {opcode}"),
            ask(WORLD, A).opcode(opcode),
            &format!("{NOTIMP} opcode={opcode} 0/0/0/0 12 octets"),
        )
    }));
    rows.push(row(
        "an update",
        ask("world.example", 6).opcode(5).count(2, 1),
        &format!("{NOTIMP} opcode=5 0/0/0/0 12 octets"),
    ));
    // Invalid lengths of cookies.
    rows.extend([0, 1, 5, 7, 9, 15, 41].map(|length| {
        row(&format!("a cookie of {length}"), api().option(10, &vec![7; length]), FORMERR)
    }));
    rows
}

fn labels(labels: &[&[u8]]) -> packet::Request {
    let wire =
        labels.iter().chain(&[&b"cluster"[..], b"local"]).fold(Vec::new(), |mut wire, label| {
            wire.push(label.len() as u8);
            wire.extend_from_slice(label);
            wire
        });
    blank([1, 0, 0, 0]).raw(&wire).raw(b"\0\0\x01\0\x01")
}

/// A name in the cluster's zone. It has 194 octets more than its first label.
fn long_name(first: usize) -> packet::Request {
    labels(&[&vec![b'a'; first], &[b'b'; 63], &[b'c'; 63], &[b'd'; 49]])
}
