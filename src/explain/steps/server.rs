//! Checks the DNS server: its Corefile, its permissions and its replicas.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
};

use crate::{
    corefile::{Corefile, Scheme, Severity},
    explain::{
        Evidence, checks,
        corefile::{self, CorefileFault},
        objects,
        permissions::{self, Account, MissingRule, Permissions},
        report::{Finding, FindingLevel, Section},
        steps::service,
        view::{endpoints, peers::on_host, pods},
    },
    server,
};

pub(in crate::explain) fn judge(evidence: &Evidence) -> Section {
    let mut section = Section::new(checks::Step::Server);
    corefile_of(evidence, &mut section);
    permissions(evidence, &mut section);
    replicas(evidence, &mut section);
    section
}

/// How to edit the Corefile of the cluster.
pub(in crate::explain) const EDIT_COREFILE: &str = "kubectl -n kube-system edit configmap coredns";

/// Why the cluster's DNS cannot answer any query, for a report about a name.
pub(in crate::explain) fn faults(evidence: &Evidence) -> Vec<Finding> {
    let mut section = Section::new(checks::Step::Server);
    if corefile::text(&evidence.objects).is_some() && !may_run(evidence) {
        corefile_of(evidence, &mut section);
    }
    scaled_to_zero(evidence, &mut section);
    if let Some(kube_dns) = evidence.dns_service() {
        ports(kube_dns, &mut section);
        let mut endpoints = Section::new(checks::Step::Service);
        service::one(evidence, kube_dns, None, &mut endpoints);
        // A part of a cluster in files can lack the Pods of this namespace.
        let namespace = objects::namespace(kube_dns);
        let shows_pods = evidence.is_live || evidence.objects.pods_in(namespace).next().is_some();
        let fault = endpoints.findings.into_iter().find(|it| it.level == FindingLevel::Broken);
        if let Some(fault) = fault
            && endpoints::addresses(evidence, kube_dns).is_empty()
            && shows_pods
        {
            let saw = format!(
                "no DNS server is ready behind Service {}, so no name resolves: {}",
                objects::path(kube_dns),
                fault.saw
            );
            let finding = section.broken(checks::CLUSTER_NO_ENDPOINTS, saw);
            (finding.want, finding.advice) = (fault.want, fault.advice);
        }
    }
    section.findings.retain(|finding| finding.level == FindingLevel::Broken);
    section.findings
}

/// Whether the cluster probably has a DNS server that is ready. Such a server has loaded this
/// Corefile, or still uses the one before.
fn may_run(evidence: &Evidence) -> bool {
    let has_endpoints = |kube_dns: &Service| {
        evidence.lacks("endpointslices", objects::namespace(kube_dns)).is_some()
            || !endpoints::addresses(evidence, kube_dns).is_empty()
    };
    evidence.is_live && evidence.dns_service().is_some_and(has_endpoints)
}

