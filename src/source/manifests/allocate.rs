//! Cluster IPs and node ports for Services that do not name theirs.
//!
//! A number is a hash of the object's name, so a new object rarely changes the numbers of others.

use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde_json::{Map, Value};

use crate::{
    hash::{FNV_OFFSET, fnv1a},
    model::{self, Addressing, Key},
    source::kind::Service,
};

use super::{Location, ManifestError, fields::map};

/// The first three groups of fd00:10:96::/112.
const V6_RANGE: [u16; 3] = [0xfd00, 0x10, 0x96];
/// 30000 to 32767.
const FIRST_NODE_PORT: u16 = 30_000;
const NODE_PORTS: u16 = 2768;
/// Services with a fixed address at the beginning of the range: namespace, name, last two octets.
const KNOWN: [(&str, &str, u16); 2] =
    [("default", "kubernetes", 1), ("kube-system", "kube-dns", 10)];

/// The Services of the cluster.
pub(super) type Services = BTreeMap<Key, Allocation>;

/// A Service, with the cluster IPs and node ports that it has and those that it is given.
pub(super) struct Allocation {
    service: Service,
    /// `None` for a Service that the simulation makes.
    location: Option<Location>,
    /// `None` for a Service without cluster IPs: a headless one, or an ExternalName.
    cluster_ips: Option<Vec<IpAddr>>,
    ports: Vec<model::ServicePort>,
    /// Whether something was allocated.
    is_new: bool,
}

