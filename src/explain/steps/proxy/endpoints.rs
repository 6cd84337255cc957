//! Compares the endpoints of a rule with those of the API, and checks source NAT.

use std::{collections::BTreeSet, net::IpAddr};

use k8s_openapi::api::discovery::v1::Endpoint;

use crate::explain::{
    Evidence,
    report::Section,
    rules::{self, Mode, ProxyRules},
    view::endpoints,
};

use super::{Entrance, checks, restart};

/// How far the share of an endpoint may be from the mean. iptables stores a probability in units of
/// 2⁻³¹ and prints ten digits.
const TOLERANCE: f64 = 0.001;

pub(super) fn judge(
    evidence: &Evidence,
    entrance: &Entrance<'_>,
    proxy: &ProxyRules,
    to: &rules::Endpoints,
    section: &mut Section,
) {
    let name = entrance.name();
    if let Some(chain) = to.dangling.first() {
        let broken = section.broken(
            checks::PROXY_DANGLING,
            format!("the rule for {name}: its target chain {chain} is empty"),
        );
        broken
            .want("a chain with an endpoint's address: it was deleted by hand")
            .advise(restart(evidence));
        return;
    }
    if lags(evidence, entrance, proxy, to, section) {
        return;
    }
    shares(evidence, &name, to, section);
    marks(evidence, entrance, proxy, to, section);
}

/// Reports rules that are older than the objects. Returns whether they are.
fn lags(
    evidence: &Evidence,
    entrance: &Entrance<'_>,
    proxy: &ProxyRules,
    to: &rules::Endpoints,
    section: &mut Section,
) -> bool {
    let want = wanted(evidence, entrance, proxy.v4);
    if want.is_empty() {
        // Terminating endpoints that still serve are used if there are no others.
        return false;
    }
    let have: BTreeSet<(IpAddr, u16)> =
        to.endpoints.iter().map(|it| (it.address, it.port)).collect();
    let old: Vec<String> = have
        .iter()
        .filter(|it| !want.iter().any(|(at, _)| at == *it))
        .map(|(ip, port)| std::net::SocketAddr::from((*ip, *port)).to_string())
        .collect();
    let missing: Vec<String> = want
        .iter()
        .filter(|(at, must)| *must && !have.contains(at))
        .map(|((ip, port), _)| std::net::SocketAddr::from((*ip, *port)).to_string())
        .collect();
    if old.is_empty() && missing.is_empty() {
        return false;
    }
    let mut words = Vec::new();
    if !old.is_empty() {
        words.push(format!("{} is not a ready endpoint", old.join(", ")));
    }
    if !missing.is_empty() {
        words.push(format!("{} is missing", missing.join(", ")));
    }
    let broken = section.broken(
        checks::PROXY_LAG,
        format!(
            "the rules for {} differ from the current endpoints: {}",
            entrance.name(),
            words.join("; ")
        ),
    );
    broken.want("the current ready endpoints: kube-proxy lags, does not run, or the rules were changed by hand").advise(restart(evidence));
    true
}

/// The ready endpoints of the port, each with whether the rule must have it.
fn wanted(
    evidence: &Evidence,
    entrance: &Entrance<'_>,
    v4: Option<bool>,
) -> BTreeSet<((IpAddr, u16), bool)> {
    let service = entrance.service;
    let name = entrance.port.name.as_deref().unwrap_or_default();
    let hinted = |it: &Endpoint| it.hints.is_some();
    let near = |it: &Endpoint| match (entrance.is_local(), evidence.node.as_deref()) {
        (false, _) => true,
        (true, Some(node)) => it.node_name.as_deref() == Some(node),
        (true, None) => false,
    };
    let mut wanted = BTreeSet::new();
    for (slice, endpoint) in endpoints::ready(evidence, service) {
        let port = endpoints::port(slice, name).and_then(|port| u16::try_from(port).ok());
        let Some(port) = port else { continue };
        for address in endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok()) {
            if v4
                .or(entrance.address.map(|own| own.is_ipv4()))
                .is_none_or(|v4| v4 == address.is_ipv4())
            {
                wanted.insert(((address, port), !hinted(endpoint) && near(endpoint)));
            }
        }
    }
    wanted
}

/// Checks that all endpoints get the same share of connections.
fn shares(evidence: &Evidence, name: &str, to: &rules::Endpoints, section: &mut Section) {
    let count = to.endpoints.len() as f64;
    let uneven = to
        .endpoints
        .iter()
        .filter_map(|it| Some((it, it.share?)))
        .find(|(_, share)| (share - 1.0 / count).abs() > TOLERANCE);
    if let Some((endpoint, share)) = uneven {
        let broken = section.broken(
            checks::PROXY_PROBABILITY,
            format!(
                "{}:{} gets {:.0} of 100 connections to {name}",
                endpoint.address,
                endpoint.port,
                share * 100.0
            ),
        );
        broken
            .want(format!(
                "{:.0} of 100, as every one of {} endpoints",
                100.0 / count,
                to.endpoints.len()
            ))
            .advise(restart(evidence));
    }
}

/// Checks source NAT: only with it do replies come back through the node.
fn marks(
    evidence: &Evidence,
    entrance: &Entrance<'_>,
    proxy: &ProxyRules,
    to: &rules::Endpoints,
    section: &mut Section,
) {
    let name = entrance.name();
    // In mode nftables the set holds only Pods of this node.
    let here = |address: IpAddr| {
        proxy.mode != Mode::Nftables
            || node_of(evidence, address).is_some_and(|node| Some(node) == evidence.node.as_deref())
    };
    if let Some(endpoint) =
        to.endpoints.iter().find(|it| it.hairpin == Some(false) && here(it.address))
    {
        let broken = section.broken(
            checks::PROXY_HAIRPIN_MARK,
            format!("hairpin: a Pod calling its own Service is not masqueraded at {name}, so {} drops the reply", endpoint.address),
        );
        broken
            .want(format!("-s {} -j KUBE-MARK-MASQ in the endpoint's chain", endpoint.address))
            .advise(restart(evidence));
    }
    if to.masquerade != Some(false) || to.local {
        return;
    }
    // Without --cluster-cidr no rule to a cluster IP has the mark.
    if entrance.kind != "cluster IP" || others_have(proxy) {
        let broken = section.broken(
            checks::PROXY_MARK,
            format!(
                "connections from outside to {name} are not source-NATed, so clients drop the replies"
            ),
        );
        broken.want("-j KUBE-MARK-MASQ before the endpoints").advise(restart(evidence));
    }
}

/// Whether most rules to cluster IPs have the mark for source NAT.
fn others_have(proxy: &ProxyRules) -> bool {
    let with = |want: bool| {
        proxy
            .frontends
            .iter()
            .filter(|it| it.address.is_some() && matches!(&it.to, rules::FrontendTarget::Endpoints(to) if to.masquerade == Some(want) && !to.local))
            .count()
    };
    with(true) > with(false)
}

fn node_of(evidence: &Evidence, address: IpAddr) -> Option<&str> {
    let endpoints = evidence.objects.slices().iter().flat_map(|slice| &slice.endpoints);
    endpoints
        .filter(|it| it.addresses.iter().any(|text| text.parse() == Ok(address)))
        .find_map(|it| it.node_name.as_deref())
}
