//! The controllers of a cluster, played over what is written: addresses, node ports, namespaces, endpoints. The same files
//! give the same result.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::{
    limits,
    model::{self, Addressing, Key, Kind, Object, Selector},
    source::kind::{Decoded, Pod, PortRef, Service, ServicePort},
};

use super::{Fault, Place, files::Written};

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// The first three groups of fd00:10:96::/112.
const V6_RANGE: [u16; 3] = [0xfd00, 0x10, 0x96];
/// 30000 to 32767.
const FIRST_NODE_PORT: u16 = 30_000;
const NODE_PORTS: u16 = 2768;

/// All facts of what is written.
pub(super) fn play(written: Vec<Written>, selector: Option<&Selector>, faults: &mut Vec<Fault>) -> BTreeMap<Key, Object> {
    let mut cluster = Cluster::default();
    for Written { place, object } in first_of_each(written, faults) {
        cluster.add(object, place, faults);
    }
    cluster.add_api_server();
    cluster.assign_addresses(faults);
    cluster.assign_node_ports();
    cluster.make_slices(faults);
    cluster.make_namespaces();
    cluster.select(selector);
    cluster.objects
}

/// The same object twice is a mistake: the first one, in the order of the files, counts.
fn first_of_each(written: Vec<Written>, faults: &mut Vec<Fault>) -> Vec<Written> {
    let mut seen: BTreeMap<(&'static str, String, String), Place> = BTreeMap::new();
    let mut kept = Vec::new();
    for it in written {
        let (kind, meta) = (it.object.kind(), it.object.meta());
        let key = (kind, meta.namespace.clone(), meta.name.clone());
        match seen.get(&key) {
            Some(first) => {
                let name = if meta.namespace.is_empty() { meta.name.clone() } else { format!("{}/{}", meta.namespace, meta.name) };
                faults.push(Fault { place: it.place, sentence: format!("{kind} {name} stands at {first} already; that one counts") });
            }
            None => {
                seen.insert(key, it.place.clone());
                kept.push(it);
            }
        }
    }
    kept
}

#[derive(Default)]
struct Cluster {
    services: BTreeMap<Key, (Service, Place)>,
    pods: Vec<Pod>,
    /// Services whose endpoints are written down.
    with_endpoints: HashSet<Key>,
    objects: BTreeMap<Key, Object>,
    /// Labels of what a selector may leave out.
    labels: BTreeMap<Key, BTreeMap<String, String>>,
}

impl Cluster {
    fn add(&mut self, object: Decoded, place: Place, faults: &mut Vec<Fault>) {
        let name = format!("{} {}", object.kind(), object.meta().name);
        let labels = object.meta().labels.clone();
        let added = match object {
            Decoded::Namespace(it) => Ok(vec![Object::Namespace(it.fact())]),
            Decoded::Node(it) => it.fact().map(|fact| vec![Object::Node(fact)]),
            Decoded::Ingress(it) => it.fact().map(|fact| vec![Object::Ingress(fact)]),
            Decoded::Pod(it) => it.fact().map(|fact| {
                self.pods.push(it);
                fact.map(Object::Pod).into_iter().collect()
            }),
            Decoded::EndpointSlice(it) => it.fact().map(|fact| {
                self.with_endpoints.extend(it.service().map(|service| Key::new(Kind::Service, &it.metadata.namespace, service)));
                fact.map(Object::EndpointSlice).into_iter().collect()
            }),
            Decoded::Endpoints(it) => it.facts().map(|facts| {
                self.with_endpoints.insert(Key::new(Kind::Service, &it.metadata.namespace, &it.metadata.name));
                facts.into_iter().map(Object::EndpointSlice).collect()
            }),
            Decoded::Service(it) => it.fact().map(|fact| {
                let object = Object::Service(fact);
                self.services.insert(object.key(), (it, place.clone()));
                vec![object]
            }),
        };
        match added {
            Ok(objects) => objects.into_iter().for_each(|object| {
                self.labels.insert(object.key(), labels.clone());
                self.objects.insert(object.key(), object);
            }),
            Err(sentence) => faults.push(Fault { place, sentence: format!("{name}: {sentence}") }),
        }
    }

    /// `kubernetes.default`, which the API server makes for itself.
    fn add_api_server(&mut self) {
        let ports = Box::new([model::ServicePort { name: "https".into(), protocol: model::Protocol::Tcp, port: 443, node_port: None }]);
        let addressing = Addressing::ClusterIps(Box::new([Ipv4Addr::new(10, 96, 0, 1).into()]));
        let service = model::Service { namespace: "default".into(), name: "kubernetes".into(), addressing, ports, outside: None };
        let object = Object::Service(service);
        self.objects.entry(object.key()).or_insert(object);
    }

    fn cluster_ips(&mut self) -> impl Iterator<Item = (&Key, &mut Box<[IpAddr]>)> {
        self.objects.iter_mut().filter_map(|(key, object)| match object {
            Object::Service(model::Service { addressing: Addressing::ClusterIps(ips), .. }) => Some((key, ips)),
            _ => None,
        })
    }

    fn assign_addresses(&mut self, faults: &mut Vec<Fault>) {
        let mut taken: BTreeMap<IpAddr, Key> = BTreeMap::new();
        let mut twice = Vec::new();
        for (key, ips) in self.cluster_ips() {
            for ip in ips.iter() {
                if let Some(first) = taken.insert(*ip, key.clone()) {
                    twice.push((key.clone(), *ip, first));
                }
            }
        }
        for (key, ip, first) in twice {
            let Some((_, place)) = self.services.get(&key) else { continue };
            faults.push(Fault { place: place.clone(), sentence: format!("{key}: the cluster IP {ip} is {first}'s already") });
        }
        let mut used: HashSet<IpAddr> = taken.into_keys().collect();
        let services: BTreeMap<_, _> = self.services.iter().map(|(key, (service, _))| (key.clone(), families(service))).collect();
        for (key, ips) in self.cluster_ips().filter(|(_, ips)| ips.is_empty()) {
            let families = services.get(key).cloned().unwrap_or_else(|| vec![Family::V4]);
            *ips = families.into_iter().map(|family| free_address(key, family, &mut used)).collect();
        }
    }

    fn assign_node_ports(&mut self) {
        let wanting = |service: &Service| ["NodePort", "LoadBalancer"].contains(&service.kind());
        let mut used: HashSet<(model::Protocol, u16)> = HashSet::new();
        for object in self.objects.values() {
            if let Object::Service(service) = object {
                used.extend(service.ports.iter().filter_map(|port| Some((port.protocol, port.node_port?))));
            }
        }
        for (key, object) in &mut self.objects {
            let wants = self.services.get(key).is_some_and(|(service, _)| wanting(service));
            let Object::Service(service) = object else { continue };
            for port in service.ports.iter_mut().filter(|port| wants && port.node_port.is_none()) {
                let start = hash(&format!("{key} {} {}", port.name, port.port)) as u16 % NODE_PORTS;
                let candidates = (0..NODE_PORTS).map(|step| FIRST_NODE_PORT + (start + step) % NODE_PORTS);
                port.node_port = candidates.into_iter().find(|candidate| used.insert((port.protocol, *candidate)));
            }
        }
    }

    /// As the endpointslice controller makes them for Services with a selector.
    fn make_slices(&mut self, faults: &mut Vec<Fault>) {
        for (key, (service, place)) in &self.services {
            let selects = !service.spec.selector.is_empty() && service.kind() != "ExternalName";
            if !selects || self.with_endpoints.contains(key) {
                continue;
            }
            for family in endpoint_families(service, self.objects.get(key)) {
                match slices(service, &self.pods, family) {
                    Ok(slices) => {
                        let slices = slices.into_iter().map(Object::EndpointSlice);
                        self.objects.extend(slices.map(|object| (object.key(), object)));
                    }
                    Err(sentence) => faults.push(Fault { place: place.clone(), sentence: format!("{key}: {sentence}") }),
                }
            }
        }
    }

    fn make_namespaces(&mut self) {
        let named: BTreeSet<Box<str>> = self.objects.keys().map(|key| key.namespace.clone()).filter(|name| !name.is_empty()).collect();
        for name in named.into_iter().chain(NAMESPACES.map(Into::into)) {
            // The API server puts this label on every namespace.
            let labels = Box::new([("kubernetes.io/metadata.name".into(), name.clone())]);
            let object = Object::Namespace(model::Namespace { name, labels });
            self.objects.entry(object.key()).or_insert(object);
        }
    }

    fn select(&mut self, selector: Option<&Selector>) {
        let Some(selector) = selector else { return };
        let no_labels = BTreeMap::new();
        self.objects.retain(|key, _| {
            let labels: Vec<_> = self.labels.get(key).unwrap_or(&no_labels).iter().collect();
            !matches!(key.kind, Kind::Service | Kind::EndpointSlice | Kind::Pod) || selector.matches(&labels)
        });
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn has(self, address: &IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }

    fn name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

/// `ipFamilies` and `ipFamilyPolicy`; a cluster of IPv4 first.
fn families(service: &Service) -> Vec<Family> {
    let family = |text: &String| if text == "IPv6" { Family::V6 } else { Family::V4 };
    let mut families: Vec<_> = service.spec.ip_families.iter().map(family).collect();
    if families.is_empty() {
        families.push(Family::V4);
    }
    let dual = service.spec.ip_family_policy.as_deref().is_some_and(|policy| policy != "SingleStack");
    if dual && families.len() == 1 {
        families.push(if families[0] == Family::V4 { Family::V6 } else { Family::V4 });
    }
    families
}

/// A Service with addresses has endpoints of their families, a headless one of those that it names.
fn endpoint_families(service: &Service, object: Option<&Object>) -> Vec<Family> {
    match object {
        Some(Object::Service(model::Service { addressing: Addressing::ClusterIps(ips), .. })) => {
            [Family::V4, Family::V6].into_iter().filter(|family| ips.iter().any(|ip| family.has(ip))).collect()
        }
        _ => families(service),
    }
}

/// The address that the name's hash gives, or the next free one: another object more moves none of the others but by chance.
fn free_address(key: &Key, family: Family, used: &mut HashSet<IpAddr>) -> IpAddr {
    let address = |low: u16| match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 96, (low >> 8) as u8, low as u8)),
        Family::V6 => {
            let [a, b, c] = V6_RANGE;
            IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, low))
        }
    };
    if *key == Key::new(Kind::Service, "kube-system", "kube-dns") && used.insert(address(10)) {
        return address(10);
    }
    // The first ones are kept for what clusters put there, and no address looks like a network's or a broadcast's.
    let usable = |low: &u16| *low > 255 && ![0, 255].contains(&(low & 255));
    let start = hash(&key.to_string()) as u16;
    let candidates = (0..=u16::MAX).map(|step| start.wrapping_add(step)).filter(usable);
    candidates.map(address).find(|address| used.insert(*address)).unwrap_or(address(start))
}

