//! What the argument of the user leads to, as far as it is known from the Services, Ingresses and
//! routes: it decides what else is read.

use std::{collections::BTreeSet, time::SystemTime};

use k8s_openapi::api::{core::v1::Service, networking::v1::Ingress};

use crate::{
    explain::{
        Evidence, ExpectedZone, ResolvConf,
        cluster_name::{ClusterName, take_apart},
        corefile::ClusterView,
        evidence::Asker,
        expected::Coverage,
        objects,
        view::{
            backends::{alias_target, backends},
            destination::Destination,
            hosts,
            names::{self, Subject},
            peers,
        },
    },
    limits,
    source::kind::gateway_api::Gateway,
};

use super::{Request, asker, reader::Reader};

/// Pairs of a namespace and a name.
type Names = BTreeSet<(String, String)>;

#[derive(Default)]
pub(super) struct Reach {
    /// The Services that connections go to.
    pub(super) services: Names,
    /// The namespaces whose Pods, EndpointSlices and policies matter.
    pub(super) namespaces: BTreeSet<String>,
    /// The namespaces whose workloads can explain a missing Service.
    pub(super) without_service: BTreeSet<String>,
    /// The certificates.
    pub(super) secrets: Names,
}

/// The namespaces that the name can be in, before anything is read.
pub(super) fn namespaces(host: &str, own: &str, zone: &str) -> BTreeSet<String> {
    let candidates = ResolvConf::of_namespace(own, zone, None).candidates(host);
    let of_name = |candidate: &String| match take_apart(candidate, zone)? {
        ClusterName::Service { namespace, .. } | ClusterName::Pod { namespace, .. } => {
            Some(namespace)
        }
        ClusterName::Other => None,
    };
    candidates.iter().filter_map(of_name).collect()
}

impl Reach {
    /// What the argument of a request leads to. `of_context` is the namespace of the context.
    ///
    /// # Errors
    /// If the client's Pod does not exist.
    pub(super) fn of(
        reader: &mut Reader,
        request: &Request,
        wanted: &Destination,
        of_context: &str,
    ) -> anyhow::Result<Self> {
        let view = ClusterView::new(&reader.objects);
        let context = Some(of_context.to_owned());
        let asker = asker::find(request, &reader.objects, &view.zone, context, true)?;
        Ok(with_evidence(reader, view, asker, |evidence| {
            let mut reach = Self::default();
            let wanted = wanted.clone().resolve(&evidence.objects, &evidence.asker.namespace);
            let subject = names::subject(evidence, &wanted);
            for backend in backends(evidence, &wanted, &subject) {
                reach.add_service(evidence, backend.service);
            }
            match &subject {
                Subject::Ingress { ingresses, .. } => {
                    ingresses.iter().for_each(|it| reach.add_certificates(it));
                    reach.add_controllers(evidence, ingresses);
                }
                Subject::Routes { addresses, .. } => {
                    evidence.objects.gateways().iter().for_each(|it| reach.add_gateway(it));
                    reach.add_namespaces_of(peers::services_at(evidence, addresses));
                }
                Subject::Missing { namespace, .. } => {
                    reach.namespaces.insert(namespace.clone());
                    reach.without_service.insert(namespace.clone());
                }
                Subject::Service { .. }
                | Subject::Pod { .. }
                | Subject::NoObject(_)
                | Subject::Outside => {}
            }
            // Labels of the name that are namespaces, for example in the wrong order.
            let labels = wanted.host.split('.').filter(|it| evidence.objects.has_namespace(it));
            reach.namespaces.extend(labels.map(str::to_owned));
            if let Some(service) = evidence.dns_service() {
                let path = (objects::namespace(service), objects::name(service));
                reach.services.insert((path.0.to_owned(), path.1.to_owned()));
            }
            reach
        }))
    }

