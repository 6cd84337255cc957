//! Checks whether the Pod's resolver settings lead to the name.

use k8s_openapi::api::core::v1::Pod;

use crate::explain::{
    Evidence, checks,
    cluster_name::take_apart,
    objects,
    report::{FindingLevel, Section},
    resolv::CLUSTER_NDOTS,
    view::{destination::Destination, names::Subject},
};

pub(super) fn judge(
    evidence: &Evidence,
    wanted: &Destination,
    subject: &Subject<'_>,
    section: &mut Section,
) {
    let asker = &evidence.asker;
    let servers = if asker.resolv.nameservers.is_empty() {
        "that of the cluster".to_owned()
    } else {
        asker.resolv.nameservers.join(", ")
    };
    let search = if asker.resolv.search.is_empty() {
        "none".to_owned()
    } else {
        asker.resolv.search.join(" ")
    };
    section.say(
        FindingLevel::Note,
        checks::DNS_RESOLVER,
        format!(
            "{}: nameserver {servers}, search {search}, ndots {}",
            asker.from, asker.resolv.ndots
        ),
    );
    search_limit(evidence, section);
    if matches!(subject, Subject::Outside | Subject::Ingress { .. } | Subject::Routes { .. }) {
        return;
    }
    if let Some(pod) = &asker.pod {
        policy(evidence, pod, section);
    }
    let in_zone = |name: &String| take_apart(name, &evidence.zone).is_some();
    let candidates = asker.resolv.candidates(&wanted.host);
    if asker.resolv.ndots < CLUSTER_NDOTS
        && candidates.len() > 1
        && candidates.iter().any(in_zone)
        && !candidates.first().is_some_and(in_zone)
    {
        let saw = format!(
            "ndots is {}: resolvers first query {} without the search list, which leaves the cluster. glibc queries the names of the search list after that, musl (Alpine) does not",
            asker.resolv.ndots, wanted.host
        );
        let warning = section.say(FindingLevel::Warning, checks::DNS_NDOTS, saw);
        warning.want(format!("ndots:{CLUSTER_NDOTS}, or the whole name with its final dot"));
        warning.advise("remove the option ndots from the Pod's spec.dnsConfig.options");
    }
}

/// The longest line of a resolv.conf that musl reads, without its end.
const MUSL_LINE: usize = 254;

/// Warns about a search list that kubelet writes in part, or that musl does not read.
fn search_limit(evidence: &Evidence, section: &mut Section) {
    let resolv = &evidence.asker.resolv;
    let Some(first) = resolv.left_out.first() else {
        let line = format!("search {}", resolv.search.join(" "));
        if line.len() > MUSL_LINE {
            let saw = format!(
                "the search list of {} makes a line of {} characters: musl (Alpine) ignores lines with more than {MUSL_LINE}, and queries every name as it is",
                evidence.asker.from,
                line.len()
            );
            section
                .say(FindingLevel::Warning, checks::DNS_SEARCH_LIMIT, saw)
                .want("a shorter search list, or complete names")
                .advise("remove domains from the Pod's spec.dnsConfig.searches");
        }
        return;
    };
    let saw = format!(
        "the search list of {} has {} domains, and kubelet writes {} of them: {first} is the first that is left out",
        evidence.asker.from,
        resolv.search.len() + resolv.left_out.len(),
        resolv.search.len()
    );
    section
        .say(FindingLevel::Warning, checks::DNS_SEARCH_LIMIT, saw)
        .want("at most 32 domains, with 2,048 characters together")
        .advise("remove domains from the Pod's spec.dnsConfig.searches");
}

