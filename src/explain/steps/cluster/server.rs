//! Checks the DNS server: its Corefile, its permissions and its replicas.

use std::{collections::BTreeSet, net::IpAddr};

use k8s_openapi::api::{core::v1::Pod, rbac::v1::PolicyRule};

use crate::{
    corefile::{Corefile, Severity},
    explain::{
        Evidence, checks, objects,
        report::{FindingLevel, Section},
        view::{corefile, endpoints, pods},
    },
    server,
};

pub(super) fn judge(evidence: &Evidence) -> Section {
    let mut section = Section::new(checks::Step::Server);
    corefile_of(evidence, &mut section);
    permissions(evidence, &mut section);
    replicas(evidence, &mut section);
    section
}

fn corefile_of(evidence: &Evidence, section: &mut Section) {
    const EDIT: &str = "kubectl -n kube-system edit configmap coredns";
    let Some(text) = corefile::text(&evidence.objects) else {
        match evidence.lacks("configmaps", "kube-system") {
            Some(unread) => drop(section.say(
                FindingLevel::Unknown,
                checks::COREFILE_UNREAD,
                format!("the Corefile cannot be looked at: {unread}"),
            )),
            None => drop(section.say(
                FindingLevel::Warning,
                checks::COREFILE_NONE,
                "there is no ConfigMap kube-system/coredns with a Corefile",
            )),
        }
        return;
    };
    let (parsed, mut diagnostics) = corefile::read(text);
    // Files that are mounted beside the Corefile are unknown here, so their lines are left out below.
    server::check(&parsed, 53, &mut diagnostics);
    let before = section.findings.len();
    for (severity, line) in diagnostics.lines().filter(|(_, line)| !corefile::is_about_file(line)) {
        match severity {
            Severity::Error => section.broken(checks::COREFILE_MISTAKE, line).advise(EDIT),
            Severity::Warning => section.say(FindingLevel::Warning, checks::COREFILE_WARNING, line),
        };
    }
    loops(evidence, &parsed, EDIT, section);
    if corefile::zone(&evidence.objects).is_none() {
        section
            .broken(
                checks::COREFILE_NO_ZONE,
                "no server block has `kubernetes` with a zone: no name of the cluster is answered",
            )
            .want("kubernetes cluster.local in-addr.arpa ip6.arpa")
            .advise(EDIT);
    }
    if !section.findings[before..].iter().any(|finding| finding.level > FindingLevel::Note) {
        let targets: Vec<&str> = corefile::directives(&parsed, "forward")
            .flat_map(|line| line.arguments.iter().skip(1))
            .map(|token| token.text.as_str())
            .collect();
        let upstream = if targets.is_empty() {
            "no upstream".to_owned()
        } else {
            format!("upstream {}", targets.join(", "))
        };
        section.ok(
            checks::COREFILE_IS,
            format!("the Corefile has no mistakes: zone {}, {upstream}", evidence.zone),
        );
    }
}

/// Reports an upstream that is the cluster's DNS itself, which makes queries loop.
fn loops(evidence: &Evidence, parsed: &Corefile, edit: &str, section: &mut Section) {
    let kube_dns = evidence.dns_service();
    let mut own: BTreeSet<IpAddr> =
        kube_dns.map(|service| endpoints::addresses(evidence, service)).unwrap_or_default();
    own.extend(
        kube_dns
            .into_iter()
            .flat_map(objects::cluster_ips)
            .filter_map(|ip| ip.parse::<IpAddr>().ok()),
    );
    for token in
        corefile::directives(parsed, "forward").flat_map(|line| line.arguments.iter().skip(1))
    {
        let bare = token.text.rsplit("://").next().unwrap_or(&token.text);
        let address = bare
            .parse::<IpAddr>()
            .ok()
            .or_else(|| bare.parse::<std::net::SocketAddr>().ok().map(|it| it.ip()));
        let Some(address) =
            address.filter(|address| own.contains(address) || address.is_loopback())
        else {
            continue;
        };
        let whose =
            if address.is_loopback() { "the server's own Pod" } else { "the cluster's DNS itself" };
        let broken = section
            .broken(checks::COREFILE_LOOP, format!("`forward` sends to {address}, {whose}: the server forwards to itself, an endless loop"));
        broken.want("a resolver outside of the cluster; /etc/resolv.conf is one where kubelet's --resolv-conf is not the stub of systemd-resolved").advise(edit);
    }
}

