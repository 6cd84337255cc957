//! LOC records (RFC 1876 §3): `42 21 54.5 N 71 06 18 W -24m 30m 10m 10m`.

use super::{RdataError, Word};

/// 2³¹ stands for the equator and the prime meridian.
const MIDDLE: i64 = 1 << 31;
/// The lowest altitude, 100,000 m below sea level, in centimetres.
const ALTITUDE: i64 = 10_000_000;

pub(super) fn read(words: &[Word<'_>]) -> Result<Vec<u8>, RdataError> {
    let mut rest = words;
    let latitude = angle(&mut rest, ["N", "S"], 90)?;
    let longitude = angle(&mut rest, ["E", "W"], 180)?;
    let altitude_text = rest.first().map_or("", |word| word.text);
    let altitude = centimetres(&mut rest, None)? + ALTITUDE;
    let size = precision(&mut rest, 100)?;
    let horizontal = precision(&mut rest, 1_000_000)?;
    let vertical = precision(&mut rest, 1000)?;
    if let Some(extra) = rest.first() {
        return Err(RdataError::Extra(extra.text.to_owned()));
    }
    let altitude = u32::try_from(altitude).map_err(|_| invalid(altitude_text, "an altitude"))?;
    let mut rdata = vec![0, size, horizontal, vertical];
    for number in [latitude, longitude, altitude] {
        rdata.extend(number.to_be_bytes());
    }
    Ok(rdata)
}

fn invalid(text: &str, expected: &'static str) -> RdataError {
    RdataError::Invalid { text: text.to_owned(), expected }
}

/// Degrees, minutes, seconds and a direction, in thousandths of a second of arc.
fn angle(words: &mut &[Word<'_>], directions: [&str; 2], degrees: i64) -> Result<u32, RdataError> {
    let (mut sum, mut unit) = (0, 3_600_000);
    loop {
        let (word, rest) = words.split_first().ok_or(RdataError::Missing("a direction"))?;
        *words = rest;
        let position = directions.iter().position(|name| name.eq_ignore_ascii_case(word.text));
        if let Some(position) = position {
            let signed = if position == 0 { sum } else { -sum };
            let fits = sum <= degrees * 3_600_000;
            let number = u32::try_from(MIDDLE + signed).ok().filter(|_| fits);
            return number.ok_or_else(|| invalid(word.text, "a position on the earth"));
        }
        let thousandths = decimal(word.text, 3).filter(|_| unit > 0);
        let thousandths = thousandths.ok_or_else(|| invalid(word.text, "a part of a position"))?;
        sum += thousandths * unit / 1000;
        unit = if unit > 1000 { unit / 60 } else { 0 };
    }
}

/// Reads a distance in metres, with at most two decimals, and an optional `m`. Returns centimetres.
fn centimetres(words: &mut &[Word<'_>], default: Option<i64>) -> Result<i64, RdataError> {
    let Some((word, rest)) = words.split_first() else {
        return default.ok_or(RdataError::Missing("an altitude"));
    };
    *words = rest;
    let number = word.text.strip_suffix(['m', 'M']).unwrap_or(word.text);
    let (sign, digits) = number.strip_prefix('-').map_or((1, number), |rest| (-1, rest));
    let centimetres = decimal(digits, 2).map(|number| sign * number);
    centimetres.ok_or_else(|| invalid(word.text, "a distance in metres"))
}

/// A distance in centimetres: the upper four bits are the digit, the lower four the power of ten.
fn precision(words: &mut &[Word<'_>], default: i64) -> Result<u8, RdataError> {
    let text = words.first().map_or("", |word| word.text);
    let mut mantissa = centimetres(words, Some(default))?;
    let mut exponent = 0;
    while mantissa > 9 {
        (mantissa, exponent) = (mantissa / 10, exponent + 1);
    }
    let fits = (0..=9).contains(&mantissa) && exponent <= 9;
    fits.then_some((mantissa as u8) << 4 | exponent)
        .ok_or_else(|| invalid(text, "a size of 0 to 90000000 metres"))
}

/// A decimal number, times ten to the number of `decimals`.
fn decimal(text: &str, decimals: usize) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > decimals {
        return None;
    }
    format!("{whole}{fraction:0<decimals$}").parse().ok().filter(|number| *number < 1 << 40)
}
