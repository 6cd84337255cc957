//! Addresses that may name an interface: `fe80::1%eth0` (RFC 4007 §11).

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// An address as it is written. The zone has a meaning for link-local addresses only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopedAddress {
    pub address: SocketAddr,
    /// The name or the index of an interface of this machine.
    pub zone: Option<String>,
}

/// An interface of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    /// What the system calls its scope id.
    pub index: u32,
}

/// The zone of an address is not an interface of this machine, or a link-local address has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownInterface(pub Option<String>);

impl Interface {
    /// Whether this is the interface of a zone, which is a name or an index.
    pub fn is(&self, zone: &str) -> bool {
        self.name == zone || zone.parse() == Ok(self.index)
    }
}

impl ScopedAddress {
    /// Reads `IP` or `IP%ZONE`, with or without `:PORT`. An IPv6 address with a port is in
    /// brackets. As in CoreDNS, the port may be empty.
    pub fn parse(text: &str, default_port: u16) -> Option<Self> {
        let (host, port) = split_port(text);
        let port = match port {
            None | Some("") => default_port,
            Some(port) => port.parse().ok()?,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let (ip, zone) = host.split_once('%').map_or((host, None), |(ip, zone)| (ip, Some(zone)));
        let ip: IpAddr = ip.parse().ok()?;
        if zone == Some("") {
            return None;
        }
        let zone = zone.map(str::to_owned);
        Some(Self { address: SocketAddr::new(ip.to_canonical(), port), zone })
    }

    /// Whether the address means nothing without an interface.
    pub fn is_link_local(&self) -> bool {
        matches!(self.address.ip(), IpAddr::V6(v6) if v6.is_unicast_link_local())
    }

    /// The address with the index of its interface. The zone of an address that is not link-local
    /// is ignored.
    pub fn resolve(&self, interfaces: &[Interface]) -> Result<SocketAddr, UnknownInterface> {
        let SocketAddr::V6(v6) = self.address else { return Ok(self.address) };
        if !self.is_link_local() {
            return Ok(self.address);
        }
        let zone = self.zone.as_deref().ok_or(UnknownInterface(None))?;
        let found = interfaces.iter().find(|it| it.is(zone));
        let Interface { index, .. } =
            found.ok_or_else(|| UnknownInterface(Some(zone.to_owned())))?;
        Ok(SocketAddrV6::new(*v6.ip(), v6.port(), 0, *index).into())
    }
}

/// Splits `HOST:PORT`, where an IPv6 address is a host only in brackets.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => (host, Some(port)),
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interfaces() -> Vec<Interface> {
        [("lo", 1), ("eth0", 2)]
            .map(|(name, index)| Interface { name: name.to_owned(), index })
            .into()
    }

    #[test]
    fn addresses_are_read_with_ports_brackets_and_zones() {
        let check = |text: &str, expected: Option<&str>| {
            let found = ScopedAddress::parse(text, 53).map(|read| {
                read.resolve(&interfaces()).map_or_else(|e| format!("{e:?}"), |a| a.to_string())
            });
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("192.0.2.1", Some("192.0.2.1:53"));
        check("192.0.2.1:", Some("192.0.2.1:53"));
        check("192.0.2.1:5300", Some("192.0.2.1:5300"));
        check("::ffff:192.0.2.1", Some("192.0.2.1:53"));
        check("2001:db8::1", Some("[2001:db8::1]:53"));
        check("[2001:db8::1]", Some("[2001:db8::1]:53"));
        check("[2001:db8::1]:", Some("[2001:db8::1]:53"));
        check("[2001:db8::1]:5300", Some("[2001:db8::1]:5300"));
        check("fe80::1%eth0", Some("[fe80::1%2]:53"));
        check("fe80::1%2", Some("[fe80::1%2]:53"));
        check("[fe80::1%eth0]", Some("[fe80::1%2]:53"));
        check("[fe80::1%eth0]:5300", Some("[fe80::1%2]:5300"));
        // The zone of a global address has no meaning, and CoreDNS removes it.
        check("2001:db8::1%en0", Some("[2001:db8::1]:53"));
        check("fe80::1%eth7", Some("UnknownInterface(Some(\"eth7\"))"));
        check("fe80::1%7", Some("UnknownInterface(Some(\"7\"))"));
        check("fe80::1", Some("UnknownInterface(None)"));
        for wrong in ["", "fe80::1%", "192.0.2.1:x", "192.0.2", "a.example", "[::1]:70000", "::1%"]
        {
            check(wrong, None);
        }
    }
}
