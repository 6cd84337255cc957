//! Checks the certificate that an Ingress presents for a host.

mod validity;

use std::time::SystemTime;

use k8s_openapi::api::{core::v1::Secret, networking::v1::Ingress};
use rustls::{
    CertificateError,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::explain::{
    Evidence, checks, objects,
    report::{FindingLevel, Section},
    view::hosts,
};

/// A certificate that expires in less than this number of seconds is reported.
const SOON: i64 = 7 * 86_400;

/// A label that no certificate names, to check whether it is valid for every name below a domain.
const ANY_LABEL: &str = "a-name-below-the-wildcard";

/// Checks the certificates for these hosts. The empty host stands for every host: the controller
/// then presents the certificate for the hosts that the entry lists.
pub(super) fn judge(evidence: &Evidence, ingress: &Ingress, hosts: &[&str], section: &mut Section) {
    let namespace = objects::namespace(ingress);
    for tls in ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten()) {
        let Some(name) = tls.secret_name.as_deref() else { continue };
        let listed: Vec<&str> = tls.hosts.iter().flatten().map(String::as_str).collect();
        let mut names: Vec<&str> = Vec::new();
        for host in hosts {
            match *host {
                "" => names.extend(&listed),
                host if listed.is_empty() => names.push(host),
                host if listed.iter().any(|it| hosts::covers(it, host)) => names.push(host),
                _ => {}
            }
        }
        names.sort_unstable();
        names.dedup();
        if !names.is_empty() || listed.is_empty() {
            secret(evidence, (namespace, name), &names, section);
        }
    }
}

fn secret(
    evidence: &Evidence,
    (namespace, name): (&str, &str),
    hosts: &[&str],
    section: &mut Section,
) {
    let found = evidence.objects.secrets().iter().find(|it| objects::is(*it, namespace, name));
    let of = if hosts.is_empty() { "every host".to_owned() } else { hosts.join(", ") };
    if let Some(unread) = evidence.lacks("secrets", namespace).filter(|_| found.is_none()) {
        let unknown = section.say(
            FindingLevel::Unknown,
            checks::OUTSIDE_TLS_UNREAD,
            format!("cannot tell whether Secret {name} has a certificate for {of}: {unread}"),
        );
        unknown.advise(format!("kubectl -n {namespace} get secret {name} -o jsonpath='{{.data.tls\\.crt}}' | base64 -d | openssl x509 -noout -ext subjectAltName"));
        return;
    }
    if !evidence.is_live && evidence.objects.secrets().is_empty() {
        section.say(
            FindingLevel::Skipped,
            checks::OUTSIDE_TLS_UNREAD,
            format!("the manifests have no Secrets: {namespace}/{name} is not checked"),
        );
        return;
    }
    let make = format!("kubectl -n {namespace} create secret tls {name} --cert=FILE --key=FILE");
    let Some(secret) = found else {
        let broken = section.broken(
            checks::OUTSIDE_TLS_SECRET,
            format!("there is no Secret {namespace}/{name} for {of}: clients are shown the controller's own certificate"),
        );
        let elsewhere = evidence.objects.secrets().iter().find(|it| objects::name(*it) == name);
        let but = elsewhere.map_or(String::new(), |it| {
            format!("; Secret {} is in another namespace", objects::path(it))
        });
        broken
            .want(format!("a Secret of type kubernetes.io/tls in namespace {namespace}{but}"))
            .advise(make);
        return;
    };
    of_hosts(secret, hosts, &make, section);
    in_time(evidence.now, secret, section);
}

