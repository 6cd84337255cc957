//! Mistakes in workloads and in the specifications of Pods.

use std::collections::BTreeSet;

use k8s_openapi::{
    api::core::v1::{Container, Pod, PodSpec},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use serde_json::Value;

use crate::{
    explain::{
        checks, objects,
        report::Section,
        view::{
            labels::{self, Labels},
            truth::Truth,
            workloads::Template,
        },
    },
    source::kind::Workload,
};

use super::{Mistake, is_service_name, mistake, say};

/// Reports the first mistake of a workload or of its Pod template. `is_old` is true if the
/// manifests have workloads of an API version in which the selector has a default.
pub(in crate::explain) fn workload(template: &Template<'_>, is_old: bool, section: &mut Section) {
    let found = of_selector(template.workload, &template.pod.metadata, is_old)
        .or_else(|| of_metadata(&template.pod.metadata))
        .or_else(|| of_spec(template.pod.spec.as_ref()?));
    let Some(mistake) = found else { return };
    let namespace = objects::namespace(template.workload);
    let command = format!("kubectl apply --dry-run=server -n {namespace}");
    let path = objects::path(template.workload);
    say(checks::ENDPOINTS_REJECTED, &template.workload.kind, &path, &mistake, &command, section);
}

/// Reports the first mistake of a Pod.
pub(in crate::explain) fn pod(pod: &Pod, section: &mut Section) {
    let found = of_metadata(&pod.metadata).or_else(|| of_spec(pod.spec.as_ref()?));
    let Some(mistake) = found else { return };
    let command = format!("kubectl apply --dry-run=server -n {}", objects::namespace(pod));
    say(checks::ENDPOINTS_REJECTED, "Pod", &objects::path(pod), &mistake, &command, section);
}

fn of_selector(workload: &Workload, metadata: &ObjectMeta, is_old: bool) -> Option<Mistake> {
    const WANT: &str = "spec.selector.matchLabels with labels of spec.template.metadata.labels";
    let needs_selector =
        ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"].contains(&workload.kind.as_str());
    let none = Labels::new();
    let own = metadata.labels.as_ref().unwrap_or(&none);
    match workload.spec.selector.as_ref().filter(|it| !it.is_null()) {
        None if needs_selector && !is_old => Some(mistake("it has no spec.selector", WANT)),
        None => None,
        // A Job's selector is made by the API server.
        Some(_) if workload.ends() => None,
        Some(selector) => {
            let selector = read_selector(selector)?;
            let labels = selector.match_labels.iter().flatten().count();
            if needs_selector
                && labels == 0
                && selector.match_expressions.iter().flatten().count() == 0
            {
                return Some(mistake("its spec.selector is empty", WANT));
            }
            (labels::matches(&selector, Some(own)) == Truth::No).then(|| {
                mistake(
                    format!(
                        "its selector {} does not match the labels of its own template",
                        labels::written(&selector)
                    ),
                    WANT,
                )
            })
        }
    }
}

/// A `LabelSelector`, or a map of labels.
fn read_selector(selector: &Value) -> Option<LabelSelector> {
    let is_selector = ["matchLabels", "matchExpressions"];
    let fields = selector.as_object()?;
    if fields.keys().any(|key| is_selector.contains(&key.as_str())) {
        return serde_json::from_value(selector.clone()).ok();
    }
    let labels = serde_json::from_value(selector.clone()).ok()?;
    Some(LabelSelector { match_labels: Some(labels), match_expressions: None })
}

fn of_metadata(metadata: &ObjectMeta) -> Option<Mistake> {
    let labels = metadata.labels.as_ref()?;
    let (key, value) = labels.iter().find(|(_, value)| !is_label_value(value))?;
    Some(mistake(
        format!("label {key} has the value {value:?}"),
        "at most 63 of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends",
    ))
}

/// The value of a label, as the API defines it.
pub(super) fn is_label_value(value: &str) -> bool {
    let is_end = |octet: Option<u8>| octet.is_none_or(|it| it.is_ascii_alphanumeric());
    value.len() <= 63
        && value.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
        && is_end(value.bytes().next())
        && is_end(value.bytes().last())
}

fn of_spec(spec: &PodSpec) -> Option<Mistake> {
    if spec.containers.is_empty() {
        return Some(mistake("it has no containers", "at least one entry in spec.containers"));
    }
    if spec.dns_policy.as_deref() == Some("None") {
        let servers = spec.dns_config.as_ref().and_then(|config| config.nameservers.as_ref());
        if servers.is_none_or(Vec::is_empty) {
            return Some(mistake(
                "dnsPolicy is None, and dnsConfig has no nameservers",
                "dnsConfig.nameservers, or dnsPolicy: ClusterFirst",
            ));
        }
    }
    spec.containers.iter().find_map(of_container)
}

fn of_container(container: &Container) -> Option<Mistake> {
    let mut names = BTreeSet::new();
    for port in container.ports.iter().flatten() {
        let number = port.container_port;
        if !(1..=65_535).contains(&number) {
            return Some(mistake(
                format!("containerPort {number} is not a port number"),
                "1 to 65535",
            ));
        }
        let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) else { continue };
        if !is_service_name(name) {
            return Some(mistake(
                format!("{name:?} is not the name of a port"),
                "at most 15 of a-z, 0-9 and `-`, with at least one letter",
            ));
        }
        if !names.insert(name) {
            return Some(mistake(
                format!("container {} has two ports with the name {name}", container.name),
                "a different name for each port",
            ));
        }
    }
    None
}
