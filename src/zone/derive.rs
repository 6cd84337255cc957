//! From facts to records: the answers of a Service, its ports and its endpoints.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet},
    hash::Hash,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use smallvec::SmallVec;

use crate::{
    limits,
    model::{Addressing, EndpointRef, EndpointSlice, Service},
    wire::{Rdatas, Spelled, Type},
};

use super::{
    alias::Alias,
    answer::Found,
    cluster_set::ZoneKind,
    endpoint_index::EndpointIndex,
    endpoint_label::EndpointLabel,
    key::ServiceKey,
    labels::{dashed, given_label},
    nodes::NodeAddresses,
    selection::Selection,
};

/// All facts about a Service, published as one entry.
#[derive(Debug)]
pub(super) struct ServiceEntry {
    key: ServiceKey,
    /// `None` if there are only slices. They give PTR records and nothing else.
    pub(super) service: Option<Arc<Service>>,
    /// Sorted by name.
    pub(super) slices: Box<[Arc<EndpointSlice>]>,
    /// The address records of the Service's own name, ready to send, because they are queried most.
    pub(super) v4: Rdatas,
    pub(super) v6: Rdatas,
    on_demand: OnceLock<Box<OnDemand>>,
}

/// What few queries need. It is made for the first of them, and stays until the entry changes.
#[derive(Debug, Default)]
struct OnDemand {
    /// `None` for a target that is not a valid name.
    alias: OnceLock<Option<Alias>>,
    index: OnceLock<EndpointIndex>,
    node_addresses: NodeAddresses,
}

/// The number of endpoints that are searched one after the other.
const FEW_ENDPOINTS: usize = 32;

/// How a view presents records.
pub(super) struct Scope<'q> {
    pub(super) ttl: u32,
    /// The zone in the client's spelling.
    pub(super) zone: &'q Spelled,
    /// Which Services are in the zone.
    pub(super) zone_kind: ZoneKind,
    /// The labels between a Service's name and the zone, in wire form.
    pub(super) subdomain: &'static [u8],
    pub(super) pod_names: bool,
    pub(super) no_endpoints: bool,
    /// Whether EndpointSlices have been listed.
    pub(super) endpoints_known: bool,
    pub(super) ignore_empty: bool,
}

impl ServiceEntry {
    pub(super) fn new(
        key: ServiceKey,
        service: Option<Arc<Service>>,
        slices: Box<[Arc<EndpointSlice>]>,
    ) -> Self {
        let addresses: SmallVec<[IpAddr; 4]> = match service.as_ref().map(|it| &it.addressing) {
            Some(Addressing::ClusterIps(ips)) => SmallVec::from_slice(ips),
            Some(Addressing::Headless) => distinct(endpoints(&slices).map(|(_, it)| it.address)),
            Some(Addressing::ExternalName(_)) | None => SmallVec::new(),
        };
        let [v4, v6] = [Type::A, Type::AAAA].map(|rtype| address_data(rtype, &addresses));
        Self { key, service, slices, v4, v6, on_demand: OnceLock::new() }
    }

    pub(super) fn key(&self) -> ServiceKey {
        ServiceKey::clone(&self.key)
    }

    /// The label of the namespace.
    pub(super) fn namespace(&self) -> &[u8] {
        &self.key[usize::from(self.key[0]) + 2..]
    }

    pub(super) fn cluster_ips(&self) -> &[IpAddr] {
        match self.service.as_ref().map(|service| &service.addressing) {
            Some(Addressing::ClusterIps(ips)) => ips,
            _ => &[],
        }
    }

    pub(super) fn is_headless(&self) -> bool {
        self.service.as_ref().is_some_and(|service| service.addressing == Addressing::Headless)
    }

    /// The target of an ExternalName Service, if it is a valid name.
    pub(super) fn alias(&self) -> Option<&Alias> {
        let Addressing::ExternalName(target) = &self.service.as_ref()?.addressing else {
            return None;
        };
        self.on_demand().alias.get_or_init(|| Alias::new(target)).as_ref()
    }

