//! `kubernetes [ZONES…] { … }`: the cluster's names.

mod answer;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    chain::Plugin,
    corefile::Words,
    limits,
    model::Selector,
    wire::Name,
    zone::{self, Namespaces, PodMode, Zone, is_reverse},
};

use super::{Fallthrough, Need, Reading, Settings, Site, names};

/// Where facts come from: blocks with the same source share them, and each kind is read once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    pub origin: Origin,
    /// `labels`: only Services, EndpointSlices and Pods that this selects.
    pub labels: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// The API server that the environment of a Pod names.
    InCluster,
    Kubeconfig {
        file: String,
        context: Option<String>,
    },
    /// `manifests DIR`: a directory of YAML, with the controllers played.
    Manifests(String),
}

#[derive(Debug)]
struct Kubernetes {
    source: Source,
    view: zone::Settings,
    fallthrough: Option<Fallthrough>,
}

impl Settings for Kubernetes {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Source { source: self.source.clone(), kinds: self.view.kinds().collect() }]
    }

    fn build(&self, site: &mut Site<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        let view = zone::Settings { own_addresses: site.own_addresses.to_vec(), ..self.view.clone() };
        let zone = Arc::new(Zone::new(site.stores.get(&self.source).cloned().unwrap_or_default(), view));
        let fallthrough = self.fallthrough.clone().unwrap_or_default();
        Ok(vec![Arc::new(answer::Kubernetes { zone, fallthrough })])
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

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    let mut zones: Vec<Name> = reading.zones.to_vec();
    let mut kubernetes = Kubernetes {
        source: Source { origin: Origin::InCluster, labels: None },
        view: zone::Settings {
            zones: Vec::new(),
            ttl: 5,
            pods: PodMode::Disabled,
            namespaces: Namespaces::All,
            endpoint_pod_names: false,
            no_endpoints: false,
            ignore_empty_service: false,
            own_addresses: Vec::new(),
        },
        fallthrough: None,
    };
    reading.once(|words| {
        if !words.is_empty() {
            zones = names(&words.zones());
        }
        if zones.iter().all(is_reverse) {
            let span = words.span();
            words
                .error(span, "non-reverse zone name must be used")
                .help("name the cluster's zone: `kubernetes cluster.local in-addr.arpa ip6.arpa`");
        }
        let mut seen = BTreeMap::new();
        words.options(|option| {
            if seen.insert(option.name().to_owned(), ()).is_some() {
                let (span, name) = (option.span(), option.name());
                option.warning(span, &format!("`{name}` stands twice: the last one counts"));
            }
            kubernetes.option(option);
        });
    });
    kubernetes.view.zones = zones;
    Some(Box::new(kubernetes))
}

impl Kubernetes {
    fn option(&mut self, option: &mut Words<'_>) {
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
            "namespaces" => {
                let list = option.rest().iter().map(|token| token.text.clone().into()).collect();
                self.namespaces(option, Namespaces::Named(list));
            }
            "namespace_labels" => {
                if let Some((_, selector)) = selector(option) {
                    self.namespaces(option, Namespaces::Labelled(selector));
                }
            }
            "labels" => self.source.labels = selector(option).map(|(text, _)| text),
            "pods" => {
                let modes = [("disabled", PodMode::Disabled), ("verified", PodMode::Verified), ("insecure", PodMode::Insecure)];
                self.view.pods = option.one_of("pods", &modes).unwrap_or_default();
            }
            "endpoint_pod_names" => self.view.endpoint_pod_names = true,
            "ttl" => self.view.ttl = option.number("ttl", 0, limits::KUBERNETES_TTL).unwrap_or(self.view.ttl),
            "noendpoints" => self.view.no_endpoints = true,
            "ignore" => {
                self.view.ignore_empty_service = option.one_of("ignore", &[("empty_service", true)]).unwrap_or(false);
            }
            "fallthrough" => self.fallthrough = Some(Fallthrough::read(option)),
            // How long start-up waits for facts; nothing waits here: sockets are bound at once, and unsynced names fail.
            "startup_timeout" => drop(option.duration("the startup timeout")),
            "endpoint" | "tls" | "apiserver_qps" | "apiserver_burst" | "apiserver_max_inflight" | "zonal" | "multicluster" | "snapshot" => {
                option.not_yet();
                return;
            }
            _ => {
                option.unknown(&OPTIONS);
                return;
            }
        }
        option.end();
        option.no_body();
    }

    fn namespaces(&mut self, option: &mut Words<'_>, namespaces: Namespaces) {
        if self.view.namespaces != Namespaces::All {
            let span = option.span();
            option.error(span, "namespaces and namespace_labels cannot both be set");
        }
        self.view.namespaces = namespaces;
    }
}

fn selector(option: &mut Words<'_>) -> Option<(String, Selector)> {
    let first = option.required("a label selector")?;
    let words: Vec<_> = [first].into_iter().chain(option.rest()).map(|token| &*token.text).collect();
    let text = words.join(" ");
    match Selector::parse(&text) {
        Ok(selector) => Some((text, selector)),
        Err(reason) => {
            option.error(first.span, &reason);
            None
        }
    }
}
