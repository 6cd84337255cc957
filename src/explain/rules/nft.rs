//! Parses `nft list ruleset` with the rules of kube-proxy's mode nftables.

use std::{collections::BTreeMap, net::IpAddr};

use crate::explain::checks::{self, Check};

use super::{Endpoint, Endpoints, Frontend, FrontendTarget, Mode, ProxyRules, endpoint_address};

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
        let hairpins: Vec<IpAddr> = self
            .elements("set", "hairpin-connections")
            .iter()
            .filter_map(|(key, _)| key.split(" . ").next()?.parse().ok())
            .collect();
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
                    [_, chain, ..] => self.follow(chain, &hairpins),
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

    fn follow(&self, chain: &str, hairpins: &[IpAddr]) -> FrontendTarget {
        let mut to = Endpoints::default();
        let mut chain = chain.to_owned();
        if chain.starts_with("external-") {
            let rules = self.chain(&chain);
            to.masquerade = Some(rules.iter().any(|rule| rule.contains("meta mark set")));
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
        self.service(&chain, hairpins, &mut to);
        FrontendTarget::Endpoints(to)
    }

    fn service(&self, chain: &str, hairpins: &[IpAddr], to: &mut Endpoints) {
        if !self.0.contains_key(&format!("chain {chain}")) {
            to.dangling.push(chain.to_owned());
        }
        for rule in self.chain(chain) {
            let Some((_, chosen)) = rule.split_once("numgen random mod ") else {
                // Some releases do not choose at random if there is only one endpoint.
                if let Some((address, port)) = rule
                    .split_once("dnat to ")
                    .and_then(|(_, rest)| endpoint_address(rest.split_whitespace().next()?))
                {
                    to.endpoints.push(Endpoint {
                        address,
                        port,
                        share: Some(1.0),
                        hairpin: Some(hairpins.contains(&address)),
                    });
                }
                continue;
            };
            let Some(of) =
                chosen.split_whitespace().next().and_then(|text| text.parse::<f64>().ok())
            else {
                continue;
            };
            let text = chosen.find('{').map_or("", |at| &chosen[at..]);
            for (_, value) in braced(text) {
                let found = match value
                    .strip_prefix("goto ")
                    .and_then(|rest| rest.split_whitespace().next())
                {
                    Some(chain) => self
                        .chain(chain)
                        .iter()
                        .find_map(|rule| {
                            endpoint_address(
                                rule.split_once("dnat to ")?.1.split_whitespace().next()?,
                            )
                        })
                        .ok_or(chain),
                    None => value
                        .rsplit_once(" . ")
                        .and_then(|(address, port)| {
                            Some((address.trim().parse().ok()?, port.trim().parse().ok()?))
                        })
                        .ok_or(&*value),
                };
                match found {
                    Ok((address, port)) => {
                        to.endpoints.push(Endpoint {
                            address,
                            port,
                            share: Some(1.0 / of),
                            hairpin: Some(hairpins.contains(&address)),
                        });
                    }
                    Err(dangling) => to.dangling.push(dangling.to_owned()),
                }
            }
        }
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
        let masquerades = self
            .chain("masquerading")
            .iter()
            .any(|rule| rule.contains("meta mark &") && rule.contains("masquerade"));
        if !has("nat-postrouting", "jump masquerading") || !masquerades {
            gap(
                checks::PROXY_POSTROUTING,
                "no chain of kube-proxy masquerades marked packets",
                "chain masquerading, and nat-postrouting that jumps to it",
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
