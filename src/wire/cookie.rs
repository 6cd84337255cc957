//! DNS cookies (RFC 7873). A client that sends a cookie recognizes the genuine reply by it, even if
//! an attacker guesses the id and the port of its query.
//!
//! Server cookies have the form of RFC 9018. ndots creates a new one for each reply. It refuses no
//! query without a cookie, so it never checks one.

use std::{hash::Hasher, net::IpAddr, time::Instant};

/// The random octets that a client chose.
pub type ClientCookie = [u8; 8];

/// The data of a reply's COOKIE option: the client's cookie, and the server's for this client.
pub type Cookie = [u8; 24];

/// The secret and the clock from which server cookies are made.
#[derive(Clone, Copy)]
pub struct CookieSecret {
    key: [u8; 16],
    since: Instant,
    /// The time at `since`, in seconds since 1970.
    unix: u32,
}

impl CookieSecret {
    /// `key` must be unpredictable. `unix` is the time at `since`, in seconds since 1970.
    pub fn new(key: [u8; 16], since: Instant, unix: u32) -> Self {
        Self { key, since, unix }
    }

    /// The cookie of a reply. Its time follows `now`, so later changes of the system clock have no
    /// effect on it.
    pub fn cookie(&self, client: ClientCookie, peer: IpAddr, now: Instant) -> Cookie {
        let passed = now.saturating_duration_since(self.since).as_secs() as u32;
        self.at(client, peer, self.unix.wrapping_add(passed))
    }

    /// Version 1, three reserved octets, the time, and a hash of these, of the client's cookie and
    /// of the client's address (RFC 9018 §4).
    fn at(&self, client: ClientCookie, peer: IpAddr, unix: u32) -> Cookie {
        let mut cookie = [0; 24];
        cookie[..8].copy_from_slice(&client);
        cookie[8] = 1;
        cookie[12..16].copy_from_slice(&unix.to_be_bytes());
        let mut hash = self.hasher();
        hash.write(&cookie[..16]);
        match peer {
            IpAddr::V4(v4) => hash.write(&v4.octets()),
            IpAddr::V6(v6) => hash.write(&v6.octets()),
        }
        cookie[16..].copy_from_slice(&hash.finish().to_le_bytes());
        cookie
    }

    #[expect(
        deprecated,
        reason = "RFC 9018 requires SipHash-2-4; std's other hasher may use any algorithm"
    )]
    fn hasher(&self) -> impl Hasher {
        let [low, high] =
            [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|octet| self.key[at + octet])));
        std::hash::SipHasher::new_with_keys(low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 9018, appendix A.
    #[test]
    fn cookies_are_those_that_other_servers_make() {
        let check = |key: u128, client: u64, peer: &str, unix: u32, expected: u128| {
            #[expect(clippy::disallowed_methods, reason = "any instant will do")]
            let secret = CookieSecret::new(key.to_be_bytes(), Instant::now(), 0);
            let cookie = secret.at(client.to_be_bytes(), peer.parse().unwrap(), unix);
            let expected = [&client.to_be_bytes()[..], &expected.to_be_bytes()].concat();
            assert_eq!(cookie[..], expected, "{peer}");
        };
        let (first, second) =
            (0xe5e9_73e5_a6b2_a43f_48e7_dc84_9e37_bfcf, 0x4455_36bc_d251_3298_075a_5d37_9663_c962);
        check(
            first,
            0x2464_c4ab_cf10_c957,
            "198.51.100.100",
            0x5cf7_9f11,
            0x0100_0000_5cf7_9f11_1f81_30c3_eee2_9480,
        );
        check(
            first,
            0x2464_c4ab_cf10_c957,
            "198.51.100.100",
            0x5cf7_a871,
            0x0100_0000_5cf7_a871_d4a5_64a1_442a_ca77,
        );
        check(
            first,
            0xfc93_fc62_807d_db86,
            "203.0.113.203",
            0x5cf7_a9ac,
            0x0100_0000_5cf7_a9ac_f73a_7810_aca2_381e,
        );
        let v6 = "2001:db8:220:1:59de:d0f4:8769:82b8";
        check(
            second,
            0x2268_1ab9_7d52_c298,
            v6,
            0x5cf7_c609,
            0x0100_0000_5cf7_c609_a6bb_79d1_6625_507a,
        );
    }

    #[test]
    fn a_cookie_has_the_time_of_its_query() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let now = Instant::now();
        let secret = CookieSecret::new([7; 16], now, u32::MAX - 1);
        let at = |seconds| {
            secret.cookie(
                [1; 8],
                [192, 0, 2, 1].into(),
                now + std::time::Duration::from_secs(seconds),
            )
        };
        assert_eq!(at(0)[8..16], [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(at(3)[8..16], [1, 0, 0, 0, 0, 0, 0, 1]);
    }
}
