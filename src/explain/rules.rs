//! The rules of kube-proxy on a node, from the output of `iptables-save`, `nft list ruleset` or
//! `ipvsadm -Sn`. Also the hairpin mode of the bridge (`bridge -d link`), and the health page and
//! log of kube-proxy.

mod iptables;
mod ipvs;
mod nft;
mod node;

use std::net::IpAddr;

use super::checks::Check;

pub(super) use node::{BridgePort, Health};

/// Words in the rules of programs that can take the place of kube-proxy. The iptables mode of Calico
/// and the network policies of kube-router run beside it, so their chains do not count.
const REPLACEMENTS: [(&str, &str); 6] = [
    ("CILIUM_", "Cilium"),
    ("KUBE-ROUTER-SERVICES", "kube-router"),
    ("Pre-approved by BPF programs", "Calico in eBPF mode"),
    ("BPF seen mark", "Calico in eBPF mode"),
    ("ANTREA-NODEPORT-IP", "Antrea"),
    ("OVN-KUBE-NODEPORT", "OVN-Kubernetes"),
];

/// What is known about a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// The sources: `iptables-save of this machine`, or the name of a file. Empty if none was read.
    pub from: Vec<String>,
    /// Why no source was read.
    pub absent: Option<String>,
    /// Whether the rules of this machine should have been read, and could not be.
    pub is_unreadable: bool,
    /// One for each mode and IP family that has rules.
    pub proxies: Vec<ProxyRules>,
    /// The rules of iptables in mode ipvs, one for each IP family. Those of the Services are virtual
    /// servers, which are among `proxies` if `ipvsadm` was read.
    pub beside_ipvs: Vec<ProxyRules>,
    pub bridge: Vec<BridgePort>,
    pub health: Option<Health>,
    /// The error, if kube-proxy's health port did not answer.
    pub silent: Option<String>,
    /// The error lines of kube-proxy's log.
    pub errors: Vec<String>,
    /// The program that does kube-proxy's work on this node, as its chains show: `Cilium`.
    pub replacement: Option<&'static str>,
    /// Whether a complete rule set was among the sources.
    pub has_rule_set: bool,
}

/// The rules of one mode: which connections go to which endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyRules {
    pub mode: Mode,
    /// True for IPv4, false for IPv6, `None` for both.
    pub v4: Option<bool>,
    pub frontends: Vec<Frontend>,
    /// The rules that every connection needs and that are missing: the check, what was
    /// seen, and what was expected.
    pub gaps: Vec<(&'static Check, String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Iptables,
    Nftables,
    Ipvs,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
            Self::Ipvs => "ipvs",
        }
    }
}

/// An address and port that kube-proxy redirects.
#[derive(Clone, Debug, PartialEq)]
pub struct Frontend {
    /// `None` for a node port.
    pub address: Option<IpAddr>,
    pub port: u16,
    /// The protocol in capitals, such as `TCP`.
    pub protocol: String,
    pub to: FrontendTarget,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FrontendTarget {
    Endpoints(Endpoints),
    /// Connections are rejected, because there is no endpoint.
    Rejected,
    /// Connections are dropped, because this node has no endpoint.
    Dropped,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoints {
    pub endpoints: Vec<Endpoint>,
    /// Whether the rule has only the endpoints of this node (traffic policy `Local`).
    pub local: bool,
    /// Whether connections from outside are source-NATed; `None` if the rules do not show it.
    pub masquerade: Option<bool>,
    /// Chains that a rule jumps to and that are empty or missing.
    pub dangling: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
    /// The share of connections, from 0 to 1; `None` if the endpoint is not chosen at random.
    pub share: Option<f64>,
    /// Whether connections of a Pod to itself are source-NATed; `None` if the rules of this mode do
    /// not show it.
    pub hairpin: Option<bool>,
}

impl Rules {
    /// Reads the output of one or several commands.
    ///
    /// # Errors
    /// If `text` has no output of a known command.
    pub fn add(&mut self, from: &str, text: &str) -> Result<(), String> {
        let before = self.proxies.len();
        let saved = iptables::read(text);
        self.proxies.extend(saved.proxies);
        self.beside_ipvs.extend(saved.beside_ipvs);
        self.proxies.extend(nft::read(text));
        self.proxies.extend(ipvs::read(text));
        let known = [
            node::bridge(text, &mut self.bridge),
            node::health(text, &mut self.health),
            node::errors(text, &mut self.errors),
            self.proxies.len() > before,
            iptables::is_save(text),
            nft::is_ruleset(text),
        ];
        if !known.contains(&true) {
            return Err(format!(
                "{from}: the format is unknown; expected the output of iptables-save, nft list ruleset, ipvsadm -Sn or bridge -d link, kube-proxy's /healthz page or its log"
            ));
        }
        self.has_rule_set |= iptables::is_save(text) || nft::is_ruleset(text);
        let replacement = REPLACEMENTS.iter().find(|(chain, _)| text.contains(chain));
        self.replacement = self.replacement.or(replacement.map(|(_, name)| *name));
        self.from.push(from.to_owned());
        Ok(())
    }

    /// Reads the latest log lines of kube-proxy's Pod.
    pub fn add_log(&mut self, text: &str) {
        node::errors(text, &mut self.errors);
    }

    /// Whether kube-proxy's mode is ipvs and its virtual servers are not known.
    pub fn lacks_virtual_servers(&self) -> bool {
        !self.beside_ipvs.is_empty() && !self.proxies.iter().any(|it| it.mode == Mode::Ipvs)
    }

    pub fn was_seen(&self) -> bool {
        !self.from.is_empty()
    }
}

impl ProxyRules {
    /// The rule for an address and port. `None` as the address means a node port.
    pub fn find(&self, address: Option<IpAddr>, port: u16, protocol: &str) -> Option<&Frontend> {
        self.frontends
            .iter()
            .find(|it| it.address == address && it.port == port && it.protocol == protocol)
    }
}

/// `10.0.0.1:80`, `[fd00::1]:80`.
fn endpoint_address(text: &str) -> Option<(IpAddr, u16)> {
    let at: std::net::SocketAddr = text.parse().ok()?;
    Some((at.ip(), at.port()))
}

#[cfg(test)]
mod tests;
