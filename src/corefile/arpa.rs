//! Address blocks as reverse zones.

use std::net::IpAddr;

use super::value;

/// The reverse zones of a CIDR block. A label of a reverse zone stands for an octet (IPv4) or a
/// nibble (IPv6). If a mask ends within a label, there is a zone for each value that the label has
/// in the block, at most 128 zones. `None` if the text is not a CIDR block.
pub fn reverse_zones(text: &str) -> Option<Vec<String>> {
    let (address, bits) = value::network(text)?;
    let bits = u32::from(bits);
    let (value, width, step) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32, 8),
        IpAddr::V6(v6) => (v6.to_bits(), 128, 4),
    };
    let cut = bits.div_ceil(step) * step;
    let network = if bits == 0 { 0 } else { value >> (width - bits) << (cut - bits) };
    let zone = |number: u128| {
        let digits = (0..cut / step).map(|place| number >> (place * step) & ((1 << step) - 1));
        let labels = digits
            .map(|digit| if width == 32 { format!("{digit}.") } else { format!("{digit:x}.") });
        labels.collect::<String>() + if width == 32 { "in-addr.arpa." } else { "ip6.arpa." }
    };
    Some((0..1_u128 << (cut - bits)).map(|low| zone(network | low)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_blocks_are_cut_at_labels() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(reverse_zones(text).unwrap_or_default(), expected, "{text}");
        };
        check("10.0.0.0/8", &["10.in-addr.arpa."]);
        check("10.9.8.7/8", &["10.in-addr.arpa."]);
        check("192.168.1.0/24", &["1.168.192.in-addr.arpa."]);
        check("192.0.2.1/32", &["1.2.0.192.in-addr.arpa."]);
        check("192.0.2.6/31", &["6.2.0.192.in-addr.arpa.", "7.2.0.192.in-addr.arpa."]);
        check("0.0.0.0/0", &["in-addr.arpa."]);
        check("fd00::/8", &["d.f.ip6.arpa."]);
        check("fd00::/7", &["c.f.ip6.arpa.", "d.f.ip6.arpa."]);
        check("::/0", &["ip6.arpa."]);
        check("10.0.0.0/33", &[]);
        check("10.0.0.0/+8", &[]);
        check("cluster.local", &[]);
    }

    #[test]
    fn a_mask_within_a_label_gives_a_zone_for_each_of_its_values() {
        let check = |text: &str, count: usize, first: &str, last: &str| {
            let zones = reverse_zones(text).unwrap();
            assert_eq!(
                (zones.len(), &*zones[0], &**zones.last().unwrap()),
                (count, first, last),
                "{text}"
            );
        };
        check("10.0.0.0/21", 8, "0.0.10.in-addr.arpa.", "7.0.10.in-addr.arpa.");
        check("10.96.0.0/12", 16, "96.10.in-addr.arpa.", "111.10.in-addr.arpa.");
        check("192.0.2.32/27", 32, "32.2.0.192.in-addr.arpa.", "63.2.0.192.in-addr.arpa.");
        check("10.0.0.0/9", 128, "0.10.in-addr.arpa.", "127.10.in-addr.arpa.");
        check("2001:db8::/33", 8, "0.8.b.d.0.1.0.0.2.ip6.arpa.", "7.8.b.d.0.1.0.0.2.ip6.arpa.");
        let host = format!("1.{}8.b.d.0.1.0.0.2.ip6.arpa.", "0.".repeat(23));
        check("2001:db8::1/128", 1, &host, &host);
    }
}
