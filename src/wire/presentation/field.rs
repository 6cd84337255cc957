//! The fields that record data consists of.

use super::{Name, RdataError, Type, Word, base, name::relative, service};
use crate::wire::canonical::type_bitmap;

/// Takes words and appends octets. Names are relative to the given one.
type ReadField = fn(&mut &[Word<'_>], &Name, &mut Vec<u8>) -> Result<(), RdataError>;

/// One field of record data.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) read: ReadField,
}

macro_rules! fields {
    ($($name:ident = $read:expr;)*) => { $(pub(super) const $name: Field = Field { read: $read };)* };
}

fields! {
    U8 = |words, _, out| number::<u8>(words, "a number from 0 to 255").map(|it| out.push(it));
    U16 = |words, _, out| {
        number::<u16>(words, "a number from 0 to 65535").map(|it| out.extend(it.to_be_bytes()))
    };
    U32 = |words, _, out| {
        number::<u32>(words, "a number from 0 to 4294967295").map(|it| out.extend(it.to_be_bytes()))
    };
    PERIOD = |words, _, out| {
        let read = |text: &str| seconds(text).map(u32::to_be_bytes);
        taken(words, "a number of seconds", read).map(|it| out.extend(it))
    };
    NAME = |words, origin, out| {
        taken(words, "a domain name", |text| relative(text, origin)).map(|it| out.extend(it))
    };
    V4 = |words, _, out| {
        let read = |text: &str| text.parse::<std::net::Ipv4Addr>().ok();
        taken(words, "an IPv4 address", read).map(|it| out.extend(it.octets()))
    };
    V6 = |words, _, out| {
        let read = |text: &str| text.parse::<std::net::Ipv6Addr>().ok();
        taken(words, "an IPv6 address", read).map(|it| out.extend(it.octets()))
    };
    STRING = |words, _, out| {
        let word = next(words, "a text")?;
        out.extend(base::string(word)?);
        Ok(())
    };
    STRINGS = |words, _, out| {
        for word in std::mem::take(words) {
            out.extend(base::string(*word)?);
        }
        Ok(())
    };
    UNPREFIXED = |words, _, out| {
        taken(words, "a text", base::unescaped).map(|it| out.extend(it))
    };
    HEX = |words, _, out| {
        out.extend(base::hex(some(std::mem::take(words), "hexadecimal data")?)?);
        Ok(())
    };
    BASE64 = |words, _, out| {
        out.extend(base::base64(some(std::mem::take(words), "data in base 64")?)?);
        Ok(())
    };
    SALT = |words, _, out| {
        let word = next(words, "a salt")?;
        let salt = if word.text == "-" { Vec::new() } else { base::hex(&[word])? };
        prefixed(&salt, word, out)
    };
    GENERATED_HASH = |words, _, out| {
        let word = next(words, "the next hashed name")?;
        prefixed(&base::base32(word)?, word, out)
    };
    TYPE = |words, _, out| {
        let read = |text: &str| text.parse::<Type>().ok();
        taken(words, "a record type", read).map(|it| out.extend(it.0.to_be_bytes()))
    };
    TYPES = |words, _, out| types(std::mem::take(words), out);
    TIME = |words, _, out| {
        taken(words, "a time such as 20261231235959", time).map(|it| out.extend(it.to_be_bytes()))
    };
    ALGORITHM = |words, _, out| {
        taken(words, "an algorithm of DNSSEC", |text| known(text, ALGORITHMS)).map(|it: u8| out.push(it))
    };
    CERTIFICATE = |words, _, out| {
        let read = |text: &str| known::<u16>(text, CERTIFICATES);
        taken(words, "a type of certificate", read).map(|it| out.extend(it.to_be_bytes()))
    };
    PARAMETERS = |words, _, out| service::read(std::mem::take(words), out);
    FLAG_TAG_VALUE = |words, _, out| caa(words, out);
}

/// Mnemonics of algorithms (IANA "DNS Security Algorithm Numbers").
const ALGORITHMS: &[(&str, u8)] = &[
    ("RSAMD5", 1),
    ("DH", 2),
    ("DSA", 3),
    ("RSASHA1", 5),
    ("DSA-NSEC3-SHA1", 6),
    ("NSEC3DSA", 6),
    ("RSASHA1-NSEC3-SHA1", 7),
    ("NSEC3RSASHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECC-GOST", 12),
    ("ECDSAP256SHA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
    ("INDIRECT", 252),
    ("PRIVATEDNS", 253),
    ("PRIVATEOID", 254),
];

/// Mnemonics of certificate types (RFC 4398 §2.1).
const CERTIFICATES: &[(&str, u16)] = &[
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];

fn known<N: std::str::FromStr + Copy>(text: &str, names: &[(&str, N)]) -> Option<N> {
    let named = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    named.map(|(_, number)| *number).or_else(|| text.parse().ok())
}

fn next<'t>(words: &mut &[Word<'t>], expected: &'static str) -> Result<Word<'t>, RdataError> {
    let (first, rest) = words.split_first().ok_or(RdataError::Missing(expected))?;
    *words = rest;
    Ok(*first)
}

fn some<'w, 't>(
    words: &'w [Word<'t>],
    expected: &'static str,
) -> Result<&'w [Word<'t>], RdataError> {
    if words.is_empty() { Err(RdataError::Missing(expected)) } else { Ok(words) }
}

