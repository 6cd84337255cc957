//! Keys of server blocks: `dns://example.org:53`, `10.0.0.0/8`, `.`.

use super::{Diagnostics, Span, Token, arpa, words::nearest};

/// One zone of a server block.
#[derive(Clone, Debug)]
pub struct Key {
    /// As it was written, for the reprint.
    pub text: String,
    pub scheme: Scheme,
    /// Presentation form, lower-cased, with its final dot. A CIDR block gives several zones, hence several keys.
    pub zone: String,
    /// Where none is written, the scheme's own.
    pub port: Option<u16>,
    pub span: Span,
}

/// Where a key stands does not make it another key.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (self.scheme, &self.zone, self.port) == (other.scheme, &other.zone, other.port)
    }
}

impl Eq for Key {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Dns,
    Tls,
    Quic,
    Grpc,
    Https,
    Https3,
}

impl Scheme {
    const ALL: [(&'static str, Self); 6] = [
        ("dns", Self::Dns),
        ("tls", Self::Tls),
        ("quic", Self::Quic),
        ("grpc", Self::Grpc),
        ("https", Self::Https),
        ("https3", Self::Https3),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, scheme)| *scheme == self).map_or("", |(name, _)| name)
    }

    /// The port where the key names none; for `dns` the command line may say another.
    pub fn port(self) -> u16 {
        match self {
            Self::Dns => 53,
            Self::Tls | Self::Quic => 853,
            Self::Grpc | Self::Https | Self::Https3 => 443,
        }
    }
}

impl Key {
    /// The keys that a word names, none where it is a mistake.
    pub(super) fn read(token: &Token, diagnostics: &mut Diagnostics) -> Vec<Self> {
        let words = token.text.split(',').filter(|word| !word.is_empty());
        words.flat_map(|word| Self::read_one(word, token, diagnostics)).collect()
    }

    fn read_one(text: &str, token: &Token, diagnostics: &mut Diagnostics) -> Vec<Self> {
        let Some((scheme, rest)) = scheme_of(text, token, diagnostics) else { return Vec::new() };
        let Some((host, port)) = port_of(rest, token, diagnostics) else { return Vec::new() };
        let zones = match arpa::reverse_zones(host) {
            Some(zones) => zones,
            None => match normalized(host) {
                Ok(zone) => vec![zone],
                Err(reason) => {
                    diagnostics.error(token.span, format!("`{host}` is no zone: {reason}"));
                    return Vec::new();
                }
            },
        };
        let key = |zone| Self { text: text.to_owned(), scheme, zone, port, span: token.span };
        let mut keys: Vec<Self> = zones.into_iter().map(key).collect();
        for extra in keys.iter_mut().skip(1) {
            extra.text = with_zone(text, host, &extra.zone);
        }
        if let Some(first) = keys.first_mut().filter(|first| first.zone.ends_with(".arpa.")) {
            first.text = with_zone(text, host, &first.zone);
        }
        keys
    }
}

fn with_zone(text: &str, host: &str, zone: &str) -> String {
    if host.is_empty() { text.to_owned() } else { text.replacen(host, zone, 1) }
}

fn scheme_of<'t>(text: &'t str, token: &Token, diagnostics: &mut Diagnostics) -> Option<(Scheme, &'t str)> {
    let Some((name, rest)) = text.split_once("://") else { return Some((Scheme::Dns, text)) };
    match Scheme::ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        Some((_, scheme)) => Some((*scheme, rest)),
        None => {
            let names: Vec<_> = Scheme::ALL.iter().map(|(name, _)| *name).collect();
            let error = diagnostics.error(token.span, format!("unknown scheme `{name}://`"));
            match nearest(name, &names) {
                Some(near) => error.help(format!("did you mean `{near}://`?")),
                None => error.help(format!("known are: {}", names.join(", "))),
            };
            None
        }
    }
}

/// Splits digits after the last colon off.
fn port_of<'t>(text: &'t str, token: &Token, diagnostics: &mut Diagnostics) -> Option<(&'t str, Option<u16>)> {
    match text.rsplit_once(':') {
        Some((host, digits)) if digits.bytes().all(|digit| digit.is_ascii_digit()) && !host.ends_with(':') => match digits.parse() {
            Ok(port) => Some((host, Some(port))),
            Err(_) if digits.is_empty() => {
                let help = "an environment variable that is not set is empty: check `{$...}`";
                diagnostics.error(token.span, "expected a port after the last colon").help(help);
                None
            }
            Err(_) => {
                diagnostics.error(token.span, format!("`{digits}` is no port: ports are 0 to 65535"));
                None
            }
        },
        _ => Some((text, None)),
    }
}

/// A zone in lower case with its final dot.
pub(super) fn normalized(host: &str) -> Result<String, &'static str> {
    let zone = host.to_ascii_lowercase();
    let zone = if zone.ends_with('.') { zone } else { zone + "." };
    if zone == "." {
        return Ok(zone);
    }
    let labels = || zone.trim_end_matches('.').split('.');
    if zone.len() > 254 {
        Err("it is longer than 255 octets")
    } else if labels().any(|label| label.len() > 63) {
        Err("a label is longer than 63 octets")
    } else if zone.contains("..") || labels().any(str::is_empty) {
        Err("a label is empty")
    } else {
        Ok(zone)
    }
}
