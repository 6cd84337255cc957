//! The report without a name: whether the cluster's DNS works.

use crate::explain::{
    Evidence, checks,
    report::{FindingLevel, Section},
    steps::{dns, proxy, server, service},
};

pub(in crate::explain) fn judge(evidence: &Evidence) -> Vec<Section> {
    let mut dns = Section::new(checks::Step::Dns);
    resolv_conf(evidence, &mut dns);
    dns::server(evidence, &mut dns);
    let mut endpoints = Section::new(checks::Step::Service);
    let kube_dns = evidence.dns_service();
    match kube_dns {
        Some(kube_dns) => {
            service::one(evidence, kube_dns, None, &mut endpoints);
            server::ports(kube_dns, &mut endpoints);
        }
        None => match evidence.lacks("services", "kube-system") {
            Some(unread) => drop(endpoints.say(
                FindingLevel::Unknown,
                checks::CLUSTER_UNREAD,
                format!("cannot tell whether the Service kube-system/kube-dns exists: {unread}"),
            )),
            None => {
                let broken = endpoints
                    .broken(checks::CLUSTER_NO_SERVICE, "there is no Service kube-system/kube-dns");
                broken
                    .want(
                        "the Service whose cluster IP kubelet writes into every Pod's resolv.conf",
                    )
                    .advise("kubeadm init phase addon coredns");
            }
        },
    }
    let rules = proxy::of_services(evidence, &kube_dns.into_iter().collect::<Vec<_>>());
    vec![dns, server::judge(evidence), endpoints, rules]
}

/// Reports the resolv.conf that a Pod gets.
fn resolv_conf(evidence: &Evidence, section: &mut Section) {
    let resolv = &evidence.asker.resolv;
    let servers = if resolv.nameservers.is_empty() {
        "none: there is no Service kube-system/kube-dns".to_owned()
    } else {
        resolv.nameservers.join(", ")
    };
    section.say(
        FindingLevel::Note,
        checks::CLUSTER_RESOLV_CONF,
        format!(
            "{} gets: nameserver {servers}; search {}; options ndots:{}",
            evidence.asker.from,
            resolv.search.join(" "),
            resolv.ndots
        ),
    );
}
