//! The time in which an X.509 certificate is valid (RFC 5280, section 4.1.2.5).

/// The first and the last second in which it is valid, counted from 1970; `None` if the certificate
/// does not parse.
pub(super) fn read(certificate: &[u8]) -> Option<(i64, i64)> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    let (tag, _, rest) = element(fields)?;
    // The version is absent in certificates of version 1.
    if tag == VERSION {
        fields = rest;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        (_, _, fields) = element(fields)?;
    }
    let (tag, validity, _) = element(fields)?;
    let (first_tag, first, rest) = element(validity)?;
    let (last_tag, last, _) = element(rest)?;
    (tag == SEQUENCE).then_some((time(first_tag, first)?, time(last_tag, last)?))
}

/// The first element of DER: its tag, its content, and what follows.
fn element(text: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = text.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// A UTCTime `YYMMDDhhmmssZ` or a GeneralizedTime `YYYYMMDDhhmmssZ`.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    const UTC_TIME: u8 = 0x17;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = if tag == UTC_TIME {
        let (year, rest) = text.split_at_checked(2)?;
        let year: i64 = year.parse().ok()?;
        (if year < 50 { 2000 + year } else { 1900 + year }, rest)
    } else {
        let (year, rest) = text.split_at_checked(4)?;
        (year.parse().ok()?, rest)
    };
    let number = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (number(0)?, number(2)?);
    let seconds = number(4)? * 3600 + number(6)? * 60 + number(8)?;
    Some(days(year, month, day) * 86_400 + seconds)
}

/// The days since 1970 in the Gregorian calendar. The year begins in March, so that the leap day is
/// its last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let month = (month + 9) % 12;
    365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (month * 306 + 5) / 10
        + day
        - 1
        - 719_468
}

/// The day as `2030-01-31`.
pub(super) fn date(seconds: i64) -> String {
    // As in `days`, a year begins in March. The days count from the first of March of year 0, and
    // an era has 400 years.
    let day = seconds.div_euclid(86_400) + 719_468;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    let year = era * 400 + year + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_the_days_of_the_calendar() {
        for text in ["1970-01-01", "2000-02-29", "2020-02-01", "2049-12-31", "2100-03-01"] {
            let digits = text.replace('-', "");
            let seconds = time(0x18, format!("{digits}235959Z").as_bytes()).unwrap();
            assert_eq!(date(seconds), text);
        }
    }

    #[test]
    fn times_are_seconds_since_1970() {
        for (tag, text, seconds) in [
            (0x17, "700101000000Z", 0),
            (0x17, "000301000000Z", 951_868_800),
            (0x17, "491231235959Z", 2_524_607_999),
            (0x18, "20500101000000Z", 2_524_608_000),
        ] {
            assert_eq!(time(tag, text.as_bytes()), Some(seconds), "{text}");
        }
        for text in ["", "Z", "70010100000Z", "7001010000000", "7x0101000000Z"] {
            assert_eq!(time(0x17, text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn damaged_certificates_have_no_validity() {
        for text in [&b""[..], &[0x30], &[0x30, 0x84, 0xff], &[0x30, 0x80], &[0x30, 2, 0x30, 0]] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