/// Checks that the certificate is for the hosts.
fn of_hosts(secret: &Secret, hosts: &[&str], make: &str, section: &mut Section) {
    let (namespace, name) = (objects::namespace(secret), objects::name(secret));
    let certificate = match certificate(secret) {
        Ok(certificate) => certificate,
        Err(reason) => return unusable(secret, &reason, make, section),
    };
    if hosts.is_empty() {
        section.ok(checks::OUTSIDE_TLS, format!("Secret {namespace}/{name} has a certificate"));
    }
    for host in hosts {
        match names(&certificate, host) {
            Ok(None) => {
                section.ok(checks::OUTSIDE_TLS, format!("Secret {namespace}/{name} names {host}"));
            }
            Ok(Some(presented)) => {
                let theirs =
                    if presented.is_empty() { "no host".to_owned() } else { presented.join(", ") };
                let saw = format!(
                    "the certificate in Secret {namespace}/{name} is for {theirs}, not for {host}"
                );
                section
                    .broken(checks::OUTSIDE_TLS_HOST, saw)
                    .want(format!("a certificate with the subject alternative name {host}"))
                    .advise(make);
            }
            Err(reason) => return unusable(secret, &reason, make, section),
        }
    }
}

fn unusable(secret: &Secret, reason: &str, make: &str, section: &mut Section) {
    let path = objects::path(secret);
    section
        .broken(
            checks::OUTSIDE_TLS_CERTIFICATE,
            format!("Secret {path} has no usable certificate: {reason}"),
        )
        .want("tls.crt with a certificate in PEM form, and tls.key")
        .advise(make);
}

/// Checks that the certificate is valid now.
pub(in crate::explain) fn in_time(now: SystemTime, secret: &Secret, section: &mut Section) {
    let Some((first, last)) = certificate(secret).ok().and_then(|it| validity::read(&it)) else {
        return;
    };
    let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |it| it.as_secs() as i64);
    let (namespace, name) = (objects::namespace(secret), objects::name(secret));
    let (level, when) = if now < first {
        (FindingLevel::Broken, format!("is not valid before {}", validity::date(first)))
    } else if now > last {
        (FindingLevel::Broken, format!("has expired on {}", validity::date(last)))
    } else if last - now < SOON {
        (FindingLevel::Warning, format!("expires on {}", validity::date(last)))
    } else {
        return;
    };
    let saw = format!("the certificate in Secret {namespace}/{name} {when}");
    section
        .say(level, checks::OUTSIDE_TLS_EXPIRED, saw)
        .want("a certificate that is valid now, and that something renews in time")
        .advise(format!(
            "kubectl -n {namespace} get secret {name} -o jsonpath='{{.data.tls\\.crt}}' | base64 -d | openssl x509 -noout -dates"
        ));
}

/// The first certificate of the Secret.
fn certificate(secret: &Secret) -> Result<CertificateDer<'static>, String> {
    let pem =
        secret.data.as_ref().and_then(|data| data.get("tls.crt")).map(|bytes| bytes.0.clone());
    let written = || {
        secret
            .string_data
            .as_ref()
            .and_then(|data| data.get("tls.crt"))
            .map(|text| text.clone().into_bytes())
    };
    let pem = pem.or_else(written).ok_or("it has no tls.crt")?;
    CertificateDer::from_pem_slice(&pem).map_err(|error| error.to_string())
}

/// `None` if the certificate is valid for the host, else the names that it is valid for.
fn names(certificate: &CertificateDer<'_>, host: &str) -> Result<Option<Vec<String>>, String> {
    let parsed = rustls::server::ParsedCertificate::try_from(certificate)
        .map_err(|error| error.to_string())?;
    let host = match host.strip_prefix('*') {
        Some(domain) => format!("{ANY_LABEL}{domain}"),
        None => host.to_owned(),
    };
    // Another check reports a host that is not a host name.
    let Ok(host) = ServerName::try_from(host) else { return Ok(None) };
    match rustls::client::verify_server_name(&parsed, &host) {
        Ok(()) => Ok(None),
        Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        })) => {
            // rustls gives them in its debug format: `DnsName("a.example")`.
            let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
            Ok(Some(presented.iter().map(bare).collect()))
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForName)) => {
            Ok(Some(Vec::new()))
        }
        Err(error) => Err(error.to_string()),
    }
}
