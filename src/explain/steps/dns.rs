//! Step 1: which queries a resolver sends for the name, what the server replies, and what it should
//! reply.

mod compare;
mod hidden;
mod missing;
mod resolver;
mod served;

use crate::wire::Type;

use crate::explain::{
    Evidence, checks,
    cluster_name::{ClusterName, take_apart},
    expected::{ExpectedAnswer, ExpectedEnd},
    objects,
    report::{FindingLevel, Section},
    view::{destination::Destination, foreign, names::Subject, workloads},
};

pub(in crate::explain) fn judge(
    evidence: &Evidence,
    wanted: &Destination,
    subject: &Subject<'_>,
) -> Section {
    let mut section = Section::new(checks::Step::Dns);
    if !wanted.is_valid() && wanted.object.is_none() {
        section
            .say(
                FindingLevel::Unknown,
                checks::DNS_INVALID,
                format!("{} has no valid host name or address", evidence.name),
            )
            .want("NAME, NAME.NAMESPACE, an address, or a URL such as http://cafe.example.com/tea");
        return section;
    }
    if resolver::host_alias(evidence, wanted, subject, &mut section) {
        return section;
    }
    resolver::judge(evidence, wanted, subject, &mut section);
    match subject {
        Subject::Missing { namespace, service } => {
            walk(evidence, wanted, None, &mut section);
            missing::judge(evidence, wanted, namespace, service, &mut section);
        }
        Subject::Service { service, candidate, endpoint, .. } => {
            walk(evidence, wanted, Some(candidate), &mut section);
            shadows_world(wanted, service, &mut section);
            if hidden::judge(evidence, candidate, Some(service), &mut section) {
                // The option explains everything else.
            } else if objects::kind(service) == "ExternalName" {
                external_name(evidence, service, candidate, &mut section);
            } else if let Some(endpoint) = endpoint {
                endpoint_name(evidence, endpoint, candidate, &mut section);
            }
            served::judge(evidence, subject, candidate, &mut section);
        }
        Subject::Pod { candidate, pod: None } => {
            walk(evidence, wanted, Some(candidate), &mut section);
            hidden::judge(evidence, candidate, None, &mut section);
            served::judge(evidence, subject, candidate, &mut section);
        }
        Subject::Pod { candidate, pod: Some(_) } => {
            let address = &wanted.host;
            let saw = if address.is_empty() {
                "the Pod has no address yet".to_owned()
            } else {
                format!("the Pod has address {address}, and in DNS the name {candidate}")
            };
            section.say(FindingLevel::Note, checks::DNS_POD, saw);
        }
        Subject::Ingress { host, .. } | Subject::Routes { host, .. } => {
            if !host.is_empty() {
                walk(evidence, wanted, None, &mut section);
            }
            let of =
                if matches!(subject, Subject::Routes { .. }) { "a route" } else { "an Ingress" };
            let is_address = host.parse::<std::net::IpAddr>().is_ok();
            let what = if is_address { "an address" } else { "the host" };
            let saw = if host.is_empty() {
                format!(
                    "{of} without a host takes requests for every name: step 4 shows the address that DNS must return"
                )
            } else {
                format!(
                    "{host} is {what} of {of}, not a cluster name: step 4 shows the address that DNS must return"
                )
            };
            section.say(FindingLevel::Skipped, checks::DNS_INGRESS_HOST, saw);
        }
        Subject::NoObject(_) => {
            section.say(
                FindingLevel::Skipped,
                checks::DNS_NO_OBJECT,
                "there is no name to look up",
            );
        }
        Subject::Outside => {
            walk(evidence, wanted, None, &mut section);
            outside(evidence, wanted, &mut section);
        }
    }
    compare::kubernetes_default(evidence, &mut section);
    section
}

/// Checks that the server answers at all, for a cluster name and for an external name.
pub(in crate::explain) fn server(evidence: &Evidence, section: &mut Section) {
    compare::kubernetes_default(evidence, section);
    compare::alive(evidence, section);
}

