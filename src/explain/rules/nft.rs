//! Parses `nft list ruleset` with the rules of kube-proxy's mode nftables.

use std::{collections::BTreeMap, net::IpAddr};

use crate::explain::checks::{self, Check};

use super::{Endpoint, Endpoints, Frontend, FrontendTarget, Mode, ProxyRules, endpoint_address};

/// The chain that marks packets for source NAT, in Kubernetes before 1.31.
const MARK_CHAIN: &str = "mark-for-masquerade";

/// Whether the text has the output of `nft list ruleset`.
pub(super) fn is_ruleset(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("table ") && line.trim_end().ends_with('{'))
}

/// The rules of each IP family whose table is not empty.
pub(super) fn read(text: &str) -> Vec<ProxyRules> {
    let mut proxies = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let v4 = match line.trim_end() {
            "table ip kube-proxy {" => true,
            "table ip6 kube-proxy {" => false,
            _ => continue,
        };
        let table = Table::read(&mut lines);
        let proxy = table.proxy(v4);
        // A single-stack cluster has an empty table for the other family.
        if v4 || !proxy.frontends.is_empty() {
            proxies.push(proxy);
        }
    }
    proxies
}

/// The statements of chains, maps and sets, by `chain NAME`. A statement can span lines.
#[derive(Default)]
struct Table(BTreeMap<String, Vec<String>>);

