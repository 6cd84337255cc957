//! Checks that the cluster's DNS server can give the answer, if no server has replied: its Pods,
//! its Service, and the plugins of its Corefile.

use crate::wire::Type;

use crate::explain::{
    Evidence, checks,
    expected::ExpectedEnd,
    objects,
    report::{FindingLevel, Section},
    simulated::SimulatedReply,
    steps::server,
    view::names::Subject,
};

/// Checks the server for a name of the cluster.
pub(super) fn judge(
    evidence: &Evidence,
    subject: &Subject<'_>,
    candidate: &str,
    section: &mut Section,
) {
    let is_answered = evidence.asked.replies.iter().any(|reply| reply.answer.is_ok());
    if evidence.is_overview || is_answered || section.is_broken() {
        return;
    }
    let is_itself = matches!((subject, evidence.dns_service()), (Subject::Service { service, .. }, Some(dns))
        if objects::path(*service) == objects::path(dns));
    if !is_itself {
        section.findings.extend(server::faults(evidence));
    }
    if !section.is_broken() {
        by_corefile(evidence, candidate, section);
    }
}

/// Reports a plugin of the Corefile that takes the name from `kubernetes`.
fn by_corefile(evidence: &Evidence, candidate: &str, section: &mut Section) {
    let Some(simulated) = &evidence.simulated else { return };
    for qtype in super::types(candidate) {
        let own = evidence.expected.ask(candidate, *qtype);
        if own.end != ExpectedEnd::Records {
            continue;
        }
        let expected = own.data(*qtype);
        let (level, saw) = match simulated.ask(candidate, *qtype) {
            Some(SimulatedReply::Answer(answer, plugin)) => {
                let data = answer.data(&qtype.to_string());
                if data.iter().any(|it| expected.contains(it)) {
                    continue;
                }
                if data.is_empty() {
                    (
                        FindingLevel::Broken,
                        format!("{candidate} gets {} from {}", answer.rcode, from(plugin)),
                    )
                } else {
                    let saw = format!("{candidate} gets {} from {}", data.join(", "), from(plugin));
                    (FindingLevel::Warning, saw)
                }
            }
            Some(SimulatedReply::Forwarded) => {
                (FindingLevel::Broken, format!("{candidate} is forwarded to an upstream"))
            }
            Some(SimulatedReply::Silence) => {
                (FindingLevel::Broken, format!("the query for {candidate} is dropped"))
            }
            None => continue,
        };
        section
            .say(level, checks::COREFILE_SHADOW, format!("with the cluster's Corefile, {saw}"))
            .want(format!("{} from plugin kubernetes: `fallthrough` in plugins that CoreDNS calls before it, and no server block with a longer zone", expected.join(", ")))
            .advise(server::EDIT_COREFILE);
        return;
    }
}

fn from(plugin: &str) -> String {
    if plugin.is_empty() { "the server itself".to_owned() } else { format!("plugin {plugin}") }
}

/// Reports the answer that the Corefile itself has for a name that is not a cluster name. Returns
/// whether it has one.
pub(super) fn outside(evidence: &Evidence, absolute: &str, section: &mut Section) -> bool {
    let Some(simulated) = &evidence.simulated else { return false };
    let Some(SimulatedReply::Answer(answer, plugin)) = simulated.ask(absolute, Type::A) else {
        return false;
    };
    let data = answer.data("A");
    let Some(first) = data.first() else { return false };
    let saw = format!(
        "{absolute} A {}, from {} of the cluster's Corefile",
        data.join(", "),
        from(plugin)
    );
    match evidence.objects.at_cluster_ip(first).next() {
        Some(service) => {
            let path = objects::path(service);
            let name = format!("{}.{}", objects::name(service), objects::namespace(service));
            section
                .say(
                    FindingLevel::Unknown,
                    checks::DNS_OUTSIDE,
                    format!(
                        "{saw}: it is another name of Service {path}, which is not checked here"
                    ),
                )
                .advise(format!("ndots explain {name}"));
        }
        None => section.ok(checks::DNS_BY_COREFILE, saw),
    }
    true
}
