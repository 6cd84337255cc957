//! Forms of values that many directives take.

use std::{net::IpAddr, time::Duration};

/// Go's `time.ParseDuration` without signs: `5s`, `1m30s`, `1.5h`, `0`.
///
/// # Errors
/// The error says how to correct the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.bytes().all(|octet| octet.is_ascii_digit()) && !text.is_empty() {
        return Err(format!("a number needs its unit: `{text}s`?"));
    }
    if text.starts_with('-') {
        return Err("a time cannot be negative here".to_owned());
    }
    positive(text.strip_prefix('+').unwrap_or(text))
        .ok_or_else(|| "such as `5s`, `1m30s` or `500ms`".to_owned())
}

/// Prints a duration as Go does: `500ms`, `30s`, `1m30s`, `1h0m0s`.
pub fn go_duration(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if seconds == 0 {
        return match nanos {
            0 => "0s".to_owned(),
            1..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => format!("{}µs", f64::from(nanos) / 1e3),
            _ => format!("{}ms", f64::from(nanos) / 1e6),
        };
    }
    let part = format!("{:09}", nanos);
    let part = part.trim_end_matches('0');
    let dot = if part.is_empty() { "" } else { "." };
    let rest = format!("{}{dot}{part}s", seconds % 60);
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => rest,
        (0, minutes) => format!("{minutes}m{rest}"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
    }
}

fn positive(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let (mut rest, mut nanos) = (text, 0_u64);
    if text.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits =
            rest.find(|ch: char| !ch.is_ascii_digit() && ch != '.').filter(|length| *length > 0)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|ch: char| ch.is_ascii_digit() || ch == '.').unwrap_or(tail.len());
        let scale = UNITS.iter().find(|(name, _)| *name == &tail[..unit])?.1;
        nanos = nanos.checked_add(scaled(number, scale)?)?;
        rest = &tail[unit..];
    }
    Some(Duration::from_nanos(nanos))
}

/// `1.5` times the scale; digits beyond the scale are cut off.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() || part.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: f64 = format!("0.{part}0").parse().ok()?;
    whole.checked_mul(scale)?.checked_add((part * scale as f64) as u64)
}

/// An address block; host bits may be set.
pub(super) fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let plain = bits.bytes().all(|octet| octet.is_ascii_digit());
    Some((address, bits.parse().ok().filter(|bits| plain && *bits <= longest)?))
}

/// `HOST:PORT` with an empty host for every address; IPv6 in brackets.
pub(super) fn is_listen_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_fits = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.contains([':', '[', ']', '/']),
    };
    host_fits && port.bytes().all(|octet| octet.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        let check = |text: &str, nanos: Option<u64>| {
            assert_eq!(duration(text).ok(), nanos.map(Duration::from_nanos), "{text}");
        };
        check("5s", Some(5_000_000_000));
        check("+5s", Some(5_000_000_000));
        check("1m30s", Some(90_000_000_000));
        check("1.5h", Some(5_400_000_000_000));
        check(".5s", Some(500_000_000));
        check("1.s", Some(1_000_000_000));
        check("500ms", Some(500_000_000));
        check("2us", Some(2_000));
        check("2µs", Some(2_000));
        check("3ns", Some(3));
        check("0", Some(0));
        check("0s", Some(0));
        check("2562047h", Some(2_562_047 * 3_600_000_000_000));
        check("99999999999h", None);
        for text in ["5", "s", "", "-5s", "5x", ".s", "1..5s", "5s ", "5s3", "∞s", "+"] {
            check(text, None);
        }
        assert_eq!(duration("30").unwrap_err(), "a number needs its unit: `30s`?");
        assert_eq!(duration("-5s").unwrap_err(), "a time cannot be negative here");
    }

    #[test]
    fn durations_are_printed_as_by_go() {
        let texts = [
            "0s",
            "1ns",
            "1.5µs",
            "500ms",
            "1s",
            "1.5s",
            "30s",
            "1m0s",
            "1m30s",
            "1h0m0s",
            "24h0m0.25s",
        ];
        for text in texts {
            assert_eq!(go_duration(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn networks_and_addresses_are_checked() {
        let check = |text: &str, expected| assert_eq!(network(text).is_some(), expected, "{text}");
        check("10.0.0.0/8", true);
        check("10.0.0.0/33", false);
        check("fd00::/128", true);
        check("fd00::/129", false);
        check("10.0.0.0/+8", false);
        check("10.0.0.0", false);
        let check = |text: &str, expected| assert_eq!(is_listen_address(text), expected, "{text}");
        for text in
            [":8080", "localhost:9153", "0.0.0.0:80", "[::]:8080", "[::1]:0", "host.example:65535"]
        {
            check(text, true);
        }
        for text in
            ["8080", "", ":", ":65536", "::1:80", "[::1]", "[x]:80", "http://x:80", ":+80", ":http"]
        {
            check(text, false);
        }
    }
}
