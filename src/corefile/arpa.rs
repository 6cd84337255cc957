//! Address blocks as reverse zones.

use std::net::IpAddr;

/// The reverse zones of a CIDR block: masks between the octets (IPv4) or nibbles (IPv6) that zones are cut at give the zones
/// at the next longer cut. `None` for what is no CIDR block.
pub fn reverse_zones(text: &str) -> Option<Vec<String>> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits): (IpAddr, u32) = (address.parse().ok()?, bits.parse().ok()?);
    let (value, width, step) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32, 8),
        IpAddr::V6(v6) => (v6.to_bits(), 128, 4),
    };
    if bits > width {
        return None;
    }
    let cut = bits.div_ceil(step) * step;
    let network = if bits == 0 { 0 } else { value >> (width - bits) << (cut - bits) };
    let zone = |number: u128| {
        let digits = (0..cut / step).map(|place| number >> (place * step) & ((1 << step) - 1));
        let labels = digits.map(|digit| if width == 32 { format!("{digit}.") } else { format!("{digit:x}.") });
        labels.collect::<String>() + if width == 32 { "in-addr.arpa." } else { "ip6.arpa." }
    };
    Some((0..1_u128 << (cut - bits)).map(|low| zone(network | low)).collect())
}
