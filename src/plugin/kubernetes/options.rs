//! The options of `kubernetes`.

use crate::{
    corefile::{Arguments, Token},
    limits,
    model::Selector,
    zone::{Namespaces, PodMode},
};

use super::{
    super::{ClientTls, Fallthrough, OptionSpec, OptionTable, Origin, names},
    KubernetesSettings,
};

pub(super) static OPTIONS: OptionTable<KubernetesSettings> = OptionTable(&[
    OptionSpec::new(
        "endpoint",
        "URL",
        "Connects to this API server instead of that of the Pod's cluster.",
        |kubernetes, option| {
            let Some(url) = option.required("the URL of an API server") else { return };
            kubernetes.endpoint = endpoint(option, url);
            if let Some(other) = option.rest().first() {
                option
                    .warning(other.span, "only the first endpoint is used")
                    .help("put a load balancer before several API servers");
            }
        },
    ),
    OptionSpec::new(
        "tls",
        "CERT KEY CA",
        "Sets the client certificate for `endpoint` and the authority of the API server.",
        |kubernetes, option| {
            if let Some(tls) = read_tls(option) {
                kubernetes.tls = Some(tls);
            }
        },
    ),
    OptionSpec::new(
        "kubeconfig",
        "FILE [CONTEXT]",
        "Connects to the API server of this kubeconfig.",
        |kubernetes, option| {
            if let Some(origin) = read_kubeconfig(option) {
                kubernetes.source.origin = origin;
            }
        },
    ),
    OptionSpec::new(
        "manifests",
        "DIRECTORY",
        "Reads the objects from YAML and JSON files instead of an API server.",
        |kubernetes, option| {
            if let Some(directory) = option.required("a directory") {
                kubernetes.source.origin = Origin::Manifests(directory.text.clone());
            }
        },
    ),
    OptionSpec::new(
        "apiserver_qps",
        "NUMBER",
        "Limits how many requests are sent to the API server in a second; the default, 0, sets no limit.",
        |kubernetes, option| {
            let rate: Option<f64> = option.number("apiserver_qps", 0.0, 4_000_000.0);
            kubernetes.source.throttle.requests_in_1000_s =
                rate.map_or(0, |rate| (rate * 1000.0).ceil() as u32);
        },
    ),
    OptionSpec::new(
        "apiserver_burst",
        "NUMBER",
        "Sets how many requests may exceed `apiserver_qps` at once; the default is 10.",
        |kubernetes, option| {
            kubernetes.source.throttle.burst =
                option.number("apiserver_burst", 0, i32::MAX as u32).unwrap_or(0);
        },
    ),
    OptionSpec::new(
        "apiserver_max_inflight",
        "NUMBER",
        "Limits the requests that wait for the API server's reply; the default, 0, sets no limit.",
        |kubernetes, option| {
            kubernetes.source.throttle.in_flight =
                option.number("apiserver_max_inflight", 0, i32::MAX as u32).unwrap_or(0);
        },
    ),
    OptionSpec::repeated(
        "namespaces",
        "NAMESPACE…",
        "Answers names of these namespaces only.",
        |kubernetes, option| {
            let Some(first) = option.required("a namespace") else { return };
            let tokens = [first].into_iter().chain(option.rest());
            let list = tokens.map(|token| token.text.clone().into()).collect();
            kubernetes.restrict_to(option, Namespaces::Named(list));
        },
    ),
    OptionSpec::new(
        "namespace_labels",
        "SELECTOR",
        "Answers names of the namespaces with these labels only.",
        |kubernetes, option| {
            if let Some((_, selector)) = selector(option) {
                kubernetes.restrict_to(option, Namespaces::Labelled(selector));
            }
        },
    ),
    OptionSpec::new(
        "labels",
        "SELECTOR",
        "Uses only Services, EndpointSlices and Pods with these labels.",
        |kubernetes, option| {
            kubernetes.source.labels = selector(option).map(|(text, _)| text);
        },
    ),
    OptionSpec::new(
        "pods",
        "disabled|insecure|verified",
        "Answers names of Pods: `disabled` never, `insecure` for any address, `verified` for Pods that exist. The default is `disabled`.",
        |kubernetes, option| {
            let modes = [
                ("disabled", PodMode::Disabled),
                ("verified", PodMode::Verified),
                ("insecure", PodMode::Insecure),
            ];
            kubernetes.view.pods = option.one_of("pods", &modes).unwrap_or_default();
        },
    ),
    OptionSpec::new(
        "endpoint_pod_names",
        "",
        "Names endpoints without a hostname after their Pods.",
        |kubernetes, _| kubernetes.view.endpoint_pod_names = true,
    ),
    OptionSpec::new(
        "ttl",
        "SECONDS",
        "Sets the TTL of answers; the default is 5.",
        |kubernetes, option| {
            let ttl = option.number("ttl", 0, limits::KUBERNETES_TTL);
            kubernetes.view.ttl = ttl.unwrap_or(kubernetes.view.ttl);
            option.ignore_rest();
        },
    ),
    OptionSpec::new(
        "noendpoints",
        "",
        "Does not load endpoints, so headless Services have no answers.",
        |kubernetes, _| kubernetes.view.no_endpoints = true,
    ),
    OptionSpec::new(
        "zonal",
        "",
        "Answers names that select the endpoints of one topology zone.",
        |kubernetes, _| kubernetes.view.zonal = true,
    ),
    OptionSpec::new(
        "ignore",
        "empty_service",
        "Answers NXDOMAIN for Services with a cluster IP and without ready endpoints.",
        |kubernetes, option| {
            if option.is_empty() {
                let span = option.span();
                option
                    .warning(span, "`ignore` without an argument has no effect")
                    .help("write `ignore empty_service`");
                return;
            }
            let ignored = option.one_of("ignore", &[("empty_service", true)]);
            kubernetes.view.ignore_empty_service = ignored.unwrap_or(false);
        },
    ),
    OptionSpec::new(
        "fallthrough",
        "[ZONE…]",
        "Passes names that do not exist to the next plugin.",
        |kubernetes, option| kubernetes.fallthrough = Some(Fallthrough::read(option)),
    ),
    OptionSpec::new(
        "multicluster",
        "ZONE…",
        "Answers names of imported Services in these zones.",
        KubernetesSettings::read_multicluster,
    ),
    OptionSpec::new(
        "startup_timeout",
        "DURATION",
        "Logs a warning if the objects have not been read after this time; the default is 5s.",
        |kubernetes, option| {
            let timeout = option.duration("the startup timeout");
            kubernetes.startup_timeout = timeout.unwrap_or(kubernetes.startup_timeout);
            option.ignore_rest();
        },
    ),
    OptionSpec::new(
        "snapshot",
        "FILE",
        "Keeps the objects in this file, and answers from it after a start until the API server replies.",
        |kubernetes, option| {
            kubernetes.snapshot = option.required("a file").map(|file| file.text.clone());
        },
    ),
    OptionSpec::removed(
        "upstream",
        "delete this line: the targets of ExternalName Services are resolved without it since CoreDNS 1.7",
    ),
    OptionSpec::removed(
        "resyncperiod",
        "delete this line: objects are not listed again at intervals since CoreDNS 1.7",
    ),
    OptionSpec::removed(
        "transfer",
        "write the plugin `transfer` beside `kubernetes` instead, as since CoreDNS 1.8",
    ),
    OptionSpec::removed("federation", "delete this line: Kubernetes has no federation v1 any more"),
    OptionSpec::removed(
        "wildcards",
        "delete this line: names with wildcards are not answered since CoreDNS 1.9",
    ),
]);

