//! Cluster IPs and node ports for Services that do not name theirs. A number comes from the
//! object's name, so that an object more moves none of the others but by chance.

use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::{
    model::{self, Addressing, Key, Object},
    source::kind::Service,
};

use super::{Fault, Place};

/// The first three groups of fd00:10:96::/112.
const V6_RANGE: [u16; 3] = [0xfd00, 0x10, 0x96];
/// 30000 to 32767.
const FIRST_NODE_PORT: u16 = 30_000;
const NODE_PORTS: u16 = 2768;
/// What clusters put at the beginning of the range: namespace, name, last two octets.
const KNOWN: [(&str, &str, u16); 2] =
    [("default", "kubernetes", 1), ("kube-system", "kube-dns", 10)];

/// Services as they are listed, with their places.
pub(super) type Listed = BTreeMap<Key, (Service, Place)>;
type Objects = BTreeMap<Key, Object>;

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

    fn other(self) -> Self {
        if self == Self::V4 { Self::V6 } else { Self::V4 }
    }
}

/// `ipFamilies` and `ipFamilyPolicy`; without them the family of the first address that is written,
/// or IPv4.
pub(super) fn families(service: &Service) -> Vec<Family> {
    let written =
        service.written_ips().first().and_then(|ip| ip.parse().ok()).map_or(Family::V4, Family::of);
    let mut named = service
        .spec
        .ip_families
        .iter()
        .map(|text| if text == "IPv6" { Family::V6 } else { Family::V4 });
    let first = named.next().unwrap_or(written);
    let dual =
        service.spec.ip_family_policy.as_deref().is_some_and(|policy| policy != "SingleStack");
    if dual || named.any(|family| family != first) {
        vec![first, first.other()]
    } else {
        vec![first]
    }
}

/// Gives each Service its addresses. One that claims another's is left out, as an API server would
/// refuse it.
pub(super) fn cluster_ips(listed: &mut Listed, objects: &mut Objects, faults: &mut Vec<Fault>) {
    let mut used = claims(listed, objects, faults);
    for (key, object) in objects {
        let (Some(ips), Some((service, place))) = (ips_of(object), listed.get(key)) else {
            continue;
        };
        let mut all = ips.to_vec();
        for family in missing(service, ips) {
            match free_address(key, family, &mut used) {
                Some(ip) => all.push(ip),
                None => faults.push(Fault {
                    place: place.clone(),
                    sentence: format!("{key}: all cluster IPs are given away"),
                }),
            }
        }
        *ips = all.into();
    }
}

/// The addresses that are written, the first in the order of the files counts.
fn claims(listed: &mut Listed, objects: &mut Objects, faults: &mut Vec<Fault>) -> HashSet<IpAddr> {
    let mut owners: BTreeMap<IpAddr, String> = BTreeMap::new();
    for (key, object) in objects.iter_mut().filter(|(key, _)| !listed.contains_key(*key)) {
        owners.extend(
            ips_of(object).into_iter().flat_map(|ips| ips.iter().map(|ip| (*ip, key.to_string()))),
        );
    }
    let mut in_order: Vec<_> =
        listed.iter().map(|(key, (_, place))| (place.clone(), key.clone())).collect();
    in_order.sort();
    for (place, key) in in_order {
        let Some(ips) = objects.get_mut(&key).and_then(ips_of) else { continue };
        let claimed = ips.iter().find_map(|ip| Some((*ip, owners.get(ip)?)));
        if let Some((ip, owner)) = claimed {
            faults.push(Fault {
                place,
                sentence: format!("{key}: the cluster IP {ip} is that of {owner} already"),
            });
            objects.remove(&key);
            listed.remove(&key);
        } else {
            owners.extend(ips.iter().map(|ip| (*ip, format!("{key} at {place}"))));
        }
    }
    owners.into_keys().collect()
}

fn ips_of(object: &mut Object) -> Option<&mut Box<[IpAddr]>> {
    match object {
        Object::Service(model::Service { addressing: Addressing::ClusterIps(ips), .. }) => {
            Some(ips)
        }
        _ => None,
    }
}

/// Families that a Service wants and has no address of. `clusterIPs` come from a cluster, and are
/// all.
fn missing(service: &Service, ips: &[IpAddr]) -> Vec<Family> {
    let mut families = families(service);
    families.retain(|family| {
        service.spec.cluster_ips.is_empty() && !ips.iter().any(|ip| family.has(*ip))
    });
    families
}

/// The address that the name's hash gives, or the next free one.
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
    // The first ones are kept for what clusters put there, and no address looks like a network's or
    // a broadcast's.
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

/// Where all are taken a port has none, as in a cluster.
pub(super) fn node_ports(listed: &Listed, objects: &mut Objects) {
    let mut used: HashSet<(model::Protocol, u16)> = HashSet::new();
    for object in objects.values() {
        if let Object::Service(service) = object {
            used.extend(
                service.ports.iter().filter_map(|port| Some((port.protocol, port.node_port?))),
            );
        }
    }
    for (key, object) in objects {
        let wants = listed.get(key).is_some_and(|(service, _)| service.wants_node_ports());
        let Object::Service(service) = object else { continue };
        for port in service.ports.iter_mut().filter(|port| wants && port.node_port.is_none()) {
            let start = (hash(&format!("{key} {} {}", port.name, port.port))
                % u64::from(NODE_PORTS)) as u16;
            let mut candidates =
                (0..NODE_PORTS).map(|step| FIRST_NODE_PORT + (start + step) % NODE_PORTS);
            port.node_port = candidates.find(|candidate| used.insert((port.protocol, *candidate)));
        }
    }
}

/// FNV-1a: the same on every machine and in every release.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    })
}
