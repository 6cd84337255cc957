//! `k8s_gateway [ZONE…] { … }`, with most options of the plugin of that name for CoreDNS. Unlike
//! that plugin, it also answers for external IPs, node ports and aliases.

mod refused;

use std::sync::Arc;

use crate::{
    chain::Plugin,
    corefile::Arguments,
    limits,
    model::Kind,
    wire::Name,
    zone::outside::{Apex, ClaimRules, Gateway, GatewaySettings, NodeAddressType, Protection},
};

use super::{
    BuildError, Directive, DirectiveLines, Fallthrough, Need, OptionSpec, OptionTable,
    PluginContext, PluginSettings, Role, Source, ZoneArguments,
    authority::Authority,
    kubernetes::{KubernetesSettings, read_kubeconfig},
    names, relative_name,
};

use refused::RefusedHosts;

pub(super) static DIRECTIVE: Directive = Directive {
    name: "k8s_gateway",
    about: "Answers Ingress hosts, Gateway API routes and external Services, for clients outside of the cluster.",
    arguments: "[ZONE…]",
    options: &OPTIONS,
    roles: &[Role::Answers, Role::HasZones, Role::TakesZones(ZoneArguments::All)],
    example: "example.org:53 {\n    k8s_gateway example.org {\n        resources Ingress Service HTTPRoute\n        ttl 30\n    }\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<K8sGatewaySettings> = OptionTable(&[
    OptionSpec::new(
        "resources",
        "Ingress|Service|HTTPRoute|TLSRoute|GRPCRoute…",
        "Answers names of these kinds; the default is Ingress and Service.",
        |gateway, option| {
            if let Some(resources) = some_of(option, "resources", &RESOURCES) {
                gateway.view.resources = resources;
            }
        },
    ),
    OptionSpec::new(
        "ingressClasses",
        "CLASS…",
        "Uses only Ingresses of these classes.",
        |gateway, option| gateway.view.ingress_classes = classes(option),
    ),
    OptionSpec::new(
        "gatewayClasses",
        "CLASS…",
        "Uses only Gateways of these classes.",
        |gateway, option| gateway.view.gateway_classes = classes(option),
    ),
    OptionSpec::repeated(
        "controller",
        "CLASS NAME.NAMESPACE",
        "Answers hosts of an Ingress of the class with the addresses of this Service, if the status of the Ingress has none.",
        read_controller,
    ),
    OptionSpec::new(
        "nodeAddressType",
        "ExternalIP|InternalIP…",
        "Answers node ports with these addresses; the default is ExternalIP.",
        |gateway, option| {
            let types = [
                ("ExternalIP", NodeAddressType::External),
                ("InternalIP", NodeAddressType::Internal),
            ];
            if let Some(types) = some_of(option, "nodeAddressType", &types) {
                gateway.view.node_addresses = types;
            }
        },
    ),
    OptionSpec::repeated(
        "claims",
        "NAMESPACE HOST…",
        "Lets only objects of this namespace claim these hosts and the names below them; further lines can admit other namespaces.",
        read_claims,
    ),
    OptionSpec::new(
        "unprotected",
        "",
        "Turns the protection of names off, as in the plugin for CoreDNS. Then a host of any object can take the apex, the name of a name server, the wildcard below the apex, and the name NAME.NAMESPACE of a Service. A host that several namespaces contain is answered with the addresses of all of them.",
        |gateway, _| gateway.view.claims.protection = Protection::Unprotected,
    ),
    OptionSpec::new(
        "ttl",
        "SECONDS",
        "Sets the TTL of answers; the default is 60.",
        |gateway, option| {
            let ttl = option.number("ttl", 0, limits::KUBERNETES_TTL);
            gateway.view.ttl = ttl.unwrap_or(gateway.view.ttl);
        },
    ),
    OptionSpec::new(
        "apex",
        "NAME",
        "Names the Service of the first name server; the default is dns1.kube-system.",
        |gateway, option| {
            if let Some(apex) = relative_name(option, "the name of a Service", &gateway.view.zones)
            {
                gateway.apex = apex;
            }
        },
    ),
    OptionSpec::new(
        "secondary",
        "NAME",
        "Names the Service of the second name server.",
        |gateway, option| {
            gateway.secondary = relative_name(option, "the name of a Service", &gateway.view.zones);
        },
    ),
    OptionSpec::new(
        "kubeconfig",
        "FILE [CONTEXT]",
        "Reads the objects from the API server of this kubeconfig.",
        |gateway, option| {
            if let Some(origin) = read_kubeconfig(option) {
                gateway.source = Source { origin, ..Source::in_cluster() };
            }
        },
    ),
    OptionSpec::new(
        "fallthrough",
        "[ZONE…]",
        "Passes names that do not exist to the next plugin.",
        |gateway, option| gateway.fallthrough = Fallthrough::read(option),
    ),
    OptionSpec::not_yet("serviceLabelSelectors"),
    OptionSpec::not_yet("clientFiltering"),
    OptionSpec::not_yet("loadBalancerAddressPreference"),
    OptionSpec::not_yet("soa"),
]);

