//! `kubernetes [ZONES…] { … }`: the cluster's names.

mod startup;

use std::{sync::Arc, time::Duration};

use crate::{
    chain::Plugin,
    corefile::{Arguments, Diagnostics, Token},
    limits,
    model::Selector,
    zone::{self, Namespaces, PodMode, Zone, is_reverse},
};

use super::{Fallthrough, Need, PluginContext, Reading, Settings, authority::Authority, names};

use startup::Startup;

/// Where facts come from: blocks with the same source share them, and each kind is read once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    pub origin: Origin,
    /// `labels`: only Services, EndpointSlices and Pods that this selects.
    pub labels: Option<String>,
    pub throttle: Throttle,
}

/// How much may be asked of an API server; 0 is CoreDNS's word for what it does without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Throttle {
    /// `apiserver_qps`: requests in a thousand seconds; 0 sets no bound.
    pub requests_in_1000_s: u32,
    /// `apiserver_burst`: requests that may come at once before that rate holds; 0 stands for 10.
    pub burst: u32,
    /// `apiserver_max_inflight`: requests that wait for the head of their reply; 0 sets no bound.
    pub in_flight: u32,
}

/// `tls`: files with the client's certificate and key, and with the authority that signed the
/// server's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientTls {
    pub certificate: String,
    pub key: String,
    pub authority: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// The API server that the environment of a Pod names.
    InCluster,
    Kubeconfig {
        file: String,
        context: Option<String>,
    },
    /// `endpoint URL`, and how it is spoken to.
    Endpoint {
        url: String,
        tls: Option<ClientTls>,
    },
    /// `manifests DIR`: a directory of YAML, with the controllers played.
    Manifests(String),
}

#[derive(Debug)]
pub(super) struct Kubernetes {
    pub(super) source: Source,
    endpoint: Option<String>,
    tls: Option<ClientTls>,
    pub(super) view: zone::Settings,
    fallthrough: Option<Fallthrough>,
    /// After this time without facts that is told.
    startup_timeout: Duration,
}

impl Settings for Kubernetes {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Source { source: self.source.clone(), kinds: self.view.kinds().collect() }]
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        let view =
            zone::Settings { own_addresses: context.own_addresses.to_vec(), ..self.view.clone() };
        let view = Arc::new(Zone::new(
            context.stores.get(&self.source).cloned().unwrap_or_default(),
            view,
        ));
        let fallthrough = self.fallthrough.clone().unwrap_or_default();
        context.timed.push(Arc::new(Startup::new(Arc::clone(&view), self.startup_timeout)));
        Ok(vec![Arc::new(Authority { name: "kubernetes", view, fallthrough })])
    }
}

const OPTIONS: [&str; 20] = [
    "endpoint",
    "tls",
    "kubeconfig",
    "apiserver_qps",
    "apiserver_burst",
    "apiserver_max_inflight",
    "namespaces",
    "namespace_labels",
    "labels",
    "pods",
    "endpoint_pod_names",
    "ttl",
    "noendpoints",
    "zonal",
    "ignore",
    "fallthrough",
    "multicluster",
    "startup_timeout",
    "manifests",
    "snapshot",
];

/// Options of CoreDNS versions before this one, and what is done now.
const REMOVED: [(&str, &str); 5] = [
    (
        "upstream",
        "delete this line: the targets of ExternalName Services are looked up without it since CoreDNS 1.7",
    ),
    ("resyncperiod", "delete this line: nothing is listed anew at intervals since CoreDNS 1.7"),
    ("transfer", "write the plugin `transfer` beside `kubernetes` instead, as since CoreDNS 1.8"),
    ("federation", "delete this line: Kubernetes has no federation v1 any more"),
    ("wildcards", "delete this line: names with wildcards are not answered since CoreDNS 1.9"),
];

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    Some(Box::new(Kubernetes::read(reading)))
}

impl Kubernetes {
    /// The `kubernetes` of the block that another directive stands in.
    pub(super) fn beside(reading: &Reading<'_>) -> Option<Self> {
        // Its mistakes are told where it is read itself.
        reading.beside("kubernetes", &mut Diagnostics::default(), Self::read)
    }

    fn read(reading: &mut Reading<'_>) -> Self {
        let mut kubernetes = Self {
            source: Source {
                origin: Origin::InCluster,
                labels: None,
                throttle: Throttle::default(),
            },
            endpoint: None,
            tls: None,
            view: zone::Settings::new(reading.zones.to_vec()),
            fallthrough: None,
            startup_timeout: limits::KUBERNETES_STARTUP,
        };
        reading.once(|arguments| {
            if !arguments.is_empty() {
                kubernetes.view.zones = names(&arguments.zones());
            }
            if kubernetes.view.zones.iter().all(is_reverse) {
                let span = arguments.span();
                arguments.error(span, "non-reverse zone name must be used").help(
                    "name the cluster's zone: `kubernetes cluster.local in-addr.arpa ip6.arpa`",
                );
            }
            arguments.options(|option| {
                option.once();
                kubernetes.option(option);
            });
            kubernetes.agree(arguments);
        });
        kubernetes
    }

