//! The resolver settings of the client Pod, as kubelet writes them.

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;

use crate::explain::{Objects, ResolvConf, evidence::Asker, objects};

use super::Request;

/// # Errors
/// If the Pod of the request does not exist, or if this Pod's /etc/resolv.conf cannot be read.
pub(super) fn find(
    request: &Request,
    all: &Objects,
    zone: &str,
    namespace: Option<String>,
    is_live: bool,
) -> anyhow::Result<Asker> {
    let server = all
        .dns_service()
        .and_then(|service| objects::cluster_ips(service).first().map(|ip| (*ip).to_owned()));
    if let Some((namespace, name)) = &request.pod {
        let pod = all
            .pod(namespace, name)
            .with_context(|| format!("there is no Pod {namespace}/{name}"))?;
        let resolv = of_pod(pod, zone, server.as_deref());
        return Ok(Asker {
            namespace: namespace.clone(),
            pod: Some(pod.clone()),
            resolv,
            from: format!("Pod {namespace}/{name}"),
        });
    }
    let in_pod = is_live && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if in_pod && request.namespace.is_none() {
        let text = std::fs::read_to_string("/etc/resolv.conf").context("/etc/resolv.conf")?;
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        return Ok(Asker {
            namespace,
            pod: None,
            resolv: ResolvConf::parse(&text),
            from: "/etc/resolv.conf here".to_owned(),
        });
    }
    let namespace = request.namespace.clone().or(namespace).unwrap_or_else(|| "default".to_owned());
    let resolv = ResolvConf::of_namespace(&namespace, zone, server.as_deref());
    Ok(Asker { from: format!("a Pod of namespace {namespace}"), namespace, pod: None, resolv })
}

/// Evaluates `dnsPolicy` and `dnsConfig` (Pod's DNS Policy in Kubernetes' documentation).
fn of_pod(pod: &Pod, zone: &str, server: Option<&str>) -> ResolvConf {
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let on_host = spec.and_then(|spec| spec.host_network).unwrap_or(false);
    let mut resolv = match policy {
        "None" => ResolvConf::parse(""),
        "Default" => of_node(),
        "ClusterFirst" if on_host => of_node(),
        _ => ResolvConf::of_namespace(objects::namespace(pod), zone, server),
    };
    let Some(config) = spec.and_then(|spec| spec.dns_config.as_ref()) else { return resolv };
    for server in config.nameservers.iter().flatten() {
        if !resolv.nameservers.contains(server) {
            resolv.nameservers.push(server.clone());
        }
    }
    resolv.add_search(config.searches.iter().flatten().map(String::as_str));
    resolv.limit_search();
    for option in
        config.options.iter().flatten().filter(|option| option.name.as_deref() == Some("ndots"))
    {
        resolv.ndots =
            option.value.as_deref().and_then(|value| value.parse().ok()).unwrap_or(resolv.ndots);
    }
    resolv
}

/// The content of the node's resolv.conf is not known here.
fn of_node() -> ResolvConf {
    ResolvConf { nameservers: vec!["that of the node".to_owned()], ..ResolvConf::parse("") }
}
