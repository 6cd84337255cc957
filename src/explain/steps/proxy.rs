//! Step 3: whether the rules of kube-proxy on a node agree with the objects.

mod endpoints;
mod running;

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort};

use crate::explain::{
    Evidence, checks,
    evidence::Place,
    objects,
    report::{FindingLevel, Section},
    rules::{FrontendTarget, Mode, ProxyRules},
    steps::connect,
    view::{self, backends::backends, destination::Destination, exposure, names::Subject},
    words::counted,
};

/// kube-proxy ignores a Service with this label. Another proxy handles it.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
/// kube-proxy does not watch Services with this label, which controllers put on headless ones.
const HEADLESS: &str = "service.kubernetes.io/headless";

pub(in crate::explain) fn judge(
    evidence: &Evidence,
    wanted: &Destination,
    subject: &Subject<'_>,
) -> Section {
    let backends = backends(evidence, wanted, subject);
    of_services(evidence, &backends.iter().map(|it| it.service).collect::<Vec<_>>())
}

/// Reports a Service that kube-proxy ignores because of a label. Returns whether that is so.
fn is_left_alone(service: &Service, section: &mut Section) -> bool {
    let Some(labels) = &service.metadata.labels else { return false };
    section.about("Service", objects::namespace(service), objects::name(service));
    let path = objects::path(service);
    if let Some(other) = labels.get(OTHER_PROXY) {
        section.say(
            FindingLevel::Skipped,
            checks::PROXY_OTHER,
            format!("kube-proxy leaves Service {path} to {other}, as its label {OTHER_PROXY} says"),
        );
        return true;
    }
    if labels.contains_key(HEADLESS) {
        let saw = format!(
            "kube-proxy ignores Service {path} and its cluster IP, because it has the label {HEADLESS}"
        );
        section
            .broken(checks::PROXY_HEADLESS_LABEL, saw)
            .want("a Service without the label, or with clusterIP: None");
        return true;
    }
    false
}

/// Checks the rules of these Services.
pub(in crate::explain) fn of_services(evidence: &Evidence, services: &[&Service]) -> Section {
    let mut section = Section::new(checks::Step::Proxy);
    let mut concerned: Vec<&Service> = services
        .iter()
        .copied()
        .filter(|service| !objects::cluster_ips(service).is_empty())
        .collect();
    if concerned.is_empty() {
        section.say(
            FindingLevel::Skipped,
            checks::PROXY_NO_PART,
            "not applicable: the Service has no cluster IP",
        );
        return section;
    }
    for service in &concerned {
        connect::judge(evidence, service, Place::ClusterIp, &mut section);
    }
    concerned.retain(|service| !is_left_alone(service, &mut section));
    section.about_nothing();
    if concerned.is_empty() || !has_rules(evidence, &mut section) {
        return section;
    }
    of_node(evidence, &mut section);
    for service in concerned {
        of_service(evidence, service, &mut section);
    }
    hairpin(evidence, services, &mut section);
    section
}

/// Whether there are rules of kube-proxy to check. If not, the reason is reported.
fn has_rules(evidence: &Evidence, section: &mut Section) -> bool {
    let rules = &evidence.rules;
    if let Some(other) = running::replacement(evidence) {
        let old = if rules.proxies.is_empty() {
            ""
        } else {
            "; the rules of kube-proxy that are still on this node are old"
        };
        let saw = format!(
            "no kube-proxy on this node: {other} takes its place, and its rules are not evaluated{old}"
        );
        section.say(FindingLevel::Skipped, checks::PROXY_NOT_SEEN, saw);
        return false;
    }
    running::judge(evidence, section);
    if !rules.was_seen() {
        let absent = rules.absent.clone().unwrap_or_else(|| "no rules are looked at".to_owned());
        let level = if rules.is_unreadable { FindingLevel::Unknown } else { FindingLevel::Skipped };
        section.say(level, checks::PROXY_NOT_SEEN, absent);
        return false;
    }
    let only_else = rules.health.is_some() || !rules.bridge.is_empty() || !rules.errors.is_empty();
    let is_none = rules.proxies.is_empty() && rules.beside_ipvs.is_empty();
    if is_none && (!only_else || rules.has_rule_set) {
        let broken = section.broken(
            checks::PROXY_NONE,
            format!("{} has no rules of kube-proxy", rules.from.join(", ")),
        );
        broken.want("KUBE-SERVICES in table nat, or table ip kube-proxy: kube-proxy does not run here, or something else (Cilium, kube-router) takes its place");
        broken.advise("kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide");
        return false;
    }
    true
}

