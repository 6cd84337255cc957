//! The cluster's names: facts come in through [`Index`], readers look names up in a [`Zone`].
//!
//! Facts belong to a source and are shared; a [`Zone`] is a view of them, and costs nothing to
//! make. Whether a name that has no records of a type exists (NODATA) or not (NXDOMAIN) is decided
//! here and nowhere else.

mod cluster_set;
mod derive;
mod index;
mod key;
mod labels;
pub mod outside;
mod reverse;
mod settings;
mod store;
mod transfer;
mod view;

use std::{net::IpAddr, sync::Arc};

use smallvec::smallvec;

use crate::{
    model::Kind,
    wire::{Name, Owner, Question, Rdatas, RecordSet, Sets, Spelled, Type},
};

use cluster_set::ZoneKind;
use derive::{Part, Scope, ServiceEntry, address_data};
pub use index::Index;
use labels::address_of_label;
pub use settings::{Namespaces, PodMode, Settings, is_reverse};
pub use store::Store;
pub use transfer::Unsynced;
pub use view::View;
use view::{Soa, longest};

/// The version of the DNS specification that the names follow, as `dns-version.ZONE` tells it.
const SCHEMA_VERSION: &[u8] = b"\x051.1.0";
const SCHEMA_VERSION_TTL: u32 = 28_800;

/// What a name has of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Records {
        answer: Sets,
        additional: Sets,
    },
    /// The name is an ExternalName: its CNAME, and the name to go on with.
    Alias {
        cname: RecordSet,
        target: Name,
    },
    /// The name exists and has no such records.
    NoData,
    /// There is no such name.
    NoName,
    /// It depends on facts that have not been listed yet.
    Unsynced,
    /// The name is in none of the zones.
    NotMine,
}

impl Found {
    /// Records at the name of the question, or [`Found::NoData`] where there are none.
    fn set(rtype: Type, ttl: u32, rdatas: Rdatas) -> Self {
        if rdatas.is_empty() {
            return Self::NoData;
        }
        Self::Records {
            answer: smallvec![RecordSet::new(Owner::Question, rtype, ttl, rdatas)],
            additional: Sets::new(),
        }
    }
}

/// A view of a source's facts.
#[derive(Clone, Debug)]
pub struct Zone {
    store: Arc<Store>,
    settings: Settings,
}

