//! Parses the hairpin mode of a node's bridge, kube-proxy's health page and its log.

use serde::Deserialize;

/// A bridge port. In hairpin mode the bridge can send a packet back to the port that it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgePort {
    pub name: String,
    pub bridge: String,
    pub hairpin: bool,
    /// The bridge is in promiscuous mode, so no port needs hairpin mode (kubelet's
    /// `promiscuous-bridge`).
    pub promiscuous: bool,
}

/// The content of kube-proxy's `/healthz`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    pub last_updated: String,
    pub current_time: String,
    /// `None` for releases before 1.33, which show it only in the HTTP status.
    pub healthy: Option<bool>,
}

impl BridgePort {
    /// Whether Pods are connected to it, by the usual bridge names of CNI plugins and kubelet.
    pub fn is_of_pods(&self) -> bool {
        ["cni", "cbr", "docker", "kube", "weave"].iter().any(|name| self.bridge.starts_with(name))
    }
}

/// Parses `bridge -d link`, which prints a line for each port and its flags on the next line, and
/// `ip -d link show type bridge`, which shows PROMISC.
pub(super) fn bridge(text: &str, ports: &mut Vec<BridgePort>) -> bool {
    let before = ports.len();
    let mut port = None;
    let promiscuous =
        text.lines().any(|line| line.contains("PROMISC") && !line.contains(" master "));
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |word: &str| {
            words
                .iter()
                .position(|it| *it == word)
                .and_then(|at| words.get(at + 1))
                .map(|it| (*it).to_owned())
        };
        if let (true, Some(bridge)) =
            (line.starts_with(|ch: char| ch.is_ascii_digit()), after("master"))
        {
            let name = words
                .get(1)
                .map_or("", |word| word.trim_end_matches(':').split('@').next().unwrap_or(word));
            port = Some((name.to_owned(), bridge));
        } else if let Some(state) = after("hairpin")
            && let Some((name, bridge)) = port.take()
        {
            ports.push(BridgePort { name, bridge, hairpin: state == "on", promiscuous });
        }
    }
    ports.len() > before
}

pub(super) fn health(text: &str, found: &mut Option<Health>) -> bool {
    let line = text.lines().find(|line| line.contains("\"lastUpdated\""));
    let read = line.and_then(|line| serde_json::from_str(line.trim()).ok());
    let is_there = read.is_some();
    *found = read.or_else(|| found.take());
    is_there
}

/// Collects klog's error lines: `E1125 01:02:03.000000       1 proxier.go:…] …`.
pub(super) fn errors(text: &str, errors: &mut Vec<String>) -> bool {
    let klog = |line: &str| {
        let mut octets = line.bytes();
        octets.next().is_some_and(|first| b"IWEF".contains(&first))
            && octets.by_ref().take(4).all(|octet| octet.is_ascii_digit())
            && octets.next() == Some(b' ')
    };
    let lines: Vec<&str> = text.lines().filter(|line| line.len() > 20 && klog(line)).collect();
    errors.extend(
        lines.iter().filter(|line| line.starts_with(['E', 'F'])).map(|line| (*line).to_owned()),
    );
    !lines.is_empty()
}