impl KubernetesSettings {
    /// Checks options that depend on each other.
    pub(super) fn check(&mut self, arguments: &mut Arguments<'_>) {
        let span = arguments.span();
        if self.view.zonal && self.view.no_endpoints {
            arguments
                .error(span, "zonal requires the endpoint cache; remove noendpoints")
                .help("only EndpointSlices have the zones of endpoints");
        }
        if self.snapshot.is_some() && matches!(self.source.origin, Origin::Manifests(_)) {
            arguments.warning(span, "`snapshot` has no effect beside `manifests`");
            self.snapshot = None;
        }
        let origin = match &self.source.origin {
            Origin::Kubeconfig { .. } => Some("kubeconfig"),
            Origin::Manifests(_) => Some("manifests"),
            Origin::InCluster | Origin::Endpoint { .. } => None,
        };
        match (origin, self.endpoint.take(), self.tls.take()) {
            (Some(origin), Some(_), _) | (Some(origin), _, Some(_)) => {
                arguments.warning(
                    span,
                    &format!("`endpoint` and `tls` have no effect beside `{origin}`"),
                );
            }
            (None, None, Some(_)) => {
                arguments.warning(span, "`tls` has no effect without `endpoint`: a Pod uses the certificates of its ServiceAccount");
            }
            (None, Some(url), tls) => self.source.origin = Origin::Endpoint { url, tls },
            (_, None, None) => {}
        }
    }

