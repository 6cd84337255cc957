//! `kubernetes [ZONE…] { … }`: the names of a cluster.

mod lint;
mod options;
mod startup;

use std::{sync::Arc, time::Duration};

use crate::{
    chain::Plugin,
    corefile::Arguments,
    limits,
    wire::Name,
    zone::{self, Zone, is_reverse},
};

use super::{
    BuildError, ClientTls, Directive, DirectiveLines, Fallthrough, Lint, Need, PluginContext,
    PluginSettings, Role, Source, ZoneArguments, authority::Authority, names,
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
    lints: &[Lint::without_errors(lint::another_block_answers)],
    read,
};

#[derive(Debug)]
pub(super) struct KubernetesSettings {
    pub(super) source: Source,
    endpoint: Option<String>,
    tls: Option<ClientTls>,
    pub(super) view: zone::Settings,
    fallthrough: Option<Fallthrough>,
    snapshot: Option<String>,
    /// If the facts are not loaded after this time, a warning is logged.
    startup_timeout: Duration,
}

impl PluginSettings for KubernetesSettings {
    fn needs(&self) -> Vec<Need> {
        let source = self.source.clone();
        let snapshot = self.snapshot.clone();
        let snapshot = snapshot.map(|file| Need::Snapshot { source: source.clone(), file });
        let facts = Need::Source {
            source,
            kinds: self.view.kinds().collect(),
            endpoint_fields: self.view.endpoint_fields(),
        };
        [facts].into_iter().chain(snapshot).collect()
    }

    fn cluster_view(&self) -> Option<(&zone::Settings, Option<&str>)> {
        Some((&self.view, self.source.labels.as_deref()))
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
            snapshot: None,
            startup_timeout: limits::KUBERNETES_STARTUP,
        };
        lines.once(|arguments| {
            if !arguments.is_empty() {
                kubernetes.view.zones = names(&arguments.zones());
            }
            if kubernetes.view.zones.iter().all(is_reverse) {
                report_reverse_zones(&kubernetes.view.zones, arguments);
            }
            OPTIONS.read(arguments, &mut kubernetes);
            kubernetes.check(arguments);
        });
        kubernetes
    }
}

/// CoreDNS refuses a list of reverse zones only. But it does not take `in-addr.arpa` and `ip6.arpa`
/// themselves for reverse zones, so it starts if one of them is listed.
fn report_reverse_zones(zones: &[Name], arguments: &mut Arguments<'_>) {
    let span = arguments.span();
    let is_top = |zone: &Name| zone.labels().count() == 2;
    let diagnostic = if zones.iter().any(is_top) {
        arguments.warning(span, "no zone of a cluster is named: names of Services do not exist")
    } else {
        arguments.error(span, "non-reverse zone name must be used")
    };
    diagnostic.help("name the cluster's zone: `kubernetes cluster.local in-addr.arpa ip6.arpa`");
}
