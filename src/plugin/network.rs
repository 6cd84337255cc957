//! Address blocks that clients are compared with.

use std::{net::IpAddr, str::FromStr};

/// An address block, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    /// The bits after the prefix are zero. IPv4 addresses are the last 32 bits.
    first: u128,
    /// Bits of the prefix in an address of this family.
    prefix: u8,
    is_ipv4: bool,
}

/// The error for a text that is not an address block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address block")]
pub(super) struct NotANetwork;

impl Network {
    pub(super) fn new(address: IpAddr, prefix: u8) -> Self {
        let (bits, is_ipv4) = bits(address);
        Self { first: bits & mask(prefix, is_ipv4), prefix, is_ipv4 }
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let (bits, is_ipv4) = bits(address.to_canonical());
        is_ipv4 == self.is_ipv4 && bits & mask(self.prefix, is_ipv4) == self.first
    }
}

/// The address as a number, and whether it is an IPv4 address.
fn bits(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(v4) => (v4.to_bits().into(), true),
        IpAddr::V6(v6) => (v6.to_bits(), false),
    }
}

fn mask(prefix: u8, is_ipv4: bool) -> u128 {
    let width: u8 = if is_ipv4 { 32 } else { 128 };
    u128::MAX.checked_shl(u32::from(width.saturating_sub(prefix))).unwrap_or(0)
}

/// An address block, or one address.
impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) if digits.bytes().all(|octet| octet.is_ascii_digit()) => {
                digits.parse().ok().filter(|prefix: &u8| *prefix <= longest).ok_or(NotANetwork)?
            }
            Some(_) => return Err(NotANetwork),
        };
        Ok(Self::new(address, prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        let check = |network: &str, address: &str, expected| {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network:?}");
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.1.2.3/8", "10.255.0.1", true);
        check("10.0.0.1", "10.0.0.1", true);
        check("10.0.0.1", "10.0.0.2", false);
        check("0.0.0.0/0", "192.0.2.1", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("::/0", "2001:db8::1", true);
        check("::/0", "192.0.2.1", false);
        check("10.0.0.0/8", "::ffff:10.0.0.1", true);
        check("fd00::/8", "fdff::1", true);
        check("fd00::1", "fd00::1", true);
        check("fd00::1", "fd00::2", false);
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "::/129", "a/8"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
