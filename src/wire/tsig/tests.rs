use std::sync::Arc;

use super::*;
use crate::wire::{Name, Query, Question, Rcode, Response, Room, Type};

const NOW: u64 = 1_700_000_000;

fn key(name: &str, secret: &[u8]) -> TsigKey {
    TsigKey::new(name.parse().unwrap(), TsigAlgorithm::Sha256, secret)
}

/// A query for `example.org. SOA` that is signed at this time.
fn request(key: &TsigKey, time: u64) -> (Vec<u8>, TsigChain) {
    let question = Question::new("example.org".parse().unwrap(), Type::SOA);
    let mut packet = Vec::new();
    Query { id: 7, ..Query::internal(question) }.encode(&mut packet);
    let mut chain = TsigChain::new(key);
    let octets = chain.octets();
    let plain = packet.len();
    chain.sign(0, time, &mut packet);
    assert_eq!(packet.len(), plain + octets);
    (packet, chain)
}

fn accept(packet: &[u8], known: &TsigKey) -> (TsigChain, Result<(), TsigError>) {
    let query = Query::parse(packet).unwrap();
    let find = |name: &Name| (*name == known.name).then(|| Arc::new(known.clone()));
    TsigChain::accept(&query.signature.unwrap(), find, NOW).unwrap()
}

fn reply(chain: &mut TsigChain, packet: &[u8], time: u64) -> Vec<u8> {
    let mut out = Vec::new();
    Response::of(Rcode::NOERROR).encode(
        &Query::parse(packet).unwrap(),
        Room::stream(1232),
        &mut out,
    );
    chain.sign(0, time, &mut out);
    out
}

#[test]
fn a_request_and_all_replies_are_checked() {
    let secret = key("Key.Example.", b"secret");
    for algorithm in ["hmac-sha1", "HMAC-SHA256.", "hmac-sha384", "hmac-sha512"] {
        let algorithm = TsigAlgorithm::named(algorithm).unwrap();
        let (packet, mut client) =
            request(&TsigKey::new(secret.name.clone(), algorithm, b"secret"), NOW);
        let (mut server, outcome) = accept(&packet, &secret);
        assert_eq!(outcome, Ok(()));
        for message in 0..3 {
            let reply = reply(&mut server, &packet, NOW + message);
            assert_eq!(client.verify(&reply, NOW), Ok(()), "{algorithm:?} {message}");
        }
        let mut forged = reply(&mut server, &packet, NOW);
        forged[3] ^= 1;
        assert_eq!(client.verify(&forged, NOW), Err(TsigError::BadSignature));
    }
    assert_eq!(TsigAlgorithm::named("hmac-md5.sig-alg.reg.int"), None);
}

/// The name of the key may have any case, and a server between may change the id.
#[test]
fn case_and_id_may_change() {
    let secret = key("key.example", b"secret");
    let (mut packet, _) = request(&secret, NOW);
    packet[0] ^= 0x55;
    let at = packet.windows(4).position(|part| part == b"\x03key").unwrap();
    packet[at + 1] = b'K';
    assert_eq!(accept(&packet, &secret).1, Ok(()));
}