#[derive(Debug)]
struct K8sGatewaySettings {
    source: Source,
    view: GatewaySettings,
    apex: Name,
    secondary: Option<Name>,
    fallthrough: Fallthrough,
}

impl PluginSettings for K8sGatewaySettings {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Source {
            source: self.source.clone(),
            kinds: self.view.kinds().collect(),
            endpoint_fields: self.view.endpoint_fields(),
        }]
    }

    fn outside_view(&self) -> Option<&GatewaySettings> {
        Some(&self.view)
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let view = GatewaySettings {
            own_addresses: context.build.own_addresses.to_vec(),
            ..self.view.clone()
        };
        let view = Arc::new(Gateway::new(context.store(&self.source), view));
        let refused = RefusedHosts::new(Arc::clone(&view), Arc::clone(context.build.metrics));
        context.outputs.timed.push(Arc::new(refused));
        Ok(vec![Arc::new(Authority {
            name: DIRECTIVE.name,
            view,
            fallthrough: self.fallthrough.clone(),
        })])
    }
}

const RESOURCES: [(&str, Kind); 5] = [
    ("Ingress", Kind::Ingress),
    ("Service", Kind::Service),
    ("HTTPRoute", Kind::HttpRoute),
    ("TLSRoute", Kind::TlsRoute),
    ("GRPCRoute", Kind::GrpcRoute),
];

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let source = KubernetesSettings::of_block(lines)
        .map_or_else(Source::in_cluster, |kubernetes| kubernetes.source);
    let mut gateway = K8sGatewaySettings {
        source,
        view: GatewaySettings {
            zones: lines.zones.to_vec(),
            ttl: 60,
            top: Apex { servers: Vec::new(), hostmaster: Name::root() },
            resources: vec![Kind::Ingress, Kind::Service],
            ingress_classes: Vec::new(),
            gateway_classes: Vec::new(),
            controllers: Vec::new(),
            node_addresses: vec![NodeAddressType::External],
            own_addresses: Vec::new(),
            claims: ClaimRules::default(),
        },
        apex: "dns1.kube-system".parse().expect("a name"),
        secondary: None,
        fallthrough: Fallthrough::default(),
    };
    lines.once(|arguments| {
        if !arguments.is_empty() {
            gateway.view.zones = names(&arguments.zones());
        }
        OPTIONS.read(arguments, &mut gateway);
    });
    gateway.view.top = Apex::of_server(&gateway.apex, gateway.secondary.as_ref());
    Some(Box::new(gateway))
}

fn read_controller(gateway: &mut K8sGatewaySettings, option: &mut Arguments<'_>) {
    let Some(class) = option.required("an Ingress class and the Service of its controller") else {
        return;
    };
    let Some(service) = option.required("the Service of the class's controller") else { return };
    match service.text.parse::<Name>() {
        Ok(name) if name.labels().count() == 2 => {
            gateway.view.controllers.push((class.text.as_str().into(), name));
        }
        _ => {
            let message = format!("`{}` is not the name of a Service", service.text);
            option
                .error(service.span, &message)
                .help("write NAME.NAMESPACE, such as `ingress-nginx-controller.ingress-nginx`");
        }
    }
}

fn read_claims(gateway: &mut K8sGatewaySettings, option: &mut Arguments<'_>) {
    let Some(namespace) = option.required("a namespace") else { return };
    let first = option.required("a host");
    for host in first.into_iter().chain(option.rest()) {
        match host.text.parse::<Name>() {
            Ok(name) => {
                gateway.view.claims.reserved.push((name, namespace.text.as_str().into()));
            }
            Err(_) => {
                let message = format!("`{}` is not a host name", host.text);
                option
                    .error(host.span, &message)
                    .help("write names in a zone of this plugin, such as `pay.example.org`");
            }
        }
    }
}

/// Reads one or more of the choices, each once.
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