/// FNV-1a: the same on every machine and in every release.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3))
}

/// Slices of one family: Pods whose named ports differ go to different ones.
fn slices(service: &Service, pods: &[Pod], family: Family) -> Result<Vec<model::EndpointSlice>, String> {
    let mut groups: BTreeMap<Vec<(String, String, u16)>, Vec<model::Endpoint>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| is_selected(service, pod)) {
        let Some(fact) = pod.fact()? else { continue };
        if !pod.is_ready() && !service.spec.publish_not_ready_addresses {
            continue;
        }
        let Some(address) = fact.addresses.iter().copied().find(|address| family.has(address)) else { continue };
        let named = pod.spec.subdomain.as_deref() == Some(&*service.metadata.name);
        let hostname = pod.spec.hostname.as_deref().filter(|name| named && !name.is_empty()).map(Into::into);
        let ports = service.spec.ports.iter().filter_map(|port| target(port, pod)).collect();
        groups.entry(ports).or_default().push(model::Endpoint { address, hostname, pod: Some(fact.name) });
    }
    let mut slices = Vec::new();
    for (ports, endpoints) in groups {
        for chunk in endpoints.chunks(limits::SLICE_ENDPOINTS) {
            let port = |(name, protocol, port): &(String, String, u16)| {
                let protocol = super::super::kind::protocol(Some(protocol))?;
                Ok(model::EndpointPort { name: name.as_str().into(), protocol, port: *port })
            };
            slices.push(model::EndpointSlice {
                namespace: service.metadata.namespace.as_str().into(),
                name: format!("{}-{}-{:03}", service.metadata.name, family.name(), slices.len()).into(),
                service: service.metadata.name.as_str().into(),
                endpoints: chunk.into(),
                ports: ports.iter().map(port).collect::<Result<_, String>>()?,
            });
        }
    }
    Ok(slices)
}

