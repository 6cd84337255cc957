use super::*;
use crate::wire::{Caps, Edns};

const RD: u16 = 0x0100;

fn asked(name: &str, qtype: Type) -> Query {
    Query { id: 9, ..Query::internal(Question::new(name.parse().unwrap(), qtype)) }
}

struct Reply(Vec<u8>);

impl Reply {
    fn to(asked: &Query, flags: u16, counts: [u16; 3]) -> Self {
        let mut packet = Vec::new();
        asked.encode(&mut packet);
        packet.truncate(packet.len() - 11);
        for (at, word) in [QR | RD | flags, 1].into_iter().chain(counts).enumerate() {
            packet[2 + 2 * at..4 + 2 * at].copy_from_slice(&u16::to_be_bytes(word));
        }
        Self(packet)
    }

    fn record(mut self, owner: &[u8], rtype: Type, ttl: u32, rdata: &[u8]) -> Self {
        self.0.extend_from_slice(owner);
        for word in [rtype.0, 1, (ttl >> 16) as u16, ttl as u16, rdata.len() as u16] {
            self.0.extend_from_slice(&word.to_be_bytes());
        }
        self.0.extend_from_slice(rdata);
        self
    }
}

fn summary(packet: &[u8], asked: &Query) -> Vec<String> {
    let response = read(packet, asked).unwrap();
    let owner = |owner: &Owner| match owner {
        Owner::Name(wire) => Name::from_wire(wire).unwrap().to_string(),
        Owner::Question | Owner::QuestionFrom(_) => "@".to_owned(),
    };
    response
        .sets()
        .map(|set| {
            format!(
                "{} {} {} x{}",
                owner(&set.owner),
                set.ttl,
                set.rtype,
                set.rdatas.iter().count()
            )
        })
        .collect()
}

#[test]
fn a_reply_must_match_id_opcode_and_question() {
    let mut asked = asked("a.example", Type::A);
    asked.question.caps = Caps::random(&asked.question.name, [0b10, 0, 0, 0]);
    let good = Reply::to(&asked, 0, [0; 3]).0;
    let check = |change: &dyn Fn(&mut Vec<u8>), expected| {
        let mut packet = good.clone();
        change(&mut packet);
        assert_eq!(matches(&packet, &asked), expected, "{packet:02x?}");
    };
    check(&|_| {}, Match::Yes);
    check(&|packet| packet[1] ^= 1, Match::No);
    check(&|packet| packet[2] &= 0x7f, Match::No);
    check(&|packet| packet[2] |= 0x20, Match::No);
    check(&|packet| packet[5] = 0, Match::No);
    check(&|packet| (packet[5], packet[3]) = (0, 3), Match::No);
    check(&|packet| (packet[5], packet[3]) = (0, 5), Match::Failure);
    check(&|packet| (packet[5], packet[3], packet[1]) = (0, 5, 1), Match::No);
    check(&|packet| packet[13] ^= 0x20, Match::WrongCase);
    check(&|packet| packet[13] = b'b', Match::No);
    check(&|packet| *packet.last_mut().unwrap() = 3, Match::No);
    check(&|packet| packet.truncate(11), Match::No);
    check(&|packet| packet.truncate(20), Match::No);
}

#[test]
fn the_alias_chain_is_kept_and_other_records_are_dropped() {
    let asked = asked("a.example", Type::A);
    // `a.example` stands at 12, `example` at 14.
    let packet = Reply::to(&asked, 0, [4, 1, 1])
        .record(b"\xc0\x0c", Type::CNAME, 5, b"\x01b\xc0\x0e")
        .record(b"\x01B\xc0\x0e", Type::A, 3600, &[10, 0, 0, 1])
        .record(b"\x01b\xc0\x0e", Type::A, 60, &[10, 0, 0, 2])
        .record(b"\x04evil\xc0\x0e", Type::A, 60, &[6, 6, 6, 6])
        .record(b"\xc0\x0e", Type::NS, 60, b"\x02ns\xc0\x0e")
        .record(b"\x02ns\xc0\x0e", Type::A, 60, &[6, 6, 6, 6]);
    assert_eq!(
        summary(&packet.0, &asked),
        ["@ 5 CNAME x1", "b.example. 60 A x2", "example. 60 NS x1"]
    );
}

#[test]
fn a_name_has_a_bounded_number_of_pointers() {
    let asked = asked("a.example", Type::A);
    let check = |pointers: u16, expected: bool| {
        // The data of the first record is a chain of pointers that ends at the question's name. It
        // stands behind the header, the question, and twelve octets of the record.
        let place = |number: u16| (0xc000 + 12 + 15 + 12 + 2 * number).to_be_bytes();
        let chain: Vec<u8> =
            [[0xc0, 12]].into_iter().chain((0..pointers - 2).map(place)).flatten().collect();
        let packet = Reply::to(&asked, 0, [2, 0, 0])
            .record(b"\xc0\x0c", Type::TXT, 60, &chain)
            .record(&place(pointers - 2), Type::A, 60, &[10, 0, 0, 1]);
        let found = read(&packet.0, &asked).map(|response| response.answer.len());
        assert_eq!(found, if expected { Ok(1) } else { Err(ReplyError::Malformed) }, "{pointers}");
    };
    check(2, true);
    check(127, true);
    check(128, false);
}

