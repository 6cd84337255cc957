//! `k8s_external [ZONES…] { … }`: Services for clients outside of the cluster, by their external
//! addresses. `kubernetes` in the same block has the facts.

use std::sync::Arc;

use crate::{
    chain::Plugin,
    corefile::Arguments,
    limits,
    wire::Name,
    zone::outside::{External, ExternalSettings},
};

use super::{
    Fallthrough, Need, PluginContext, Reading, Settings, Source, authority::Authority,
    kubernetes::Kubernetes, names, relative_name,
};

#[derive(Debug)]
struct K8sExternal {
    source: Source,
    view: ExternalSettings,
    fallthrough: Fallthrough,
}

impl Settings for K8sExternal {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Source { source: self.source.clone(), kinds: self.view.kinds().collect() }]
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        let view =
            ExternalSettings { own_addresses: context.own_addresses.to_vec(), ..self.view.clone() };
        let view = Arc::new(External::new(
            context.stores.get(&self.source).cloned().unwrap_or_default(),
            view,
        ));
        Ok(vec![Arc::new(Authority {
            name: "k8s_external",
            view,
            fallthrough: self.fallthrough.clone(),
        })])
    }
}

const OPTIONS: [&str; 4] = ["apex", "ttl", "headless", "fallthrough"];

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    let kubernetes = Kubernetes::beside(reading);
    let block = reading.zones.to_vec();
    let mut external = None;
    reading.once(|arguments| {
        let Some(kubernetes) = &kubernetes else {
            let span = arguments.span();
            arguments
                .error(span, "`kubernetes` is not in this block")
                .help("it has the facts: write `kubernetes cluster.local` beside this line");
            return arguments.skip();
        };
        external = Some(read_beside(arguments, kubernetes, &block));
    });
    external.map(|external| Box::new(external) as Box<dyn Settings>)
}

fn read_beside(
    arguments: &mut Arguments<'_>,
    kubernetes: &Kubernetes,
    block: &[Name],
) -> K8sExternal {
    let zones = if arguments.is_empty() { block.to_vec() } else { names(&arguments.zones()) };
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
    let mut external = K8sExternal {
        source: kubernetes.source.clone(),
        view,
        fallthrough: Fallthrough::default(),
    };
    arguments.options(|option| {
        option.once();
        external.option(option);
    });
    external
}

impl K8sExternal {
    fn option(&mut self, option: &mut Arguments<'_>) {
        match option.name() {
            "apex" => {
                let Some(apex) = relative_name(option, "a label", &self.view.zones) else { return };
                self.view.top = ExternalSettings::top(&apex);
                self.view.apex = apex;
            }
            "ttl" => {
                self.view.ttl =
                    option.number("ttl", 0, limits::KUBERNETES_TTL).unwrap_or(self.view.ttl)
            }
            "headless" => self.view.headless = true,
            "fallthrough" => self.fallthrough = Fallthrough::read(option),
            _ => return option.unknown(&OPTIONS),
        }
        option.end();
        option.no_body();
    }
}
