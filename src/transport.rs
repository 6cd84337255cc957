//! What carries DNS messages: one table entry for each scheme of a server block, and one for each
//! transport.
//!
//! The Corefile's keys, listeners, TLS, metrics and the DNS client take names, ports, ALPN and
//! encryption from here.

/// The scheme of a server block's key, as in `tls://example.org:853`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// DNS over UDP and TCP (RFC 1035).
    Dns,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS (RFC 8484).
    Https,
    /// DNS over QUIC (RFC 9250).
    Quic,
    /// DNS over gRPC, CoreDNS's own protocol.
    Grpc,
    /// DNS over HTTPS with HTTP/3 (RFC 9114).
    Https3,
}

/// Whether the messages of a scheme are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    Never,
    /// If the server block has a certificate, as in CoreDNS.
    Optional,
    Always,
}

/// The sockets that a listener opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sockets {
    UdpAndTcp,
    Tcp,
    Udp,
}

impl Sockets {
    /// Whether both open a socket of the same kind.
    pub fn meet(self, other: Self) -> bool {
        self == other || self == Self::UdpAndTcp || other == Self::UdpAndTcp
    }
}

struct SchemeEntry {
    scheme: Scheme,
    name: &'static str,
    port: u16,
    encryption: Encryption,
    /// Protocol names of ALPN (RFC 7301), the preferred one first.
    alpn: &'static [&'static [u8]],
    sockets: Sockets,
    /// What a query arrives over, unless it is a UDP datagram of the scheme `dns`.
    transport: Transport,
}

/// In the order of [`Scheme`].
const SCHEMES: [SchemeEntry; 6] = [
    SchemeEntry {
        scheme: Scheme::Dns,
        name: "dns",
        port: 53,
        encryption: Encryption::Never,
        alpn: &[],
        sockets: Sockets::UdpAndTcp,
        transport: Transport::Tcp,
    },
    SchemeEntry {
        scheme: Scheme::Tls,
        name: "tls",
        port: 853,
        encryption: Encryption::Optional,
        alpn: &[b"dot"],
        sockets: Sockets::Tcp,
        transport: Transport::Tls,
    },
    SchemeEntry {
        scheme: Scheme::Https,
        name: "https",
        port: 443,
        encryption: Encryption::Optional,
        alpn: &[b"h2", b"http/1.1"],
        sockets: Sockets::Tcp,
        transport: Transport::Https,
    },
    SchemeEntry {
        scheme: Scheme::Quic,
        name: "quic",
        port: 853,
        encryption: Encryption::Always,
        alpn: &[b"doq"],
        sockets: Sockets::Udp,
        transport: Transport::Quic,
    },
    SchemeEntry {
        scheme: Scheme::Grpc,
        name: "grpc",
        port: 443,
        encryption: Encryption::Optional,
        alpn: &[b"h2"],
        sockets: Sockets::Tcp,
        transport: Transport::Grpc,
    },
    SchemeEntry {
        scheme: Scheme::Https3,
        name: "https3",
        port: 443,
        encryption: Encryption::Always,
        alpn: &[b"h3"],
        sockets: Sockets::Udp,
        transport: Transport::Https3,
    },
];

impl Scheme {
    const fn entry(self) -> &'static SchemeEntry {
        &SCHEMES[self as usize]
    }

    pub fn all() -> impl Iterator<Item = Self> {
        SCHEMES.iter().map(|entry| entry.scheme)
    }

    /// The name in the Corefile, without `://`.
    pub const fn name(self) -> &'static str {
        self.entry().name
    }

    /// The default port.
    pub const fn port(self) -> u16 {
        self.entry().port
    }

    pub const fn encryption(self) -> Encryption {
        self.entry().encryption
    }

    /// Protocol names of ALPN (RFC 7301), the preferred one first.
    pub const fn alpn(self) -> &'static [&'static [u8]] {
        self.entry().alpn
    }

    /// The sockets of a listener.
    pub const fn sockets(self) -> Sockets {
        self.entry().sockets
    }

    /// What a query arrives over, unless it is a UDP datagram of the scheme `dns`.
    pub const fn transport(self) -> Transport {
        self.entry().transport
    }
}

/// What a DNS message travels over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    Https,
    Quic,
    Grpc,
    Https3,
}

/// How a transport delimits messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A message is a datagram, so its size is limited.
    Datagram,
    /// Messages follow each other on a connection, each behind its length (RFC 1035 §4.2.2). A zone
    /// transfer is many of them, and EDNS tells how long the connection is kept (RFC 7828).
    Length,
    /// A request holds one message and its response another one.
    Request,
}

struct TransportEntry {
    transport: Transport,
    scheme: Scheme,
    /// The name in a nameserver's address on the command line.
    name: &'static str,
    /// The label `proto` of CoreDNS's metrics, which names the layer below the encryption.
    proto: &'static str,
    framing: Framing,
}

/// In the order of [`Transport`].
const TRANSPORTS: [TransportEntry; 7] = [
    TransportEntry {
        transport: Transport::Udp,
        scheme: Scheme::Dns,
        name: "udp",
        proto: "udp",
        framing: Framing::Datagram,
    },
    TransportEntry {
        transport: Transport::Tcp,
        scheme: Scheme::Dns,
        name: "tcp",
        proto: "tcp",
        framing: Framing::Length,
    },
    TransportEntry {
        transport: Transport::Tls,
        scheme: Scheme::Tls,
        name: "tls",
        proto: "tcp",
        framing: Framing::Length,
    },
    TransportEntry {
        transport: Transport::Https,
        scheme: Scheme::Https,
        name: "https",
        proto: "tcp",
        framing: Framing::Request,
    },
    TransportEntry {
        transport: Transport::Quic,
        scheme: Scheme::Quic,
        name: "quic",
        proto: "udp",
        framing: Framing::Request,
    },
    TransportEntry {
        transport: Transport::Grpc,
        scheme: Scheme::Grpc,
        name: "grpc",
        proto: "tcp",
        framing: Framing::Request,
    },
    TransportEntry {
        transport: Transport::Https3,
        scheme: Scheme::Https3,
        name: "https3",
        proto: "udp",
        framing: Framing::Request,
    },
];

impl Transport {
    const fn entry(self) -> &'static TransportEntry {
        &TRANSPORTS[self as usize]
    }

    pub fn all() -> impl Iterator<Item = Self> {
        TRANSPORTS.iter().map(|entry| entry.transport)
    }

    /// The scheme that this transport serves: `dns` for UDP and TCP.
    pub const fn scheme(self) -> Scheme {
        self.entry().scheme
    }

    /// The name in a nameserver's address, as in `tcp://10.96.0.10`.
    pub const fn address_scheme(self) -> &'static str {
        self.entry().name
    }

    /// `udp` or `tcp`: the label of CoreDNS's metrics and logs, which name the layer below the
    /// encryption.
    pub const fn proto(self) -> &'static str {
        self.entry().proto
    }

    pub const fn framing(self) -> Framing {
        self.entry().framing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stand_at_the_index_of_their_variant() {
        for scheme in Scheme::all() {
            assert_eq!(scheme.entry().scheme, scheme);
        }
        for transport in Transport::all() {
            assert_eq!(transport.entry().transport, transport);
        }
    }

    #[test]
    fn the_transport_of_a_scheme_belongs_to_it() {
        for scheme in Scheme::all() {
            assert_eq!(scheme.transport().scheme(), scheme);
        }
    }
}
