//! Parses `ipvsadm -Sn` and `ipvsadm -Ln`: a line for each virtual server, and one for each real
//! server behind it.

use std::net::IpAddr;

use super::{Endpoint, Endpoints, Frontend, FrontendTarget, Mode, ProxyRules, endpoint_address};

/// A line of the output.
enum Line<'l> {
    Virtual(&'static str, &'l str),
    /// A real server of the virtual server of the last line, or of the one that is named.
    Real {
        of: Option<(&'static str, &'l str)>,
        server: &'l str,
        weight: &'l str,
    },
}

pub(super) fn read(text: &str) -> Option<ProxyRules> {
    let mut frontends: Vec<Frontend> = Vec::new();
    for line in text.lines() {
        match Line::read(line) {
            Some(Line::Virtual(protocol, server)) => {
                let Some((address, port)) = endpoint_address(server) else { continue };
                frontends.push(Frontend {
                    address: Some(address),
                    port,
                    protocol: protocol.to_owned(),
                    to: FrontendTarget::Endpoints(Endpoints::default()),
                });
            }
            // kube-proxy sets the weight of an endpoint that terminates to 0: it gets no new
            // connection, and keeps those that it has.
            Some(Line::Real { weight: "0", .. }) | None => {}
            Some(Line::Real { of, server, .. }) => {
                let place = match of {
                    Some((protocol, server)) => position(&frontends, protocol, server),
                    None => frontends.len().checked_sub(1),
                };
                let frontend = place.and_then(|place| frontends.get_mut(place));
                if let Some(Frontend { to: FrontendTarget::Endpoints(to), .. }) = frontend
                    && let Some((address, port)) = endpoint_address(server)
                {
                    to.endpoints.push(Endpoint { address, port, share: None, hairpin: None });
                }
            }
        }
    }
    (!frontends.is_empty()).then_some(ProxyRules {
        mode: Mode::Ipvs,
        v4: None,
        frontends,
        gaps: Vec::new(),
    })
}

fn position(frontends: &[Frontend], protocol: &str, server: &str) -> Option<usize> {
    let (address, port): (IpAddr, u16) = endpoint_address(server)?;
    frontends
        .iter()
        .position(|it| it.address == Some(address) && it.port == port && it.protocol == protocol)
}

impl<'l> Line<'l> {
    fn read(line: &'l str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |flag: &str| {
            let at = words.iter().position(|word| *word == flag)?;
            words.get(at + 1).copied()
        };
        let protocol = |word: &str| match word {
            "-t" | "TCP" => Some("TCP"),
            "-u" | "UDP" => Some("UDP"),
            "--sctp-service" | "SCTP" => Some("SCTP"),
            _ => None,
        };
        match words[..] {
            ["-A", kind, server, ..] => Some(Self::Virtual(protocol(kind)?, server)),
            ["-a", kind, server, ..] => Some(Self::Real {
                of: Some((protocol(kind)?, server)),
                server: after("-r")?,
                weight: after("-w").unwrap_or("1"),
            }),
            ["->", server, _, weight, ..] => Some(Self::Real { of: None, server, weight }),
            [kind, server, _, ..] if ["TCP", "UDP", "SCTP"].contains(&kind) => {
                Some(Self::Virtual(protocol(kind)?, server))
            }
            _ => None,
        }
    }
}
