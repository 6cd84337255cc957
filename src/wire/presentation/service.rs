//! Parameters of SVCB and HTTPS records (RFC 9460 §2.1).

use std::collections::BTreeMap;

use super::{RdataError, Word, base};

const NAMES: &[(&str, u16)] = &[
    ("mandatory", 0),
    ("alpn", 1),
    ("no-default-alpn", 2),
    ("port", 3),
    ("ipv4hint", 4),
    ("ech", 5),
    ("ipv6hint", 6),
    ("dohpath", 7),
    ("ohttp", 8),
    ("tls-supported-groups", 9),
];

/// Appends the parameters in ascending order of their keys.
pub(super) fn read(words: &[Word<'_>], out: &mut Vec<u8>) -> Result<(), RdataError> {
    let mut parameters = BTreeMap::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let invalid = |expected| RdataError::Invalid { text: word.text.to_owned(), expected };
        let (name, value) = match word.text.split_once('=') {
            // The quoted value is a word of its own.
            Some((name, "")) => (name, rest.next().map_or("", |value| value.text)),
            Some((name, value)) => (name, value),
            None => (word.text, ""),
        };
        let key = key(name).ok_or_else(|| invalid("a parameter such as `alpn=h2`"))?;
        let data = data(key, value.trim_matches('"'));
        let data = data.ok_or_else(|| invalid("a valid parameter of a service"))?;
        if parameters.insert(key, data).is_some() {
            return Err(invalid("used once only"));
        }
    }
    for (key, data) in parameters {
        out.extend(key.to_be_bytes());
        out.extend(u16::try_from(data.len()).map_err(|_| RdataError::TooLong)?.to_be_bytes());
        out.extend(data);
    }
    Ok(())
}

fn key(name: &str) -> Option<u16> {
    let known = NAMES.iter().find(|(known, _)| *known == name).map(|(_, key)| *key);
    known.or_else(|| name.strip_prefix("key")?.parse().ok())
}

fn data(key: u16, value: &str) -> Option<Vec<u8>> {
    let items = || value.split(',').filter(|item| !item.is_empty());
    match key {
        0 => {
            let mut keys = items().map(self::key).collect::<Option<Vec<_>>>()?;
            keys.sort_unstable();
            Some(keys.into_iter().flat_map(u16::to_be_bytes).collect())
        }
        1 => protocols(value),
        2 | 8 => value.is_empty().then(Vec::new),
        3 => value.parse::<u16>().ok().map(|port| port.to_be_bytes().to_vec()),
        4 => items()
            .map(|item| item.parse::<std::net::Ipv4Addr>().ok())
            .collect::<Option<Vec<_>>>()
            .map(|hints| hints.iter().flat_map(std::net::Ipv4Addr::octets).collect()),
        5 => base::base64(&[Word { text: value, quoted: true }]).ok(),
        6 => items()
            .map(|item| item.parse::<std::net::Ipv6Addr>().ok())
            .collect::<Option<Vec<_>>>()
            .map(|hints| hints.iter().flat_map(std::net::Ipv6Addr::octets).collect()),
        9 => items()
            .map(|item| item.parse().ok().map(u16::to_be_bytes))
            .collect::<Option<Vec<_>>>()
            .map(|groups| groups.concat()),
        _ => base::unescaped(value),
    }
}

/// Names of protocols, separated by commas. An escaped comma belongs to a name, and is escaped
/// twice: once for the list and once for the text (RFC 9460 §A.1).
fn protocols(value: &str) -> Option<Vec<u8>> {
    let octets = base::unescaped(value)?;
    let (mut items, mut escaped) = (vec![Vec::new()], false);
    for octet in octets {
        match octet {
            b'\\' if !escaped => {
                escaped = true;
                continue;
            }
            b',' if !escaped => items.push(Vec::new()),
            other => items.last_mut()?.push(other),
        }
        escaped = false;
    }
    let mut data = Vec::new();
    for item in items {
        data.push(u8::try_from(item.len()).ok().filter(|length| *length > 0)?);
        data.extend(item);
    }
    Some(data)
}
