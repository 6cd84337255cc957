//! `k8s_external [ZONE…] { … }`. `kubernetes` in the same block loads the facts.

use std::sync::Arc;

use crate::{
    chain::Plugin,
    limits,
    wire::Name,
    zone::outside::{External, ExternalSettings},
};

use super::{
    BuildError, Directive, DirectiveLines, Fallthrough, Need, OptionSpec, OptionTable,
    PluginContext, PluginSettings, Role, Source, ZoneArguments, authority::Authority,
    kubernetes::KubernetesSettings, names, relative_name,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "k8s_external",
    about: "Answers names of Services with their external addresses, for clients outside of the cluster.",
    arguments: "[ZONE…]",
    options: &OPTIONS,
    roles: &[Role::Answers, Role::HasZones, Role::TakesZones(ZoneArguments::All)],
    example: ".:53 {\n    k8s_external example.org {\n        apex dns\n    }\n    kubernetes cluster.local\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<K8sExternalSettings> = OptionTable(&[
    OptionSpec::new(
        "apex",
        "NAME",
        "Names the server of the zone in NS and SOA records; the default is dns.",
        |external, option| {
            let Some(apex) = relative_name(option, "a label", &external.view.zones) else { return };
            external.view.top = ExternalSettings::top(&apex);
            external.view.apex = apex;
        },
    ),
    OptionSpec::new(
        "ttl",
        "SECONDS",
        "Sets the TTL of answers; the default is 5.",
        |external, option| {
            let ttl = option.number("ttl", 0, limits::KUBERNETES_TTL);
            external.view.ttl = ttl.unwrap_or(external.view.ttl);
        },
    ),
    OptionSpec::new(
        "headless",
        "",
        "Answers headless Services with their endpoints, too.",
        |external, _| {
            external.view.headless = true;
        },
    ),
    OptionSpec::new(
        "fallthrough",
        "[ZONE…]",
        "Passes names that do not exist to the next plugin.",
        |external, option| external.fallthrough = Fallthrough::read(option),
    ),
]);

#[derive(Debug)]
struct K8sExternalSettings {
    source: Source,
    view: ExternalSettings,
    fallthrough: Fallthrough,
}

impl PluginSettings for K8sExternalSettings {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Source {
            source: self.source.clone(),
            kinds: self.view.kinds().collect(),
            endpoint_fields: self.view.endpoint_fields(),
        }]
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let view = ExternalSettings {
            own_addresses: context.build.own_addresses.to_vec(),
            ..self.view.clone()
        };
        let view = Arc::new(External::new(context.store(&self.source), view));
        Ok(vec![Arc::new(Authority {
            name: DIRECTIVE.name,
            view,
            fallthrough: self.fallthrough.clone(),
        })])
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let kubernetes = KubernetesSettings::of_block(lines);
    let block = lines.zones.to_vec();
    let mut external = None;
    lines.once(|arguments| {
        let Some(kubernetes) = &kubernetes else {
            let span = arguments.span();
            arguments
                .error(span, "`kubernetes` is not in this block")
                .help("add `kubernetes cluster.local` to this block: it loads the Services");
            return arguments.skip();
        };
        let zones = if arguments.is_empty() { block.clone() } else { names(&arguments.zones()) };
        let mut settings = K8sExternalSettings::new(zones, kubernetes);
        OPTIONS.read(arguments, &mut settings);
        external = Some(settings);
    });
    external.map(|external| Box::new(external) as Box<dyn PluginSettings>)
}

impl K8sExternalSettings {
    fn new(zones: Vec<Name>, kubernetes: &KubernetesSettings) -> Self {
        let apex: Name = "dns".parse().expect("a name");
        let view = ExternalSettings {
            zones,
            ttl: 5,
            top: ExternalSettings::top(&apex),
            apex,
            headless: false,
            namespaces: kubernetes.view.namespaces.clone(),
            endpoint_pod_names: kubernetes.view.endpoint_pod_names,
            no_endpoints: kubernetes.view.no_endpoints,
            own_addresses: Vec::new(),
        };
        Self { source: kubernetes.source.clone(), view, fallthrough: Fallthrough::default() }
    }
}
