//! The Services that the user's argument leads to.

use crate::explain::{
    Evidence, objects,
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
    let path = wanted.path.as_deref();
    match subject {
        Subject::Service { service, .. } => {
            let named = wanted.port_name.as_deref().and_then(|name| {
                let mut ports = objects::ports(service).iter();
                ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.port)
            });
            let port = wanted.port.map(i32::from).or(named);
            vec![Backend { paths: String::new(), service, port }]
        }
        Subject::Ingress { host, ingresses } => hosts::backends(evidence, ingresses, host, path),
        Subject::Routes { routes, .. } => routes::backends(evidence, routes, path),
        Subject::Pod { .. } | Subject::NoObject(_) | Subject::Missing { .. } | Subject::Outside => {
            Vec::new()
        }
    }
}
