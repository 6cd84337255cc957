//! The ways into the cluster that a Service has.

use k8s_openapi::api::core::v1::Service;

use crate::explain::objects;

/// Whether a Service has an address or a port for clients outside.
pub(in crate::explain) fn ways_in(service: &Service) -> bool {
    ["NodePort", "LoadBalancer"].contains(&objects::kind(service))
        || !objects::external_ips(service).is_empty()
}

/// Whether a node sends connections from outside to its own endpoints only.
pub(in crate::explain) fn local_only(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .is_some_and(|spec| spec.external_traffic_policy.as_deref() == Some("Local"))
}