    fn read_multicluster(&mut self, option: &mut Arguments<'_>) {
        let (span, tokens) = (option.span(), option.rest());
        if tokens.is_empty() {
            option
                .warning(span, "`multicluster` has no effect without a zone")
                .help("such as `multicluster clusterset.local`");
        }
        self.view.multicluster.clear();
        for token in tokens {
            for zone in names(&option.zones_of(token)) {
                if !self.view.zones.contains(&zone) {
                    let zones: Vec<_> = self.view.zones.iter().map(ToString::to_string).collect();
                    let message = format!(
                        "is not authoritative for the multicluster zone {zone} (authoritative zones: [{}])",
                        zones.join(" ")
                    );
                    option
                        .error(token.span, &message)
                        .help("add the zone to the arguments of `kubernetes`");
                }
                self.view.multicluster.push(zone);
            }
        }
    }

    /// Names of several lines add up. Of several selectors the last one counts.
    fn restrict_to(&mut self, option: &mut Arguments<'_>, namespaces: Namespaces) {
        match (&mut self.view.namespaces, namespaces) {
            (Namespaces::Named(names), Namespaces::Named(more)) => names.extend(more),
            (Namespaces::Named(_), Namespaces::Labelled(_))
            | (Namespaces::Labelled(_), Namespaces::Named(_)) => {
                let span = option.span();
                option.error(span, "namespaces and namespace_labels cannot both be set");
            }
            (set, namespaces) => *set = namespaces,
        }
    }
}

/// Reads the URL of an API server. As in CoreDNS, `HOST:PORT` means plain HTTP.
fn endpoint(option: &mut Arguments<'_>, url: &Token) -> Option<String> {
    let (scheme, rest) = url.text.split_once("://").unwrap_or(("http", &url.text));
    if ["http", "https"].contains(&scheme) && !rest.starts_with(['/', ':']) && !rest.is_empty() {
        return Some(format!("{scheme}://{rest}"));
    }
    option
        .error(url.span, &format!("`{}` is not the URL of an API server", url.text))
        .help("such as https://10.0.0.1:6443");
    None
}

fn selector(option: &mut Arguments<'_>) -> Option<(String, Selector)> {
    let first = option.required("a label selector")?;
    let arguments: Vec<_> =
        [first].into_iter().chain(option.rest()).map(|token| &*token.text).collect();
    let text = arguments.join(" ");
    match Selector::parse(&text) {
        Ok(selector) => Some((text, selector)),
        Err(reason) => {
            option.error(first.span, &reason);
            None
        }
    }
}

fn read_tls(option: &mut Arguments<'_>) -> Option<ClientTls> {
    let mut file = |what: &str| option.required(what).map(|token| token.text.clone());
    Some(ClientTls {
        certificate: file("a certificate, its key and the authority's certificate")?,
        key: file("a key and the authority's certificate")?,
        authority: file("the authority's certificate")?,
    })
}

/// Reads `FILE [CONTEXT]`.
pub(in crate::plugin) fn read_kubeconfig(option: &mut Arguments<'_>) -> Option<Origin> {
    let file = option.required("a file")?.text.clone();
    let context = option.optional().map(|context| context.text.clone());
    Some(Origin::Kubeconfig { file, context })
}
