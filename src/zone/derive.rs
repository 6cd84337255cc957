//! From facts to records: what a Service, one of its ports and one of its endpoints answer.

use std::{borrow::Cow, collections::HashMap, net::IpAddr, sync::Arc};

use smallvec::{SmallVec, smallvec};

use crate::{
    limits,
    model::{Addressing, Endpoint, EndpointSlice, Protocol, Service},
    wire::{Name, Owner, Rdatas, RecordSet, Sets, Spelled, Type},
};

use super::{
    Found,
    cluster_set::ZoneKind,
    key::ServiceKey,
    labels::{address_of_label, dashed, given_label, is_labels},
};

/// All that is said of a Service, published as one.
#[derive(Debug)]
pub(super) struct ServiceEntry {
    zone_kind: ZoneKind,
    key: ServiceKey,
    /// `None` where there are only slices: they answer PTR, nothing else.
    pub(super) service: Option<Arc<Service>>,
    /// By name.
    pub(super) slices: Box<[Arc<EndpointSlice>]>,
    /// The addresses of the bare name: what is asked most is ready to send.
    pub(super) v4: Rdatas,
    pub(super) v6: Rdatas,
    alias: Option<Alias>,
}

/// Where an ExternalName points to.
#[derive(Clone, Debug)]
pub(super) struct Alias {
    pub(super) rdata: Rdatas,
    target: Name,
}

/// What of a Service is asked for.
#[derive(Clone, Copy)]
pub(super) enum Part<'q> {
    Whole,
    /// Without their underscores; empty matches every one.
    Port {
        port: &'q [u8],
        protocol: &'q [u8],
    },
    /// An endpoint's label, and in the cluster set that of the cluster it is in.
    Endpoint {
        label: &'q [u8],
        cluster: Option<&'q [u8]>,
    },
    /// The endpoints in a topology zone, whose name may have dots: its labels in wire form. Where
    /// there are none, all with `prefer`.
    Zonal {
        zone: &'q [u8],
        prefer: bool,
    },
}

/// How a view shows records.
pub(super) struct Scope<'q> {
    pub(super) ttl: u32,
    /// The zone in the client's spelling.
    pub(super) zone: &'q Spelled,
    /// Whose Services are in the zone.
    pub(super) zone_kind: ZoneKind,
    /// What stands between a Service's name and the zone, in wire form.
    pub(super) subdomain: &'static [u8],
    pub(super) pod_names: bool,
    pub(super) no_endpoints: bool,
    /// Whether EndpointSlices have been listed.
    pub(super) endpoints_known: bool,
    pub(super) ignore_empty: bool,
}

/// A host of SRV records: the Service itself, or an endpoint.
pub(super) struct Target<'e> {
    pub(super) label: Option<Label<'e>>,
    pub(super) addresses: SmallVec<[IpAddr; 2]>,
    pub(super) ports: SmallVec<[Option<u16>; 4]>,
}