    pub(super) fn endpoints(&self) -> impl Iterator<Item = (&EndpointSlice, EndpointRef<'_>)> {
        endpoints(&self.slices)
    }

    /// Endpoints among which are all those with the label, topology zone or address. Of few
    /// endpoints, all are returned, because an index of them would not be faster.
    pub(super) fn endpoints_near(
        &self,
        label: Option<&[u8]>,
        address: Option<IpAddr>,
    ) -> impl Iterator<Item = (&EndpointSlice, EndpointRef<'_>)> {
        let count: usize = self.slices.iter().map(|slice| slice.endpoints.len()).sum();
        let index = (count > FEW_ENDPOINTS)
            .then(|| self.on_demand().index.get_or_init(|| EndpointIndex::new(&self.slices)));
        let all = index.is_none().then(|| self.endpoints()).into_iter().flatten();
        let places = index.map(|index| index.find(label, address)).into_iter().flatten();
        all.chain(places.map(|place| {
            let slice = &*self.slices[place.slice as usize];
            (slice, slice.endpoints.get(place.endpoint as usize))
        }))
    }

    fn on_demand(&self) -> &OnDemand {
        self.on_demand.get_or_init(Box::default)
    }

    /// The labels of the ready endpoints with an address: one for each slice that has it.
    pub(super) fn labels_of(
        &self,
        address: IpAddr,
        scope: &Scope<'_>,
    ) -> impl Iterator<Item = EndpointLabel<'_>> {
        let with_address = self
            .endpoints_near(None, Some(address))
            .filter(move |(_, endpoint)| endpoint.address == address);
        with_address.map(move |(slice, endpoint)| label(slice, endpoint, scope))
    }

    /// The names of the Nodes with ready endpoints.
    pub(super) fn nodes(&self) -> BTreeSet<&str> {
        self.endpoints().filter_map(|(_, endpoint)| endpoint.node().map(|node| &**node)).collect()
    }

    /// The addresses of [`Self::nodes`] that are known.
    pub(super) fn node_addresses(&self) -> &NodeAddresses {
        &self.on_demand().node_addresses
    }

    /// The answer of the Service (Kubernetes DNS-Based Service Discovery 1.1.0 §2.3–2.5).
    pub(super) fn answer(&self, part: Selection<'_>, qtype: Type, scope: &Scope<'_>) -> Found {
        let Some(service) = &self.service else { return Found::NoName };
        let unknown = !scope.no_endpoints && !scope.endpoints_known;
        let has_endpoints = !scope.no_endpoints && self.endpoints().next().is_some();
        match (&service.addressing, part) {
            (Addressing::ExternalName(_), Selection::Service) => self.alias_answer(qtype, scope),
            (Addressing::ExternalName(_), _)
            | (Addressing::ClusterIps(_), Selection::Zonal { .. }) => Found::NoName,
            (Addressing::ClusterIps(_), _) if scope.ignore_empty && unknown => Found::Unsynced,
            (Addressing::Headless, _) | (_, Selection::Endpoint { .. }) if unknown => {
                Found::Unsynced
            }
            (_, Selection::Zonal { zone, preference }) => {
                self.zonal(zone, preference, qtype, scope)
            }
            (Addressing::ClusterIps(_), _) if scope.ignore_empty && !has_endpoints => Found::NoName,
            (Addressing::Headless, _) | (_, Selection::Endpoint { .. }) if !has_endpoints => {
                Found::NoName
            }
            (_, Selection::Service) if qtype == Type::A => {
                Found::set(qtype, scope.ttl, self.v4.clone())
            }
            (_, Selection::Service) if qtype == Type::AAAA => {
                Found::set(qtype, scope.ttl, self.v6.clone())
            }
            // The name exists, and the Service has no records of other types.
            (_, Selection::Service) if qtype != Type::SRV => Found::NoData,
            (Addressing::ClusterIps(ips), Selection::Service | Selection::Port { .. }) => {
                let ports = service
                    .ports
                    .iter()
                    .filter(|port| part.has_port(&port.name, port.protocol))
                    .map(|port| port.port);
                self.addresses_answer(ips, ports, part, qtype, scope)
            }
            _ => self.endpoints_answer(part, qtype, scope),
        }
    }

    fn alias_answer(&self, qtype: Type, scope: &Scope<'_>) -> Found {
        self.alias().map_or(Found::NoName, |alias| alias.answer(qtype, scope.ttl))
    }

    /// `LABEL.web.ns.svc.ZONE`, or the Service's own name without a label; `None` if a label or the
    /// name is too long.
    pub(super) fn target_name(
        &self,
        label: Option<&EndpointLabel<'_>>,
        scope: &Scope<'_>,
    ) -> Option<Vec<u8>> {
        self.name_under(label.into_iter().flat_map(EndpointLabel::texts), scope)
    }

    /// A name of these labels under the Service's own name; `None` if a label or the name is too
    /// long.
    pub(super) fn name_under<'l>(
        &self,
        labels: impl IntoIterator<Item = &'l str>,
        scope: &Scope<'_>,
    ) -> Option<Vec<u8>> {
        let mut name = Vec::with_capacity(96);
        for label in labels {
            if label.is_empty() || label.len() > limits::LABEL_OCTETS {
                return None;
            }
            name.push(label.len() as u8);
            name.extend_from_slice(label.as_bytes());
        }
        name.extend_from_slice(&self.key);
        name.extend_from_slice(scope.subdomain);
        name.extend_from_slice(scope.zone.wire());
        (name.len() <= limits::NAME_OCTETS).then_some(name)
    }
}

