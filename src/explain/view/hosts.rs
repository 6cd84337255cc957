//! The hosts and paths of Ingresses, and the Services behind them.

use k8s_openapi::api::{
    core::v1::Service,
    networking::v1::{HTTPIngressPath, Ingress, IngressBackend},
};

use crate::explain::{Evidence, objects};

/// The requests that are checked.
#[derive(Clone, Copy)]
pub(in crate::explain) enum Requests<'a> {
    To {
        host: &'a str,
        path: Option<&'a str>,
    },
    /// Those that any rule takes, because the user named the Ingress.
    All,
}

impl Requests<'_> {
    /// Whether a rule with this host can take one of them. A rule without a host takes requests for
    /// all hosts.
    fn concern(self, rule: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::To { host, .. } => {
                rule.is_none_or(|pattern| pattern.is_empty() || covers(bare(pattern), host))
            }
        }
    }
}

/// Whether the Ingress has a rule or a certificate for the host.
pub(in crate::explain) fn has_host(ingress: &Ingress, host: &str) -> bool {
    let Some(spec) = &ingress.spec else { return false };
    let rules = spec.rules.iter().flatten().filter_map(|rule| rule.host.as_deref());
    let tls =
        spec.tls.iter().flatten().flat_map(|tls| tls.hosts.iter().flatten().map(String::as_str));
    rules.chain(tls).any(|pattern| covers(bare(pattern), host))
}

/// The host name in a rule's host that is a URL or has a port, which the API server rejects.
pub(in crate::explain) fn bare(host: &str) -> &str {
    let host = host.split_once("://").map_or(host, |(_, rest)| rest);
    host.find(['/', ':']).map_or(host, |end| &host[..end])
}

/// Whether the Ingress takes requests for any host: it has a default backend, or a rule without a
/// host.
pub(in crate::explain) fn has_every_host(ingress: &Ingress) -> bool {
    let mut rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    has_default(ingress) || rules.any(|rule| rule.host.as_deref().is_none_or(str::is_empty))
}

/// Whether a pattern covers the host. The `*` of `*.example.com` stands for exactly one label.
pub(in crate::explain) fn covers(pattern: &str, host: &str) -> bool {
    let wild = || {
        pattern
            .strip_prefix("*.")
            .zip(host.split_once('.'))
            .is_some_and(|(domain, (_, parent))| domain.eq_ignore_ascii_case(parent))
    };
    pattern.eq_ignore_ascii_case(host) || wild()
}

/// The hosts of the rules, each once. A rule without a host has the empty one, and so has an Ingress
/// without rules.
pub(in crate::explain) fn all(ingress: &Ingress) -> Vec<&str> {
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    let mut hosts = Vec::new();
    for host in rules.map(|rule| bare(rule.host.as_deref().unwrap_or_default())) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    if hosts.is_empty() {
        hosts.push("");
    }
    hosts
}

/// The hosts for a message.
pub(in crate::explain) fn listed(hosts: &[&str]) -> String {
    let name =
        |host: &&str| if host.is_empty() { "every host".to_owned() } else { (*host).to_owned() };
    hosts.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The class in the spec or, as before Kubernetes 1.18, in an annotation.
pub(in crate::explain) fn class_name(ingress: &Ingress) -> Option<&String> {
    let annotations = ingress.metadata.annotations.as_ref();
    let of_spec = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_ref());
    of_spec.or_else(|| annotations?.get("kubernetes.io/ingress.class"))
}

/// Whether the Ingress has a backend for hosts without a rule.
pub(in crate::explain) fn has_default(ingress: &Ingress) -> bool {
    ingress.spec.as_ref().is_some_and(|spec| spec.default_backend.is_some())
}

/// The addresses that the controller has written into the status.
pub(in crate::explain) fn addresses(ingress: &Ingress) -> Vec<&str> {
    let points = ingress
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref()?.ingress.as_deref())
        .unwrap_or_default();
    points.iter().filter_map(|it| it.ip.as_deref().or(it.hostname.as_deref())).collect()
}

/// A path of a host, and its backend.
pub(in crate::explain) struct IngressPath<'e> {
    pub(in crate::explain) ingress: &'e Ingress,
    /// The host of the rule; empty for every host.
    pub(in crate::explain) host: &'e str,
    /// `*` for the default backend.
    pub(in crate::explain) path: String,
    /// `Exact`, `Prefix` or `ImplementationSpecific`.
    pub(in crate::explain) path_type: &'e str,
    pub(in crate::explain) backend: &'e IngressBackend,
}

pub(in crate::explain) fn paths<'e>(
    ingresses: &[&'e Ingress],
    requests: Requests<'_>,
) -> Vec<IngressPath<'e>> {
    let mut paths = Vec::new();
    for ingress in ingresses {
        let Some(spec) = &ingress.spec else { continue };
        let rules = spec.rules.iter().flatten();
        let rules = rules.filter(|rule| requests.concern(rule.host.as_deref()));
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

/// How exactly a rule names the host of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HostMatch {
    DefaultBackend,
    /// The rule has no host.
    EveryHost,
    Wildcard,
    Exact,
}

impl<'e> IngressPath<'e> {
    /// `/tea`, `default backend`.
    pub(in crate::explain) fn label(&self) -> &str {
        if self.path == "*" { "default backend" } else { &self.path }
    }

