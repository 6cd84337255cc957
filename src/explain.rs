//! Explains why a name does not resolve, or why a Service does not answer.
//!
//! `gather` reads the cluster, the DNS server and the node, and returns [`Evidence`]. Everything else
//! is pure and checks the evidence along the path of a connection: DNS, the Service and its
//! endpoints, the rules of kube-proxy, and the access from outside. Each finding has an id that never
//! changes. The first broken finding decides the verdict.
//!
//! The checks use the types of the Kubernetes API, because containers, selectors, conditions and
//! Secrets are not among the facts in `model`.

mod answer;
mod cluster;
mod corefile;
mod dns;
mod evidence;
mod expected;
mod gather;
mod ingress;
mod names;
mod objects;
mod outside;
mod proxy;
mod query;
mod report;
mod resolv;
mod rules;
mod service;
mod unchecked;

pub use answer::Answer;
pub use evidence::Evidence;
use expected::ExpectedZone;
pub use gather::{Request, Source, gather};
use objects::Objects;
pub use query::{Asking, query};
pub use report::{Report, Verdict};
pub use resolv::ResolvConf;
pub use rules::Rules;

use names::{Destination, Subject};

/// Checks the evidence. It does no I/O.
pub fn explain(evidence: &Evidence) -> Report {
    let mut unread: Vec<String> = evidence.unread.iter().map(ToString::to_string).collect();
    unread.extend(evidence.complaints.iter().cloned());
    if evidence.name.is_empty() {
        return Report::new("the cluster's DNS".to_owned(), cluster::judge(evidence), unread);
    }
    let wanted = Destination::parse(&evidence.name);
    let subject = names::subject(evidence, &wanted);
    let steps = vec![
        dns::judge(evidence, &wanted, &subject),
        service::judge(evidence, &wanted, &subject),
        proxy::judge(evidence, &wanted, &subject),
        outside::judge(evidence, &wanted, &subject),
    ];
    Report::new(title(evidence, &subject), steps, unread)
}

fn title(evidence: &Evidence, subject: &Subject<'_>) -> String {
    let name = &evidence.name;
    match subject {
        Subject::Service { service, .. } => {
            format!("{name} is Service {}", objects::path(*service))
        }
        Subject::Ingress { ingresses, .. } => {
            let paths = ingresses
                .iter()
                .map(|ingress| objects::path(*ingress))
                .collect::<Vec<_>>()
                .join(", ");
            format!("{name} belongs to Ingress {paths}")
        }
        Subject::Pod { .. } => format!("{name} is a Pod's address"),
        Subject::Missing { namespace, service } => {
            format!("{name} would be Service {namespace}/{service}")
        }
        Subject::Outside => format!("{name} is not a cluster name"),
    }
}
