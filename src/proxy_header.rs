//! The header of the PROXY protocol, versions 1 and 2. A load balancer writes the address of the
//! client into it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Range,
};

/// The header at the beginning of a message or a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// No header.
    Absent,
    Present(Header),
    /// More octets are needed.
    Incomplete,
    Malformed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The address of the client. `None` if the load balancer itself is the client, or if the
    /// header names no IP address.
    pub source: Option<SocketAddr>,
    pub carrier: Carrier,
    /// Octets of the header.
    pub length: usize,
    /// Where the facts of the load balancer stand, which version 2 calls TLVs.
    tlvs: Range<usize>,
}

impl Header {
    /// The facts of the load balancer, each with its type and its length. `None` if there are none,
    /// or if they are malformed. `octets` are those of the header. As in CoreDNS, padding has no
    /// value.
    pub fn tlvs(&self, octets: &[u8]) -> Option<Vec<u8>> {
        let (mut all, mut rest) = (Vec::new(), octets.get(self.tlvs.clone())?);
        while !rest.is_empty() {
            let &[kind, high, low] = rest.first_chunk()?;
            let length = TLV_HEADER + usize::from(u16::from_be_bytes([high, low]));
            let (tlv, tail) = rest.split_at_checked(length)?;
            all.extend_from_slice(if kind == PADDING { &[PADDING, 0, 0] } else { tlv });
            rest = tail;
        }
        (!all.is_empty()).then_some(all)
    }
}

/// The kind of transport between the client and the load balancer, as the header names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Datagrams,
    Stream,
    Unspecified,
    /// The load balancer itself is the client, over any transport.
    Any,
}

/// The first octets of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// A command of version 2. The other one is PROXY, with the number 1.
const LOCAL: u8 = 0;
/// Octets before the addresses in version 2.
const FIXED: usize = 16;
/// Octets of a fact before its value, and the kind of fact that is padding.
const TLV_HEADER: usize = 3;
const PADDING: u8 = 4;
/// The first octets and the longest line of version 1.
const WORD: &[u8] = b"PROXY ";
const LONGEST_LINE: usize = 107;

impl ProxyHeader {
    pub fn read(octets: &[u8]) -> Self {
        let begins = |with: &[u8]| {
            let length = octets.len().min(with.len());
            octets[..length] == with[..length]
        };
        if begins(SIGNATURE) {
            return if octets.len() < FIXED { Self::Incomplete } else { binary(octets) };
        }
        if begins(WORD) {
            return line(octets);
        }
        Self::Absent
    }
}

fn binary(octets: &[u8]) -> ProxyHeader {
    let &[version, family, high, low] =
        octets.get(12..FIXED).and_then(<[u8]>::first_chunk).unwrap_or(&[0; 4]);
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if version >> 4 != 2 || version & 15 > 1 {
        return ProxyHeader::Malformed;
    }
    let Some(addresses) = octets.get(FIXED..length) else { return ProxyHeader::Incomplete };
    // The command LOCAL is a check of the load balancer itself. The family and the addresses of
    // such a header mean nothing, so they may have any value.
    if version & 15 == LOCAL {
        return present(None, Carrier::Any, length);
    }
    let carrier = match family & 15 {
        0 => Carrier::Unspecified,
        1 => Carrier::Stream,
        2 => Carrier::Datagrams,
        _ => return ProxyHeader::Malformed,
    };
    let (source, after) = match family >> 4 {
        1 => (ipv4(addresses), 12),
        2 => (ipv6(addresses), 36),
        // Unspecified, and sockets of the file system.
        0 | 3 => return present(None, carrier, length),
        _ => return ProxyHeader::Malformed,
    };
    match source {
        None => ProxyHeader::Malformed,
        source => {
            let tlvs = FIXED + after..length;
            ProxyHeader::Present(Header { source, carrier, length, tlvs })
        }
    }
}

/// A header without facts.
fn present(source: Option<SocketAddr>, carrier: Carrier, length: usize) -> ProxyHeader {
    ProxyHeader::Present(Header { source, carrier, length, tlvs: length..length })
}

