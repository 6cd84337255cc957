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

pub(super) fn judge(evidence: &Evidence, ingress: &Ingress, host: &str, section: &mut Section) {
    let namespace = objects::namespace(ingress);
    let entries = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
    let of_host = |tls: &&k8s_openapi::api::networking::v1::IngressTLS| {
        let hosts = tls.hosts.as_deref().unwrap_or_default();
        hosts.is_empty() || hosts.iter().any(|pattern| hosts::covers(pattern, host))
    };
    for name in entries.filter(of_host).filter_map(|tls| tls.secret_name.as_deref()) {
        secret(evidence, namespace, name, host, section);
    }
}

fn secret(evidence: &Evidence, namespace: &str, name: &str, host: &str, section: &mut Section) {
    if let Some(unread) = evidence.lacks("secrets", namespace) {
        let unknown = section.say(
            FindingLevel::Unknown,
            checks::OUTSIDE_TLS_UNREAD,
            format!("cannot tell whether Secret {name} has a certificate for {host}: {unread}"),
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
    let Some(secret) =
        evidence.objects.secrets().iter().find(|it| objects::is(*it, namespace, name))
    else {
        let broken = section.broken(
            checks::OUTSIDE_TLS_SECRET,
            format!("there is no Secret {namespace}/{name} for {host}: clients are shown the controller's own certificate"),
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
    of_host(secret, host, section);
    in_time(evidence.now, secret, section);
}

/// Checks that the certificate is for the host.
pub(in crate::explain) fn of_host(secret: &Secret, host: &str, section: &mut Section) {
    let (namespace, name) = (objects::namespace(secret), objects::name(secret));
    let make = format!("kubectl -n {namespace} create secret tls {name} --cert=FILE --key=FILE");
    match names(secret, host) {
        Ok(None) => {
            section.ok(checks::OUTSIDE_TLS, format!("Secret {namespace}/{name} names {host}"));
        }
        Ok(Some(presented)) => {
            let theirs =
                if presented.is_empty() { "no host".to_owned() } else { presented.join(", ") };
            let broken = section.broken(
                checks::OUTSIDE_TLS_HOST,
                format!(
                    "the certificate in Secret {namespace}/{name} is for {theirs}, not for {host}"
                ),
            );
            broken
                .want(format!("a certificate with the subject alternative name {host}"))
                .advise(make);
        }
        Err(reason) => {
            let broken = section.broken(
                checks::OUTSIDE_TLS_CERTIFICATE,
                format!("Secret {namespace}/{name} has no usable certificate: {reason}"),
            );
            broken.want("tls.crt with a certificate in PEM form, and tls.key").advise(make);
        }
    }
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
fn names(secret: &Secret, host: &str) -> Result<Option<Vec<String>>, String> {
    let certificate = certificate(secret)?;
    let parsed = rustls::server::ParsedCertificate::try_from(&certificate)
        .map_err(|error| error.to_string())?;
    let host = ServerName::try_from(host).map_err(|error| error.to_string())?;
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