fn endpoints(
    slices: &[Arc<EndpointSlice>],
) -> impl Iterator<Item = (&EndpointSlice, EndpointRef<'_>)> {
    slices.iter().flat_map(|slice| slice.endpoints.iter().map(move |endpoint| (&**slice, endpoint)))
}

pub(super) fn label<'e>(
    slice: &'e EndpointSlice,
    endpoint: EndpointRef<'e>,
    scope: &Scope<'_>,
) -> EndpointLabel<'e> {
    let text = given_label(endpoint, scope.pod_names)
        .map_or_else(|| dashed(endpoint.address).into(), Cow::Borrowed);
    EndpointLabel { text, cluster: cluster_of(slice, scope) }
}

/// The label of the cluster, which follows the endpoint's label in a zone of the cluster set.
pub(super) fn cluster_of<'e>(slice: &'e EndpointSlice, scope: &Scope<'_>) -> Option<&'e str> {
    match scope.zone_kind {
        ZoneKind::Cluster => None,
        ZoneKind::ClusterSet => slice.import.as_ref().map(|import| &*import.cluster),
    }
}

/// The addresses of the type's family, as record data.
pub(super) fn address_data<'a>(
    rtype: Type,
    addresses: impl IntoIterator<Item = &'a IpAddr>,
) -> Rdatas {
    let octets = |address: &IpAddr| -> Option<SmallVec<[u8; 16]>> {
        match address {
            IpAddr::V4(v4) if rtype == Type::A => Some(SmallVec::from_slice(&v4.octets())),
            IpAddr::V6(v6) if rtype == Type::AAAA => Some(SmallVec::from_slice(&v6.octets())),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    };
    addresses.into_iter().filter_map(octets).collect()
}

/// Each value once, in the order of first occurrence.
pub(super) fn distinct<T: Clone + Eq + Hash>(values: impl Iterator<Item = T>) -> SmallVec<[T; 4]> {
    let mut values: SmallVec<[T; 4]> = values.collect();
    if values.spilled() {
        let mut seen = HashSet::with_capacity(values.len());
        values.retain(|value| seen.insert(value.clone()));
        return values;
    }
    let mut distinct = SmallVec::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_few_octets() {
        assert_eq!(size_of::<ServiceEntry>(), 120);
    }
}