#[test]
fn a_repeated_record_counts_once() {
    let asked = asked("a.example", Type::A);
    let packet = Reply::to(&asked, 0, [4, 0, 0])
        .record(b"\xc0\x0c", Type::A, 60, &[10, 0, 0, 2])
        .record(b"\xc0\x0c", Type::A, 60, &[10, 0, 0, 1])
        .record(b"\x01A\xc0\x0e", Type::A, 5, &[10, 0, 0, 2])
        .record(b"\xc0\x0c", Type::A, 60, &[10, 0, 0, 1]);
    assert_eq!(summary(&packet.0, &asked), ["@ 5 A x2"]);
    let answer = read(&packet.0, &asked).unwrap().answer;
    let last: Vec<u8> = answer[0].rdatas.iter().map(|rdata| rdata[3]).collect();
    assert_eq!(last, [2, 1], "the order is that of the reply");
}

#[test]
fn foreign_authority_and_huge_ttls_are_dropped() {
    let asked = asked("a.example", Type::AAAA);
    let soa =
        b"\x00\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x05";
    let packet = Reply::to(&asked, 3, [0, 2, 0])
        .record(b"\xc0\x0e", Type::SOA, 1 << 31, soa)
        .record(b"\x03com\x00", Type::SOA, 9, soa);
    assert_eq!(summary(&packet.0, &asked), ["example. 0 SOA x1"]);
    assert_eq!(read(&packet.0, &asked).unwrap().rcode, Rcode::NXDOMAIN);
}

#[test]
fn signatures_are_kept_if_the_query_has_the_do_bit() {
    let mut asked = asked("a.example", Type::A);
    let rrsig = [&[0; 18][..], b"\x07example\x00sig"].concat();
    let packet = Reply::to(&asked, AD, [2, 0, 0])
        .record(b"\xc0\x0c", Type::A, 5, &[10, 0, 0, 1])
        .record(b"\xc0\x0c", Type::RRSIG, 5, &rrsig);
    assert_eq!(summary(&packet.0, &asked), ["@ 5 A x1"]);
    asked.edns = Some(Edns::new(1232, true));
    assert_eq!(summary(&packet.0, &asked), ["@ 5 A x1", "@ 5 RRSIG x1"]);
}

#[test]
fn an_extended_error_is_read() {
    let asked = asked("a.example", Type::A);
    let check = |options: &[u8], expected: Option<(u16, &[u8])>| {
        let packet = Reply::to(&asked, 2, [0, 0, 1]).record(b"\0", Type::OPT, 0, options).0;
        let ede = read(&packet, &asked).unwrap().ede;
        let found = ede.as_ref().map(|ede| (ede.code, &ede.text[..]));
        assert_eq!(found, expected, "{options:?}");
    };
    let long = |length: u16| {
        let text = vec![b'x'; usize::from(length)];
        [&[0, 15], &(length + 2).to_be_bytes()[..], &[0, 7], &text].concat()
    };
    check(b"", None);
    check(b"\0\x0f\0\x02\0\x06", Some((6, b"")));
    check(b"\0\x0f\0\x05\0\x06bad", Some((6, b"bad")));
    // Some servers end the text with a zero (RFC 8914 §2).
    check(b"\0\x0f\0\x06\0\x06bad\0", Some((6, b"bad")));
    check(b"\0\x0a\0\x01c\0\x0f\0\x02\0\x16\0\x0f\0\x02\0\x17", Some((22, b"")));
    check(b"\0\x0f\0\x04\0\x06\xff\xfe", Some((6, b"")));
    check(&long(256), Some((7, &[b'x'; 256])));
    check(&long(257), Some((7, b"")));
    // An option that cannot be read is ignored, because the reply itself is valid.
    check(b"\0\x0f\0\x01\0", None);
    check(b"\0\x0f\0\x09\0\x06", None);
    check(b"\0\x0f\0", None);
}

#[test]
fn a_reply_may_have_fewer_records_than_its_counts_say() {
    let asked = asked("a.example", Type::A);
    let reply = Reply::to(&asked, 0, [2, 1, 1]);
    let reply = reply.record(&[0xc0, 12], Type::A, 60, &[192, 0, 2, 1]).0;
    assert_eq!(summary(&reply, &asked), ["@ 60 A x1"]);
    assert_eq!(read(&reply[..reply.len() - 1], &asked), Err(ReplyError::Malformed));
}

#[test]
fn a_record_of_one_name_has_nothing_behind_it() {
    let asked = asked("a.example", Type::A);
    let alias = Reply::to(&asked, 0, [1, 0, 0]);
    let alias = alias.record(&[0xc0, 12], Type::CNAME, 60, &[1, b'b', 0, 7]).0;
    assert_eq!(read(&alias, &asked), Err(ReplyError::Malformed));
}

