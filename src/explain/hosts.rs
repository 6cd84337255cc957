//! The hosts and paths of Ingresses, and the Services behind them.

use k8s_openapi::api::{
    core::v1::Service,
    networking::v1::{HTTPIngressPath, Ingress, IngressBackend},
};

use super::{Evidence, objects};

/// Whether the Ingress has a rule or a certificate for the host.
pub(super) fn has_host(ingress: &Ingress, host: &str) -> bool {
    let Some(spec) = &ingress.spec else { return false };
    let rules = spec.rules.iter().flatten().filter_map(|rule| rule.host.as_deref());
    let tls =
        spec.tls.iter().flatten().flat_map(|tls| tls.hosts.iter().flatten().map(String::as_str));
    rules.chain(tls).any(|pattern| covers(bare(pattern), host))
}

/// The host name in a rule's host that is a URL or has a port, which the API server rejects.
pub(super) fn bare(host: &str) -> &str {
    let host = host.split_once("://").map_or(host, |(_, rest)| rest);
    host.find(['/', ':']).map_or(host, |end| &host[..end])
}

/// Whether the Ingress has a rule or a backend for every host.
pub(super) fn has_every_host(ingress: &Ingress) -> bool {
    let mut rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    has_default(ingress) || rules.any(|rule| rule.host.as_deref().is_none_or(str::is_empty))
}

/// Whether a pattern covers the host. The `*` of `*.example.com` stands for exactly one label.
pub(super) fn covers(pattern: &str, host: &str) -> bool {
    let wild = || {
        pattern
            .strip_prefix("*.")
            .zip(host.split_once('.'))
            .is_some_and(|(domain, (_, parent))| domain.eq_ignore_ascii_case(parent))
    };
    pattern.eq_ignore_ascii_case(host) || wild()
}

/// The first host of the rules; empty if no rule has one.
pub(super) fn first(ingress: &Ingress) -> &str {
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    rules.filter_map(|rule| rule.host.as_deref()).next().unwrap_or_default()
}

/// Whether the Ingress has a backend for hosts without a rule.
pub(super) fn has_default(ingress: &Ingress) -> bool {
    ingress.spec.as_ref().is_some_and(|spec| spec.default_backend.is_some())
}

/// The addresses that the controller has written.
pub(super) fn addresses(ingress: &Ingress) -> Vec<&str> {
    let points = ingress
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref()?.ingress.as_deref())
        .unwrap_or_default();
    points.iter().filter_map(|it| it.ip.as_deref().or(it.hostname.as_deref())).collect()
}

/// A path of a host, and its backend.
pub(super) struct IngressPath<'e> {
    pub(super) ingress: &'e Ingress,
    /// The host of the rule; empty for every host.
    pub(super) host: &'e str,
    /// `*` for the default backend.
    pub(super) path: String,
    /// `Exact`, `Prefix` or `ImplementationSpecific`.
    pub(super) path_type: &'e str,
    pub(super) backend: &'e IngressBackend,
}

pub(super) fn paths<'e>(ingresses: &[&'e Ingress], host: &str) -> Vec<IngressPath<'e>> {
    let mut paths = Vec::new();
    for ingress in ingresses {
        let Some(spec) = &ingress.spec else { continue };
        let rules = spec.rules.iter().flatten().filter(|rule| {
            let own = rule.host.as_deref();
            own.is_none_or(|pattern| pattern.is_empty() || covers(bare(pattern), host))
        });
        let all = rules.flat_map(|rule| {
            let own = rule.host.as_deref().unwrap_or_default();
            rule.http.iter().flat_map(|http| &http.paths).map(move |path| (own, path))
        });
        for (own, HTTPIngressPath { path, path_type, backend }) in all {
            paths.push(IngressPath {
                ingress,
                host: own,
                path: path.clone().unwrap_or_else(|| "/".to_owned()),
                path_type,
                backend,
            });
        }
        paths.extend(spec.default_backend.iter().map(|backend| IngressPath {
            ingress,
            host: "",
            path: "*".to_owned(),
            path_type: "Prefix",
            backend,
        }));
    }
    paths
}