/// The record types to query: a name of SRV records has no addresses.
fn types(name: &str) -> &'static [Type] {
    if name.starts_with('_') { &[Type::SRV] } else { &[Type::A, Type::AAAA] }
}

/// Reports every query up to the first one that finds something, with its answer.
fn walk(evidence: &Evidence, wanted: &Destination, target: Option<&str>, section: &mut Section) {
    let candidates = match wanted.host.parse::<std::net::IpAddr>() {
        Ok(_) => target.into_iter().map(str::to_owned).collect(),
        Err(_) => evidence.asker.resolv.candidates(&wanted.host),
    };
    let mut reached = false;
    for (index, candidate) in candidates.iter().enumerate() {
        let own: Vec<(Type, ExpectedAnswer)> = types(candidate)
            .iter()
            .map(|qtype| (*qtype, evidence.expected.ask(candidate, *qtype)))
            .collect();
        let hit = own.iter().any(|(_, own)| own.exists());
        let level = if hit { FindingLevel::Ok } else { FindingLevel::Note };
        if own.iter().any(|(_, own)| own.end == ExpectedEnd::Unread) {
            // For a name that is not that of a Service, a later check decides.
            let level = match target {
                Some(_) => FindingLevel::Unknown,
                None => FindingLevel::Note,
            };
            let unread = section.say(
                level,
                checks::DNS_UNREAD,
                format!("{} {candidate} depends on objects that could not be read", index + 1),
            );
            unread.advise("give this account the view role, or ask for the name in a Pod");
        } else {
            section.say(
                level,
                if hit { checks::DNS_QUESTION } else { checks::DNS_SEARCH_PATH },
                format!("{} {candidate} {}", index + 1, answers(&own)),
            );
        }
        compare::with_server(evidence, candidate, &own, section);
        if hit {
            reached = true;
            break;
        }
    }
    if let (false, Some(target)) = (reached, target) {
        resolver::not_reached(evidence, wanted, target, section);
    }
}

/// `A 10.96.0.1`, `NXDOMAIN`.
fn answers(own: &[(Type, ExpectedAnswer)]) -> String {
    let [first, ..] = own else { return String::new() };
    if own.iter().all(|(_, it)| it.records.is_empty() && it.end == first.1.end) {
        return first.1.to_string();
    }
    let with: Vec<_> = own.iter().filter(|(_, it)| !it.records.is_empty()).collect();
    // A CNAME is the same for every type, so it is printed once.
    if with.iter().all(|(_, it)| it.records.iter().all(|record| record.rtype == "CNAME")) {
        return with.first().map(|(_, it)| it.to_string()).unwrap_or_default();
    }
    with.iter().map(|(qtype, it)| format!("{qtype} {it}")).collect::<Vec<_>>().join("; ")
}

/// Reports a namespace with the name of a top-level domain, so that a Service has the name of a
/// public host (kubernetes#60534).
fn shadows_world(
    wanted: &Destination,
    service: &k8s_openapi::api::core::v1::Service,
    section: &mut Section,
) {
    // Top-level domains that are also usual names of namespaces, such as `dev`, are left out.
    const TOP_LEVEL: [&str; 8] = ["com", "edu", "gov", "info", "int", "mil", "net", "org"];
    let (namespace, name) = (objects::namespace(service), objects::name(service));
    if !TOP_LEVEL.contains(&namespace) || wanted.host != format!("{name}.{namespace}") {
        return;
    }
    let host = &wanted.host;
    section
        .say(
            FindingLevel::Warning,
            checks::DNS_SHADOWS_WORLD,
            format!("in this cluster {host} is Service {namespace}/{name}, and not the public host {host}"),
        )
        .want(format!("a namespace without the name of the top-level domain {namespace}"))
        .advise(format!("use {host}. (with its final dot) for the public host"));
}