#[test]
fn errors_have_their_codes() {
    let secret = key("key.example", b"secret");
    let check = |packet: &[u8], expected: TsigError, code: u8, is_signed: bool| {
        let (mut server, outcome) = accept(packet, &secret);
        assert_eq!(outcome, Err(expected));
        let reply = reply(&mut server, packet, NOW);
        let tsig = SignedMessage::find(&reply).unwrap().tsig().unwrap();
        assert_eq!((tsig.error, tsig.mac.is_empty()), (code.into(), !is_signed), "{expected}");
        (reply, tsig)
    };
    let (packet, _) = request(&key("other.example", b"secret"), NOW);
    check(&packet, TsigError::BadKey, 17, false);
    let (packet, mut client) = request(&key("key.example", b"wrong"), NOW);
    let (reply, _) = check(&packet, TsigError::BadSignature, 16, false);
    assert_eq!(client.verify(&reply, NOW), Err(TsigError::Remote("BADSIG")));
    // The signature is checked before the time, so a client without the key does not learn the
    // time.
    let (packet, _) = request(&key("key.example", b"wrong"), NOW - 1000);
    check(&packet, TsigError::BadSignature, 16, false);
    for time in [NOW - 301, NOW + 301, 0, (1 << 48) - 1] {
        let (packet, mut client) = request(&secret, time);
        let (reply, tsig) = check(&packet, TsigError::BadTime, 18, true);
        // The client learns the time of the server (RFC 8945 §5.2.3).
        assert_eq!((tsig.time, &tsig.other[..]), (time, &NOW.to_be_bytes()[2..]));
        assert_eq!(client.verify(&reply, time), Err(TsigError::Remote("BADTIME")));
    }
    for time in [NOW - 300, NOW + 300] {
        assert_eq!(accept(&request(&secret, time).0, &secret).1, Ok(()));
    }
    let shortened = |octets: usize| {
        let (mut packet, _) = request(&secret, NOW);
        // The signature stands before the id, the error and the length of other data.
        let end = packet.len() - 6;
        packet.drain(end - 32 + octets..end);
        let at = end - 32 - 2;
        packet[at..at + 2].copy_from_slice(&(octets as u16).to_be_bytes());
        let length = at - 8 - "hmac-sha256..".len() - 2;
        let old = u16::from_be_bytes([packet[length], packet[length + 1]]);
        let new = old - (32 - octets as u16);
        packet[length..length + 2].copy_from_slice(&new.to_be_bytes());
        packet
    };
    check(&shortened(16), TsigError::Truncated, 22, true);
    let query = Query::parse(&shortened(9)).unwrap();
    let find = |_: &Name| Some(Arc::new(secret.clone()));
    let outcome = TsigChain::accept(&query.signature.unwrap(), find, NOW);
    assert_eq!(outcome.err(), Some(TsigError::Malformed));
}

#[test]
fn a_record_that_is_not_the_last_one_is_malformed() {
    let secret = key("key.example", b"secret");
    let (packet, _) = request(&secret, NOW);
    let query = Query::parse(&packet).unwrap();
    let opt = packet.windows(3).position(|part| part == b"\0\0\x29").unwrap();
    let moved = [&packet[..opt], &packet[opt + 11..], &packet[opt..opt + 11]].concat();
    let other = Query::parse(&moved).unwrap();
    assert!(query.signature.unwrap().tsig().is_some());
    assert!(other.signature.unwrap().tsig().is_none());
}

/// A server need not sign each message of a transfer, but the first, the last, and one in 100.
#[test]
fn messages_without_a_signature_are_covered_by_the_next_one() {
    let secret = key("key.example", b"secret");
    let (packet, client) = request(&secret, NOW);
    let (server, _) = accept(&packet, &secret);
    let plain = |last: u8| {
        let mut out = Vec::new();
        let query = Query::parse(&packet).unwrap();
        Response::of(Rcode::NOERROR).encode(&query, Room::stream(1232), &mut out);
        out[1] = last;
        out
    };
    for (unsigned, accepted) in [(1, true), (99, true), (100, false)] {
        let (mut client, mut server) = (client.clone(), server.clone());
        client.verify(&reply(&mut server, &packet, NOW), NOW).unwrap();
        let messages: Vec<_> = (0..unsigned).map(|at| plain(at as u8)).collect();
        let outcomes: Vec<_> = messages.iter().map(|it| client.verify(it, NOW)).collect();
        assert_eq!(outcomes.iter().all(Result::is_ok), accepted);
        assert!(!client.is_complete());
        server.pass_over(&messages.concat());
        let last = reply(&mut server, &packet, NOW);
        assert_eq!(client.verify(&last, NOW).is_ok(), accepted, "{unsigned}");
    }
    // The first message needs a signature.
    assert_eq!(client.clone().verify(&plain(0), NOW), Err(TsigError::Missing));
}