fn corefile_of(evidence: &Evidence, section: &mut Section) {
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
    let environment = corefile::environment(&evidence.objects);
    let (mut parsed, mut diagnostics) = corefile::read(text, &environment);
    let foreign = corefile::take_foreign(&mut parsed);
    // Files that are mounted beside the Corefile are unknown here, so their lines are left out
    // below.
    server::check(&parsed, 53, &mut diagnostics);
    let before = section.findings.len();
    for CorefileFault { severity, line, is_sure } in corefile::faults(&diagnostics) {
        let is_harmless = !is_sure || may_run(evidence);
        let of_mistakes = if is_harmless { FindingLevel::Warning } else { FindingLevel::Broken };
        match severity {
            Severity::Error => {
                section.say(of_mistakes, checks::COREFILE_MISTAKE, line).advise(EDIT_COREFILE)
            }
            Severity::Warning => section.say(FindingLevel::Warning, checks::COREFILE_WARNING, line),
        };
    }
    for directive in foreign.iter().filter(|it| it.is_external) {
        let saw = format!(
            "the Corefile has the directive {}, which CoreDNS does not have: the server needs an external plugin for it",
            directive.name
        );
        section.say(FindingLevel::Warning, checks::COREFILE_WARNING, saw);
    }
    loops(evidence, &parsed, section);
    // A variable can be the zone, and an external plugin can serve it.
    let can_have_zone = corefile::has_unknown_variables(text, &environment)
        || foreign.iter().any(|it| it.is_external);
    if corefile::zone(&evidence.objects).is_none() && !can_have_zone {
        section
            .broken(
                checks::COREFILE_NO_ZONE,
                "no server block has `kubernetes` with a zone: no name of the cluster is answered",
            )
            .want("kubernetes cluster.local in-addr.arpa ip6.arpa")
            .advise(EDIT_COREFILE);
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
fn loops(evidence: &Evidence, parsed: &Corefile, section: &mut Section) {
    let kube_dns = evidence.dns_service();
    let mut own: BTreeSet<IpAddr> =
        kube_dns.map(|service| endpoints::addresses(evidence, service)).unwrap_or_default();
    own.extend(
        kube_dns
            .into_iter()
            .flat_map(objects::cluster_ips)
            .filter_map(|ip| ip.parse::<IpAddr>().ok()),
    );
    // On the host network a loopback address is that of the node.
    let is_on_host = kube_dns.into_iter().flat_map(|it| evidence.objects.selected(it)).any(on_host);
    let serves = |scheme: Scheme, port: u16| {
        let mut keys = parsed.blocks.iter().flat_map(|block| &block.keys);
        keys.any(|key| key.scheme == scheme && key.port_or(53) == port)
    };
    for token in
        corefile::directives(parsed, "forward").flat_map(|line| line.arguments.iter().skip(1))
    {
        let (scheme, bare) = token.text.split_once("://").unwrap_or(("dns", &token.text));
        let Some(scheme) = Scheme::all().find(|known| known.name() == scheme) else { continue };
        let socket = bare.parse::<SocketAddr>().ok();
        let with_port = || Some(SocketAddr::new(bare.parse().ok()?, scheme.port()));
        let Some(socket) = socket.or_else(with_port) else { continue };
        let address = socket.ip();
        // Another server of the same Pod can listen on another port.
        let is_served = serves(scheme, socket.port());
        let is_itself = address.is_loopback() && !is_on_host && is_served;
        let is_cluster = own.contains(&address) && (scheme == Scheme::Dns || is_served);
        if !is_itself && !is_cluster {
            continue;
        }
        let whose =
            if address.is_loopback() { "the server's own Pod" } else { "the cluster's DNS itself" };
        let broken = section
            .broken(checks::COREFILE_LOOP, format!("`forward` sends to {address}, {whose}: the server forwards to itself, an endless loop"));
        broken.want("a resolver outside of the cluster; /etc/resolv.conf is one where kubelet's --resolv-conf is not the stub of systemd-resolved").advise(EDIT_COREFILE);
    }
}

/// Checks the permissions of the server's account.
fn permissions(evidence: &Evidence, section: &mut Section) {
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
    let (roles, bindings) =
        (evidence.objects.cluster_roles(), evidence.objects.cluster_role_bindings());
    // A repository of manifests can leave them out.
    if roles.is_empty() && (!evidence.is_live || bindings.is_empty()) {
        return;
    }
    let account = account(evidence);
    let permissions = Permissions::new(&account, roles, bindings);
    let path = format!("{}/{}", account.namespace, account.name);
    let text = corefile::text(&evidence.objects);
    let parsed = text.map(|text| corefile::read(text, &corefile::environment(&evidence.objects)).0);
    let missing = permissions.missing(&permissions::needed(parsed.as_ref()));
    let Some(MissingRule { group, resource, verbs }) = missing.into_iter().next() else {
        let saw = format!("ServiceAccount {path} may list and watch what it needs");
        return section.ok(checks::RBAC_IS, saw);
    };
    let bound = permissions.bound.join(", ");
    let is_bound = !permissions.bound.is_empty() || !evidence.is_live && bindings.is_empty();
    if permissions.has_no_role() && is_bound {
        let bound = if bound.is_empty() { "system:coredns" } else { &bound };
        section
            .broken(checks::RBAC_ROLE, format!("there is no ClusterRole {bound}"))
            .want("list and watch on services, namespaces, endpointslices")
            .advise("kubeadm init phase addon coredns");
        return;
    }
    if permissions.bound.is_empty() {
        section
            .broken(
                checks::RBAC_BINDING,
                format!("no ClusterRoleBinding gives a ClusterRole to ServiceAccount {path}"),
            )
            .want(format!(
                "a binding of system:coredns with subjects: [{{ kind: ServiceAccount, namespace: {}, name: {} }}]",
                account.namespace, account.name
            ))
            .advise("kubectl edit clusterrolebinding system:coredns");
        return;
    }
    section
        .broken(
            checks::RBAC_RULE,
            format!(
                "ClusterRole {bound} may not {} {resource}: names that need them get SERVFAIL, or answers that are out of date",
                verbs.join(" or ")
            ),
        )
        .want(format!(
            "apiGroups: [\"{group}\"], resources: [{resource}], verbs: [list, watch]"
        ))
        .advise(format!("kubectl edit clusterrole {}", permissions.bound[0]));
}

/// The account of the server's Pods, or else of its Deployment.
fn account(evidence: &Evidence) -> Account<'_> {
    let kube_dns = evidence.dns_service();
    let mut pods = kube_dns.into_iter().flat_map(|it| evidence.objects.selected(it));
    let of_pod = pods.next().and_then(|pod| pod.spec.as_ref());
    let of_deployment =
        || deployments(evidence).next().and_then(|it| it.spec.as_ref()?.template.spec.as_ref());
    let spec = of_pod.or_else(of_deployment);
    Account {
        namespace: kube_dns.map_or("kube-system", objects::namespace),
        name: spec.and_then(|it| it.service_account_name.as_deref()).unwrap_or("coredns"),
    }
}

/// Checks that there are two replicas on two nodes, so that DNS survives the loss of a node.
fn replicas(evidence: &Evidence, section: &mut Section) {
    if scaled_to_zero(evidence, section) {
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

/// The Deployments whose Pods the Service of the cluster's DNS selects.
fn deployments(evidence: &Evidence) -> impl Iterator<Item = &Deployment> {
    let kube_dns = evidence.dns_service();
    let is_server = move |it: &&Deployment| {
        let template = it.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
        kube_dns.zip(template).is_some_and(|(kube_dns, template)| {
            objects::namespace(*it) == objects::namespace(kube_dns)
                && objects::selects(kube_dns, template)
        })
    };
    evidence.objects.deployments().iter().filter(is_server)
}

/// Reports the Deployment of the server if it has 0 replicas and no other server is ready. Returns
/// whether that is so.
fn scaled_to_zero(evidence: &Evidence, section: &mut Section) -> bool {
    let is_zero = |it: &Deployment| it.spec.as_ref().and_then(|spec| spec.replicas) == Some(0);
    let has_endpoints =
        evidence.dns_service().is_some_and(|it| !endpoints::addresses(evidence, it).is_empty());
    let Some(deployment) = deployments(evidence).next() else { return false };
    if has_endpoints || !deployments(evidence).all(is_zero) {
        return false;
    }
    section
        .broken(
            checks::CLUSTER_REPLICAS,
            format!("Deployment {} has 0 replicas", objects::path(deployment)),
        )
        .want("2")
        .advise(format!(
            "kubectl -n kube-system scale deployment {} --replicas=2",
            objects::name(deployment)
        ));
    true
}

/// Checks that `kube-dns` has port 53 over UDP and TCP. A reply that is too large for UDP needs
/// TCP.
pub(in crate::explain) fn ports(kube_dns: &Service, section: &mut Section) {
    for protocol in ["UDP", "TCP"] {
        if !objects::ports(kube_dns)
            .iter()
            .any(|port| port.port == 53 && objects::protocol(port.protocol.as_ref()) == protocol)
        {
            let broken = section.broken(
                checks::CLUSTER_PORT,
                format!("Service kube-system/kube-dns has no port 53/{protocol}"),
            );
            broken
                .want("53/UDP and 53/TCP; a port without `protocol` is TCP")
                .advise("kubectl -n kube-system edit service kube-dns");
        }
    }
}