impl Table {
    fn read<'t>(lines: &mut impl Iterator<Item = &'t str>) -> Self {
        let mut table = Self::default();
        let (mut current, mut statement, mut depth) = (None, String::new(), 0_i32);
        for line in lines.map(str::trim) {
            if current.is_none() {
                if line == "}" {
                    break;
                }
                current = line.strip_suffix(" {").map(str::to_owned);
                continue;
            }
            if depth == 0 && line == "}" {
                // A chain without statements still exists.
                table.0.entry(current.take().unwrap_or_default()).or_default();
                continue;
            }
            depth += line.matches('{').count() as i32 - line.matches('}').count() as i32;
            if !statement.is_empty() {
                statement.push(' ');
            }
            statement.push_str(line);
            if depth <= 0 {
                depth = 0;
                let name = current.clone().unwrap_or_default();
                table.0.entry(name).or_default().push(std::mem::take(&mut statement));
            }
        }
        table
    }

    fn chain(&self, name: &str) -> &[String] {
        self.0.get(&format!("chain {name}")).map(Vec::as_slice).unwrap_or_default()
    }

    /// The elements of a map or set: the key, and the value after the colon.
    fn elements(&self, kind: &str, name: &str) -> Vec<(String, String)> {
        let statements =
            self.0.get(&format!("{kind} {name}")).map(Vec::as_slice).unwrap_or_default();
        let text = statements.iter().find_map(|statement| statement.strip_prefix("elements = "));
        text.map(braced).unwrap_or_default()
    }

    fn proxy(&self, v4: bool) -> ProxyRules {
        let mut frontends = Vec::new();
        for (map, of_node) in [
            ("no-endpoint-services", false),
            ("no-endpoint-nodeports", true),
            ("service-ips", false),
            ("service-nodeports", true),
        ] {
            for (key, verdict) in self.elements("map", map) {
                let mut words = key.split(" . ").map(str::trim);
                let address =
                    if of_node { None } else { words.next().and_then(|text| text.parse().ok()) };
                let (Some(protocol), Some(port)) =
                    (words.next(), words.next().and_then(|text| text.parse().ok()))
                else {
                    continue;
                };
                if address.is_none() && !of_node {
                    continue;
                }
                let to = match verdict.split_whitespace().collect::<Vec<_>>()[..] {
                    ["drop", ..] => FrontendTarget::Dropped,
                    [_, "reject-chain", ..] => FrontendTarget::Rejected,
                    [_, chain, ..] => self.follow(chain),
                    _ => continue,
                };
                frontends.push(Frontend {
                    address,
                    port,
                    protocol: protocol.to_ascii_uppercase(),
                    to,
                });
            }
        }
        ProxyRules { mode: Mode::Nftables, v4: Some(v4), frontends, gaps: self.gaps() }
    }

    fn follow(&self, chain: &str) -> FrontendTarget {
        let mut to = Endpoints::default();
        let mut chain = chain.to_owned();
        if chain.starts_with("external-") {
            let rules = self.chain(&chain);
            to.masquerade = Some(rules.iter().any(|rule| marks(rule)));
            match rules
                .iter()
                .find_map(|rule| rule.strip_prefix("goto ")?.split_whitespace().next())
            {
                Some(next) => {
                    to.local = next.starts_with("local-");
                    chain = next.to_owned();
                }
                None => {
                    to.dangling.push(if rules.is_empty() {
                        chain
                    } else {
                        format!("{chain} (it goes on nowhere)")
                    });
                    return FrontendTarget::Endpoints(to);
                }
            }
        }
        self.service(&chain, &mut to);
        FrontendTarget::Endpoints(to)
    }

    fn service(&self, chain: &str, to: &mut Endpoints) {
        if !self.0.contains_key(&format!("chain {chain}")) {
            to.dangling.push(chain.to_owned());
        }
        for rule in self.chain(chain) {
            let Some((_, chosen)) = rule.split_once("numgen random mod ") else {
                // Some releases do not choose at random if there is only one endpoint.
                to.endpoints.extend(dnat(rule).map(|(address, port)| Endpoint {
                    address,
                    port,
                    share: Some(1.0),
                    hairpin: self.has_hairpin(chain, address),
                }));
                continue;
            };
            let Some(of) =
                chosen.split_whitespace().next().and_then(|text| text.parse::<f64>().ok())
            else {
                continue;
            };
            let text = chosen.find('{').map_or("", |at| &chosen[at..]);
            for (_, value) in braced(text) {
                let way =
                    value.strip_prefix("goto ").and_then(|rest| rest.split_whitespace().next());
                let found = match way {
                    Some(way) => self.chain(way).iter().find_map(|rule| dnat(rule)).ok_or(way),
                    None => value
                        .rsplit_once(" . ")
                        .and_then(|(address, port)| {
                            Some((address.trim().parse().ok()?, port.trim().parse().ok()?))
                        })
                        .ok_or(&*value),
                };
                match found {
                    Ok((address, port)) => to.endpoints.push(Endpoint {
                        address,
                        port,
                        share: Some(1.0 / of),
                        hairpin: self.has_hairpin(way.unwrap_or(chain), address),
                    }),
                    Err(dangling) => to.dangling.push(dangling.to_owned()),
                }
            }
        }
    }

    /// Whether packets of a Pod to itself are source-NATed. Kubernetes before 1.31 has a rule for it
    /// in the chain of each endpoint, and later releases have a set of addresses.
    fn has_hairpin(&self, chain: &str, address: IpAddr) -> Option<bool> {
        const SET: &str = "hairpin-connections";
        if self.0.contains_key(&format!("set {SET}")) {
            let connections = self.elements("set", SET);
            let mut sources =
                connections.iter().filter_map(|(key, _)| key.split(" . ").next()?.parse().ok());
            return Some(sources.any(|source: IpAddr| source == address));
        }
        let source = format!("saddr {address} ");
        Some(self.chain(chain).iter().any(|rule| rule.contains(&source) && marks(rule)))
    }

    fn gaps(&self) -> Vec<(&'static Check, String, String)> {
        let mut gaps = Vec::new();
        let has =
            |chain: &str, words: &str| self.chain(chain).iter().any(|rule| rule.contains(words));
        let mut gap = |check: &'static Check, saw: &str, want: &str| {
            gaps.push((check, saw.to_owned(), want.to_owned()));
        };
        for hook in ["nat-prerouting", "nat-output"] {
            if !has(hook, "jump services") {
                gap(
                    checks::PROXY_HOOK,
                    &format!("chain {hook} does not jump to services"),
                    "kube-proxy's rules at the hook",
                );
            }
        }
        for map in ["service-ips", "service-nodeports"] {
            if !has("services", &format!("vmap @{map}")) {
                gap(
                    checks::PROXY_HOOK,
                    &format!("chain services does not look into map {map}"),
                    "vmap @service-ips and vmap @service-nodeports",
                );
            }
        }
        // Kubernetes before 1.31 has a rule of its own for each step: packets without the mark
        // return, the mark is removed, and the packet is masqueraded.
        let masquerades = self
            .chain("masquerading")
            .iter()
            .any(|rule| rule.contains("masquerade") && !rule.contains("@hairpin-connections"));
        if !has("nat-postrouting", "jump masquerading") || !masquerades {
            gap(
                checks::PROXY_POSTROUTING,
                "no chain of kube-proxy masquerades marked packets",
                "chain masquerading, and nat-postrouting that jumps to it",
            );
        }
        if self.0.contains_key(&format!("chain {MARK_CHAIN}")) && !has(MARK_CHAIN, "mark set") {
            gap(
                checks::PROXY_MARK,
                &format!("chain {MARK_CHAIN} does not set a mark"),
                "meta mark set: only marked packets are masqueraded",
            );
        }
        if !self.elements("set", "hairpin-connections").is_empty()
            && !has("masquerading", "@hairpin-connections masquerade")
        {
            gap(
                checks::PROXY_HAIRPIN_MARK,
                "packets of a Pod to itself are not masqueraded",
                "a rule of chain masquerading for @hairpin-connections",
            );
        }
        gaps
    }
}

/// Whether the rule marks packets for source NAT.
fn marks(rule: &str) -> bool {
    rule.contains("meta mark set") || rule.contains(&format!("jump {MARK_CHAIN}"))
}

/// The endpoint to which a rule sends all connections.
fn dnat(rule: &str) -> Option<(IpAddr, u16)> {
    endpoint_address(rule.split_once("dnat to ")?.1.split_whitespace().next()?)
}

/// The elements between braces, which commas separate: `KEY` or `KEY : VALUE`, without comments.
fn braced(text: &str) -> Vec<(String, String)> {
    let inside = text.trim().trim_start_matches('{').split('}').next().unwrap_or_default();
    let element = |element: &str| {
        let element = element.split(" comment ").next().unwrap_or(element).trim();
        let (key, value) = element.split_once(" : ").unwrap_or((element, ""));
        (key.split(" comment ").next().unwrap_or(key).trim().to_owned(), value.trim().to_owned())
    };
    inside.split(',').map(element).filter(|(key, _)| !key.is_empty()).collect()
}
