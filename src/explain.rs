//! Explains why a name does not resolve, or why a Service does not answer.
//!
//! `gather` reads the cluster, the DNS server and the node, and returns [`Evidence`]. Everything
//! else is pure. `view` joins the objects, each join in one place. `steps` checks the evidence
//! along the path of a connection: DNS, the Service and its endpoints, the rules of kube-proxy, and
//! the access from outside. `checks` is the table of all findings: each has an id that never
//! changes. `report` keeps the findings, and the first broken one decides the verdict.
//!
//! The checks use the types of the Kubernetes API, because containers, selectors, conditions and
//! Secrets are not among the facts in `model`.

mod answer;
mod checks;
mod cluster_name;
mod corefile;
mod evidence;
mod expected;
#[doc(hidden)]
pub mod fuzzing;
mod gather;
mod objects;
mod overview;
mod permissions;
mod query;
mod report;
mod resolv;
mod rules;
mod simulated;
mod steps;
mod switch;
mod view;
mod words;

pub use answer::Answer;
pub use checks::{one as check_text, page as checks_page, table as checks_table};
pub use corefile::LiveKubernetes;
pub use evidence::Evidence;
use expected::ExpectedZone;
pub use gather::{Request, Source, gather, gather_all, live_kubernetes, switch_evidence};
pub use objects::Objects;
pub use overview::{Overview, overview};
pub use query::{Asking, query};
pub use report::{Report, Style, Verdict};
pub use resolv::ResolvConf;
pub use rules::Rules;
pub use simulated::SimulatedServer;
pub use switch::{Switch, SwitchEvidence, SwitchFinding, SwitchLevel, switch};

use steps::{cluster, dns, outside, proxy, service};
use view::{
    destination::Destination,
    names::{self, Subject},
};

/// Checks the evidence. It does no I/O.
pub fn explain(evidence: &Evidence) -> Report {
    let mut unread: Vec<String> = evidence.unread.iter().map(ToString::to_string).collect();
    unread.extend(evidence.complaints.iter().cloned());
    if evidence.name.is_empty() {
        return Report::new("the cluster's DNS".to_owned(), cluster::judge(evidence), unread);
    }
    let wanted =
        Destination::parse(&evidence.name).resolve(&evidence.objects, &evidence.asker.namespace);
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
        Subject::Routes { routes, .. } => {
            let paths = routes
                .iter()
                .map(|route| format!("{} {}", route.kind, objects::path(*route)))
                .collect::<Vec<_>>()
                .join(", ");
            format!("{name} belongs to {paths}")
        }
        Subject::Pod { pod: Some(pod), .. } => format!("{name} is Pod {}", objects::path(*pod)),
        Subject::Pod { pod: None, .. } => format!("{name} is a Pod's address"),
        Subject::Missing { namespace, service } => {
            format!("{name} would be Service {namespace}/{service}")
        }
        Subject::NoObject(object) => {
            let namespace = &evidence.asker.namespace;
            format!("{name} is {} {namespace}/{}", object.kind.name(), object.name)
        }
        Subject::Outside => format!("{name} is not a cluster name"),
    }
}