impl Zone {
    pub fn new(store: Arc<Store>, settings: Settings) -> Self {
        Self { store, settings }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The kinds that this view answers from and that have not been listed yet, with the reason
    /// where they may not be read. A cluster may do without imports.
    pub fn unsynced(&self) -> impl Iterator<Item = (Kind, Option<Box<str>>)> {
        let waiting = self
            .settings
            .kinds()
            .filter(|kind| *kind != Kind::ServiceImport && !self.store.is_synced(*kind));
        waiting.map(|kind| (kind, self.store.refusal(kind)))
    }

    fn knows(&self, kinds: &[Kind]) -> bool {
        kinds.iter().all(|kind| self.store.is_synced(*kind))
    }

    /// The longest of the view's zones that `name` is in.
    pub fn zone_of(&self, name: &Name) -> Option<&Name> {
        longest(&self.settings.zones, name)
    }

    /// Whose Services are in a zone of the view's.
    fn plane_of(&self, zone: &Name) -> ZoneKind {
        if self.settings.multicluster.contains(zone) {
            ZoneKind::ClusterSet
        } else {
            ZoneKind::Cluster
        }
    }

    /// The SOA record of the zone, with the zone's name in the client's spelling. Its TTL is at most
    /// the TTL of other records, so a negative answer does not outlive a positive one (RFC 2308 §5).
    pub fn soa(&self, question: &Question) -> Option<RecordSet> {
        let zone_kind = self.plane_of(self.zone_of(&question.name)?);
        self.soa_of(question, self.store.serial(zone_kind))
    }

    fn soa_of(&self, question: &Question, serial: u32) -> Option<RecordSet> {
        let (server, hostmaster) = (b"\x02ns\x03dns", b"\x0ahostmaster");
        let soa = Soa {
            server,
            hostmaster,
            serial,
            ttl: self.settings.ttl.min(300),
            minimum: self.settings.ttl,
        };
        Some(soa.record(question, self.zone_of(&question.name)?))
    }

    /// What the question's name has of its type (Kubernetes DNS-Based Service Discovery 1.1.0).
    pub fn find(&self, question: &Question) -> Found {
        let Some(zone) = self.zone_of(&question.name) else { return Found::NotMine };
        let Some(left) = question.name.left_of(zone) else { return Found::NotMine };
        let zone_name = question.spelled_from(left.len());
        let scope = self.scope(&zone_name, self.plane_of(zone));
        match (left.is_empty(), is_reverse(zone)) {
            (true, _) => self.apex(question, &scope),
            (false, true) => self.reverse(question),
            (false, false) => self.cluster(left, question.qtype, &scope),
        }
    }

    /// The search list that the Pod with this address has for the zone that the name is in; `None`
    /// where it is not known which Pod that is.
    pub fn search(&self, name: &Name, client: IpAddr) -> Option<[Name; 3]> {
        let zone = self
            .zone_of(name)
            .filter(|zone| !is_reverse(zone) && self.settings.pods == PodMode::Verified)?;
        let namespace = self.store.namespace_of(client)?;
        let services = Name::join([b"svc".as_slice()], zone)?;
        Some([Name::join([&*namespace], &services)?, services, zone.clone()])
    }

    fn scope<'q>(&self, zone: &'q Spelled, zone_kind: ZoneKind) -> Scope<'q> {
        Scope {
            ttl: self.settings.ttl,
            zone,
            zone_kind,
            subdomain: b"\x03svc",
            pod_names: self.settings.endpoint_pod_names,
            no_endpoints: self.settings.no_endpoints,
            endpoints_known: self.knows(&[Kind::EndpointSlice]),
            ignore_empty: self.settings.ignore_empty_service,
        }
    }

    /// Names under a cluster zone; `left` are their labels left of it.
    fn cluster(&self, left: &[u8], qtype: Type, scope: &Scope<'_>) -> Found {
        let mut offsets = offsets(left);
        let last = offsets.pop().unwrap_or(0);
        let rest = &left[..last];
        match &left[last + 1..] {
            b"svc" => self.service(rest, &offsets, qtype, scope),
            b"pod" => self.pod(rest, &offsets, qtype),
            b"dns-version" if rest.is_empty() => match qtype {
                Type::TXT => Found::set(qtype, SCHEMA_VERSION_TTL, Rdatas::one(SCHEMA_VERSION)),
                _ => Found::NoData,
            },
            b"dns" => self.name_server(rest, qtype, scope),
            _ => Found::NoName,
        }
    }

    /// `[_port._proto | endpoint | TZ.pin._zone | TZ.prefer._zone] svc ns` left of `svc.ZONE`; in
    /// the cluster set endpoints are `endpoint cluster`, and there are no topology zones.
    fn service(&self, left: &[u8], offsets: &[usize], qtype: Type, scope: &Scope<'_>) -> Found {
        let Some(&namespace_at) = offsets.last() else { return Found::NoData };
        let services = match scope.zone_kind {
            ZoneKind::Cluster => Kind::Service,
            ZoneKind::ClusterSet => Kind::ServiceImport,
        };
        match self.shows(&left[namespace_at + 1..]) {
            Some(true) if self.knows(&[services]) => {}
            Some(true) | None => return Found::Unsynced,
            Some(false) => return Found::NoName,
        }
        let label = |at: usize| &left[offsets[at] + 1..offsets[at + 1]];
        let (part, service_at) = match offsets.len() {
            1 if !self.knows(&[Kind::Namespace]) => return Found::Unsynced,
            1 => return Found::NoData,
            2 => (Part::Whole, offsets[0]),
            3 => (Part::Endpoint { label: label(0), cluster: None }, offsets[1]),
            4 if scope.zone_kind == ZoneKind::ClusterSet
                && !label(0).starts_with(b"_")
                && !label(1).starts_with(b"_") =>
            {
                (Part::Endpoint { label: label(0), cluster: Some(label(1)) }, offsets[2])
            }
            4 => (Part::port(label(0), label(1)), offsets[2]),
            5.. if self.settings.zonal && scope.zone_kind == ZoneKind::Cluster => {
                let directive_at = offsets.len() - 4;
                let prefer = match (label(directive_at), label(directive_at + 1)) {
                    (b"pin", b"_zone") => false,
                    (b"prefer", b"_zone") => true,
                    _ => return Found::NoName,
                };
                (
                    Part::Zonal { zone: &left[..offsets[directive_at]], prefer },
                    offsets[directive_at + 2],
                )
            }
            _ => return Found::NoName,
        };
        match self.store.service_in(scope.zone_kind, &left[service_at..]) {
            Some(entry) => entry.answer(part, qtype, scope),
            None => Found::NoName,
        }
    }

    /// `10-1-2-3 ns` left of `pod.ZONE`.
    fn pod(&self, left: &[u8], offsets: &[usize], qtype: Type) -> Found {
        let Some(&namespace_at) = offsets.last() else { return Found::NoData };
        let namespace = &left[namespace_at + 1..];
        if self.settings.pods == PodMode::Disabled {
            return Found::NoName;
        }
        if !self.knows(&[Kind::Namespace]) {
            return Found::Unsynced;
        }
        if self.shows(namespace) != Some(true) {
            return Found::NoName;
        }
        match offsets.len() {
            1 => return Found::NoData,
            2 if self.settings.pods == PodMode::Verified && !self.knows(&[Kind::Pod]) => {
                return Found::Unsynced;
            }
            2 => {}
            _ => return Found::NoName,
        }
        let address = std::str::from_utf8(&left[1..namespace_at]).ok().and_then(address_of_label);
        let exists = |address| {
            self.settings.pods == PodMode::Insecure || self.store.has_pod(namespace, address)
        };
        match address.filter(|address| exists(*address)) {
            Some(address) if matches!(qtype, Type::A | Type::AAAA) => {
                Found::set(qtype, self.settings.ttl, address_data(qtype, &[address]))
            }
            Some(_) => Found::NoData,
            None => Found::NoName,
        }
    }

    /// Whether the namespace of this label is shown, where that is known.
    fn shows(&self, label: &[u8]) -> Option<bool> {
        match self.knows(&[Kind::Namespace]) {
            true => Some(self.settings.namespaces.show(label, &self.store)),
            false => self.settings.namespaces.include_unseen(label),
        }
    }

    /// PTR records of an address: its Service's if it is a cluster IP, else one for every Service
    /// it is an endpoint of.
    fn reverse(&self, question: &Question) -> Found {
        // A view of labelled namespaces tells of none before their labels are known.
        if !self.knows(&[Kind::Service]) || self.shows(b"").is_none() {
            return Found::Unsynced;
        }
        let Some(address) =
            reverse::address(&question.name).filter(|_| question.qtype == Type::PTR)
        else {
            return Found::NoName;
        };
        let primary = self.primary();
        let scope = self.scope(&primary, ZoneKind::Cluster);
        let shown = |entry: &Arc<ServiceEntry>| self.shows(entry.namespace()) == Some(true);
        if let Some(entry) = self.store.by_cluster_ip(address).filter(shown) {
            return Found::set(
                Type::PTR,
                scope.ttl,
                entry.target_name(None, &scope).into_iter().collect(),
            );
        }
        let mut targets: Vec<Vec<u8>> = Vec::new();
        if !self.settings.no_endpoints {
            if !scope.endpoints_known {
                return Found::Unsynced;
            }
            for entry in self.store.by_endpoint(address).iter().filter(|entry| shown(entry)) {
                for target in entry
                    .labels_of(address, scope.pod_names)
                    .filter_map(|label| entry.target_name(Some(&label), &scope))
                {
                    if !targets.contains(&target) {
                        targets.push(target);
                    }
                }
            }
        }
        match Found::set(Type::PTR, scope.ttl, targets.into_iter().collect()) {
            Found::NoData => Found::NoName,
            found => found,
        }
    }

    fn primary(&self) -> Spelled {
        plain(self.settings.primary())
    }

    fn apex(&self, question: &Question, scope: &Scope<'_>) -> Found {
        match question.qtype {
            Type::SOA => match self.soa(question) {
                Some(soa) => Found::Records { answer: smallvec![soa], additional: Sets::new() },
                None => Found::NotMine,
            },
            Type::NS => self.name_servers(question, scope),
            _ => Found::NoData,
        }
    }

    /// The Services that have one of the server's own addresses as an endpoint; where none is
    /// known, `ns.dns.ZONE`.
    fn name_servers(&self, question: &Question, scope: &Scope<'_>) -> Found {
        let primary = self.primary();
        // They are named where they are: addresses have no Services, and those of the set are
        // others.
        let elsewhere = is_reverse(&question.name) || scope.zone_kind == ZoneKind::ClusterSet;
        let scope = if elsewhere { &self.scope(&primary, ZoneKind::Cluster) } else { scope };
        let servers = self.own_servers(scope);
        let names = servers.iter().map(|(name, _)| name);
        let additional = servers.iter().flat_map(|(name, addresses)| {
            let set = |rtype| {
                RecordSet::new(
                    Owner::Name(name.clone().into()),
                    rtype,
                    scope.ttl,
                    address_data(rtype, addresses),
                )
            };
            [set(Type::A), set(Type::AAAA)]
        });
        let additional = additional.filter(|set| !set.rdatas.is_empty()).collect();
        match Found::set(Type::NS, scope.ttl, names.collect()) {
            Found::Records { answer, .. } => Found::Records { answer, additional },
            other => other,
        }
    }

    fn own_servers(&self, scope: &Scope<'_>) -> Vec<(Vec<u8>, Vec<IpAddr>)> {
        let mut servers = Vec::new();
        for own in &self.settings.own_addresses {
            for entry in self.store.by_endpoint(*own) {
                if entry.is_headless() {
                    let names = entry
                        .labels_of(*own, scope.pod_names)
                        .filter_map(|label| entry.target_name(Some(&label), scope));
                    servers.extend(names.map(|name| (name, vec![*own])));
                } else if !entry.cluster_ips().is_empty() {
                    servers.extend(
                        entry
                            .target_name(None, scope)
                            .map(|name| (name, entry.cluster_ips().to_vec())),
                    );
                }
            }
        }
        servers.sort_unstable();
        servers.dedup();
        if servers.is_empty() {
            let name = [b"\x02ns\x03dns".as_slice(), scope.zone.wire()].concat();
            servers.push((name, self.settings.own_addresses.clone()));
        }
        servers
    }

    /// `dns.ZONE` and `ns.dns.ZONE`, the name server of the SOA record.
    fn name_server(&self, left: &[u8], qtype: Type, scope: &Scope<'_>) -> Found {
        match left {
            b"" => Found::NoData,
            b"\x02ns" if matches!(qtype, Type::A | Type::AAAA) => {
                let mut addresses: Vec<_> = self
                    .own_servers(scope)
                    .into_iter()
                    .flat_map(|(_, addresses)| addresses)
                    .collect();
                addresses.sort_unstable();
                addresses.dedup();
                Found::set(qtype, scope.ttl, address_data(qtype, &addresses))
            }
            b"\x02ns" => Found::NoData,
            _ => Found::NoName,
        }
    }
}

/// A zone as it is written where no client spells it.
fn plain(zone: &Name) -> Spelled {
    Question::new(zone.clone(), Type::A).spelled()
}

/// Where the labels of a name begin that has no root label.
fn offsets(left: &[u8]) -> smallvec::SmallVec<[usize; 8]> {
    let mut at = 0;
    let mut offsets = smallvec::SmallVec::new();
    while let Some(&length) = left.get(at) {
        offsets.push(at);
        at += usize::from(length) + 1;
    }
    offsets
}