    fn option(&mut self, option: &mut Arguments<'_>) {
        match option.name() {
            "kubeconfig" => {
                let Some(file) = option.required("a file") else { return };
                let context = option.optional().map(|context| context.text.clone());
                self.source.origin = Origin::Kubeconfig { file: file.text.clone(), context };
            }
            "manifests" => {
                let Some(directory) = option.required("a directory") else { return };
                self.source.origin = Origin::Manifests(directory.text.clone());
            }
            "endpoint" => {
                let Some(url) = option.required("the URL of an API server") else { return };
                self.endpoint = endpoint(option, url);
                if let Some(other) = option.rest().first() {
                    option
                        .warning(other.span, "only the first endpoint is used")
                        .help("put a load balancer before several API servers");
                }
            }
            "tls" => {
                let mut file = |what: &str| option.required(what).map(|token| token.text.clone());
                let Some(certificate) =
                    file("a certificate, its key and the authority's certificate")
                else {
                    return;
                };
                let Some(key) = file("a key and the authority's certificate") else { return };
                let Some(authority) = file("the authority's certificate") else { return };
                self.tls = Some(ClientTls { certificate, key, authority });
            }
            "apiserver_qps" => {
                let rate: Option<f64> = option.number("apiserver_qps", 0.0, 4_000_000.0);
                self.source.throttle.requests_in_1000_s =
                    rate.map_or(0, |rate| (rate * 1000.0).ceil() as u32);
            }
            "apiserver_burst" => {
                self.source.throttle.burst =
                    option.number("apiserver_burst", 0, i32::MAX as u32).unwrap_or(0)
            }
            "apiserver_max_inflight" => {
                self.source.throttle.in_flight =
                    option.number("apiserver_max_inflight", 0, i32::MAX as u32).unwrap_or(0);
            }
            "namespaces" => {
                let Some(first) = option.required("a namespace") else { return };
                let list = [first]
                    .into_iter()
                    .chain(option.rest())
                    .map(|token| token.text.clone().into())
                    .collect();
                self.namespaces(option, Namespaces::Named(list));
            }
            "namespace_labels" => {
                if let Some((_, selector)) = selector(option) {
                    self.namespaces(option, Namespaces::Labelled(selector));
                }
            }
            "labels" => self.source.labels = selector(option).map(|(text, _)| text),
            "pods" => {
                let modes = [
                    ("disabled", PodMode::Disabled),
                    ("verified", PodMode::Verified),
                    ("insecure", PodMode::Insecure),
                ];
                self.view.pods = option.one_of("pods", &modes).unwrap_or_default();
            }
            "endpoint_pod_names" => self.view.endpoint_pod_names = true,
            "ttl" => {
                self.view.ttl =
                    option.number("ttl", 0, limits::KUBERNETES_TTL).unwrap_or(self.view.ttl)
            }
            "noendpoints" => self.view.no_endpoints = true,
            "zonal" => self.view.zonal = true,
            "ignore" => {
                self.view.ignore_empty_service =
                    option.one_of("ignore", &[("empty_service", true)]).unwrap_or(false);
            }
            "fallthrough" => self.fallthrough = Some(Fallthrough::read(option)),
            "startup_timeout" => {
                self.startup_timeout =
                    option.duration("the startup timeout").unwrap_or(self.startup_timeout);
            }
            "multicluster" => self.multicluster(option),
            "snapshot" => return option.not_yet(),
            name => match REMOVED.iter().find(|(removed, _)| *removed == name) {
                Some((_, help)) => return option.removed(help),
                None => return option.unknown(&OPTIONS),
            },
        }
        option.end();
        option.no_body();
    }

    /// What the options say must fit together.
    fn agree(&mut self, arguments: &mut Arguments<'_>) {
        let span = arguments.span();
        if self.view.zonal && self.view.no_endpoints {
            arguments
                .error(span, "zonal requires the endpoint cache; remove noendpoints")
                .help("a zone's endpoints are known from EndpointSlices");
        }
        let written = match &self.source.origin {
            Origin::Kubeconfig { .. } => Some("kubeconfig"),
            Origin::Manifests(_) => Some("manifests"),
            Origin::InCluster | Origin::Endpoint { .. } => None,
        };
        match (written, self.endpoint.take(), self.tls.take()) {
            (Some(written), Some(_), _) | (Some(written), _, Some(_)) => {
                arguments.warning(
                    span,
                    &format!("`endpoint` and `tls` have no effect beside `{written}`"),
                );
            }
            (None, None, Some(_)) => {
                arguments.warning(span, "`tls` has no effect without `endpoint`: a Pod has its certificates from its ServiceAccount");
            }
            (None, Some(url), tls) => self.source.origin = Origin::Endpoint { url, tls },
            (_, None, None) => {}
        }
    }

    fn multicluster(&mut self, option: &mut Arguments<'_>) {
        let (span, tokens) = (option.span(), option.rest());
        if tokens.is_empty() {
            option
                .warning(span, "`multicluster` names no zone, so it does nothing")
                .help("such as `multicluster clusterset.local`");
        }
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
                        .help("name the zone behind `kubernetes`, too");
                }
                self.view.multicluster.push(zone);
            }
        }
    }

    fn namespaces(&mut self, option: &mut Arguments<'_>, namespaces: Namespaces) {
        if self.view.namespaces != Namespaces::All {
            let span = option.span();
            option.error(span, "namespaces and namespace_labels cannot both be set");
        }
        self.view.namespaces = namespaces;
    }
}

/// `HOST:PORT` is spoken to in plain HTTP, as by CoreDNS.
fn endpoint(option: &mut Arguments<'_>, url: &Token) -> Option<String> {
    let (scheme, rest) = url.text.split_once("://").unwrap_or(("http", &url.text));
    if ["http", "https"].contains(&scheme) && !rest.starts_with(['/', ':']) && !rest.is_empty() {
        return Some(format!("{scheme}://{rest}"));
    }
    option
        .error(url.span, &format!("`{}` is no URL of an API server", url.text))
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