/// An endpoint's own label, and in the cluster set that of the cluster it is in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Label<'e> {
    text: Cow<'e, str>,
    cluster: Option<&'e str>,
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
                entry.alias = Alias::new(target);
                Vec::new()
            }
            None => Vec::new(),
        };
        entry.v4 = address_data(Type::A, &addresses);
        entry.v6 = address_data(Type::AAAA, &addresses);
        entry
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

    /// The target of an ExternalName, where it is a name.
    pub(super) fn alias(&self) -> Option<Rdatas> {
        self.alias.as_ref().map(|alias| alias.rdata.clone())
    }

    pub(super) fn endpoints(&self) -> impl Iterator<Item = (&EndpointSlice, &Endpoint)> {
        self.slices
            .iter()
            .flat_map(|slice| slice.endpoints.iter().map(move |endpoint| (&**slice, endpoint)))
    }

    /// The labels of the ready endpoints with an address: one for each slice that has it.
    pub(super) fn labels_of(
        &self,
        address: IpAddr,
        pod_names: bool,
    ) -> impl Iterator<Item = Label<'_>> {
        let with_address =
            self.endpoints().filter(move |(_, endpoint)| endpoint.address == address);
        with_address.map(move |(slice, endpoint)| self.label(slice, endpoint, pod_names))
    }

    pub(super) fn label<'e>(
        &self,
        slice: &'e EndpointSlice,
        endpoint: &'e Endpoint,
        pod_names: bool,
    ) -> Label<'e> {
        let text = given_label(endpoint, pod_names)
            .map_or_else(|| dashed(endpoint.address).into(), Cow::Borrowed);
        Label { text, cluster: self.cluster_of(slice) }
    }

    /// The label between an endpoint's own and its Service's.
    fn cluster_of<'e>(&self, slice: &'e EndpointSlice) -> Option<&'e str> {
        match self.zone_kind {
            ZoneKind::Cluster => None,
            ZoneKind::ClusterSet => slice.import.as_ref().map(|import| &*import.cluster),
        }
    }

    /// What the Service answers; Kubernetes DNS-Based Service Discovery 1.1.0 §2.3–2.5.
    pub(super) fn answer(&self, part: Part<'_>, qtype: Type, scope: &Scope<'_>) -> Found {
        let Some(service) = &self.service else { return Found::NoName };
        let unknown = !scope.no_endpoints && !scope.endpoints_known;
        let has_endpoints = !scope.no_endpoints && self.endpoints().next().is_some();
        match (&service.addressing, part) {
            (Addressing::ExternalName(_), Part::Whole) => self.alias_answer(qtype, scope),
            (Addressing::ExternalName(_), _) | (Addressing::ClusterIps(_), Part::Zonal { .. }) => {
                Found::NoName
            }
            (Addressing::ClusterIps(_), _) if scope.ignore_empty && unknown => Found::Unsynced,
            (Addressing::Headless, _) | (_, Part::Endpoint { .. }) if unknown => Found::Unsynced,
            (_, Part::Zonal { zone, prefer }) => self.zonal(zone, prefer, qtype, scope),
            (Addressing::ClusterIps(_), _) if scope.ignore_empty && !has_endpoints => Found::NoName,
            (Addressing::Headless, _) | (_, Part::Endpoint { .. }) if !has_endpoints => {
                Found::NoName
            }
            (_, Part::Whole) if qtype == Type::A => Found::set(qtype, scope.ttl, self.v4.clone()),
            (_, Part::Whole) if qtype == Type::AAAA => {
                Found::set(qtype, scope.ttl, self.v6.clone())
            }
            (Addressing::ClusterIps(ips), Part::Whole | Part::Port { .. }) => {
                let ports = service
                    .ports
                    .iter()
                    .filter(|port| part.has_port(&port.name, port.protocol))
                    .map(|port| Some(port.port));
                let target = Target {
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

    /// The name is there with whatever zone it names: a zone without endpoints and a misspelled one
    /// are the same.
    fn zonal(&self, zone: &[u8], prefer: bool, qtype: Type, scope: &Scope<'_>) -> Found {
        let is_there = |_: &EndpointSlice, endpoint: &Endpoint| {
            endpoint.zone.as_deref().is_some_and(|name| is_labels(name, zone))
        };
        let mut targets = self.targets(Part::Whole, scope, is_there);
        if targets.is_empty() && prefer {
            targets = self.targets(Part::Whole, scope, |_, _| true);
        }
        if targets.is_empty() {
            Found::NoData
        } else {
            self.targets_answer(targets, Part::Whole, qtype, scope)
        }
    }

    pub(super) fn endpoint_targets(&self, part: Part<'_>, scope: &Scope<'_>) -> Vec<Target<'_>> {
        let wanted = match part {
            Part::Endpoint { label, cluster } => Some((Wanted::new(label), cluster)),
            Part::Whole | Part::Port { .. } | Part::Zonal { .. } => None,
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
        part: Part<'_>,
        scope: &Scope<'_>,
        is_wanted: impl Fn(&EndpointSlice, &Endpoint) -> bool,
    ) -> Vec<Target<'_>> {
        let ports = |slice: &EndpointSlice| {
            slice
                .ports
                .iter()
                .filter(|port| part.has_port(&port.name, port.protocol))
                .map(|port| port.port)
                .collect()
        };
        self.endpoints()
            .filter(|(slice, endpoint)| is_wanted(slice, endpoint))
            .map(|(slice, endpoint)| Target {
                label: Some(self.label(slice, endpoint, scope.pod_names)),
                addresses: smallvec![endpoint.address],
                ports: ports(slice),
            })
            .collect()
    }

    pub(super) fn targets_answer(
        &self,
        mut targets: Vec<Target<'_>>,
        part: Part<'_>,
        qtype: Type,
        scope: &Scope<'_>,
    ) -> Found {
        if let Part::Port { .. } = part {
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

    /// One record for each host and port (RFC 2782), and the hosts' addresses. The weights of all
    /// addresses and ports share 100, each at least 1, as CoreDNS has it.
    fn srv(&self, targets: Vec<Target<'_>>, scope: &Scope<'_>) -> Found {
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

    /// `label.web.ns.svc.ZONE`; `None` where it is no name.
    pub(super) fn target_name(
        &self,
        label: Option<&Label<'_>>,
        scope: &Scope<'_>,
    ) -> Option<Vec<u8>> {
        self.name_under(label.into_iter().flat_map(Label::texts), scope)
    }

    /// A name of these labels under the Service's own; `None` where it is no name.
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

impl Alias {
    /// `None` for what no CNAME may point to: an address, or what is no name.
    pub(super) fn new(target: &str) -> Option<Self> {
        let spelled =
            target.parse::<Spelled>().ok().filter(|_| target.parse::<IpAddr>().is_err())?;
        Some(Self { rdata: Rdatas::one(spelled.wire()), target: Name::from_wire(spelled.wire())? })
    }

    pub(super) fn answer(&self, qtype: Type, ttl: u32) -> Found {
        match qtype {
            Type::A | Type::AAAA | Type::CNAME => self.lead(qtype, ttl),
            // CoreDNS says so; the types that a cluster's clients ask for are the others.
            _ => Found::NoData,
        }
    }

    /// An alias leads on whatever type is asked for (RFC 1034 §3.6.2).
    pub(super) fn lead(&self, qtype: Type, ttl: u32) -> Found {
        let cname = RecordSet::new(Owner::Question, Type::CNAME, ttl, self.rdata.clone());
        if qtype == Type::CNAME {
            return Found::Records { answer: smallvec![cname], additional: Sets::new() };
        }
        Found::Alias { cname, target: self.target.clone() }
    }
}

impl<'q> Part<'q> {
    /// Of two labels; `_._` stands for every port, and so for the Service.
    pub(super) fn port(port: &'q [u8], protocol: &'q [u8]) -> Self {
        match (without_underscore(port), without_underscore(protocol)) {
            (b"", b"") => Self::Whole,
            (port, protocol) => Self::Port { port, protocol },
        }
    }

    pub(super) fn has_port(self, name: &str, protocol: Protocol) -> bool {
        let matches = |wanted: &[u8], is: &str| {
            wanted.is_empty() || is.as_bytes().eq_ignore_ascii_case(wanted)
        };
        match self {
            Self::Port { port, protocol: wanted } => {
                matches(port, name) && matches(wanted, protocol.label())
            }
            Self::Whole | Self::Endpoint { .. } | Self::Zonal { .. } => true,
        }
    }
}

/// `_http` and `http` both name the port `http`; `_` names every one.
fn without_underscore(label: &[u8]) -> &[u8] {
    label.strip_prefix(b"_").unwrap_or(label)
}

/// An endpoint's label as it is asked for, and the address that it may stand for.
struct Wanted<'q> {
    label: &'q [u8],
    address: Option<IpAddr>,
}

impl<'q> Wanted<'q> {
    fn new(label: &'q [u8]) -> Self {
        let text = std::str::from_utf8(label).unwrap_or_default();
        let address = address_of_label(text).filter(|address| dashed(*address) == text);
        Self { label, address }
    }

    fn is(&self, endpoint: &Endpoint, pod_names: bool) -> bool {
        match given_label(endpoint, pod_names) {
            Some(given) => given.as_bytes().eq_ignore_ascii_case(self.label),
            None => self.address == Some(endpoint.address),
        }
    }
}

impl Label<'_> {
    /// From the left.
    fn texts(&self) -> impl Iterator<Item = &str> {
        [Some(&*self.text), self.cluster].into_iter().flatten()
    }
}

/// Addresses of the type's family as record data.
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

/// In the order of their first mention.
pub(super) fn distinct(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut seen = std::collections::HashSet::new();
    addresses.filter(|address| seen.insert(*address)).collect()
}

/// Targets of one label become one, with every address and port once: a host in several slices, or
/// of both families.
fn merged(targets: Vec<Target<'_>>) -> Vec<Target<'_>> {
    let mut merged: Vec<Target<'_>> = Vec::with_capacity(targets.len());
    let mut places = HashMap::new();
    for target in targets {
        let place = *places.entry(target.label.clone()).or_insert(merged.len());
        if place == merged.len() {
            merged.push(Target {
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
