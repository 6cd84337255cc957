//! From facts to records: the answers of a Service, its ports and its endpoints.

use std::{borrow::Cow, collections::HashMap, net::IpAddr, sync::Arc};

use smallvec::{SmallVec, smallvec};

use crate::{
    limits,
    model::{Addressing, EndpointRef, EndpointSlice, Service},
    wire::{Owner, Rdatas, RecordSet, Sets, Spelled, Type},
};

use super::{
    alias::Alias,
    answer::Found,
    cluster_set::ZoneKind,
    endpoint_label::{EndpointLabel, EndpointMatcher},
    key::ServiceKey,
    labels::{dashed, given_label, is_labels},
    selection::{Selection, ZonePreference},
};

/// All facts about a Service, published as one entry.
#[derive(Debug)]
pub(super) struct ServiceEntry {
    zone_kind: ZoneKind,
    key: ServiceKey,
    /// `None` if there are only slices. They give PTR records and nothing else.
    pub(super) service: Option<Arc<Service>>,
    /// Sorted by name.
    pub(super) slices: Box<[Arc<EndpointSlice>]>,
    /// The address records of the Service's own name, ready to send, because they are queried most.
    pub(super) v4: Rdatas,
    pub(super) v6: Rdatas,
    alias: Option<Box<Alias>>,
}

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

/// A host of SRV records: the Service itself, or an endpoint.
pub(super) struct SrvHost<'e> {
    pub(super) label: Option<EndpointLabel<'e>>,
    pub(super) addresses: SmallVec<[IpAddr; 2]>,
    pub(super) ports: SmallVec<[Option<u16>; 4]>,
}

impl ServiceEntry {
    pub(super) fn new(
        zone_kind: ZoneKind,
        key: ServiceKey,
        service: Option<Arc<Service>>,
        slices: Box<[Arc<EndpointSlice>]>,
    ) -> Self {
        let mut entry = Self {
            zone_kind,
            key,
            service,
            slices,
            v4: Rdatas::default(),
            v6: Rdatas::default(),
            alias: None,
        };
        let addresses: Vec<IpAddr> = match entry.service.as_ref().map(|service| &service.addressing)
        {
            Some(Addressing::ClusterIps(ips)) => ips.to_vec(),
            Some(Addressing::Headless) => {
                distinct(entry.endpoints().map(|(_, endpoint)| endpoint.address))
            }
            Some(Addressing::ExternalName(target)) => {
                entry.alias = Alias::new(target).map(Box::new);
                Vec::new()
            }
            None => Vec::new(),
        };
        entry.v4 = address_data(Type::A, &addresses);
        entry.v6 = address_data(Type::AAAA, &addresses);
        entry
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
    pub(super) fn alias(&self) -> Option<Rdatas> {
        self.alias.as_ref().map(|alias| alias.rdata.clone())
    }

    pub(super) fn endpoints(&self) -> impl Iterator<Item = (&EndpointSlice, EndpointRef<'_>)> {
        self.slices
            .iter()
            .flat_map(|slice| slice.endpoints.iter().map(move |endpoint| (&**slice, endpoint)))
    }

    /// The labels of the ready endpoints with an address: one for each slice that has it.
    pub(super) fn labels_of(
        &self,
        address: IpAddr,
        pod_names: bool,
    ) -> impl Iterator<Item = EndpointLabel<'_>> {
        let with_address =
            self.endpoints().filter(move |(_, endpoint)| endpoint.address == address);
        with_address.map(move |(slice, endpoint)| self.label(slice, endpoint, pod_names))
    }

