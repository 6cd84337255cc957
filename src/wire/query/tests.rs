use super::*;

/// `id flags counts`, then the question `a.B IN A`.
fn packet(flags: u16, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    for word in [7, flags].into_iter().chain(counts) {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet.extend_from_slice(rest);
    packet
}

const QUESTION: &[u8] = b"\x01a\x01B\x00\x00\x01\x00\x01";
const OPT: &[u8] = b"\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x00";

fn with(records: &[&[u8]]) -> Vec<u8> {
    packet(RD, [1, 0, 0, records.len() as u16], &[&[QUESTION], records].concat().concat())
}

#[test]
fn a_request_is_read() {
    let query = Query::parse(&with(&[OPT])).unwrap();
    assert_eq!((query.id, query.recursion_desired, query.checking_disabled), (7, true, false));
    assert_eq!(query.edns, Some(Edns::new(4096, true)));
    assert_eq!(query.question.to_string(), "a.b. A");
    assert_eq!(query.question.spelled().to_string(), "a.B.");
    assert_eq!(query.question.spelled_from(2).wire(), b"\x01B\x00");
}

#[test]
fn options_are_read() {
    let check = |options: &[u8], cookie: Option<ClientCookie>, keepalive: bool| {
        let padding = options.ends_with(b"\0\x0c\0\x01\0");
        let opt =
            [b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00", &[options.len() as u8][..], options]
                .concat();
        assert_eq!(
            Query::parse(&with(&[&opt])).unwrap().edns,
            Some(Edns { cookie, keepalive, padding, ..Edns::new(1232, false) })
        );
    };
    check(b"", None, false);
    check(b"\x00\x0c\x00\x01\x00", None, false);
    check(b"\x00\x0a\x00\x08abcdefgh", Some(*b"abcdefgh"), false);
    check(b"\x00\x0b\x00\x00\x00\x0a\x00\x10abcdefgh12345678", Some(*b"abcdefgh"), true);
    check(
        b"\x00\x0a\x00\x08abcdefgh\xfd\xe8\x00\x01x\x00\x0a\x00\x08ijklmnop",
        Some(*b"abcdefgh"),
        false,
    );
}

#[test]
fn an_invalid_request_gets_the_required_reply() {
    let check = |packet: &[u8], expected: RequestError| match (Query::parse(packet), &expected) {
        (Err(RequestError::Refuse(_, got)), RequestError::Refuse(_, want)) => {
            assert_eq!(got, *want);
        }
        (got, _) => assert_eq!(got, Err(expected), "{packet:02x?}"),
    };
    let formerr = || RequestError::Answer(Rcode::FORMERR);
    let refuse = |rcode| {
        RequestError::Refuse(Box::new(Query::internal(Question::new(Name::root(), Type::A))), rcode)
    };
    check(&[0; 11], RequestError::Ignore);
    check(&packet(QR, [1, 0, 0, 0], QUESTION), RequestError::Ignore);
    for opcode in [1, 2, 4, 15] {
        check(&packet(opcode << 11, [1, 0, 0, 0], QUESTION), RequestError::Answer(Rcode::NOTIMP));
    }
    check(&packet(0, [0, 0, 0, 0], b""), formerr());
    let cookie = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x08abcdefgh";
    let edns = Edns { cookie: Some(*b"abcdefgh"), ..Edns::new(1232, false) };
    check(&packet(RD, [0, 0, 0, 1], cookie), RequestError::NoQuestion(edns));
    check(&packet(RD, [0, 0, 0, 1], OPT), formerr());
    check(&packet(RD, [0, 0, 0, 2], cookie), formerr());
    check(&packet(RD, [0, 1, 0, 1], &[cookie, &cookie[..]].concat()), formerr());
    check(&packet(0, [2, 0, 0, 0], &[QUESTION, QUESTION].concat()), formerr());
    check(&packet(0, [1, 0, 0, 0], b""), formerr());
    check(&packet(0, [1, 1, 0, 0], QUESTION), formerr());
    check(&packet(0, [1, 0, 1, 0], QUESTION), formerr());
    check(&packet(0, [1, 0, 0, 1], QUESTION), formerr());
    check(&packet(0, [1, 0, 0, 3], &[QUESTION, OPT].concat()), formerr());
    check(&packet(0, [1, 0, 0, 0], b"\xc0\x12\x00\x01\x00\x01\x01a\x00"), formerr());
    check(&packet(0, [1, 0, 0, 0], b"\x00\x00\x29\x00\x01"), formerr());
    check(&with(&[OPT, OPT]), formerr());
    check(&with(&[b"\x01x\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00"]), formerr());
    check(&with(&[b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x05\x00\x0a\x00\x05a"]), formerr());
    check(
        &with(&[b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x09\x00\x0a\x00\x05abcde"]),
        formerr(),
    );
    check(&with(&[b"\x00\x00\x29\x10\x00\x00\x01\x00\x00\x00\x00"]), refuse(Rcode::BADVERS));
    check(&packet(0, [1, 0, 0, 0], b"\x01a\x00\x00\x01\x00\xfe"), refuse(Rcode::REFUSED));
    check(&packet(0, [1, 0, 0, 0], b"\x01a\x00\x00\x01\x00\xff"), refuse(Rcode::REFUSED));
}

#[test]
fn an_ixfr_request_carries_the_clients_serial() {
    let soa = b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x18\xc0\x0c\xc0\x0c\x00\x00\x00\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let ask = |counts, rest: &[u8]| {
        Query::parse(&packet(0, counts, &[b"\x01a\x00\x00\xfb\x00\x01", rest].concat()))
            .unwrap()
            .serial
    };
    assert_eq!(ask([1, 0, 1, 0], soa), Some(7));
    assert_eq!(ask([1, 0, 0, 0], b""), None);
}

#[test]
fn a_refusal_is_a_header() {
    let mut out = Vec::new();
    refusal(&packet(RD | 4 << 11, [1, 0, 0, 0], QUESTION), Rcode::NOTIMP, &mut out);
    assert_eq!(out, packet(QR | RD | 4 << 11 | 4, [0; 4], b""));
}

#[test]
fn random_case_touches_letters_only() {
    let name: Name = "a1-b.example".parse().unwrap();
    let question =
        Question { caps: Caps::random(&name, [u64::MAX; 4]), ..Question::new(name, Type::A) };
    assert_eq!(question.spelled().to_string(), "A1-B.EXAMPLE.");
}
