//! `k8s_gateway [ZONES…] { … }`: everything of a cluster that clients outside can reach, as the
//! plugin of that name for CoreDNS has it: `LoadBalancer` Services, Ingress hosts, Gateway API
//! routes; and more: external IPs, node ports, aliases.

use std::sync::Arc;

use crate::{
    chain::Plugin,
    corefile::Arguments,
    limits,
    model::Kind,
    wire::Name,
    zone::outside::{Apex, Gateway, GatewaySettings, NodeAddressType},
};

use super::{
    Fallthrough, Need, Origin, PluginContext, Reading, Settings, Source, Throttle,
    authority::Authority, kubernetes::Kubernetes, names, relative_name,
};

#[derive(Debug)]
struct K8sGateway {
    source: Source,
    view: GatewaySettings,
    apex: Name,
    secondary: Option<Name>,
    fallthrough: Fallthrough,
}

impl Settings for K8sGateway {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Source { source: self.source.clone(), kinds: self.view.kinds().collect() }]
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        let view =
            GatewaySettings { own_addresses: context.own_addresses.to_vec(), ..self.view.clone() };
        let view = Arc::new(Gateway::new(
            context.stores.get(&self.source).cloned().unwrap_or_default(),
            view,
        ));
        Ok(vec![Arc::new(Authority {
            name: "k8s_gateway",
            view,
            fallthrough: self.fallthrough.clone(),
        })])
    }
}

const OPTIONS: [&str; 10] = [
    "resources",
    "ingressClasses",
    "gatewayClasses",
    "controller",
    "nodeAddressType",
    "ttl",
    "apex",
    "secondary",
    "kubeconfig",
    "fallthrough",
];

/// Options of the plugin for CoreDNS that are not here.
const NOT_YET: [&str; 4] =
    ["serviceLabelSelectors", "clientFiltering", "loadBalancerAddressPreference", "soa"];

const RESOURCES: [(&str, Kind); 5] = [
    ("Ingress", Kind::Ingress),
    ("Service", Kind::Service),
    ("HTTPRoute", Kind::HttpRoute),
    ("TLSRoute", Kind::TlsRoute),
    ("GRPCRoute", Kind::GrpcRoute),
];

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    let in_cluster =
        || Source { origin: Origin::InCluster, labels: None, throttle: Throttle::default() };
    let mut gateway = K8sGateway {
        source: Kubernetes::beside(reading).map_or_else(in_cluster, |kubernetes| kubernetes.source),
        view: GatewaySettings {
            zones: reading.zones.to_vec(),
            ttl: 60,
            top: Apex { servers: Vec::new(), hostmaster: Name::root() },
            resources: vec![Kind::Ingress, Kind::Service],
            ingress_classes: Vec::new(),
            gateway_classes: Vec::new(),
            controllers: Vec::new(),
            node_addresses: vec![NodeAddressType::External],
            own_addresses: Vec::new(),
        },
        apex: "dns1.kube-system".parse().expect("a name"),
        secondary: None,
        fallthrough: Fallthrough::default(),
    };
    reading.once(|arguments| {
        if !arguments.is_empty() {
            gateway.view.zones = names(&arguments.zones());
        }
        arguments.options(|option| {
            option.once_unless(&["controller"]);
            gateway.option(option);
        });
    });
    gateway.view.top = Apex::of_server(&gateway.apex, gateway.secondary.as_ref());
    Some(Box::new(gateway))
}

impl K8sGateway {
    fn option(&mut self, option: &mut Arguments<'_>) {
        let view = &mut self.view;
        match option.name() {
            "resources" => {
                view.resources = some_of(option, "resources", &RESOURCES)
                    .unwrap_or_else(|| view.resources.clone())
            }
            "nodeAddressType" => {
                let types = [
                    ("ExternalIP", NodeAddressType::External),
                    ("InternalIP", NodeAddressType::Internal),
                ];
                view.node_addresses = some_of(option, "nodeAddressType", &types)
                    .unwrap_or_else(|| view.node_addresses.clone());
            }
            "ingressClasses" => view.ingress_classes = classes(option),
            "gatewayClasses" => view.gateway_classes = classes(option),
            "controller" => {
                let Some(class) =
                    option.required("the class of Ingresses, and the Service before them")
                else {
                    return;
                };
                let Some(service) =
                    option.required("the Service before the Ingresses of the class")
                else {
                    return;
                };
                match service.text.parse::<Name>() {
                    Ok(name) if name.labels().count() == 2 => {
                        view.controllers.push((class.text.as_str().into(), name))
                    }
                    _ => {
                        let message = format!("`{}` is no Service", service.text);
                        option
                            .error(service.span, &message)
                            .help("its name and its namespace, such as `ingress-nginx-controller.ingress-nginx`");
                    }
                }
            }
            "ttl" => view.ttl = option.number("ttl", 0, limits::KUBERNETES_TTL).unwrap_or(view.ttl),
            "apex" => {
                self.apex = relative_name(option, "the name of a Service", &view.zones)
                    .unwrap_or_else(|| self.apex.clone())
            }
            "secondary" => {
                self.secondary = relative_name(option, "the name of a Service", &view.zones)
            }
            "kubeconfig" => {
                let Some(file) = option.required("a file") else { return };
                let context = option.optional().map(|context| context.text.clone());
                let origin = Origin::Kubeconfig { file: file.text.clone(), context };
                self.source = Source { origin, labels: None, throttle: Throttle::default() };
            }
            "fallthrough" => self.fallthrough = Fallthrough::read(option),
            name if NOT_YET.contains(&name) => return option.not_yet(),
            _ => return option.unknown(&OPTIONS),
        }
        option.end();
        option.no_body();
    }
}

/// One or several of these words, each once.
fn some_of<T: Copy + PartialEq>(
    option: &mut Arguments<'_>,
    what: &str,
    choices: &[(&str, T)],
) -> Option<Vec<T>> {
    let mut chosen = vec![option.one_of(what, choices)?];
    while !option.is_empty() {
        let next = option.one_of(what, choices)?;
        if !chosen.contains(&next) {
            chosen.push(next);
        }
    }
    Some(chosen)
}

fn classes(option: &mut Arguments<'_>) -> Vec<Box<str>> {
    let first = option.required("a class");
    first.into_iter().chain(option.rest()).map(|class| class.text.as_str().into()).collect()
}