    pub(super) fn label<'e>(
        &self,
        slice: &'e EndpointSlice,
        endpoint: EndpointRef<'e>,
        pod_names: bool,
    ) -> EndpointLabel<'e> {
        let text = given_label(endpoint, pod_names)
            .map_or_else(|| dashed(endpoint.address).into(), Cow::Borrowed);
        EndpointLabel { text, cluster: self.cluster_of(slice) }
    }

    /// The label of the cluster, which follows the endpoint's label in a zone of the cluster set.
    fn cluster_of<'e>(&self, slice: &'e EndpointSlice) -> Option<&'e str> {
        match self.zone_kind {
            ZoneKind::Cluster => None,
            ZoneKind::ClusterSet => slice.import.as_ref().map(|import| &*import.cluster),
        }
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
            (Addressing::ClusterIps(ips), Selection::Service | Selection::Port { .. }) => {
                let ports = service
                    .ports
                    .iter()
                    .filter(|port| part.has_port(&port.name, port.protocol))
                    .map(|port| Some(port.port));
                let target = SrvHost {
                    label: None,
                    addresses: ips.iter().copied().collect(),
                    ports: ports.collect(),
                };
                self.targets_answer(vec![target], part, qtype, scope)
            }
            _ => self.targets_answer(self.endpoint_targets(part, scope), part, qtype, scope),
        }
    }

    fn alias_answer(&self, qtype: Type, scope: &Scope<'_>) -> Found {
        self.alias.as_ref().map_or(Found::NoName, |alias| alias.answer(qtype, scope.ttl))
    }

    /// The answer for a topology zone. The name exists for every zone name, because a misspelled
    /// zone looks like a zone without endpoints.
    fn zonal(
        &self,
        zone: &[u8],
        preference: ZonePreference,
        qtype: Type,
        scope: &Scope<'_>,
    ) -> Found {
        let is_there = |_: &EndpointSlice, endpoint: EndpointRef<'_>| {
            endpoint.zone().is_some_and(|name| is_labels(name, zone))
        };
        let mut targets = self.targets(Selection::Service, scope, is_there);
        if targets.is_empty() && preference == ZonePreference::Prefer {
            targets = self.targets(Selection::Service, scope, |_, _| true);
        }
        if targets.is_empty() {
            Found::NoData
        } else {
            self.targets_answer(targets, Selection::Service, qtype, scope)
        }
    }

    pub(super) fn endpoint_targets(
        &self,
        part: Selection<'_>,
        scope: &Scope<'_>,
    ) -> Vec<SrvHost<'_>> {
        let wanted = match part {
            Selection::Endpoint { label, cluster } => Some((EndpointMatcher::new(label), cluster)),
            Selection::Service | Selection::Port { .. } | Selection::Zonal { .. } => None,
        };
        self.targets(part, scope, |slice, endpoint| {
            wanted.as_ref().is_none_or(|(wanted, cluster)| {
                let same = match (self.cluster_of(slice), cluster) {
                    (Some(is), Some(wanted)) => is.as_bytes().eq_ignore_ascii_case(wanted),
                    (is, wanted) => is.is_none() && wanted.is_none(),
                };
                same && wanted.is(endpoint, scope.pod_names)
            })
        })
    }

    fn targets(
        &self,
        part: Selection<'_>,
        scope: &Scope<'_>,
        is_wanted: impl Fn(&EndpointSlice, EndpointRef<'_>) -> bool,
    ) -> Vec<SrvHost<'_>> {
        let ports = |slice: &EndpointSlice| {
            slice
                .ports
                .iter()
                .filter(|port| part.has_port(&port.name, port.protocol))
                .map(|port| port.port)
                .collect()
        };
        self.endpoints()
            .filter(|(slice, endpoint)| is_wanted(slice, *endpoint))
            .map(|(slice, endpoint)| SrvHost {
                label: Some(self.label(slice, endpoint, scope.pod_names)),
                addresses: smallvec![endpoint.address],
                ports: ports(slice),
            })
            .collect()
    }

    pub(super) fn targets_answer(
        &self,
        mut targets: Vec<SrvHost<'_>>,
        part: Selection<'_>,
        qtype: Type,
        scope: &Scope<'_>,
    ) -> Found {
        if let Selection::Port { .. } = part {
            targets.retain(|target| !target.ports.is_empty());
        }
        if targets.is_empty() {
            return Found::NoName;
        }
        match qtype {
            Type::A | Type::AAAA => {
                let addresses =
                    distinct(targets.iter().flat_map(|target| target.addresses.iter().copied()));
                Found::set(qtype, scope.ttl, address_data(qtype, &addresses))
            }
            Type::SRV => self.srv(targets, scope),
            _ => Found::NoData,
        }
    }

    /// One record for each host and port (RFC 2782), and the addresses of the hosts. The weights of
    /// all addresses and ports add up to about 100, and each is at least 1, as in CoreDNS.
    fn srv(&self, targets: Vec<SrvHost<'_>>, scope: &Scope<'_>) -> Found {
        let shares: usize =
            targets.iter().map(|target| target.addresses.len() * target.ports.len()).sum();
        let weight = (100 / shares.max(1)).max(1) as u16;
        let (mut srv, mut additional) = (Vec::new(), Sets::new());
        for target in merged(targets) {
            let Some(name) = self.target_name(target.label.as_ref(), scope) else { continue };
            for port in target.ports.iter().flatten() {
                srv.push([&[0, 0], &weight.to_be_bytes()[..], &port.to_be_bytes(), &name].concat());
            }
            for rtype in [Type::A, Type::AAAA] {
                let data = address_data(rtype, &target.addresses);
                if !data.is_empty() && target.ports.iter().any(Option::is_some) {
                    additional.push(RecordSet::new(
                        Owner::Name(name.clone().into()),
                        rtype,
                        scope.ttl,
                        data,
                    ));
                }
            }
        }
        match Found::set(Type::SRV, scope.ttl, srv.into_iter().collect()) {
            Found::Records { answer, .. } => Found::Records { answer, additional },
            other => other,
        }
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

/// The addresses of the type's family, as record data.
pub(super) fn address_data(rtype: Type, addresses: &[IpAddr]) -> Rdatas {
    let octets = |address: &IpAddr| -> Option<SmallVec<[u8; 16]>> {
        match address {
            IpAddr::V4(v4) if rtype == Type::A => Some(SmallVec::from_slice(&v4.octets())),
            IpAddr::V6(v6) if rtype == Type::AAAA => Some(SmallVec::from_slice(&v6.octets())),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    };
    addresses.iter().filter_map(octets).collect()
}

/// Each address once, in the order of first occurrence.
pub(super) fn distinct(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut seen = std::collections::HashSet::new();
    addresses.filter(|address| seen.insert(*address)).collect()
}

/// Merges hosts with the same label, so that each address and port occurs once. A host may be in
/// several slices, and in both families.
fn merged(targets: Vec<SrvHost<'_>>) -> Vec<SrvHost<'_>> {
    let mut merged: Vec<SrvHost<'_>> = Vec::with_capacity(targets.len());
    let mut places = HashMap::new();
    for target in targets {
        let place = *places.entry(target.label.clone()).or_insert(merged.len());
        if place == merged.len() {
            merged.push(SrvHost {
                label: target.label,
                addresses: SmallVec::new(),
                ports: SmallVec::new(),
            });
        }
        let whole = &mut merged[place];
        for address in target.addresses {
            if !whole.addresses.contains(&address) {
                whole.addresses.push(address);
            }
        }
        for port in target.ports {
            if !whole.ports.contains(&port) {
                whole.ports.push(port);
            }
        }
    }
    merged
}
