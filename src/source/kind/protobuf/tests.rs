//! The reader alone. `apiserver::encodings` compares whole objects of a real API server.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::source::kind::{Encoded, SERVICE, fields::or_default};

use super::*;

static OUTER: Message = Message(&[
    (1, "text", Shape::Text),
    (2, "number", Shape::Integer),
    (3, "flag", Shape::Bool),
    (4, "time", Shape::Time),
    (5, "inner", Shape::Message(&INNER)),
    (6, "texts", Shape::Texts),
    (7, "inners", Shape::Messages(&INNER)),
    (200, "map", Shape::Map),
]);
static INNER: Message = Message(&[(1, "text", Shape::Text)]);

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Outer {
    text: Option<String>,
    number: i32,
    flag: Option<bool>,
    time: Option<String>,
    #[serde(deserialize_with = "or_default")]
    inner: Inner,
    texts: Vec<String>,
    inners: Vec<Inner>,
    map: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Inner {
    #[serde(deserialize_with = "or_default")]
    text: String,
}

fn inner(text: &str) -> Inner {
    Inner { text: text.to_owned() }
}

#[test]
fn fields_have_their_values() {
    for (octets, expected) in [
        (&b""[..], Outer::default()),
        (b"\x0a\x01a", Outer { text: Some("a".into()), ..Outer::default() }),
        // An empty text is absent, as in JSON; an empty list element is not.
        (b"\x0a\0\x32\0", Outer { texts: vec![String::new()], ..Outer::default() }),
        (b"\x0a\x02a\xff", Outer { text: Some("a\u{fffd}".into()), ..Outer::default() }),
        // The last of two.
        (b"\x10\x07\x10\xac\x02", Outer { number: 300, ..Outer::default() }),
        (
            b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x18\0",
            Outer { number: -1, flag: Some(false), ..Outer::default() },
        ),
        (b"\x22\0", Outer { time: Some("1970-01-01T00:00:00Z".into()), ..Outer::default() }),
        (
            b"\x22\x08\x08\x80\xb3\xa8\xd8\x06\x10\x05",
            Outer { time: Some("2026-11-28T00:00:00Z".into()), ..Outer::default() },
        ),
        (b"\x2a\x03\x0a\x01i", Outer { inner: inner("i"), ..Outer::default() }),
        // Elements of lists may have other fields between them.
        (
            b"\x32\x01a\x3a\x03\x0a\x01i\x32\x01b\x3a\0",
            Outer {
                texts: vec!["a".into(), "b".into()],
                inners: vec![inner("i"), inner("")],
                ..Outer::default()
            },
        ),
        (
            b"\xc2\x0c\x06\x0a\x01k\x12\x01v\xc2\x0c\x03\x0a\x01e",
            Outer {
                map: [("k".into(), "v".into()), ("e".into(), String::new())].into(),
                ..Outer::default()
            },
        ),
        // Unknown fields of every wire type.
        (
            b"\x48\x01\x49\0\0\0\0\0\0\0\0\x4a\x02xx\x4d\0\0\0\0\x18\x01",
            Outer { flag: Some(true), ..Outer::default() },
        ),
    ] {
        assert_eq!(read::<Outer>(&OUTER, octets), Ok(expected), "{octets:02x?}");
    }
}

#[test]
fn octets_that_are_not_the_message_are_an_error() {
    for (octets, expected) in [
        (&b"\x0a"[..], "a number has no end"),
        (b"\x0a\x05a", "a field is longer than its message"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "a field is longer than its message"),
        (b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "a number has no end"),
        (b"\x00\x01", "a field has no valid number"),
        (b"\x0b", "a field has an unknown wire type"),
        (b"\x49\0", "a field is longer than its message"),
        (b"\x08\x01", "a field has another wire type than in the API"),
        (b"\x2a\x02\x0a\x05", "a field is longer than its message"),
        (b"\xc0\x0c\x01", "an entry of a map is not a message"),
        // Also after the last field that is needed.
        (b"\x0a\x01a\xff", "a number has no end"),
        (b"\x10\x80\x80\x80\x80\x10", "invalid value: integer `4294967296`, expected i32"),
    ] {
        let error = read::<Outer>(&OUTER, octets).unwrap_err().to_string();
        assert_eq!(error, expected, "{octets:02x?}");
    }
}

#[test]
fn an_object_with_a_wrong_field_still_has_its_name() {
    // A port of 70000.
    let octets = b"\x0a\x05\x0a\x03web\x12\x06\x0a\x04\x18\xf0\xa2\x04";
    let message = SERVICE.message(SERVICE.newest()).unwrap();
    let decoded = SERVICE.decode(SERVICE.newest(), Encoded::Protobuf(message, octets)).unwrap();
    assert_eq!(decoded.meta.name, "web");
    let error = decoded.fact.unwrap_err().to_string();
    assert_eq!(error, "invalid value: integer `70000`, expected a port number up to 65535");
}

/// Like a fuzzer with one seed: octets of a whole message are replaced, cut off and repeated.
#[test]
fn no_octets_cause_a_panic() {
    let whole =
        b"\x0a\x01a\x10\xac\x02\x18\x01\x22\x08\x08\x80\xb3\xa8\xd8\x06\x10\x05\x2a\x03\x0a\x01i\
                  \x32\x01a\x3a\x03\x0a\x01i\x32\x01b\xc2\x0c\x06\x0a\x01k\x12\x01v";
    assert!(read::<Outer>(&OUTER, whole).is_ok());
    // Knuth's MMIX generator.
    let mut state = 17u64;
    let mut random = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut readable = 0;
    for _ in 0..50_000 {
        let mut octets = whole.to_vec();
        for _ in 0..=random() % 4 {
            let at = random() as usize % octets.len();
            match random() % 4 {
                0 => octets.truncate(at.max(1)),
                1 => octets.extend_from_within(at..),
                _ => octets[at] = random() as u8,
            }
        }
        readable += u32::from(read::<Outer>(&OUTER, &octets).is_ok());
    }
    assert!((1_000..49_000).contains(&readable), "{readable}");
}
