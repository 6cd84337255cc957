//! Why a name does not resolve, or a Service does not answer.
//!
//! `gather` looks at the cluster, at the server and at the node, and the result is [`Evidence`];
//! everything else is pure and judges it, link by link of the chain that a connection takes: DNS,
//! the Service and its endpoints, kube-proxy's rules, the way in from outside. A finding has an id
//! that stays. The first broken one is the verdict.
//!
//! It reads the API's own types: containers, selectors, conditions and Secrets are no facts of the
//! zone's.

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

pub use answer::Answer;
pub use evidence::Evidence;
use expected::OwnZone;
pub use gather::{Request, Source, gather};
use objects::Objects;
pub use query::{Asking, query};
pub use report::{Report, Verdict};
pub use resolv::ResolvConf;
pub use rules::Rules;

use names::{Subject, Wanted};

/// Judges what was seen.
pub fn explain(evidence: &Evidence) -> Report {
    let mut unread: Vec<String> = evidence.unread.iter().map(ToString::to_string).collect();
    unread.extend(evidence.complaints.iter().cloned());
    if evidence.name.is_empty() {
        return Report::new("the cluster's DNS".to_owned(), cluster::judge(evidence), unread);
    }
    let wanted = Wanted::parse(&evidence.name);
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
        Subject::Outside => format!("{name} is no name of the cluster"),
    }
}
