//! What kube-proxy wrote on a node, read from what `iptables-save`, `nft list ruleset` and `ipvsadm
//! -Sn` print, and what else of the node matters: `bridge -d link`, kube-proxy's health page, its
//! log.

mod iptables;
mod ipvs;
mod nft;
mod node;

use std::net::IpAddr;

pub(super) use node::{BridgePort, Health};

/// All that is known of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// `iptables-save of this machine`, a file's name; empty where nothing was looked at.
    pub from: Vec<String>,
    /// Why nothing was looked at.
    pub absent: Option<String>,
    /// One for each mode and family that there are rules of.
    pub proxies: Vec<Proxy>,
    pub bridge: Vec<BridgePort>,
    pub health: Option<Health>,
    /// kube-proxy's port was asked and did not answer.
    pub silent: Option<String>,
    /// Errors of kube-proxy's log.
    pub errors: Vec<String>,
}

/// The rules of one mode, as far as they say where connections go.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    pub mode: Mode,
    /// The family that it rewrites; `None` for both.
    pub v4: Option<bool>,
    pub frontends: Vec<Frontend>,
    /// What all connections pass by, and is not there: id, what was seen, what it should be.
    pub gaps: Vec<(&'static str, String, String)>,
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

/// An address and port that connections are taken from.
#[derive(Clone, Debug, PartialEq)]
pub struct Frontend {
    /// `None` for a port of the node itself.
    pub address: Option<IpAddr>,
    pub port: u16,
    /// `TCP`.
    pub protocol: String,
    pub to: To,
}

#[derive(Clone, Debug, PartialEq)]
pub enum To {
    Endpoints(Endpoints),
    /// Told to go away: there is no endpoint.
    Rejected,
    /// Dropped: no endpoint on this node.
    Dropped,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoints {
    pub endpoints: Vec<Endpoint>,
    /// For connections that come by `Local`: on this node only.
    pub local: bool,
    /// Whether the source of connections from outside is rewritten, where that is seen in the
    /// rules.
    pub masquerade: Option<bool>,
    /// A rule that leads nowhere: what it names.
    pub dangling: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
    /// The part of connections that it gets; `None` where that is not by chance.
    pub share: Option<f64>,
    /// Whether a Pod that is sent to itself has its source rewritten; `None` where the mode does
    /// not say.
    pub hairpin: Option<bool>,
}

impl Rules {
    /// Takes what a command wrote; several may stand one after another.
    ///
    /// # Errors
    /// Where nothing of it is known.
    pub fn add(&mut self, from: &str, text: &str) -> Result<(), String> {
        let before = self.proxies.len();
        self.proxies.extend(iptables::read(text));
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
                "{from}: nothing of iptables-save, nft list ruleset, ipvsadm -Sn, bridge -d link, kube-proxy's /healthz or its log is in it"
            ));
        }
        self.from.push(from.to_owned());
        Ok(())
    }

    /// What kube-proxy's Pod has said lately.
    pub fn add_log(&mut self, text: &str) {
        node::errors(text, &mut self.errors);
    }

    pub fn was_seen(&self) -> bool {
        !self.from.is_empty()
    }
}

impl Proxy {
    /// Where connections to an address, or with `None` to a port of the node, go.
    pub fn find(&self, address: Option<IpAddr>, port: u16, protocol: &str) -> Option<&Frontend> {
        self.frontends
            .iter()
            .find(|it| it.address == address && it.port == port && it.protocol == protocol)
    }
}

/// `10.0.0.1:80`, `[fd00::1]:80`.
fn end(text: &str) -> Option<(IpAddr, u16)> {
    let at: std::net::SocketAddr = text.parse().ok()?;
    Some((at.ip(), at.port()))
}

#[cfg(test)]
mod tests;