/// Checks the permissions of kubeadm's ClusterRole `system:coredns`.
fn permissions(evidence: &Evidence, section: &mut Section) {
    const NEEDED: [(&str, &str); 3] =
        [("", "services"), ("", "namespaces"), ("discovery.k8s.io", "endpointslices")];
    if evidence.lacks("clusterroles", "").is_some()
        || evidence.lacks("clusterrolebindings", "").is_some()
    {
        section.say(
            FindingLevel::Note,
            checks::RBAC_UNREAD,
            "the server's own permissions are not checked: this account may not read ClusterRoles",
        );
        return;
    }
    let role =
        evidence.objects.cluster_roles().iter().find(|it| objects::name(*it) == "system:coredns");
    let Some(role) = role else {
        if !evidence.objects.cluster_roles().is_empty() {
            section
                .broken(checks::RBAC_ROLE, "there is no ClusterRole system:coredns")
                .want("list and watch on services, namespaces, endpointslices")
                .advise("kubeadm init phase addon coredns");
        }
        return;
    };
    let allows = |rule: &PolicyRule, group: &str, resource: &str, verb: &str| {
        let has = |list: &Option<Vec<String>>, word: &str| {
            list.iter().flatten().any(|it| it == word || it == "*")
        };
        has(&rule.api_groups, group)
            && has(&rule.resources, resource)
            && rule.verbs.iter().any(|it| it == verb || it == "*")
    };
    for (group, resource) in NEEDED {
        for verb in ["list", "watch"] {
            if !role.rules.iter().flatten().any(|rule| allows(rule, group, resource, verb)) {
                let broken = section.broken(
                    checks::RBAC_RULE,
                    format!("ClusterRole system:coredns may not {verb} {resource}: names that need them get SERVFAIL, or answers that are out of date"),
                );
                broken
                    .want(format!(
                        "apiGroups: [\"{group}\"], resources: [{resource}], verbs: [list, watch]"
                    ))
                    .advise("kubectl edit clusterrole system:coredns");
                return;
            }
        }
    }
    let account = evidence
        .objects
        .deployments()
        .iter()
        .find(|it| objects::namespace(*it) == "kube-system")
        .and_then(|it| it.spec.as_ref()?.template.spec.as_ref()?.service_account_name.clone());
    let account = account.unwrap_or_else(|| "coredns".to_owned());
    let bound = evidence
        .objects
        .cluster_role_bindings()
        .iter()
        .filter(|it| it.role_ref.name == "system:coredns")
        .flat_map(|it| it.subjects.iter().flatten())
        .any(|it| it.name == account && it.namespace.as_deref() == Some("kube-system"));
    if !bound {
        let broken = section.broken(
            checks::RBAC_BINDING,
            format!(
                "no ClusterRoleBinding gives system:coredns to ServiceAccount kube-system/{account}"
            ),
        );
        broken
            .want(format!(
                "subjects: [{{ kind: ServiceAccount, namespace: kube-system, name: {account} }}]"
            ))
            .advise("kubectl edit clusterrolebinding system:coredns");
        return;
    }
    section.ok(
        checks::RBAC_IS,
        format!("ServiceAccount kube-system/{account} may list and watch what it needs"),
    );
}

/// Checks that there are two replicas on two nodes, so that DNS survives the loss of a node.
fn replicas(evidence: &Evidence, section: &mut Section) {
    if let Some(deployment) = evidence
        .objects
        .deployments()
        .iter()
        .find(|it| it.spec.as_ref().and_then(|spec| spec.replicas) == Some(0))
    {
        let broken = section.broken(
            checks::CLUSTER_REPLICAS,
            format!("Deployment {} has 0 replicas", objects::path(deployment)),
        );
        broken.want("2").advise(format!(
            "kubectl -n kube-system scale deployment {} --replicas=2",
            objects::name(deployment)
        ));
        return;
    }
    let Some(kube_dns) = evidence.dns_service() else { return };
    let pods: Vec<&Pod> =
        evidence.objects.selected(kube_dns).filter(|pod| pods::is_ready(pod)).collect();
    let nodes: BTreeSet<&str> =
        pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref()).collect();
    match (pods.len(), nodes.len()) {
        (0, _) => {}
        (1, _) => {
            let warning = section.say(
                FindingLevel::Warning,
                checks::CLUSTER_ONE_REPLICA,
                "only one DNS server is ready: if its node fails, no cluster name resolves",
            );
            warning
                .want("2, on two nodes")
                .advise("kubectl -n kube-system scale deployment coredns --replicas=2");
        }
        (count, 1) => drop(
            section
                .say(
                    FindingLevel::Warning,
                    checks::CLUSTER_ONE_NODE,
                    format!("all {count} DNS servers are on one node: if it fails, no cluster name resolves"),
                )
                .want("two nodes"),
        ),
        (count, nodes) => {
            section.ok(
                checks::CLUSTER_SERVERS,
                format!("{count} servers are ready, on {nodes} nodes"),
            );
        }
    }
}
