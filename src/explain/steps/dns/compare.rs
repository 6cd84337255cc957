//! Compares the server's answer with the answer that follows from the objects.

use crate::{
    explain::{
        Answer, Evidence, checks,
        evidence::Reply,
        expected::{ExpectedAnswer, ExpectedEnd},
        objects,
        report::{FindingLevel, Section},
        resolv::dots,
        view::destination::Destination,
    },
    wire::Type,
};

/// Compares the server's replies for one name with the expected answers.
pub(super) fn with_server(
    evidence: &Evidence,
    candidate: &str,
    own: &[(Type, ExpectedAnswer)],
    section: &mut Section,
) {
    let asked = &evidence.asked;
    let hit = own.iter().any(|(_, own)| own.exists());
    if !hit && shadowed(evidence, candidate, own, section) {
        return;
    }
    if hit && asked.not_asked.is_some() {
        return nobody(evidence, section);
    }
    if hit && let Some(error) = unheard(evidence) {
        return silent(evidence, candidate, error, section);
    }
    let mut agreed = Vec::new();
    for (qtype, own) in own {
        let Some(heard) = asked.find(candidate, &qtype.to_string(), false) else { continue };
        match heard {
            Err(error) => return silent(evidence, candidate, error, section),
            Ok(answer)
                if ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"].contains(&&*answer.rcode) =>
            {
                let broken = section.broken(
                    checks::DNS_SERVER_FAILURE,
                    format!("{} answers {} {qtype} with {}", asked.server, candidate, answer.rcode),
                );
                broken
                    .advise("kubectl -n kube-system logs -l k8s-app=kube-dns --tail=50")
                    .advise("ndots explain");
                return;
            }
            Ok(answer) => match difference(*qtype, own, answer) {
                Some((saw, want)) => {
                    stale(
                        evidence,
                        &format!("{} answers {candidate} {qtype} {saw}", asked.server),
                        &want,
                        section,
                    );
                    return;
                }
                None => agreed.push(*qtype),
            },
        }
    }
    if hit && !agreed.is_empty() {
        let over = over_tcp(evidence, candidate);
        let saw = match other_pods(evidence, section)[..] {
            [] => format!("{} answers the same{over}", asked.server),
            ref others => {
                format!("{}, {} answer the same{over}", asked.server, others.join(", "))
            }
        };
        section.ok(checks::DNS_SERVER, saw);
        tcp(evidence, candidate, section);
    }
}

/// Compares the answers of the other Pods of the DNS server with that of the first one. Returns the
/// Pods that agree.
fn other_pods<'e>(evidence: &'e Evidence, section: &mut Section) -> Vec<&'e str> {
    let asked = &evidence.asked;
    let mut agreed = Vec::new();
    for (server, Reply { name, qtype, answer, .. }) in &asked.others {
        let first = asked.find(name, qtype, false).and_then(|answer| answer.as_ref().ok());
        match (answer, first) {
            (Err(error), _) => {
                let saw = format!("{server} does not answer: {error}");
                section.say(FindingLevel::Unknown, checks::DNS_NO_ANSWER, saw);
            }
            (Ok(answer), Some(first)) if !agree(answer, first, qtype) => {
                let saw = format!("{server} answers {name} {qtype} {}", summary(answer));
                let want = format!("{}, as {} answers", summary(first), asked.server);
                stale(evidence, &saw, &want, section);
            }
            (Ok(_), _) => agreed.push(server.as_str()),
        }
    }
    agreed
}

/// Whether two servers give the same data, in any order.
fn agree(one: &Answer, other: &Answer, rtype: &str) -> bool {
    let sorted = |answer: &Answer| {
        let mut data: Vec<_> = answer.data(rtype).iter().map(ToString::to_string).collect();
        data.sort_unstable();
        data
    };
    one.rcode == other.rcode && sorted(one) == sorted(other)
}

/// The data of an answer, or its response code if there is none.
fn summary(answer: &Answer) -> String {
    if answer.records.is_empty() {
        return answer.rcode.clone();
    }
    answer.records.iter().map(|record| record.data.as_str()).collect::<Vec<_>>().join(", ")
}

