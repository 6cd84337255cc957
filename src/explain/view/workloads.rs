//! The Pods that Deployments, StatefulSets and other workloads make. Manifests often hold these
//! and no Pods.

use k8s_openapi::api::core::v1::{Pod, Service};

use crate::source::kind::Workload;

use crate::explain::{Evidence, objects};

/// A Pod template that the selector of a Service matches.
pub(in crate::explain) struct Template<'e> {
    pub(in crate::explain) pod: Pod,
    pub(in crate::explain) workload: &'e Workload,
}

impl Template<'_> {
    /// `Deployment web`.
    pub(in crate::explain) fn owner(&self) -> String {
        name(self.workload)
    }
}

/// `Deployment web`.
pub(in crate::explain) fn name(workload: &Workload) -> String {
    format!("{} {}", workload.kind, objects::name(workload))
}

/// The templates that the Service selects. A workload that another one owns is left out.
pub(in crate::explain) fn of_service<'e>(
    evidence: &'e Evidence,
    service: &Service,
) -> Vec<Template<'e>> {
    let selected = |it: &&Workload| {
        let metadata = it.template().and_then(|it| it.metadata.as_ref());
        metadata.is_some_and(|metadata| objects::selects(service, metadata))
    };
    evidence.objects.near_workloads(service).filter(selected).filter_map(template).collect()
}

pub(in crate::explain) fn in_namespace<'e>(
    evidence: &'e Evidence,
    namespace: &str,
) -> impl Iterator<Item = Template<'e>> {
    evidence.objects.workloads_in(namespace).filter_map(template)
}

pub(in crate::explain) fn template(workload: &Workload) -> Option<Template<'_>> {
    if workload.metadata.owner_references.as_ref().is_some_and(|owners| !owners.is_empty()) {
        return None;
    }
    let template = workload.template()?;
    let mut metadata = template.metadata.clone().unwrap_or_default();
    metadata.namespace = Some(objects::namespace(workload).to_owned());
    metadata.name = workload.metadata.name.clone();
    let pod = Pod { metadata, spec: template.spec.clone(), status: None };
    Some(Template { pod, workload })
}

/// The Pods behind a Service with their names in messages. If there are none, one Pod for each
/// template.
pub(in crate::explain) fn pods_or_templates(
    evidence: &Evidence,
    service: &Service,
) -> Vec<(Pod, String)> {
    let pods: Vec<(Pod, String)> = evidence
        .objects
        .selected(service)
        .map(|pod| (pod.clone(), format!("Pod {}", objects::path(pod))))
        .collect();
    if !pods.is_empty() {
        return pods;
    }
    of_service(evidence, service)
        .into_iter()
        .map(|template| {
            let name = format!("the Pods of {}", template.owner());
            (template.pod, name)
        })
        .collect()
}

/// The StatefulSet that makes a Pod with this name: `web` for `web-0`.
pub(in crate::explain) fn stateful_set<'e>(
    evidence: &'e Evidence,
    namespace: &str,
    pod: &str,
) -> Option<&'e Workload> {
    let (name, ordinal) = pod.rsplit_once('-')?;
    let ordinal: i32 = ordinal.parse().ok()?;
    evidence.objects.workloads_in(namespace).find(|it| {
        it.kind == "StatefulSet" && objects::name(*it) == name && it.ordinals().contains(&ordinal)
    })
}