/// Checks what all Services of the node need.
fn of_node(evidence: &Evidence, section: &mut Section) {
    let rules = &evidence.rules;
    for proxy in rules.proxies.iter().chain(&rules.beside_ipvs) {
        for (check, saw, want) in &proxy.gaps {
            section.broken(check, saw.clone()).want(want.clone()).advise(restart(evidence));
        }
    }
    if rules.lacks_virtual_servers() {
        section
            .say(
                FindingLevel::Skipped,
                checks::PROXY_NOT_SEEN,
                "kube-proxy is in mode ipvs: iptables does not show the rules of its Services",
            )
            .want("the output of ipvsadm -Sn beside that of iptables-save (--rules FILE, twice)");
    }
    let modes: Vec<Mode> = rules
        .proxies
        .iter()
        .filter(|proxy| !proxy.frontends.is_empty())
        .map(|proxy| proxy.mode)
        .collect();
    if let Some(other) = modes.iter().find(|mode| **mode != modes[0]) {
        let saw = format!(
            "{} and {} both have rules of kube-proxy: the mode was changed, and the old rules were not removed",
            modes[0].name(),
            other.name()
        );
        section
            .say(FindingLevel::Warning, checks::PROXY_TWO_MODES, saw)
            .advise("kube-proxy --cleanup    # on the node, then start kube-proxy again");
    }
}

/// The command that makes kube-proxy write its rules again.
fn restart(evidence: &Evidence) -> String {
    let selector = evidence
        .node
        .as_deref()
        .map_or(String::new(), |node| format!(" --field-selector spec.nodeName={node}"));
    format!(
        "kubectl -n kube-system delete pod -l k8s-app=kube-proxy{selector}    # it rewrites all rules"
    )
}

/// The addresses of a Service that clients connect to, each with its kind.
fn entrances(service: &Service) -> Vec<(Option<IpAddr>, &'static str)> {
    let parsed = |text: &str| text.parse::<IpAddr>().ok();
    let inside = objects::cluster_ips(service)
        .into_iter()
        .filter_map(parsed)
        .map(|ip| (Some(ip), "cluster IP"));
    let outside = objects::outside_addresses(service)
        .into_iter()
        .filter_map(|(ip, kind)| Some((Some(parsed(ip)?), kind)));
    inside.chain(outside).collect()
}

fn of_service(evidence: &Evidence, service: &Service, section: &mut Section) {
    section.about("Service", objects::namespace(service), objects::name(service));
    let (mut rules, mut endpoints) = (0, 0);
    let first = section.findings.len();
    for port in objects::ports(service) {
        let Ok(number) = u16::try_from(port.port) else { continue };
        let entrances =
            entrances(service).into_iter().map(|(address, kind)| (address, number, kind));
        let node_port =
            port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        let mut proxied = false;
        for (address, number, kind) in
            entrances.chain(node_port.map(|port| (None, port, "node port")))
        {
            let entrance = Entrance { service, port, address, number, kind };
            entrance.judge_beside_ipvs(evidence, section);
            for proxy in
                evidence.rules.proxies.iter().filter(|proxy| concerns(proxy, service, address))
            {
                proxied = true;
                if let Some(count) = entrance.judge(evidence, proxy, section) {
                    rules += 1;
                    endpoints = endpoints.max(count);
                }
            }
        }
        if !proxied && !evidence.rules.proxies.is_empty() {
            section.say(
                FindingLevel::Note,
                checks::PROXY_OTHER_FAMILY,
                "the given rules are for another address family than that of the cluster IP",
            );
        }
    }
    if !section.findings[first..].iter().any(|finding| finding.level == FindingLevel::Broken)
        && rules > 0
    {
        let modes = evidence
            .rules
            .proxies
            .iter()
            .map(|proxy| proxy.mode.name())
            .collect::<std::collections::BTreeSet<_>>();
        let modes = modes.into_iter().collect::<Vec<_>>().join(", ");
        section.ok(
            checks::PROXY_RULES,
            format!(
                "{modes}: {} to {} for {}",
                counted(rules, "entrance"),
                counted(endpoints, "endpoint"),
                objects::path(service)
            ),
        );
    }
}

/// Whether the rules should have the address. `None`, a node port, has rules in each IP family of
/// the Service.
fn concerns(proxy: &ProxyRules, service: &Service, address: Option<IpAddr>) -> bool {
    match (proxy.v4, address) {
        (Some(v4), Some(address)) => v4 == address.is_ipv4(),
        (Some(v4), None) => objects::cluster_ips(service).iter().any(|ip| v4 != ip.contains(':')),
        // In mode ipvs a node port has one virtual server for each address of the node.
        (None, address) => address.is_some(),
    }
}

/// One address and port of a Service, or one of its node ports.
struct Entrance<'e> {
    service: &'e Service,
    port: &'e ServicePort,
    address: Option<IpAddr>,
    number: u16,
    kind: &'static str,
}