/// Reports a search domain that has an answer for the name. The external name that was meant is
/// then never queried.
fn shadowed(
    evidence: &Evidence,
    candidate: &str,
    own: &[(Type, ExpectedAnswer)],
    section: &mut Section,
) -> bool {
    let name = Destination::parse(&evidence.name).host;
    if name.ends_with('.') || dots(&name) < 2 || candidate == format!("{name}.") {
        return false;
    }
    for (qtype, _) in own {
        if let Some(Ok(answer)) = evidence.asked.find(candidate, &qtype.to_string(), false)
            && !answer.records.is_empty()
        {
            let data = answer
                .records
                .iter()
                .map(|record| record.data.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            let broken = section.broken(
                checks::DNS_SEARCH_SHADOW,
                format!(
                    "{} answers {candidate} with {data}, so {name} itself is never queried",
                    evidence.asked.server
                ),
            );
            let want = format!("NXDOMAIN for {candidate}, so that the resolver goes on to {name}");
            broken.want(want).advise(format!(
                "use {name}. (with its final dot), or take the domain out of the search list"
            ));
            return true;
        }
    }
    false
}

fn over_tcp(evidence: &Evidence, candidate: &str) -> &'static str {
    let asked = &evidence.asked;
    let heard = asked.replies.iter().any(|it| it.tcp && it.name == candidate && it.answer.is_ok());
    match (asked.is_forwarded, heard) {
        (true, _) => ", over TCP through the API server",
        (false, true) => ", over UDP and TCP",
        (false, false) => ", over UDP",
    }
}

/// Checks TCP, which large answers and some clients need.
fn tcp(evidence: &Evidence, candidate: &str, section: &mut Section) {
    let failed = evidence
        .asked
        .replies
        .iter()
        .filter(|reply| reply.tcp && reply.name == candidate)
        .find_map(|reply| reply.answer.as_ref().err());
    if let Some(error) = failed {
        let saw = format!("{} does not answer over TCP: {error}", evidence.asked.server);
        let warning = section.say(FindingLevel::Warning, checks::DNS_TCP, saw);
        warning
            .want("53/TCP as well as 53/UDP, in the Service kube-dns and in every network policy")
            .advise("kubectl -n kube-system get service kube-dns -o yaml");
    }
}

fn nobody(evidence: &Evidence, section: &mut Section) {
    if let Some(reason) = &evidence.asked.not_asked {
        section.say(FindingLevel::Skipped, checks::DNS_SERVER, reason.clone());
    }
}

/// The error of the first query. After an error, no further query is sent.
fn unheard(evidence: &Evidence) -> Option<&String> {
    evidence.asked.replies.first().and_then(|reply| reply.answer.as_ref().err())
}

/// Reports that the server did not answer. This is a fault only inside the cluster. From outside it
/// is expected, unless the user asked for a connection through the API server.
fn silent(evidence: &Evidence, candidate: &str, error: &str, section: &mut Section) {
    let asked = &evidence.asked;
    let server = &asked.server;
    if asked.inside {
        section
            .broken(checks::DNS_NO_ANSWER, format!("{server} does not answer: {error}"))
            .want("a reply to every question")
            .advise("ndots explain    # with no name: the cluster's DNS itself");
        return;
    }
    let (level, check) = if asked.is_forwarded {
        (FindingLevel::Unknown, checks::DNS_NO_ANSWER)
    } else {
        (FindingLevel::Skipped, checks::DNS_SERVER)
    };
    let saw = format!("{server} does not answer from here, outside of the cluster: {error}");
    let (namespace, pod) =
        evidence.asker.pod.as_ref().map_or((evidence.asker.namespace.as_str(), "POD"), |pod| {
            (objects::namespace(pod), objects::name(pod))
        });
    section
        .say(level, check, saw)
        .advise(format!("kubectl -n {namespace} exec {pod} -- nslookup {candidate}"));
}

/// The actual and the expected answer, or `None` if they agree.
fn difference(qtype: Type, own: &ExpectedAnswer, answer: &Answer) -> Option<(String, String)> {
    let rtype = qtype.to_string();
    let data = answer.data(&rtype);
    let said = summary(answer);
    let want = own.to_string();
    match &own.end {
        // No answer is expected: the objects of the name could not be read, or its aliases form a
        // loop.
        ExpectedEnd::Unread | ExpectedEnd::AliasLoop => None,
        // Only the alias is compared. The upstream decides about the rest.
        ExpectedEnd::Outside(_) => {
            let alias = own.data(Type::CNAME);
            let differs = !alias.is_empty()
                && !answer.records.is_empty()
                && !answer.records.iter().any(|record| alias.contains(&&*record.data));
            differs.then_some((said, want))
        }
        ExpectedEnd::NoName => (!data.is_empty()).then_some((said, want)),
        ExpectedEnd::NoData => {
            (answer.rcode == "NXDOMAIN" || !data.is_empty()).then_some((said, want))
        }
        ExpectedEnd::Records => {
            // A large answer may be incomplete, but each of its addresses must be an expected one.
            let ours = own.data(qtype);
            let differs = data.is_empty()
                || data.iter().any(|it| !ours.contains(it))
                || data.len() < ours.len() && data.len() < 8;
            differs.then_some((said, want))
        }
    }
}