fn is_selected(service: &Service, pod: &Pod) -> bool {
    let has = |(key, value): (&String, &String)| pod.metadata.labels.get(key) == Some(value);
    pod.metadata.namespace == service.metadata.namespace && service.spec.selector.iter().all(has)
}

/// A Service's port at a Pod; none where the Pod does not have the name.
fn target(port: &ServicePort, pod: &Pod) -> Option<(String, String, u16)> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let number = match &port.target_port {
        Some(wanted) if *wanted != PortRef::Number(0) => pod.port(wanted, super::super::kind::protocol(Some(&protocol)).ok()?)?,
        _ => port.port,
    };
    Some((port.name.clone(), protocol, number))
}

/// Names to try: the API server, another Service with an address, an alias.
pub(super) fn examples(objects: &BTreeMap<Key, Object>) -> Vec<String> {
    let services = || objects.values().filter_map(|object| if let Object::Service(service) = object { Some(service) } else { None });
    let name = |service: &model::Service| format!("{}.{}.svc", service.name, service.namespace);
    let with_address =
        |service: &&model::Service| matches!(service.addressing, Addressing::ClusterIps(_)) && &*service.name != "kubernetes";
    let alias = |service: &&model::Service| matches!(service.addressing, Addressing::ExternalName(_));
    let preferred = |service: &&model::Service| with_address(service) && &*service.namespace == "default";
    let first = services().find(preferred).or_else(|| services().find(with_address));
    let found = [services().find(|service| &*service.name == "kubernetes"), first, services().find(alias)];
    found.into_iter().flatten().map(name).collect()
}
