//! Hosts that `k8s_gateway` in the cluster's Corefile does not answer with the addresses of the
//! object that has them, because another object or a rule has priority.

use crate::{
    model::{Key, Kind},
    zone::outside::{ClaimRefusal, RefusedClaim},
};

use crate::explain::{
    Evidence, checks, objects,
    report::{FindingLevel, Section},
    view::{destination::Destination, names::Subject},
};

/// Reports the hosts of the subject that are refused.
pub(in crate::explain) fn judge(
    evidence: &Evidence,
    wanted: &Destination,
    subject: &Subject<'_>,
    section: &mut Section,
) {
    let asked = match subject {
        // All hosts of an object that the user named.
        _ if wanted.object.is_some() => "",
        Subject::Ingress { host, .. } | Subject::Routes { host, .. } => host.as_str(),
        _ => "",
    };
    let concerned = |claim: &&RefusedClaim| {
        let is_asked = asked.is_empty()
            || claim.host.to_string().trim_end_matches('.').eq_ignore_ascii_case(asked);
        is_asked && is_of(subject, &claim.object)
    };
    for RefusedClaim { host, object, why, .. } in evidence.refused_claims.iter().filter(concerned) {
        let host = host.to_string();
        let host = host.trim_end_matches('.');
        section.about(kind(object), &object.namespace, &object.name);
        section
            .say(
                FindingLevel::Warning,
                checks::OUTSIDE_REFUSED_HOST,
                format!("k8s_gateway in the Corefile does not answer {host} with the addresses of {object}: {why}"),
            )
            .want(cure(host, why))
            .advise("kubectl -n kube-system edit configmap coredns    # the options of k8s_gateway");
    }
}

fn kind(object: &Key) -> &'static str {
    match object.kind {
        Kind::Service => "Service",
        Kind::Ingress => "Ingress",
        Kind::HttpRoute => "HTTPRoute",
        Kind::TlsRoute => "TLSRoute",
        Kind::GrpcRoute => "GRPCRoute",
        _ => "object",
    }
}

fn is_of(subject: &Subject<'_>, object: &Key) -> bool {
    let (namespace, name): (&str, &str) = (&object.namespace, &object.name);
    let kind = kind(object);
    match subject {
        Subject::Service { service, .. } => {
            kind == "Service" && objects::is(*service, namespace, name)
        }
        Subject::Ingress { ingresses, .. } => {
            kind == "Ingress" && ingresses.iter().any(|it| objects::is(*it, namespace, name))
        }
        Subject::Routes { routes, .. } => {
            routes.iter().any(|it| it.kind == kind && objects::is(*it, namespace, name))
        }
        _ => false,
    }
}

/// What the user should change, for each reason.
fn cure(host: &str, why: &ClaimRefusal) -> String {
    match why {
        ClaimRefusal::Older(winner) => format!(
            "{host} in objects of one namespace only: remove it from {winner} or from this object, or name the namespaces that may have it with `claims NAMESPACE {host}`"
        ),
        ClaimRefusal::NameOf(service) => format!(
            "another host, or an object in namespace {}: NAME.NAMESPACE belongs to the Service",
            service.namespace
        ),
        ClaimRefusal::Reserved => {
            format!("`claims NAMESPACE {host}` with the namespace of the object")
        }
        ClaimRefusal::Apex | ClaimRefusal::NameServer | ClaimRefusal::Wildcard => {
            "a host below the zone; `unprotected` lets objects of every namespace take this one"
                .to_owned()
        }
    }
}