fn stale(evidence: &Evidence, saw: &str, want: &str, section: &mut Section) {
    let broken = section.broken(checks::DNS_STALE, saw);
    broken.want(format!("{want}, as the object in the API says")).advise(format!(
        "kubectl -n kube-system rollout restart deployment coredns    # and look why {} lags: its log, its permission to watch",
        evidence.asked.server
    ));
}

/// Checks the address of `kubernetes.default`, which differs at the server of another cluster.
pub(super) fn kubernetes_default(evidence: &Evidence, section: &mut Section) {
    let Some(service) = evidence.objects.service("default", "kubernetes") else { return };
    let ips = objects::cluster_ips(service);
    let Some(ip) = ips.iter().find(|ip| !ip.contains(':')).or(ips.first()) else { return };
    let qtype = if ip.contains(':') { "AAAA" } else { "A" };
    let name = format!("kubernetes.default.svc.{}.", evidence.zone);
    match evidence.asked.find(&name, qtype, false) {
        Some(Ok(answer)) if !answer.data(qtype).contains(ip) => {
            let data = answer.data(qtype);
            let said = if data.is_empty() { answer.rcode.clone() } else { data.join(", ") };
            let broken = section.broken(
                checks::DNS_OTHER_CLUSTER,
                format!("{} answers kubernetes.default with {said}", evidence.asked.server),
            );
            broken.want(format!(
                "{ip}: the server is not this cluster's, or its zone is not {}",
                evidence.zone
            ));
            broken.advise("kubectl -n kube-system get configmap coredns -o yaml");
        }
        Some(Err(error)) => silent(evidence, &name, error, section),
        Some(Ok(_)) => section.ok(
            checks::DNS_KUBERNETES_DEFAULT,
            format!("kubernetes.default is {ip}, at {} too", evidence.asked.server),
        ),
        None => section.ok(checks::DNS_KUBERNETES_DEFAULT, format!("kubernetes.default is {ip}")),
    }
}

/// Checks, for a report without a name, that the server answers over UDP and TCP, and that external
/// names resolve.
pub(super) fn alive(evidence: &Evidence, section: &mut Section) {
    let name = format!("kubernetes.default.svc.{}.", evidence.zone);
    match evidence
        .asked
        .replies
        .iter()
        .find(|reply| reply.name == name && !reply.tcp)
        .map(|reply| &reply.answer)
    {
        None => nobody(evidence, section),
        Some(Err(error)) => silent(evidence, &name, error, section),
        Some(Ok(answer)) if ["SERVFAIL", "REFUSED"].contains(&&*answer.rcode) => {
            let broken = section.broken(
                checks::DNS_SERVER_FAILURE,
                format!("{} answers {name} with {}", evidence.asked.server, answer.rcode),
            );
            broken.advise("kubectl -n kube-system logs -l k8s-app=kube-dns --tail=50");
        }
        Some(Ok(_)) => {
            tcp(evidence, &name, section);
            upstream(evidence, section);
        }
    }
}

fn upstream(evidence: &Evidence, section: &mut Section) {
    match evidence.asked.find(".", "NS", false) {
        Some(Ok(answer)) if !answer.records.is_empty() => {
            section.ok(
                checks::DNS_UPSTREAM,
                format!("{} resolves external names, too", evidence.asked.server),
            );
        }
        Some(Ok(answer)) => {
            let warning = section.say(
                FindingLevel::Warning,
                checks::DNS_UPSTREAM,
                format!(
                    "{} does not resolve external names: it answers the query for the root name servers (. NS) with {}",
                    evidence.asked.server, answer.rcode
                ),
            );
            warning.want("upstreams that answer: see `forward` in the Corefile, and the resolv.conf of the server's node");
        }
        Some(Err(error)) => {
            let warning = section.say(
                FindingLevel::Warning,
                checks::DNS_UPSTREAM,
                format!("{} does not resolve external names: it does not answer the query for the root name servers (. NS): {error}", evidence.asked.server),
            );
            warning.want("upstreams that answer: see `forward` in the Corefile, and the resolv.conf of the server's node");
        }
        None => {}
    }
}
