//! Keys of server blocks: `dns://example.org:53`, `10.0.0.0/8`, `.`.

use std::net::IpAddr;

use crate::limits;

use super::{Diagnostics, Scheme, Span, Token, arpa, nearest};

/// One zone of a server block.
#[derive(Clone, Debug)]
pub struct Key {
    pub scheme: Scheme,
    /// In presentation form and lower case, with its final dot. A CIDR block gives several keys,
    /// one for each zone.
    pub zone: String,
    /// The port in the Corefile; see [`Key::port_or`].
    pub port: Option<u16>,
    pub span: Span,
}

/// The position does not count when keys are compared.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (self.scheme, &self.zone, self.port) == (other.scheme, &other.zone, other.port)
    }
}

impl Eq for Key {}

impl Key {
    /// The port to listen on. `dns` is the port of `-dns.port`, for `dns://` keys without a port.
    pub fn port_or(&self, dns: u16) -> u16 {
        self.port
            .unwrap_or_else(|| if self.scheme == Scheme::Dns { dns } else { self.scheme.port() })
    }

    /// The keys in a token, which may have several with commas between them; none after an error.
    pub(super) fn read(token: &Token, diagnostics: &mut Diagnostics) -> Vec<Self> {
        let mut keys = Vec::new();
        for word in token.text.split(',').filter(|word| !word.is_empty()) {
            match read(word, token.span) {
                Ok(read) => {
                    if let Some((scheme, help)) = unknown_scheme(word) {
                        let warning = diagnostics
                            .warning(token.span, format!("unknown scheme `{scheme}://`"));
                        warning.help(help);
                        warning.label("a part of the zone's name, as in CoreDNS");
                    }
                    if read
                        .iter()
                        .any(|key| key.zone.trim_end_matches('.').parse::<IpAddr>().is_ok())
                    {
                        let warning = diagnostics.warning(
                            token.span,
                            "this is read as a zone, not as an address to listen on",
                        );
                        warning.help("`bind` chooses addresses; a reverse zone is written with its mask, as in `10.0.0.0/8`");
                    }
                    keys.extend(read);
                }
                Err(mistake) => {
                    let error = diagnostics.error(token.span, mistake.message);
                    error.help = mistake.help.filter(|_| !error.hidden).map(Into::into);
                }
            }
        }
        keys
    }
}

struct Mistake {
    message: String,
    help: Option<String>,
}

fn mistake<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Mistake> {
    let help = help.into();
    Err(Mistake { message: message.into(), help: (!help.is_empty()).then_some(help) })
}

fn read(text: &str, span: Span) -> Result<Vec<Key>, Mistake> {
    if text.starts_with('(') && text.ends_with(')') {
        return mistake(
            format!("`{text}` is not a zone"),
            "a snippet is declared by `(name) {` alone on its line",
        );
    }
    let (scheme, rest) = scheme_of(text)?;
    let (host, port) = port_of(rest)?;
    let zones =
        zones(host).or_else(|reason| mistake(format!("`{host}` is not a zone: {reason}"), ""))?;
    Ok(zones.into_iter().map(|zone| Key { scheme, zone, port, span }).collect())
}

fn scheme_of(text: &str) -> Result<(Scheme, &str), Mistake> {
    let Some((name, rest)) = text.split_once("://") else { return Ok((Scheme::Dns, text)) };
    match known_scheme(name) {
        Some(_) if rest.contains("://") => mistake(format!("`{text}` has two schemes"), ""),
        Some(scheme) => Ok((scheme, rest)),
        None => Ok((Scheme::Dns, text)),
    }
}

fn known_scheme(name: &str) -> Option<Scheme> {
    Scheme::all().find(|known| known.name().eq_ignore_ascii_case(name))
}

/// The unknown scheme of a key, and what may be meant.
fn unknown_scheme(text: &str) -> Option<(&str, String)> {
    let (name, _) = text.split_once("://").filter(|(name, _)| known_scheme(name).is_none())?;
    let names: Vec<_> = Scheme::all().map(Scheme::name).collect();
    let help = match nearest(name, &names) {
        Some(near) => format!("did you mean `{near}://`?"),
        None => format!("the known schemes are: {}", names.join(", ")),
    };
    Some((name, help))
}

/// Splits off the port after the last colon.
fn port_of(text: &str) -> Result<(&str, Option<u16>), Mistake> {
    match text.rsplit_once(':') {
        Some((_, "")) => mistake(
            "expected a port after the last colon",
            "write a port after the colon, or leave out the colon",
        ),
        Some((host, digits))
            if digits.bytes().all(|digit| digit.is_ascii_digit()) && !host.ends_with(':') =>
        {
            match digits.parse() {
                Ok(port) => Ok((host, Some(port))),
                Err(_) => mistake(format!("`{digits}` is not a port: ports are 0 to 65535"), ""),
            }
        }
        _ => Ok((text, None)),
    }
}