impl Entrance<'_> {
    fn name(&self) -> String {
        let protocol = objects::protocol(self.port.protocol.as_ref());
        match self.address {
            None => format!("{} {}/{protocol}", self.kind, self.number),
            Some(IpAddr::V6(ip)) => format!("{} [{ip}]:{}/{protocol}", self.kind, self.number),
            Some(ip) => format!("{} {ip}:{}/{protocol}", self.kind, self.number),
        }
    }

    /// The number of endpoints of the rule; `None` if there is no rule.
    fn judge(
        &self,
        evidence: &Evidence,
        proxy: &ProxyRules,
        section: &mut Section,
    ) -> Option<usize> {
        let protocol = objects::protocol(self.port.protocol.as_ref());
        let nothing_ready = view::endpoints::addresses(evidence, self.service).is_empty();
        let Some(frontend) = proxy.find(self.address, self.number, protocol) else {
            let broken = section.broken(
                checks::PROXY_NO_RULE,
                format!(
                    "{} has no rule for {} of {}",
                    place(proxy, self.address),
                    self.name(),
                    objects::path(self.service)
                ),
            );
            broken.want("a rule that leads to the endpoints: it was deleted, or kube-proxy lags behind the API").advise(restart(evidence));
            return None;
        };
        match &frontend.to {
            FrontendTarget::Rejected | FrontendTarget::Dropped if nothing_ready => {
                section.say(
                    FindingLevel::Note,
                    checks::PROXY_REFUSED,
                    format!(
                        "{} refuses connections to {}: there is no ready endpoint",
                        proxy.mode.name(),
                        self.name()
                    ),
                );
                Some(0)
            }
            FrontendTarget::Dropped if self.is_local() => {
                section.say(
                    FindingLevel::Note,
                    checks::PROXY_DROPPED,
                    format!(
                        "{} drops connections to {}: no endpoint on this node",
                        proxy.mode.name(),
                        self.name()
                    ),
                );
                Some(0)
            }
            FrontendTarget::Rejected | FrontendTarget::Dropped => {
                let broken = section.broken(
                    checks::PROXY_LAG,
                    format!(
                        "{} refuses connections to {}, and there are ready endpoints",
                        proxy.mode.name(),
                        self.name()
                    ),
                );
                broken
                    .want("rules for the current endpoints: kube-proxy lags behind the API")
                    .advise(restart(evidence));
                None
            }
            FrontendTarget::Endpoints(to) => {
                endpoints::judge(evidence, self, proxy, to, section);
                Some(to.endpoints.len())
            }
        }
    }

    /// Reports a rule of iptables that refuses connections in mode ipvs. It is from a former mode.
    fn judge_beside_ipvs(&self, evidence: &Evidence, section: &mut Section) {
        let protocol = objects::protocol(self.port.protocol.as_ref());
        let mut rules = evidence.rules.beside_ipvs.iter();
        if view::endpoints::addresses(evidence, self.service).is_empty()
            || !rules.any(|it| it.find(self.address, self.number, protocol).is_some())
        {
            return;
        }
        section
            .broken(
                checks::PROXY_LAG,
                format!(
                    "iptables refuses connections to {}, and there are ready endpoints",
                    self.name()
                ),
            )
            .want("no rules of mode iptables: kube-proxy is in mode ipvs now, and does not remove them")
            .advise("kube-proxy --cleanup    # on the node, then start kube-proxy again");
    }

    /// Whether only endpoints on this node count (traffic policy `Local`).
    fn is_local(&self) -> bool {
        if self.kind == "cluster IP" {
            self.service
                .spec
                .as_ref()
                .is_some_and(|spec| spec.internal_traffic_policy.as_deref() == Some("Local"))
        } else {
            exposure::local_only(self.service)
        }
    }
}

/// The chain or table where the rule should be.
fn place(proxy: &ProxyRules, address: Option<IpAddr>) -> &'static str {
    match (proxy.mode, address) {
        (Mode::Iptables, Some(_)) => "KUBE-SERVICES",
        (Mode::Iptables, None) => "KUBE-NODEPORTS",
        (Mode::Nftables, Some(_)) => "map service-ips",
        (Mode::Nftables, None) => "map service-nodeports",
        (Mode::Ipvs, _) => "ipvs",
    }
}

/// Checks hairpin mode: a Pod that connects to its own Service can become its own endpoint, and the
/// bridge must then send packets back to the port that they came from.
fn hairpin(evidence: &Evidence, services: &[&Service], section: &mut Section) {
    let near = services.iter().any(|service| {
        evidence
            .node
            .as_deref()
            .is_none_or(|node| view::endpoints::nodes(evidence, service).contains(&node))
    });
    let off: Vec<&str> = evidence
        .rules
        .bridge
        .iter()
        .filter(|port| port.is_of_pods() && !port.hairpin && !port.promiscuous)
        .map(|port| port.name.as_str())
        .collect();
    if off.is_empty() || !near {
        return;
    }
    let bridge = evidence
        .rules
        .bridge
        .iter()
        .find(|port| port.name == off[0])
        .map_or("", |port| port.bridge.as_str());
    let some = off.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    let broken = section.broken(
        checks::PROXY_HAIRPIN,
        format!(
            "hairpin mode is off at {} of bridge {bridge} ({some}): a Pod that reaches itself through the Service gets no reply",
            counted(off.len(), "port")
        ),
    );
    broken.want("hairpinMode: hairpin-veth or promiscuous-bridge of kubelet, or \"hairpinMode\": true of the CNI bridge plugin");
    broken.advise(format!("ip link set dev {} type bridge_slave hairpin on    # on the node, until the setting is right", off[0]));
}
