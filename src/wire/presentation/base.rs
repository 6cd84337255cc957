//! Binary data as text: hexadecimal digits, base 64 and base 32 (RFC 4648), and character strings.

use super::{RdataError, Word};
use crate::limits;

/// The octets of hexadecimal words, which are joined first.
pub(super) fn hex(words: &[Word<'_>]) -> Result<Vec<u8>, RdataError> {
    digits(words, 4, "hexadecimal", |octet| char::from(octet).to_digit(16).map(|it| it as u8))
}

/// The octets of base 64 words, which are joined first.
pub(super) fn base64(words: &[Word<'_>]) -> Result<Vec<u8>, RdataError> {
    digits(words, 6, "base 64", |octet| {
        Some(match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        })
    })
}

/// The octets of a word in base 32 with the extended hexadecimal alphabet.
pub(super) fn base32(word: Word<'_>) -> Result<Vec<u8>, RdataError> {
    digits(&[word], 5, "base 32", |octet| match octet.to_ascii_uppercase() {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        letter @ b'A'..=b'V' => Some(letter - b'A' + 10),
        _ => None,
    })
}

/// Joins digits of `bits` bits each. At the end, fewer bits than one digit may be left over.
fn digits(
    words: &[Word<'_>],
    bits: u32,
    expected: &'static str,
    value: impl Fn(u8) -> Option<u8>,
) -> Result<Vec<u8>, RdataError> {
    let (mut octets, mut pending, mut left) = (Vec::new(), 0_u32, 0);
    for word in words {
        let invalid = || RdataError::Invalid { text: word.text.to_owned(), expected };
        for octet in word.text.trim_end_matches('=').bytes() {
            pending = pending << bits | u32::from(value(octet).ok_or_else(invalid)?);
            left += bits;
            if left >= 8 {
                left -= 8;
                octets.push((pending >> left) as u8);
                pending &= (1 << left) - 1;
            }
        }
    }
    let incomplete = || RdataError::Invalid {
        text: words.last().map_or_else(String::new, |word| word.text.to_owned()),
        expected,
    };
    if left >= bits { Err(incomplete()) } else { Ok(octets) }
}

/// The octets of a word, its escapes resolved. `None` if an escape is wrong.
pub(super) fn unescaped(text: &str) -> Option<Vec<u8>> {
    let (mut octets, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let octet = if first == b'\\' { super::name::unescape(&mut rest).ok()? } else { first };
        octets.push(octet);
    }
    Some(octets)
}

/// A word as a character string: its length and its octets.
pub(super) fn string(word: Word<'_>) -> Result<Vec<u8>, RdataError> {
    let fits = |octets: &Vec<u8>| octets.len() <= limits::CHARACTER_STRING_OCTETS;
    let octets = unescaped(word.text).filter(fits);
    let invalid = || RdataError::Invalid {
        text: word.text.chars().take(40).collect(),
        expected: "a text of at most 255 octets",
    };
    let octets = octets.ok_or_else(invalid)?;
    Ok([&[octets.len() as u8][..], &octets].concat())
}