/// Reports an entry of the Pod's `hostAliases` for the name. Returns whether the entry ends the
/// DNS step: it has the cluster IP of the Service, or the name belongs to no object.
pub(super) fn host_alias(
    evidence: &Evidence,
    wanted: &Destination,
    subject: &Subject<'_>,
    section: &mut Section,
) -> bool {
    let aliases =
        evidence.asker.pod.iter().filter_map(|pod| pod.spec.as_ref()?.host_aliases.as_ref());
    let has_name = |names: &Option<Vec<String>>| {
        names.iter().flatten().any(|name| name.eq_ignore_ascii_case(&wanted.host))
    };
    let Some(alias) = aliases.flatten().find(|it| has_name(&it.hostnames)) else { return false };
    let saw = format!(
        "hostAliases in the client's Pod give {} the address {}: DNS is not queried",
        wanted.host, alias.ip
    );
    let own = match subject {
        Subject::Service { service, .. } => objects::cluster_ips(service),
        Subject::Missing { .. } | Subject::Outside => {
            section.ok(checks::DNS_HOST_ALIAS, saw);
            return true;
        }
        _ => Vec::new(),
    };
    if own.contains(&alias.ip.as_str()) {
        section.ok(checks::DNS_HOST_ALIAS, saw);
        return true;
    }
    section
        .say(FindingLevel::Warning, checks::DNS_HOST_ALIAS, saw)
        .want(format!("no entry for {} in spec.hostAliases, so that DNS decides", wanted.host))
        .advise(format!(
            "kubectl -n {} get pods -o custom-columns=NAME:.metadata.name,ALIASES:.spec.hostAliases",
            evidence.asker.namespace
        ));
    false
}

/// Checks `dnsPolicy` and `dnsConfig` of the Pod.
fn policy(evidence: &Evidence, pod: &Pod, section: &mut Section) {
    let Some(spec) = &pod.spec else { return };
    let path = objects::path(pod);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let known = |address: &String| {
        Some(address.as_str()) == evidence.dns_address()
            || evidence.objects.services().iter().any(|service| objects::cluster_ips(service).contains(&address.as_str()))
            // NodeLocal DNSCache listens on a link-local address.
            || address.starts_with("169.254.")
            || address.starts_with("fe80:")
    };
    if policy == "ClusterFirst" && spec.host_network == Some(true) {
        let saw = format!(
            "Pod {path} has hostNetwork: its dnsPolicy ClusterFirst means Default, the node's nameservers, which do not know cluster names"
        );
        section
            .broken(checks::DNS_HOST_NETWORK, saw)
            .want("dnsPolicy: ClusterFirstWithHostNet")
            .advise("set spec.dnsPolicy in the Pod's template");
    } else if policy == "Default" {
        let saw = format!(
            "Pod {path} has dnsPolicy Default: it asks the node's nameservers, which do not know cluster names"
        );
        section
            .broken(checks::DNS_POLICY, saw)
            .want("dnsPolicy: ClusterFirst")
            .advise("set spec.dnsPolicy in the Pod's template, or leave it out");
    } else if policy == "None" && !evidence.asker.resolv.nameservers.iter().any(known) {
        let saw = format!(
            "Pod {path} has dnsPolicy None and asks {}, which is not the cluster's DNS",
            evidence.asker.resolv.nameservers.join(", ")
        );
        let broken = section.broken(checks::DNS_NAMESERVER, saw);
        broken.want(format!(
            "nameserver {}",
            evidence.dns_address().unwrap_or("of the Service kube-system/kube-dns")
        ));
        broken.advise(
            "set spec.dnsConfig.nameservers in the Pod's template, or dnsPolicy: ClusterFirst",
        );
    }
}

/// Reports that the name exists, but the resolver never queries it.
pub(super) fn not_reached(
    evidence: &Evidence,
    wanted: &Destination,
    target: &str,
    section: &mut Section,
) {
    let resolv = &evidence.asker.resolv;
    let whole = target.trim_end_matches('.');
    if resolv.candidates(&wanted.host).iter().any(|name| name == target) {
        return;
    }
    let search = if resolv.search.is_empty() {
        "there is no search list".to_owned()
    } else {
        format!("the search list is {}", resolv.search.join(" "))
    };
    let broken =
        section.broken(checks::DNS_SEARCH, format!("the client never queries {whole}: {search}"));
    broken.want(format!(
        "{}.svc.{} first in the search list, or the whole name",
        evidence.asker.namespace, evidence.zone
    ));
    broken.advise(format!(
        "use {target} (with its final dot), or leave spec.dnsConfig.searches to kubelet"
    ));
}