impl Allocation {
    pub(super) fn new(service: Service, fact: &model::Service, location: Option<Location>) -> Self {
        let cluster_ips = match &fact.addressing {
            Addressing::ClusterIps(ips) => Some(ips.to_vec()),
            Addressing::Headless | Addressing::ExternalName(_) => None,
        };
        Self { service, location, cluster_ips, ports: fact.ports.to_vec(), is_new: false }
    }

    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Writes what was allocated into the Service's JSON.
    pub(super) fn write(&self, fields: &mut Map<String, Value>) {
        let spec = map(fields, "spec");
        if let Some(ips) = &self.cluster_ips {
            let ips: Vec<Value> = ips.iter().map(|ip| ip.to_string().into()).collect();
            spec.insert("clusterIP".to_owned(), ips.first().cloned().unwrap_or_default());
            spec.insert("clusterIPs".to_owned(), ips.into());
        }
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
        for (port, allocated) in ports.filter_map(Value::as_object_mut).zip(&self.ports) {
            if let Some(number) = allocated.node_port {
                port.insert("nodePort".to_owned(), number.into());
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(super) fn has(self, address: IpAddr) -> bool {
        Self::of(address) == self
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    /// The type as an EndpointSlice names it.
    pub(super) fn address_type(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn other(self) -> Self {
        if self == Self::V4 { Self::V6 } else { Self::V4 }
    }
}

/// The families that `ipFamilies` and `ipFamilyPolicy` ask for. Without them it is the family of
/// the first cluster IP, or IPv4.
pub(super) fn families(service: &Service) -> Vec<Family> {
    let given =
        service.given_ips().first().and_then(|ip| ip.parse().ok()).map_or(Family::V4, Family::of);
    let mut named = service
        .spec
        .ip_families
        .iter()
        .map(|text| if text == "IPv6" { Family::V6 } else { Family::V4 });
    let first = named.next().unwrap_or(given);
    let dual =
        service.spec.ip_family_policy.as_deref().is_some_and(|policy| policy != "SingleStack");
    if dual || named.any(|family| family != first) {
        vec![first, first.other()]
    } else {
        vec![first]
    }
}

/// Gives each Service its cluster IPs. A Service that claims the cluster IP or node port of another
/// one is left out, because an API server would reject it.
pub(super) fn cluster_ips(services: &mut Services, errors: &mut Vec<ManifestError>) {
    let mut used = claims(services, errors);
    for (key, allocation) in services {
        for family in allocation.missing_families() {
            match (free_address(key, family, &mut used), &allocation.location) {
                (Some(ip), _) => {
                    allocation.cluster_ips.get_or_insert_default().push(ip);
                    allocation.is_new = true;
                }
                (None, Some(location)) => errors.push(ManifestError {
                    location: location.clone(),
                    message: format!("{key}: all cluster IPs are in use"),
                }),
                (None, None) => {}
            }
        }
    }
}

/// The cluster IPs that the manifests name. In the order of the files, the first Service that
/// claims a cluster IP or a node port keeps it. A Service that claims it later is removed.
fn claims(services: &mut Services, errors: &mut Vec<ManifestError>) -> HashSet<IpAddr> {
    let mut owners: BTreeMap<IpAddr, String> = BTreeMap::new();
    let mut port_owners: BTreeMap<(&str, u16), String> = BTreeMap::new();
    let mut in_order: Vec<(Option<Location>, Key)> =
        services.iter().map(|(key, it)| (it.location.clone(), key.clone())).collect();
    // Those without a location come first: a file cannot claim the API server's address.
    in_order.sort();
    for (location, key) in in_order {
        let ips = services.get(&key).and_then(|it| it.cluster_ips.clone()).unwrap_or_default();
        let ports: Vec<(&str, u16)> = services
            .get(&key)
            .into_iter()
            .flat_map(|it| &it.ports)
            .filter_map(|port| Some((port.protocol.label(), port.node_port?)))
            .collect();
        let taken_ip = ips.iter().find_map(|ip| {
            Some(format!("the cluster IP {ip} already belongs to {}", owners.get(ip)?))
        });
        let taken_port = ports.iter().find_map(|port| {
            Some(format!("the node port {} already belongs to {}", port.1, port_owners.get(port)?))
        });
        let owner = match (taken_ip.or(taken_port), location) {
            (Some(message), Some(location)) => {
                errors.push(ManifestError { location, message: format!("{key}: {message}") });
                services.remove(&key);
                continue;
            }
            (_, Some(location)) => format!("{key} at {location}"),
            (_, None) => key.to_string(),
        };
        owners.extend(ips.iter().map(|ip| (*ip, owner.clone())));
        port_owners.extend(ports.into_iter().map(|port| (port, owner.clone())));
    }
    owners.into_keys().collect()
}

impl Allocation {
    /// The families of which the Service wants a cluster IP and has none. A Service with
    /// `clusterIPs` comes from a cluster and is complete.
    fn missing_families(&self) -> Vec<Family> {
        let Some(ips) = &self.cluster_ips else { return Vec::new() };
        let mut families = families(&self.service);
        families.retain(|family| {
            self.service.spec.cluster_ips.is_empty() && !ips.iter().any(|ip| family.has(*ip))
        });
        families
    }
}

/// The address that the hash of the name gives, or the next free one.
fn free_address(key: &Key, family: Family, used: &mut HashSet<IpAddr>) -> Option<IpAddr> {
    let address = |low: u16| match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 96, (low >> 8) as u8, low as u8)),
        Family::V6 => {
            let [a, b, c] = V6_RANGE;
            IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, low))
        }
    };
    let known = KNOWN
        .iter()
        .find(|(namespace, name, _)| **namespace == *key.namespace && **name == *key.name);
    // The first 256 addresses are reserved for fixed ones, and no address looks like that of a
    // network or a broadcast.
    let usable = |low: &u16| *low > 255 && ![0, 255].contains(&(low & 255));
    let start = hash(&key.to_string()) as u16;
    let by_name = (0..=u16::MAX).map(|step| start.wrapping_add(step)).filter(usable);
    known
        .map(|(_, _, low)| *low)
        .into_iter()
        .chain(by_name)
        .map(address)
        .find(|address| used.insert(*address))
}

/// Gives Services their node ports. If all are in use, a port gets none. (An API server would
/// reject the Service.)
pub(super) fn node_ports(services: &mut Services) {
    let ports = services.values().flat_map(|it| &it.ports);
    let mut used: HashSet<(model::Protocol, u16)> =
        ports.filter_map(|port| Some((port.protocol, port.node_port?))).collect();
    for (key, allocation) in services.iter_mut().filter(|(_, it)| it.service.wants_node_ports()) {
        for port in allocation.ports.iter_mut().filter(|port| port.node_port.is_none()) {
            let start = (hash(&format!("{key} {} {}", port.name, port.port))
                % u64::from(NODE_PORTS)) as u16;
            let mut candidates =
                (0..NODE_PORTS).map(|step| FIRST_NODE_PORT + (start + step) % NODE_PORTS);
            port.node_port = candidates.find(|candidate| used.insert((port.protocol, *candidate)));
            allocation.is_new |= port.node_port.is_some();
        }
    }
}

/// A hash that is the same on every machine and in every release.
fn hash(text: &str) -> u64 {
    fnv1a(FNV_OFFSET, text.as_bytes())
}
