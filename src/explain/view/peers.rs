//! The client of a connection: the Pod that the user named, any Pod of a namespace, or a Pod of an
//! Ingress controller.

use k8s_openapi::api::{
    core::v1::{Pod, Service},
    networking::v1::Ingress,
};

use crate::explain::{
    Evidence, objects,
    view::{hosts, isolation::Peer, labels::Labels},
};

/// A client, and its name in messages: `Pod other/client`, `a Pod of namespace shop`.
#[derive(Clone, Debug)]
pub(in crate::explain) struct Client<'e> {
    pub(in crate::explain) peer: Peer<'e>,
    pub(in crate::explain) name: String,
    /// The Pod, if the client is one known Pod.
    pub(in crate::explain) pod: Option<&'e Pod>,
}

/// The client whose resolver is used in step 1.
pub(in crate::explain) fn asker(evidence: &Evidence) -> Client<'_> {
    match &evidence.asker.pod {
        Some(pod) => of_pod(evidence, pod),
        None => {
            let namespace = evidence.asker.namespace.as_str();
            let peer = Peer::Pod {
                namespace: Some(namespace),
                namespace_labels: namespace_labels(evidence, namespace),
                labels: None,
                addresses: Vec::new(),
            };
            Client { peer, name: format!("a Pod of namespace {namespace}"), pod: None }
        }
    }
}

pub(in crate::explain) fn of_pod<'e>(evidence: &Evidence, pod: &'e Pod) -> Client<'e> {
    let addresses =
        objects::pod_addresses(pod).iter().filter_map(|text| text.parse().ok()).collect::<Vec<_>>();
    let peer = if on_host(pod) {
        Peer::Address(addresses.first().copied())
    } else {
        let namespace = objects::namespace(pod);
        Peer::Pod {
            namespace: Some(namespace),
            namespace_labels: namespace_labels(evidence, namespace),
            labels: Some(pod.metadata.labels.clone().unwrap_or_default()),
            addresses,
        }
    };
    let on_node = if on_host(pod) { " (hostNetwork: it has the address of its node)" } else { "" };
    Client { peer, name: format!("Pod {}{on_node}", objects::path(pod)), pod: Some(pod) }
}

/// A Pod on the host network has the addresses of its node, and policies do not isolate it.
pub(in crate::explain) fn on_host(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
}

/// `None` if the Namespace could not be read.
pub(in crate::explain) fn namespace_labels(evidence: &Evidence, name: &str) -> Option<Labels> {
    let namespace = evidence.objects.namespaces().iter().find(|it| objects::name(*it) == name)?;
    let mut labels = namespace.metadata.labels.clone().unwrap_or_default();
    // The API server puts this label on every Namespace.
    labels.entry("kubernetes.io/metadata.name".to_owned()).or_insert_with(|| name.to_owned());
    Some(labels)
}

/// The Pods of the controllers that serve these Ingresses: those behind the LoadBalancer Service
/// with the address of the Ingress, else those whose namespace or labels have the name of the
/// controller. If there are none, the client can be any Pod.
pub(in crate::explain) fn controllers<'e>(
    evidence: &'e Evidence,
    ingresses: &[&Ingress],
) -> Vec<Client<'e>> {
    let addresses: Vec<&str> = ingresses.iter().flat_map(|it| hosts::addresses(it)).collect();
    let mut pods = at_addresses(evidence, &addresses);
    if pods.is_empty() {
        pods = by_name(evidence, ingresses);
    }
    of_pods(evidence, &pods, "the Ingress controller")
}

/// The Pods behind the LoadBalancer Services with these addresses, or any Pod.
pub(in crate::explain) fn behind<'e>(
    evidence: &'e Evidence,
    addresses: &[&str],
    name: &str,
) -> Vec<Client<'e>> {
    of_pods(evidence, &at_addresses(evidence, addresses), name)
}

fn of_pods<'e>(evidence: &Evidence, pods: &[&'e Pod], name: &str) -> Vec<Client<'e>> {
    if pods.is_empty() {
        let peer = Peer::Pod {
            namespace: None,
            namespace_labels: None,
            labels: None,
            addresses: Vec::new(),
        };
        return vec![Client { peer, name: name.to_owned(), pod: None }];
    }
    pods.iter()
        .map(|pod| {
            let client = of_pod(evidence, pod);
            Client { name: format!("{name} ({})", client.name), ..client }
        })
        .collect()
}

/// The LoadBalancer Services that have one of these addresses.
pub(in crate::explain) fn services_at<'e>(
    evidence: &'e Evidence,
    addresses: &[&str],
) -> impl Iterator<Item = &'e Service> {
    let serves = |service: &&Service| {
        let points =
            service.status.as_ref().and_then(|it| it.load_balancer.as_ref()?.ingress.as_ref());
        let mut own = points
            .into_iter()
            .flatten()
            .filter_map(|it| it.ip.as_deref().or(it.hostname.as_deref()));
        own.any(|address| addresses.contains(&address))
    };
    evidence.objects.services().iter().filter(serves)
}

fn at_addresses<'e>(evidence: &'e Evidence, addresses: &[&str]) -> Vec<&'e Pod> {
    let services = services_at(evidence, addresses);
    services.flat_map(|service| evidence.objects.selected(service)).collect()
}

/// The names of the controllers of the Ingresses, as their classes have them: `ingress-nginx`.
pub(in crate::explain) fn controller_names<'e>(
    evidence: &'e Evidence,
    ingresses: &[&Ingress],
) -> Vec<&'e str> {
    let classes = evidence.objects.ingress_classes();
    ingresses
        .iter()
        .filter_map(|it| it.spec.as_ref()?.ingress_class_name.as_deref())
        .filter_map(|name| classes.iter().find(|class| objects::name(*class) == name))
        .filter_map(|class| class.spec.as_ref()?.controller.as_deref())
        .filter_map(|controller| controller.rsplit('/').next())
        .collect()
}

fn by_name<'e>(evidence: &'e Evidence, ingresses: &[&Ingress]) -> Vec<&'e Pod> {
    let names = controller_names(evidence, ingresses);
    let named = |pod: &&Pod| {
        let mut labels = pod.metadata.labels.iter().flatten().map(|(_, value)| value.as_str());
        labels.any(|value| names.contains(&value)) || names.contains(&objects::namespace(*pod))
    };
    evidence.objects.pods().iter().filter(named).collect()
}
