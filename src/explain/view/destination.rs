//! The argument of the user: a name, an address, a URL, or an object as kubectl writes it.

use crate::explain::{
    Objects, objects,
    view::{
        hosts::{self, Requests},
        workloads,
    },
};

/// The parsed argument: `my-nginx`, `my-nginx:http`, `https://cafe.example.com/tea`,
/// `svc/my-nginx`, `ingress/cafe`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::explain) struct Destination {
    /// Without a port and without brackets, in lower case. An address is in its shortest form, as
    /// in the objects of the API.
    pub(in crate::explain) host: String,
    /// Such as `https`, in lower case.
    pub(in crate::explain) scheme: Option<String>,
    /// The port that is written, or else that of the scheme.
    pub(in crate::explain) port: Option<u16>,
    /// A port that is written as a name.
    pub(in crate::explain) port_name: Option<String>,
    pub(in crate::explain) path: Option<String>,
    /// An object other than a Service.
    pub(in crate::explain) object: Option<NamedObject>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::explain) struct NamedObject {
    pub(in crate::explain) kind: ObjectKind,
    /// As RBAC names it: `httproutes`, `deployments`.
    pub(in crate::explain) resource: &'static str,
    pub(in crate::explain) name: String,
    /// Whether the object was found; `false` until [`Destination::resolve`] ran.
    pub(in crate::explain) exists: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::explain) enum ObjectKind {
    Ingress,
    Route,
    Pod,
    Workload,
}

/// The resources, and their other names for kubectl.
const KINDS: &[(ObjectKind, &str, &[&str])] = &[
    (ObjectKind::Ingress, "ingresses", &["ingress", "ing"]),
    (ObjectKind::Route, "httproutes", &["httproute"]),
    (ObjectKind::Route, "grpcroutes", &["grpcroute"]),
    (ObjectKind::Route, "tlsroutes", &["tlsroute"]),
    (ObjectKind::Route, "tcproutes", &["tcproute"]),
    (ObjectKind::Route, "udproutes", &["udproute"]),
    (ObjectKind::Pod, "pods", &["pod", "po"]),
    (ObjectKind::Workload, "deployments", &["deployment", "deploy"]),
    (ObjectKind::Workload, "statefulsets", &["statefulset", "sts"]),
    (ObjectKind::Workload, "daemonsets", &["daemonset", "ds"]),
    (ObjectKind::Workload, "replicasets", &["replicaset", "rs"]),
];
const SERVICE: &[&str] = &["service", "services", "svc"];
/// The ports that a URL has if none is written.
const SCHEMES: [(&str, u16); 6] =
    [("http", 80), ("https", 443), ("ws", 80), ("wss", 443), ("grpc", 80), ("grpcs", 443)];

impl ObjectKind {
    pub(in crate::explain) fn name(self) -> &'static str {
        match self {
            Self::Ingress => "Ingress",
            Self::Route => "route",
            Self::Pod => "Pod",
            Self::Workload => "workload",
        }
    }
}

impl Destination {
    pub(in crate::explain) fn parse(text: &str) -> Self {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        if scheme.is_none()
            && let Some(object) = object(rest)
        {
            return Self { object: Some(object), ..Self::default() };
        }
        let rest = match rest.split_once('/') {
            Some((kind, name)) if scheme.is_none() && SERVICE.contains(&kind) => name,
            _ => rest,
        };
        // Clients do not send the fragment.
        let rest = rest.split('#').next().unwrap_or(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = match path {
            "" => None,
            path if path.starts_with('/') => Some(path.to_owned()),
            path => Some(format!("/{path}")),
        };
        // A user name before the host is not part of it.
        let authority = authority.rsplit('@').next().unwrap_or(authority);
        let (host, port) = split_port(authority);
        let number = port.and_then(|port| port.parse().ok());
        let of_scheme = || SCHEMES.iter().find(|it| Some(it.0) == scheme.as_deref()).map(|it| it.1);
        Self {
            host: host
                .parse::<std::net::IpAddr>()
                .map_or_else(|_| host.to_ascii_lowercase(), |address| address.to_string()),
            port: number.or_else(|| if port.is_none() { of_scheme() } else { None }),
            port_name: port.filter(|_| number.is_none()).map(str::to_owned),
            scheme,
            path,
            object: None,
        }
    }

    /// Finds an object that is not a Service, and takes the host from it.
    pub(in crate::explain) fn resolve(mut self, all: &Objects, namespace: &str) -> Self {
        let Some(object) = &mut self.object else { return self };
        let name = object.name.as_str();
        let host = match object.kind {
            ObjectKind::Ingress => {
                let ingress = all.ingress(namespace, name);
                ingress.map(|it| hosts::all(it).first().copied().unwrap_or_default().to_owned())
            }
            ObjectKind::Route => {
                let route = all.route(object.resource, namespace, name);
                route.map(|it| it.spec.hostnames.first().cloned().unwrap_or_default())
            }
            ObjectKind::Pod => {
                let address = |pod| objects::pod_addresses(pod).first().map(|it| (*it).to_owned());
                all.pod(namespace, name).map(|pod| address(pod).unwrap_or_default())
            }
            ObjectKind::Workload => {
                let mut workloads = all.workloads_in(namespace);
                let workload = workloads.find(|it| {
                    objects::name(*it) == name && objects::is_resource(&it.kind, object.resource)
                });
                workload.map(|it| {
                    let services = all.services().iter().filter(|service| {
                        objects::namespace(*service) == namespace
                            && workloads::template(it)
                                .is_some_and(|it| objects::selects(service, &it.pod.metadata))
                    });
                    services.map(objects::name).next().unwrap_or_default().to_owned()
                })
            }
        };
        object.exists = host.is_some();
        self.host = host.unwrap_or_default();
        self
    }

    /// The requests for a host. If the user named an object, all its requests are meant.
    pub(in crate::explain) fn requests<'a>(&'a self, host: &'a str) -> Requests<'a> {
        match self.object {
            Some(_) => Requests::All,
            None => Requests::To { host, path: self.path.as_deref() },
        }
    }

    /// Whether the host can be a name or an address at all.
    pub(in crate::explain) fn is_valid(&self) -> bool {
        let fits = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_*".contains(&it))
        };
        let name = self.host.strip_suffix('.').unwrap_or(&self.host);
        self.host.parse::<std::net::IpAddr>().is_ok() || name.split('.').all(fits)
    }
}

