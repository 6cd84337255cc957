//! The Services that the user's argument leads to.

use k8s_openapi::api::core::v1::Service;

use crate::limits;

use crate::explain::{
    Evidence,
    cluster_name::{ClusterName, take_apart},
    objects,
    view::{
        destination::Destination,
        hosts::{self, Backend},
        names::Subject,
        routes,
    },
};

/// The Services with the port that is meant, each once; for a Service the Service itself.
pub(in crate::explain) fn backends<'e>(
    evidence: &'e Evidence,
    wanted: &Destination,
    subject: &Subject<'e>,
) -> Vec<Backend<'e>> {
    match subject {
        Subject::Service { service, .. } => {
            let named = wanted.port_name.as_deref().and_then(|name| {
                let mut ports = objects::ports(service).iter();
                ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.port)
            });
            let port = wanted.port.map(i32::from).or(named);
            vec![Backend { paths: String::new(), service, port }]
        }
        Subject::Ingress { host, ingresses } => {
            hosts::backends(evidence, ingresses, wanted.requests(host))
        }
        Subject::Routes { routes, .. } => {
            routes::backends(evidence, routes, wanted.path.as_deref())
        }
        Subject::Pod { .. } | Subject::NoObject(_) | Subject::Missing { .. } | Subject::Outside => {
            Vec::new()
        }
    }
}

/// The Service to which the chain of external names leads; `None` if it leads out of the cluster.
pub(in crate::explain) fn alias_end<'e>(
    evidence: &'e Evidence,
    service: &'e Service,
) -> Option<&'e Service> {
    let mut end = service;
    for _ in 0..limits::CNAME_HOPS {
        if objects::kind(end) != "ExternalName" {
            break;
        }
        let (namespace, service) = alias_target(evidence, end)?;
        end = evidence.objects.service(&namespace, &service)?;
    }
    (objects::kind(end) != "ExternalName").then_some(end).filter(|end| !std::ptr::eq(*end, service))
}

/// Namespace and name of the Service that an external name stands for.
pub(in crate::explain) fn alias_target(
    evidence: &Evidence,
    service: &Service,
) -> Option<(String, String)> {
    let target = service.spec.as_ref()?.external_name.as_deref()?;
    match take_apart(target, &evidence.zone)? {
        ClusterName::Service { namespace, service, .. } => Some((namespace, service)),
        ClusterName::Pod { .. } | ClusterName::Other => None,
    }
}