/// Reports an `externalName` that is not a host name.
fn is_no_host_name(target: &str, fix: &str, section: &mut Section) -> bool {
    if target.parse::<std::net::IpAddr>().is_ok() {
        let saw = format!(
            "externalName is the address {target}: DNS treats it as a host name, which does not exist"
        );
        section
            .broken(checks::DNS_EXTERNAL_NAME_ADDRESS, saw)
            .want("a host name; for an address a Service without selector and an EndpointSlice")
            .advise(fix);
        return true;
    }
    if !objects::is_host_name(target) || target.contains('_') {
        section
            .broken(
                checks::DNS_EXTERNAL_NAME_INVALID,
                format!("externalName {target} is not a host name of a-z, 0-9, `-` and dots, without scheme, port and path"),
            )
            .want("a host name such as db.example.com")
            .advise(fix);
        return true;
    }
    false
}

/// Checks where the alias of an ExternalName Service ends.
fn external_name(
    evidence: &Evidence,
    service: &k8s_openapi::api::core::v1::Service,
    candidate: &str,
    section: &mut Section,
) {
    let target = service
        .spec
        .as_ref()
        .and_then(|spec| spec.external_name.as_deref())
        .unwrap_or_default()
        .trim_end_matches('.');
    let fix = format!(
        "kubectl -n {} edit service {}    # spec.externalName",
        objects::namespace(service),
        objects::name(service)
    );
    if is_no_host_name(target, &fix, section) {
        return;
    }
    let absolute = format!("{target}.");
    let own = evidence.expected.ask(candidate, Type::A);
    match own.end {
        ExpectedEnd::AliasLoop => {
            section
                .broken(
                    checks::DNS_EXTERNAL_NAME_CIRCLE,
                    format!("externalName {target} forms a loop"),
                )
                .advise(fix);
        }
        ExpectedEnd::NoName => {
            let saw = format!("externalName {target} is a cluster name that does not exist");
            let broken = section.broken(checks::DNS_EXTERNAL_NAME, saw);
            missing::meant(evidence, &absolute).into_iter().for_each(|near| {
                broken.want(near);
            });
            broken.advise(fix);
        }
        ExpectedEnd::Outside(_) => match evidence.asked.find(&absolute, "A", false) {
            Some(Ok(answer)) if answer.rcode == "NXDOMAIN" => {
                let saw = format!(
                    "externalName {target} does not exist: {} answers NXDOMAIN",
                    evidence.asked.server
                );
                section
                    .broken(checks::DNS_EXTERNAL_NAME, saw)
                    .want("a name that exists")
                    .advise(fix);
            }
            Some(Ok(answer)) if !answer.records.is_empty() => {
                let data = answer
                    .records
                    .iter()
                    .map(|record| format!("{} {}", record.rtype, record.data))
                    .collect::<Vec<_>>()
                    .join(", ");
                section.ok(
                    checks::DNS_EXTERNAL_NAME_END,
                    format!("{absolute} {data}, as {} says", evidence.asked.server),
                );
            }
            _ => {
                section.say(
                    FindingLevel::Skipped,
                    checks::DNS_EXTERNAL_NAME_END,
                    format!("{absolute} is an external name: the upstream resolves it"),
                );
            }
        },
        ExpectedEnd::Records | ExpectedEnd::NoData | ExpectedEnd::Unread => {}
    }
}