/// The zones in a text: a name, or the reverse zones of a CIDR block.
pub(super) fn zones(text: &str) -> Result<Vec<String>, &'static str> {
    match text.split_once('/') {
        Some((address, _)) if address.parse::<IpAddr>().is_ok() && !text.ends_with('.') => {
            arpa::reverse_zones(text)
                .ok_or("the mask must be a number up to 32, or up to 128 for IPv6")
        }
        _ => zone(text).map(|zone| vec![zone]),
    }
}

/// A name in lower case with its final dot.
fn zone(text: &str) -> Result<String, &'static str> {
    let name = text.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    if name.is_empty() {
        return Ok(".".to_owned());
    }
    // The wire form of a name has two octets more than `name`: a length octet and the final zero.
    if name.len() + 2 > limits::NAME_OCTETS {
        Err("it is longer than 255 octets")
    } else if name.split('.').any(|label| label.len() > limits::LABEL_OCTETS) {
        Err("a label is longer than 63 octets")
    } else if name.split('.').any(str::is_empty) {
        Err("a label is empty")
    } else if name.contains(|ch: char| ch.is_whitespace() || ch.is_control() || ch == '\u{feff}') {
        Err("it has white space in it")
    } else {
        Ok(format!("{name}."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&[(Scheme, &str, u16)], &str>) {
        let found = read(text, Span::default()).map_err(|mistake| mistake.message);
        let found = found.map(|keys| {
            keys.into_iter()
                .map(|key| (key.scheme, key.zone.clone(), key.port_or(1053)))
                .collect::<Vec<_>>()
        });
        let expected = expected.map(|keys| {
            keys.iter().map(|(scheme, zone, port)| (*scheme, (*zone).to_owned(), *port)).collect()
        });
        assert_eq!(found, expected.map_err(ToOwned::to_owned), "{text}");
    }

    #[test]
    fn keys_have_schemes_zones_and_ports() {
        check(".", Ok(&[(Scheme::Dns, ".", 1053)]));
        check(".:53", Ok(&[(Scheme::Dns, ".", 53)]));
        check(":53", Ok(&[(Scheme::Dns, ".", 53)]));
        check("Example.ORG", Ok(&[(Scheme::Dns, "example.org.", 1053)]));
        check("example.org.:5300", Ok(&[(Scheme::Dns, "example.org.", 5300)]));
        check("dns://a", Ok(&[(Scheme::Dns, "a.", 1053)]));
        check("tls://.", Ok(&[(Scheme::Tls, ".", 853)]));
        check("quic://.", Ok(&[(Scheme::Quic, ".", 853)]));
        check("grpc://.", Ok(&[(Scheme::Grpc, ".", 443)]));
        check("https://a:8443", Ok(&[(Scheme::Https, "a.", 8443)]));
        check("https3://a", Ok(&[(Scheme::Https3, "a.", 443)]));
        check("10.0.0.0/8:53", Ok(&[(Scheme::Dns, "10.in-addr.arpa.", 53)]));
        check(
            "10.0.0.0/15",
            Ok(&[
                (Scheme::Dns, "0.10.in-addr.arpa.", 1053),
                (Scheme::Dns, "1.10.in-addr.arpa.", 1053),
            ]),
        );
        check("2001:db8::/32", Ok(&[(Scheme::Dns, "8.b.d.0.1.0.0.2.ip6.arpa.", 1053)]));
        check("2001:db8::/32:54", Ok(&[(Scheme::Dns, "8.b.d.0.1.0.0.2.ip6.arpa.", 54)]));
        check(
            "0/25.2.0.192.in-addr.arpa",
            Ok(&[(Scheme::Dns, "0/25.2.0.192.in-addr.arpa.", 1053)]),
        );
        check("TLS://a", Ok(&[(Scheme::Tls, "a.", 853)]));
        check("dnss://a:54", Ok(&[(Scheme::Dns, "dnss://a.", 54)]));
        check("a:b", Ok(&[(Scheme::Dns, "a:b.", 1053)]));
    }

    #[test]
    fn bad_keys_are_refused() {
        check("a:", Err("expected a port after the last colon"));
        check("a:65536", Err("`65536` is not a port: ports are 0 to 65535"));
        check("dns://tls://a", Err("`dns://tls://a` has two schemes"));
        check(
            "10.0.0.0/33",
            Err(
                "`10.0.0.0/33` is not a zone: the mask must be a number up to 32, or up to 128 for IPv6",
            ),
        );
        check("a..b", Err("`a..b` is not a zone: a label is empty"));
        check("a b", Err("`a b` is not a zone: it has white space in it"));
        check("(a)", Err("`(a)` is not a zone"));
        let label = |length| "x".repeat(length);
        check(&label(63), Ok(&[(Scheme::Dns, &(label(63) + "."), 1053)]));
        check(
            &label(64),
            Err(&format!("`{}` is not a zone: a label is longer than 63 octets", label(64))),
        );
        let name = [label(63), label(63), label(63)].join(".");
        check(
            &format!("{name}.{}", label(61)),
            Ok(&[(Scheme::Dns, &format!("{name}.{}.", label(61)), 1053)]),
        );
        let long = format!("{name}.{}", label(62));
        check(&long, Err(&format!("`{long}` is not a zone: it is longer than 255 octets")));
    }
}