    /// `cafe.example.com/tea`, `the default backend of cafe.example.com`.
    pub(in crate::explain) fn place(&self, requests: Requests<'_>) -> String {
        let host = match requests {
            Requests::To { host, .. } => host,
            Requests::All => self.host,
        };
        match (self.path.as_str(), host) {
            ("*", "") => "the default backend".to_owned(),
            ("*", host) => format!("the default backend of {host}"),
            (path, host) => format!("{host}{path}"),
        }
    }

    fn host_match(&self) -> HostMatch {
        match self.host {
            _ if self.path == "*" => HostMatch::DefaultBackend,
            "" => HostMatch::EveryHost,
            host if host.starts_with('*') => HostMatch::Wildcard,
            _ => HostMatch::Exact,
        }
    }

    /// The order in which paths take a request: that of the most exact host first, then the longest,
    /// then that of type Exact.
    fn precedence(&self) -> (HostMatch, usize, bool) {
        (self.host_match(), self.path.len(), self.path_type == "Exact")
    }

    /// Whether this path takes all requests of the other one, because its rule names the host more
    /// exactly.
    fn hides(&self, other: &Self) -> bool {
        let theirs = if other.path == "*" { "/" } else { &other.path };
        self.host_match() > other.host_match()
            && self.path_type != "Exact"
            && !self.is_pattern()
            && starts_with_segments(theirs, &self.path)
            && class_name(self.ingress) == class_name(other.ingress)
    }

    /// Whether the path is the beginning of the requested one, but ends within a segment. With
    /// ImplementationSpecific, ingress-nginx takes such requests and other controllers do not.
    fn may_take(&self, path: &str) -> bool {
        self.path_type == "ImplementationSpecific" && path.starts_with(&self.path)
    }

    /// Whether the path matches, segment by segment.
    fn takes(&self, path: &str) -> bool {
        if self.path_type == "Exact" {
            return self.path == path;
        }
        self.path == "*" || path == self.path || starts_with_segments(path, &self.path)
    }

    /// Whether the controller reads the path as a regular expression, which no check evaluates.
    pub(in crate::explain) fn is_pattern(&self) -> bool {
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

    pub(in crate::explain) fn service(&self, evidence: &'e Evidence) -> Option<&'e Service> {
        let name = &self.backend.service.as_ref()?.name;
        evidence.objects.service(objects::namespace(self.ingress), name)
    }

    /// The port of the Service that the backend names.
    pub(in crate::explain) fn port(&self, service: &Service) -> Option<i32> {
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
pub(in crate::explain) fn starts_with_segments(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The paths that take the requests. For a path in the user's argument it is one path, or one for
/// each class, since each controller decides on its own.
pub(in crate::explain) fn meant<'e>(
    ingresses: &[&'e Ingress],
    requests: Requests<'_>,
) -> Vec<IngressPath<'e>> {
    let mut paths = paths(ingresses, requests);
    let Requests::To { path, .. } = requests else { return paths };
    let path = path.map_or("/", |path| path.split('?').next().unwrap_or(path));
    if path == "/" {
        let hidden: Vec<bool> =
            paths.iter().map(|it| paths.iter().any(|other| other.hides(it))).collect();
        let mut hidden = hidden.into_iter();
        paths.retain(|_| hidden.next() == Some(false));
        return paths;
    }
    if paths.iter().any(IngressPath::is_pattern) {
        // Which pattern matches is the controller's decision.
        paths.retain(|it| it.is_pattern() || it.takes(path));
        return paths;
    }
    paths.retain(|it| it.takes(path) || it.may_take(path));
    paths.sort_by_key(|it| std::cmp::Reverse(it.precedence()));
    let mut decided = Vec::new();
    paths.retain(|it| {
        let class = class_name(it.ingress);
        let is_open = !decided.contains(&class);
        if it.takes(path) {
            decided.push(class);
        }
        is_open
    });
    paths
}

/// A Service with the paths that lead to it, and the port that the first one names.
pub(in crate::explain) struct Backend<'e> {
    pub(in crate::explain) paths: String,
    pub(in crate::explain) service: &'e Service,
    pub(in crate::explain) port: Option<i32>,
}

/// The Services behind a host, each once. Backends without a Service are left out.
pub(in crate::explain) fn backends<'e>(
    evidence: &'e Evidence,
    ingresses: &[&'e Ingress],
    requests: Requests<'_>,
) -> Vec<Backend<'e>> {
    let mut backends: Vec<Backend<'_>> = Vec::new();
    for route in meant(ingresses, requests) {
        let Some(service) = route.service(evidence) else { continue };
        match backends.iter_mut().find(|it| std::ptr::eq(it.service, service)) {
            Some(known) => {
                let own = route.label();
                if !known.paths.split(", ").any(|path| path == own) {
                    known.paths = format!("{}, {own}", known.paths);
                }
            }
            None => {
                let (port, paths) = (route.port(service), route.label().to_owned());
                backends.push(Backend { port, paths, service });
            }
        }
    }
    backends
}

/// The hosts and paths that lead to a Service.
pub(in crate::explain) fn leading_to(
    evidence: &Evidence,
    service: &Service,
) -> Vec<(String, String)> {
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