/// The source and the destination, then their ports.
fn ipv4(addresses: &[u8]) -> Option<SocketAddr> {
    let &[a, b, c, d, _, _, _, _, high, low, _, _] = addresses.first_chunk()?;
    Some((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into())
}

fn ipv6(addresses: &[u8]) -> Option<SocketAddr> {
    let source: [u8; 16] = *addresses.first_chunk()?;
    let &[high, low, _, _] = addresses.get(32..)?.first_chunk()?;
    Some((Ipv6Addr::from(source), u16::from_be_bytes([high, low])).into())
}

/// `PROXY TCP4 SOURCE DESTINATION PORT PORT`, or `PROXY UNKNOWN …`.
fn line(octets: &[u8]) -> ProxyHeader {
    let line = octets.get(..LONGEST_LINE).unwrap_or(octets);
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if octets.len() < LONGEST_LINE {
            ProxyHeader::Incomplete
        } else {
            ProxyHeader::Malformed
        };
    };
    let Ok(text) = str::from_utf8(&line[..end]) else { return ProxyHeader::Malformed };
    let words: Vec<_> = text.split(' ').collect();
    let source = match words[..] {
        [_, "UNKNOWN", ..] => return present(None, Carrier::Unspecified, end + 2),
        [_, family @ ("TCP4" | "TCP6"), source, destination, port, _] => {
            let address = |text: &str| {
                text.parse::<IpAddr>()
                    .ok()
                    .filter(|address| address.is_ipv4() == (family == "TCP4"))
            };
            address(source).zip(address(destination)).zip(port.parse().ok())
        }
        _ => None,
    };
    match source {
        Some(((source, _), port)) => {
            present(Some(SocketAddr::new(source, port)), Carrier::Stream, end + 2)
        }
        None => ProxyHeader::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = (addresses.len() as u16).to_be_bytes();
        [SIGNATURE, &[0x20 | command, family], &length, addresses].concat()
    }

    fn source(octets: &[u8]) -> Result<Option<String>, ProxyHeader> {
        match ProxyHeader::read(octets) {
            ProxyHeader::Present(header) => Ok(header.source.map(|source| source.to_string())),
            other => Err(other),
        }
    }

    #[test]
    fn headers_name_the_client() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x34, 0, 53];
        let mut v6 = [0; 36];
        (v6[0], v6[15], v6[33]) = (0xfd, 1, 9);
        let with_more = [&v4[..], b"\x04\0\x01x"].concat();
        let table: &[(Vec<u8>, Option<&str>)] = &[
            (version2(1, 0x11, &v4), Some("192.0.2.1:4660")),
            (version2(1, 0x12, &with_more), Some("192.0.2.1:4660")),
            (version2(1, 0x21, &v6), Some("[fd00::1]:9")),
            (version2(0, 0x11, &v4), None),
            (version2(0, 0x11, &v4[..3]), None),
            (version2(0, 0x22, &[]), None),
            (version2(0, 0xff, &[7; 20]), None),
            (version2(0, 0, &[]), None),
            (version2(1, 0, &[]), None),
            (version2(1, 0x31, &[0; 216]), None),
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 4660 53\r\n".to_vec(), Some("192.0.2.1:4660")),
            (b"PROXY TCP6 fd00::1 fd00::2 9 53\r\n".to_vec(), Some("[fd00::1]:9")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN a b c d\r\n".to_vec(), None),
        ];
        for (header, expected) in table {
            assert_eq!(source(header), Ok(expected.map(str::to_owned)), "{header:?}");
            let ProxyHeader::Present(Header { length, .. }) =
                ProxyHeader::read(&[&header[..], b"query"].concat())
            else {
                panic!("a header")
            };
            assert_eq!(length, header.len());
            for end in 0..header.len() {
                assert_eq!(source(&header[..end]), Err(ProxyHeader::Incomplete), "{end}");
            }
        }
    }

    #[test]
    fn facts_of_the_load_balancer_are_read() {
        let tlvs = |addresses: &[u8], command: u8, facts: &[u8]| {
            let octets = version2(command, 0x11, &[addresses, facts].concat());
            let ProxyHeader::Present(header) = ProxyHeader::read(&octets) else { panic!() };
            header.tlvs(&[&octets[..], b"query"].concat())
        };
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x34, 0, 53];
        let facts = b"\xea\0\x02ab\x04\0\x01x\x03\0\0";
        let read = b"\xea\0\x02ab\x04\0\0\x03\0\0";
        assert_eq!(tlvs(&v4, 1, facts).as_deref(), Some(&read[..]));
        assert_eq!(tlvs(&v4, 1, b""), None);
        assert_eq!(tlvs(&v4, 0, facts), None, "the load balancer itself");
        for malformed in [&b"\xea"[..], b"\xea\0\x02a", b"\x04\0\0\xea\0"] {
            assert_eq!(tlvs(&v4, 1, malformed), None, "{malformed:?}");
        }
    }

    #[test]
    fn other_octets_are_an_absent_or_a_malformed_header() {
        for absent in [&b"\0\x07\x01\0"[..], b"PROXI TCP4", b"\r\n\r\n\r\n", b"proxy tcp4"] {
            assert_eq!(ProxyHeader::read(absent), ProxyHeader::Absent, "{absent:?}");
        }
        let table = [
            version2(2, 0x11, &[0; 12]),
            version2(1, 0x13, &[0; 12]),
            version2(1, 0x41, &[0; 12]),
            version2(1, 0x11, &[0; 11]),
            version2(1, 0x21, &[0; 35]),
            b"PROXY TCP4 fd00::1 192.0.2.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 99999 1\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
            [&b"PROXY TCP4 "[..], &[b'1'; 120]].concat(),
        ];
        for malformed in &table {
            assert_eq!(ProxyHeader::read(malformed), ProxyHeader::Malformed, "{malformed:?}");
        }
    }
}