    /// What all Services, Ingresses and routes of a namespace lead to, or those of the cluster.
    pub(super) fn of_all(reader: &mut Reader, namespace: Option<&str>) -> Self {
        let view = ClusterView::new(&reader.objects);
        let own = namespace.unwrap_or("default").to_owned();
        let resolv = ResolvConf::of_namespace(&own, &view.zone, None);
        let asker = Asker { namespace: own, pod: None, resolv, from: String::new() };
        with_evidence(reader, view, asker, |evidence| {
            let is_meant = |there: &str| namespace.is_none_or(|it| it == there);
            let mut reach = Self::default();
            let objects = &evidence.objects;
            for service in objects.services().iter().filter(|it| is_meant(objects::namespace(*it)))
            {
                reach.add_service(evidence, service);
            }
            for ingress in objects.ingresses().iter().filter(|it| is_meant(objects::namespace(*it)))
            {
                reach.add_certificates(ingress);
            }
            objects.gateways().iter().for_each(|it| reach.add_gateway(it));
            for route in objects.routes().iter().filter(|it| is_meant(objects::namespace(*it))) {
                let backends = route.spec.rules.iter().flat_map(|rule| &rule.backend_refs);
                reach.namespaces.extend(backends.filter_map(|it| it.namespace.clone()));
            }
            reach
        })
    }

    /// Adds a Service, and those to which its external name leads.
    fn add_service(&mut self, evidence: &Evidence, service: &Service) {
        let mut target =
            Some((objects::namespace(service).to_owned(), objects::name(service).to_owned()));
        for _ in 0..limits::CNAME_HOPS {
            let Some((namespace, name)) = target else { return };
            let service = evidence.objects.service(&namespace, &name);
            self.namespaces.insert(namespace.clone());
            self.services.insert((namespace, name));
            let alias = service.filter(|it| objects::kind(it) == "ExternalName");
            target = alias.and_then(|it| alias_target(evidence, it));
        }
    }

    fn add_namespaces_of<'e>(&mut self, services: impl Iterator<Item = &'e Service>) {
        self.namespaces.extend(services.map(|it| objects::namespace(it).to_owned()));
    }

    /// Adds the namespaces of the Pods that serve the Ingresses.
    fn add_controllers(&mut self, evidence: &Evidence, ingresses: &[&Ingress]) {
        let addresses: Vec<&str> = ingresses.iter().flat_map(|it| hosts::addresses(it)).collect();
        self.add_namespaces_of(peers::services_at(evidence, &addresses));
        let named = peers::controller_names(evidence, ingresses);
        let existing = named.into_iter().filter(|it| evidence.objects.has_namespace(it));
        self.namespaces.extend(existing.map(str::to_owned));
    }

    fn add_certificates(&mut self, ingress: &Ingress) {
        let entries = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
        let names = entries.filter_map(|tls| tls.secret_name.clone());
        self.secrets.extend(names.map(|name| (objects::namespace(ingress).to_owned(), name)));
    }

    fn add_gateway(&mut self, gateway: &Gateway) {
        let own = objects::namespace(gateway);
        let tls = gateway.spec.listeners.iter().filter_map(|it| it.tls.as_ref());
        let names = tls.flat_map(|tls| &tls.certificate_refs).filter_map(|it| {
            Some((it.namespace.as_deref().unwrap_or(own).to_owned(), it.name.clone()?))
        });
        self.secrets.extend(names);
    }
}

/// Runs a function with the evidence that was read so far.
fn with_evidence<T>(
    reader: &mut Reader,
    view: ClusterView,
    asker: Asker,
    run: impl FnOnce(&Evidence) -> T,
) -> T {
    let objects = std::mem::take(&mut reader.objects);
    let expected = ExpectedZone::new(Vec::new(), view, Coverage::default());
    let evidence = Evidence::new("", objects, expected, asker, SystemTime::UNIX_EPOCH);
    let result = run(&evidence);
    reader.objects = evidence.objects;
    result
}
