//! `kubernetes [ZONE…] { … }`: the names of a cluster.

mod lint;
mod options;
mod startup;

use std::{sync::Arc, time::Duration};

use crate::{
    chain::Plugin,
    limits,
    zone::{self, Zone, is_reverse},
};

use super::{
    BuildError, Directive, DirectiveLines, Fallthrough, Lint, Need, PluginContext, PluginSettings,
    Role, ZoneArguments, authority::Authority, names,
};

pub(super) use options::read_kubeconfig;

use options::OPTIONS;
use startup::Startup;

pub(super) static DIRECTIVE: Directive = Directive {
    name: "kubernetes",
    about: "Answers the names of Services, endpoints and Pods of a Kubernetes cluster.",
    arguments: "[ZONE…]",
    options: &OPTIONS,
    roles: &[Role::Answers, Role::HasZones, Role::TakesZones(ZoneArguments::All)],
    example: ".:53 {\n    kubernetes cluster.local in-addr.arpa ip6.arpa {\n        pods insecure\n        ttl 30\n        fallthrough in-addr.arpa ip6.arpa\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[
        Lint::without_errors(lint::pods_verified_is_unused),
        Lint::without_errors(lint::another_block_answers),
    ],
    read,
};

/// Where facts come from. Blocks with the same source share the facts, and each kind is read once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    pub origin: Origin,
    /// `labels`: a selector for Services, EndpointSlices and Pods.
    pub labels: Option<String>,
    pub throttle: Throttle,
}

/// Limits for requests to an API server. 0 means CoreDNS's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Throttle {
    /// `apiserver_qps`: requests in a thousand seconds; 0 means no limit.
    pub requests_in_1000_s: u32,
    /// `apiserver_burst`: requests that may exceed the rate at once; 0 means 10.
    pub burst: u32,
    /// `apiserver_max_inflight`: requests that wait for the head of their reply; 0 means no limit.
    pub in_flight: u32,
}

/// `tls`: the files of the client's certificate, its key, and the authority of the API server's
/// certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientTls {
    pub certificate: String,
    pub key: String,
    pub authority: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// The API server in the environment variables of the Pod.
    InCluster,
    Kubeconfig {
        file: String,
        context: Option<String>,
    },
    /// `endpoint URL` with its certificates.
    Endpoint {
        url: String,
        tls: Option<ClientTls>,
    },
    /// `manifests DIR`: a directory of YAML files. ndots simulates the cluster's controllers.
    Manifests(String),
}

impl Source {
    /// All objects of the cluster that this Pod runs in.
    pub fn in_cluster() -> Self {
        Self { origin: Origin::InCluster, labels: None, throttle: Throttle::default() }
    }
}

#[derive(Debug)]
pub(super) struct KubernetesSettings {
    pub(super) source: Source,
    endpoint: Option<String>,
    tls: Option<ClientTls>,
    pub(super) view: zone::Settings,
    fallthrough: Option<Fallthrough>,
    /// If the facts are not loaded after this time, a warning is logged.
    startup_timeout: Duration,
}

impl PluginSettings for KubernetesSettings {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Source { source: self.source.clone(), kinds: self.view.kinds().collect() }]
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let own_addresses = context.build.own_addresses.to_vec();
        let view = zone::Settings { own_addresses, ..self.view.clone() };
        let view = Arc::new(Zone::new(context.store(&self.source), view));
        let fallthrough = self.fallthrough.clone().unwrap_or_default();
        let startup = Startup::new(Arc::clone(&view), self.startup_timeout);
        context.outputs.timed.push(Arc::new(startup));
        Ok(vec![Arc::new(Authority { name: DIRECTIVE.name, view, fallthrough })])
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    Some(Box::new(KubernetesSettings::read(lines)))
}

impl KubernetesSettings {
    /// The settings of `kubernetes` in the block of another directive, if there is one.
    pub(super) fn of_block(lines: &DirectiveLines<'_>) -> Option<Self> {
        lines.other(&DIRECTIVE, Self::read)
    }

    fn read(lines: &mut DirectiveLines<'_>) -> Self {
        let mut kubernetes = Self {
            source: Source::in_cluster(),
            endpoint: None,
            tls: None,
            view: zone::Settings::new(lines.zones.to_vec()),
            fallthrough: None,
            startup_timeout: limits::KUBERNETES_STARTUP,
        };
        lines.once(|arguments| {
            if !arguments.is_empty() {
                kubernetes.view.zones = names(&arguments.zones());
            }
            if kubernetes.view.zones.iter().all(is_reverse) {
                let span = arguments.span();
                arguments.error(span, "non-reverse zone name must be used").help(
                    "name the cluster's zone: `kubernetes cluster.local in-addr.arpa ip6.arpa`",
                );
            }
            OPTIONS.read(arguments, &mut kubernetes);
            kubernetes.check(arguments);
        });
        kubernetes
    }
}