fn object(text: &str) -> Option<NamedObject> {
    let (kind, name) = text.split_once('/')?;
    let written = kind.split('.').next().unwrap_or(kind).to_ascii_lowercase();
    let is_written =
        |resource: &str, names: &[&str]| resource == written || names.contains(&written.as_str());
    let (kind, resource, _) = KINDS.iter().find(|(_, it, names)| is_written(it, names))?;
    let is_name = !name.is_empty() && !name.contains('/');
    is_name.then(|| NamedObject { kind: *kind, resource, name: name.to_owned(), exists: false })
}

/// Splits `web:80`, `web:http`, `[fd00::1]:80` and `fd00::1`.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    if let Some(rest) = authority.strip_prefix('[')
        && let Some((host, after)) = rest.split_once(']')
    {
        return (host, after.strip_prefix(':').filter(|port| !port.is_empty()));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, Some(port).filter(|it| !it.is_empty())),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_argument_is_split_into_its_parts() {
        let check = |text: &str, host: &str, port: Option<u16>, path: Option<&str>| {
            let got = Destination::parse(text);
            assert_eq!(
                (got.host.as_str(), got.port, got.path.as_deref(), got.object),
                (host, port, path, None),
                "{text}"
            );
        };
        check("my-nginx", "my-nginx", None, None);
        check("svc/my-nginx", "my-nginx", None, None);
        check("service/my-nginx:80", "my-nginx", Some(80), None);
        check("my-nginx.default:8080", "my-nginx.default", Some(8080), None);
        check("my-nginx:", "my-nginx", None, None);
        check("https://Cafe.example.com/tea", "cafe.example.com", Some(443), Some("/tea"));
        check("https://cafe.example.com:8443", "cafe.example.com", Some(8443), None);
        check("https://me@cafe.example.com/?a=b", "cafe.example.com", Some(443), Some("/?a=b"));
        check("https://cafe.example.com/tea#menu", "cafe.example.com", Some(443), Some("/tea"));
        check("https://cafe.example.com#menu", "cafe.example.com", Some(443), None);
        check("http://10.96.0.1:8080", "10.96.0.1", Some(8080), None);
        check("http://[fd00::1]:8080/x", "fd00::1", Some(8080), Some("/x"));
        check("fd00::1", "fd00::1", None, None);
        check("[FD00:0::1]:80", "fd00::1", Some(80), None);
        check("", "", None, None);
        assert_eq!(Destination::parse("web:http").port_name.as_deref(), Some("http"));
    }

    #[test]
    fn objects_are_written_as_for_kubectl() {
        let kind = |text: &str| Destination::parse(text).object.map(|it| (it.kind, it.name));
        assert_eq!(kind("ingress/cafe"), Some((ObjectKind::Ingress, "cafe".into())));
        assert_eq!(kind("po/web-1"), Some((ObjectKind::Pod, "web-1".into())));
        assert_eq!(kind("deployment.apps/web"), Some((ObjectKind::Workload, "web".into())));
        assert_eq!(
            kind("httproute.gateway.networking.k8s.io/web"),
            Some((ObjectKind::Route, "web".into()))
        );
        for text in ["svc/web", "cafe.example.com/tea", "http://pod/x", "pod/a/b", "pod/"] {
            assert_eq!(kind(text), None, "{text}");
        }
    }

    #[test]
    fn hosts_that_cannot_exist_are_found() {
        for (text, valid) in [
            ("web", true),
            ("web.shop.svc.cluster.local.", true),
            ("fd00::1", true),
            ("_http._tcp.web", true),
            ("http://", false),
            ("..", false),
            ("we b", false),
        ] {
            assert_eq!(Destination::parse(text).is_valid(), valid, "{text}");
        }
    }
}
