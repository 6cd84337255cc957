//! Names of addresses: `1.0.96.10.in-addr.arpa` and `….ip6.arpa` (RFC 1035 §3.5, RFC 3596 §2.5).

use std::net::IpAddr;

use crate::wire::Name;

/// The address of a complete reverse name.
pub(super) fn address(name: &Name) -> Option<IpAddr> {
    let labels: Vec<&[u8]> = name.labels().collect();
    let (digits, family) = labels.split_at_checked(labels.len().checked_sub(2)?)?;
    match (family, digits.len()) {
        ([b"in-addr", b"arpa"], 4) => {
            let mut octets = [0; 4];
            for (octet, label) in octets.iter_mut().rev().zip(digits) {
                *octet = std::str::from_utf8(label).ok()?.parse().ok()?;
            }
            Some(octets.into()).filter(|address| Name::reverse(*address) == *name)
        }
        ([b"ip6", b"arpa"], 32) => {
            let mut octets = [0_u8; 16];
            for (at, label) in digits.iter().rev().enumerate() {
                let [nibble] = **label else { return None };
                octets[at / 2] = octets[at / 2] << 4 | char::from(nibble).to_digit(16)? as u8;
            }
            Some(octets.into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_reverse_names_are_addresses() {
        let check = |text: &str, expected: Option<&str>| {
            let address = address(&text.parse().unwrap());
            assert_eq!(address, expected.map(|text| text.parse().unwrap()), "{text}");
        };
        check("1.0.96.10.in-addr.arpa", Some("10.96.0.1"));
        check("0.96.10.in-addr.arpa", None);
        check("01.0.96.10.in-addr.arpa", None);
        check("256.0.96.10.in-addr.arpa", None);
        check("x.1.0.96.10.in-addr.arpa", None);
        check(&Name::reverse("fd00:10:96::a".parse().unwrap()).to_string(), Some("fd00:10:96::a"));
        check("a.ip6.arpa", None);
        check("1.0.96.10.in-addr.example", None);
    }
}