fn taken<T>(
    words: &mut &[Word<'_>],
    expected: &'static str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, RdataError> {
    let text = next(words, expected)?.text;
    read(text).ok_or_else(|| RdataError::Invalid { text: text.to_owned(), expected })
}

fn number<N: std::str::FromStr>(
    words: &mut &[Word<'_>],
    expected: &'static str,
) -> Result<N, RdataError> {
    taken(words, expected, |text| text.parse().ok())
}

fn prefixed(data: &[u8], word: Word<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let too_long = || RdataError::Invalid {
        text: word.text.to_owned(),
        expected: "data of at most 255 octets",
    };
    out.push(u8::try_from(data.len()).map_err(|_| too_long())?);
    out.extend_from_slice(data);
    Ok(())
}

/// Seconds, as a number or with units such as `1h30m`.
pub fn seconds(text: &str) -> Option<u32> {
    let (mut sum, mut number) = (0_u32, None::<u32>);
    for octet in text.bytes() {
        if octet.is_ascii_digit() {
            let digit = u32::from(octet - b'0');
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
            continue;
        }
        let unit = match octet.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        sum = sum.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    // Without any digit the text is not a time.
    if text.is_empty() { None } else { sum.checked_add(number.unwrap_or(0)) }
}

/// `YYYYMMDDHHmmSS` in UTC, or seconds since 1970 (RFC 4034 §3.2).
fn time(text: &str) -> Option<u32> {
    if text.len() != 14 || !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return text.parse().ok();
    }
    let part = |at: std::ops::Range<usize>| text[at].parse::<u32>().ok();
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let (hour, minute, second) = (part(8..10)?, part(10..12)?, part(12..14)?);
    let valid = year >= 1970
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    // Days since 1970 in the Gregorian calendar, with a year that begins in March.
    let shifted = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * shifted + shifted / 4 - shifted / 100 + shifted / 400 + of_year - 719_468;
    // Times are serial numbers and may wrap around (RFC 4034 §3.1.5).
    let seconds = u64::from(days) * 86_400 + u64::from(hour * 3600 + minute * 60 + second);
    valid.then_some(seconds as u32)
}

/// The record types at a name.
fn types(words: &[Word<'_>], out: &mut Vec<u8>) -> Result<(), RdataError> {
    let mut numbers = Vec::new();
    for word in words {
        let invalid =
            || RdataError::Invalid { text: word.text.to_owned(), expected: "a record type" };
        numbers.push(word.text.parse::<Type>().map_err(|_| invalid())?.0);
    }
    out.extend(type_bitmap(numbers));
    Ok(())
}

/// Flags, a tag with its length, and a value (RFC 8659 §4.1.1).
fn caa(words: &mut &[Word<'_>], out: &mut Vec<u8>) -> Result<(), RdataError> {
    out.push(number(words, "a number from 0 to 255")?);
    let tag = next(words, "a tag such as `issue`")?;
    let is_tag = !tag.text.is_empty() && tag.text.bytes().all(|it| it.is_ascii_alphanumeric());
    if !is_tag {
        let (text, expected) = (tag.text.to_owned(), "a tag such as `issue`");
        return Err(RdataError::Invalid { text, expected });
    }
    prefixed(tag.text.as_bytes(), tag, out)?;
    taken(words, "a value", base::unescaped).map(|value| out.extend(value))
}
