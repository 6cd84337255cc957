//! The Pods that Deployments would make, for manifests that have no Pods.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
};

use crate::explain::{Evidence, objects};

/// A Pod template that the selector of a Service matches.
pub(super) struct Template {
    pub(super) pod: Pod,
    pub(super) replicas: i32,
    /// `Deployment web`.
    pub(super) owner: String,
}

pub(super) fn of_service(evidence: &Evidence, service: &Service) -> Vec<Template> {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
    if selector.is_empty() {
        return Vec::new();
    }
    let matches = |template: &Template| {
        let labels = template.pod.metadata.labels.as_ref();
        selector.iter().all(|(key, value)| labels.and_then(|it| it.get(key)) == Some(value))
    };
    let deployments = evidence.objects.deployments().iter();
    deployments
        .filter(|it| objects::namespace(*it) == objects::namespace(service))
        .filter_map(of_deployment)
        .filter(matches)
        .collect()
}

fn of_deployment(deployment: &Deployment) -> Option<Template> {
    let spec = deployment.spec.as_ref()?;
    let pod = Pod {
        metadata: spec.template.metadata.clone().unwrap_or_default(),
        spec: spec.template.spec.clone(),
        status: None,
    };
    let owner = format!("Deployment {}", objects::name(deployment));
    Some(Template { pod, replicas: spec.replicas.unwrap_or(1), owner })
}