#[test]
fn a_reply_that_cannot_be_read_is_an_error() {
    let asked = asked("a.example", Type::A);
    let check = |packet: Reply, fault| assert_eq!(read(&packet.0, &asked), Err(fault));
    check(Reply::to(&asked, 0, [1, 0, 0]), ReplyError::Malformed);
    check(
        Reply::to(&asked, 0, [1, 0, 0]).record(b"\xc0\x1b", Type::A, 5, b""),
        ReplyError::Malformed,
    );
    check(
        Reply::to(&asked, 0, [1, 0, 0]).record(b"\xc0\xff", Type::A, 5, b""),
        ReplyError::Malformed,
    );
    check(
        Reply::to(&asked, 0, [1, 0, 0]).record(b"\xc0\x0c", Type::SOA, 5, b"\x00"),
        ReplyError::Malformed,
    );
    check(
        Reply::to(&asked, 0, [1, 0, 0]).record(b"\xc0\x0c", Type::CNAME, 5, b"\xc0\x0c"),
        ReplyError::AliasLoop,
    );
    let circle = Reply::to(&asked, 0, [2, 0, 0])
        .record(b"\xc0\x0c", Type::CNAME, 5, b"\x01b\x00")
        .record(b"\x01b\x00", Type::CNAME, 5, b"\xc0\x0c");
    check(circle, ReplyError::AliasLoop);
    let owner = |at: u8| if at == 0 { b"\xc0\x0c".to_vec() } else { vec![1, b'a' + at, 0] };
    let links = |count: u8| {
        (0..count).fold(Reply::to(&asked, 0, [count.into(), 0, 0]), |reply, at| {
            reply.record(&owner(at), Type::CNAME, 5, &owner(at + 1))
        })
    };
    assert!(read(&links(16).0, &asked).is_ok());
    check(links(17), ReplyError::LongChain);
}

/// Such a record would reach clients, and libraries of clients fail in different ways.
#[test]
fn a_record_whose_length_is_wrong_is_not_read() {
    let asked = asked("a.example", Type::A);
    let name = b"\x01b\x00";
    for (rtype, right, wrong) in [
        (Type::A, [1, 2, 3, 4].to_vec(), [1, 2, 3].to_vec()),
        (Type::A, [1, 2, 3, 4].to_vec(), [1, 2, 3, 4, 5].to_vec()),
        (Type::AAAA, vec![0; 16], vec![0; 15]),
        (Type::MX, [&[0, 1], &name[..]].concat(), [&[0, 1], &name[..], &[0]].concat()),
        (Type::SRV, [&[0; 6], &name[..]].concat(), [&[0; 6], &name[..], &[0]].concat()),
        (Type::SOA, [name, &name[..], &[0; 20]].concat(), [name, &name[..], &[0; 19]].concat()),
        (Type::NS, name.to_vec(), [&name[..], &[0]].concat()),
    ] {
        let reply = |rdata: &[u8]| Reply::to(&asked, 0, [0, 0, 1]).record(b"\x00", rtype, 5, rdata);
        assert!(read(&reply(&right).0, &asked).is_ok(), "{rtype:?}");
        assert_eq!(read(&reply(&wrong).0, &asked), Err(ReplyError::Malformed), "{rtype:?}");
    }
}

#[test]
fn the_uncompressed_size_of_a_reply_is_bounded() {
    let label = [&[63][..], &[b'x'; 63]].concat();
    let long = [&label[..], &label, &label].concat();
    let asked = asked("a.example", Type::CNAME);
    let mut packet = Reply::to(&asked, 0, [5000, 0, 0]).record(
        &[&long[..], &[0]].concat(),
        Type::CNAME,
        5,
        b"\x00",
    );
    for _ in 1..5000 {
        packet = packet.record(b"\xc0\x1b", Type::CNAME, 5, b"\xc0\x1b");
    }
    assert!(packet.0.len() < 65_535 + 10_000);
    assert_eq!(read(&packet.0, &asked), Err(ReplyError::Malformed));
}

#[test]
fn names_behind_the_question_have_the_spelling_of_the_client() {
    let client = asked("a.example", Type::A);
    let mut sent = client.clone();
    sent.question.caps = Caps::random(&sent.question.name, [u64::MAX; 4]);
    let packet =
        Reply::to(&sent, 0, [1, 0, 0]).record(b"\xc0\x0c", Type::CNAME, 5, b"\x02Lb\xc0\x0e").0;
    let response = read(&packet, &client).unwrap();
    assert_eq!(response.answer[0].rdatas, Rdatas::one(b"\x02Lb\x07example\x00"));
}

#[test]
fn a_truncated_reply_may_end_within_a_record() {
    let asked = asked("a.example", Type::A);
    let cut = Reply::to(&asked, TC, [2, 0, 0]).record(b"\xc0\x0c", Type::A, 5, &[192, 0, 2, 1]);
    let cut = [&cut.0[..], b"\xc0\x0c\x00\x01"].concat();
    let response = read(&cut, &asked).unwrap();
    assert!(response.truncated && response.answer.is_empty());
}