impl<'e> IngressPath<'e> {
    /// Whether the path matches, segment by segment.
    fn takes(&self, path: &str) -> bool {
        let path = path.split('?').next().unwrap_or(path);
        if self.path_type == "Exact" {
            return self.path == path;
        }
        self.path == "*" || path == self.path || starts_with_segments(path, &self.path)
    }

    /// Whether the controller reads the path as a regular expression, which no check evaluates.
    pub(super) fn is_pattern(&self) -> bool {
        let annotations = self.ingress.metadata.annotations.as_ref();
        let of_controller = annotations.is_some_and(|it| {
            it.get("nginx.ingress.kubernetes.io/use-regex").is_some_and(|value| value == "true")
                || it
                    .get("nginx.ingress.kubernetes.io/rewrite-target")
                    .is_some_and(|value| value.contains('$'))
        });
        self.path_type == "ImplementationSpecific"
            && self.path.contains(['*', '(', '[', '^', '$', '|', '\\', '+'])
            || of_controller && self.path.contains(['*', '(', '[', '^', '$', '|', '\\'])
    }

    pub(super) fn service(&self, evidence: &'e Evidence) -> Option<&'e Service> {
        let name = &self.backend.service.as_ref()?.name;
        evidence.objects.service(objects::namespace(self.ingress), name)
    }

    /// The port of the Service that the backend names.
    pub(super) fn port(&self, service: &Service) -> Option<i32> {
        let port = self.backend.service.as_ref()?.port.as_ref()?;
        let named = || {
            let name = port.name.as_deref()?;
            objects::ports(service)
                .iter()
                .find(|it| it.name.as_deref() == Some(name))
                .map(|it| it.port)
        };
        port.number.or_else(named)
    }
}

/// Whether `path` begins with the segments of `prefix`: `/tea/green` with `/tea`, `/teapot` not.
pub(super) fn starts_with_segments(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The paths that the user means: the longest match, or all without a path.
pub(super) fn meant<'e>(
    ingresses: &[&'e Ingress],
    host: &str,
    path: Option<&str>,
) -> Vec<IngressPath<'e>> {
    let mut paths = paths(ingresses, host);
    let Some(path) = path.filter(|path| *path != "/") else { return paths };
    if paths.iter().any(IngressPath::is_pattern) {
        // Which pattern matches is the controller's decision.
        paths.retain(|it| it.is_pattern() || it.takes(path));
        return paths;
    }
    paths.retain(|it| it.takes(path));
    paths.sort_by_key(|it| std::cmp::Reverse(if it.path == "*" { 0 } else { it.path.len() }));
    paths.truncate(1);
    paths
}

/// A Service with the paths that lead to it, and the port that the first one names.
pub(super) struct Backend<'e> {
    pub(super) paths: String,
    pub(super) service: &'e Service,
    pub(super) port: Option<i32>,
}

/// The Services behind a host, each once. Backends without a Service are left out.
pub(super) fn backends<'e>(
    evidence: &'e Evidence,
    ingresses: &[&'e Ingress],
    host: &str,
    path: Option<&str>,
) -> Vec<Backend<'e>> {
    let mut backends: Vec<Backend<'_>> = Vec::new();
    for route in meant(ingresses, host, path) {
        let Some(service) = route.service(evidence) else { continue };
        match backends.iter_mut().find(|it| std::ptr::eq(it.service, service)) {
            Some(known) => known.paths = format!("{}, {}", known.paths, route.path),
            None => {
                backends.push(Backend { port: route.port(service), paths: route.path, service });
            }
        }
    }
    backends
}

/// The hosts and paths that lead to a Service.
pub(super) fn leading_to(evidence: &Evidence, service: &Service) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for ingress in evidence.objects.ingresses_to(service) {
        for rule in ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten()) {
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                if path.backend.service.as_ref().is_some_and(|it| it.name == objects::name(service))
                {
                    found.push((
                        rule.host.clone().unwrap_or_default(),
                        path.path.clone().unwrap_or_default(),
                    ));
                }
            }
        }
    }
    found
}