/// Checks a name below a Service, which belongs to an endpoint.
fn endpoint_name(evidence: &Evidence, endpoint: &str, candidate: &str, section: &mut Section) {
    if types(candidate).iter().any(|qtype| evidence.expected.ask(candidate, *qtype).exists()) {
        return;
    }
    if let Some(ClusterName::Service { namespace, service, .. }) =
        take_apart(candidate, &evidence.zone)
    {
        if of_stateful_set(evidence, endpoint, (&namespace, &service), section) {
            return;
        }
        let saw = format!("no ready endpoint of {namespace}/{service} is called {endpoint}");
        let broken = section.broken(checks::DNS_ENDPOINT_NAME, saw);
        broken.want(format!(
            "a ready Pod with spec.hostname {endpoint} and spec.subdomain {service}; a StatefulSet with serviceName {service} makes them"
        ));
        broken.advise(format!(
            "kubectl -n {namespace} get pods -o custom-columns=NAME:.metadata.name,HOSTNAME:.spec.hostname,SUBDOMAIN:.spec.subdomain"
        ));
    }
}

/// The name of a Pod that a StatefulSet makes, in manifests without Pods. Returns whether that
/// decides the check.
fn of_stateful_set(
    evidence: &Evidence,
    endpoint: &str,
    (namespace, service): (&str, &str),
    section: &mut Section,
) -> bool {
    let Some(set) = workloads::stateful_set(evidence, namespace, endpoint) else { return false };
    let own = set.spec.service_name.as_deref().unwrap_or_default();
    if own != service {
        let path = objects::path(set);
        section
            .broken(
                checks::DNS_ENDPOINT_NAME,
                format!("the Pods of StatefulSet {path} are named under its serviceName {own:?}, not under {service}"),
            )
            .want(format!("serviceName: {service}, or the name {endpoint}.{own}"))
            .advise(format!("kubectl -n {namespace} get statefulset {} -o yaml", objects::name(set)));
        return true;
    }
    if evidence.shows_pods() {
        return false;
    }
    let saw = format!("StatefulSet {} makes the Pod {endpoint}", objects::path(set));
    section.say(FindingLevel::Skipped, checks::DNS_TEMPLATE, saw);
    true
}

/// Checks a name that is not a cluster name.
fn outside(evidence: &Evidence, wanted: &Destination, section: &mut Section) {
    let absolute = format!("{}.", wanted.host.trim_end_matches('.'));
    match evidence.asked.find(&absolute, "A", false) {
        Some(Ok(answer)) if answer.rcode == "NXDOMAIN" => {
            let saw = format!(
                "{absolute} does not exist: {} answers NXDOMAIN, and nothing in the cluster has the name",
                evidence.asked.server
            );
            section.broken(checks::DNS_NO_SUCH_NAME, saw).advise(format!(
                "kubectl get services,ingresses -A | grep {}",
                wanted.host.split('.').next().unwrap_or_default()
            ));
        }
        Some(Ok(_)) => {}
        None if served::outside(evidence, &absolute, section) => {}
        Some(Err(_)) | None => {
            section
                .say(FindingLevel::Unknown, checks::DNS_OUTSIDE, unknown(evidence, wanted))
                .advise(format!(
                    "ndots query {}    # or ndots explain {} --server ADDR",
                    wanted.host, wanted.host
                ));
        }
    }
}

/// Why nothing can be said about a name or an address.
fn unknown(evidence: &Evidence, wanted: &Destination) -> String {
    let host = &wanted.host;
    if let Some(node) = evidence.objects.node_at(host) {
        let name = objects::name(node);
        return match wanted.port {
            Some(port) => format!(
                "{host} is node {name}, and no Service has node port {port}: whether something on the node listens there is not known"
            ),
            None => format!("{host} is node {name}: give a node port to check a Service"),
        };
    }
    if host.parse::<std::net::IpAddr>().is_ok() {
        return format!("{host} is not an address of a Service, Ingress, Gateway or node");
    }
    let foreign: Vec<&str> = foreign::with_hosts(evidence).collect();
    let but = if foreign.is_empty() {
        String::new()
    } else {
        format!("; objects of kind {} are not read, and can have it", foreign.join(", "))
    };
    format!(
        "{host} is not a cluster name, and no Ingress or route has this host{but}: no DNS server was queried that knows it"
    )
}
