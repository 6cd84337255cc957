//! `k8s_external`: Services by the addresses at which clients outside of the cluster reach them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    model::{EndpointFields, Kind},
    wire::{Name, Owner, Question, RecordSet, Records, Sets, Spelled, Transfer, Type},
    zone::{
        answer::{Found, UnsyncedError},
        cluster_set::ZoneKind,
        derive::{Scope, ServiceEntry, address_data, label},
        key::label_offsets,
        reverse,
        selection::Selection,
        settings::{Namespaces, is_reverse, primary},
        store::Store,
        view::{View, longest, stale_age},
    },
};

use super::{
    apex::{Apex, Top, labels},
    transfer,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalSettings {
    pub zones: Vec<Name>,
    pub ttl: u32,
    /// The parent name of the name server, such as `dns`.
    pub apex: Name,
    pub top: Apex,
    /// Whether headless Services and their endpoints exist, with the addresses of the endpoints.
    pub headless: bool,
    /// Settings of the block's `kubernetes`.
    pub namespaces: Namespaces,
    pub endpoint_pod_names: bool,
    pub no_endpoints: bool,
    pub own_addresses: Vec<IpAddr>,
}

/// A view of a source's facts.
#[derive(Clone, Debug)]
pub struct External {
    store: Arc<Store>,
    settings: ExternalSettings,
}

impl ExternalSettings {
    /// The name server `ns1` and the mailbox `hostmaster`, both under `apex`.
    pub fn top(apex: &Name) -> Apex {
        let under = |label: &[u8]| Name::join([label], apex).unwrap_or_else(|| apex.clone());
        Apex { servers: vec![under(b"ns1")], hostmaster: under(b"hostmaster") }
    }

    pub fn kinds(&self) -> impl Iterator<Item = Kind> + use<> {
        let endpoints = self.reads_endpoints().then_some(Kind::EndpointSlice);
        [Kind::Namespace, Kind::Service].into_iter().chain(endpoints)
    }

    /// The details of endpoints that the view answers from.
    pub fn endpoint_fields(&self) -> EndpointFields {
        EndpointFields { pods: self.endpoint_pod_names, ..EndpointFields::default() }
    }

    fn reads_endpoints(&self) -> bool {
        self.headless || !self.no_endpoints
    }
}

impl External {
    pub fn new(store: Arc<Store>, settings: ExternalSettings) -> Self {
        Self { store, settings }
    }

    fn top(&self, qtype: Type) -> Top<'_> {
        self.top_at(self.store.outside.serial().reply(qtype))
    }

    fn top_at(&self, serial: u32) -> Top<'_> {
        Top { apex: &self.settings.top, serial, ttl: self.settings.ttl }
    }

    fn scope<'q>(&self, zone: &'q Spelled) -> Scope<'q> {
        Scope {
            ttl: self.settings.ttl,
            zone,
            zone_kind: ZoneKind::Cluster,
            subdomain: b"",
            pod_names: self.settings.endpoint_pod_names,
            no_endpoints: !self.settings.reads_endpoints(),
            endpoints_known: self.store.is_synced(Kind::EndpointSlice),
            ignore_empty: false,
        }
    }

    /// The names `dns` and `ns1.dns`.
    fn name_server(&self, left: &[u8], qtype: Type) -> Option<Found> {
        let apex = labels(&self.settings.apex);
        let under = Name::from_wire(&[left, b"\0"].concat())?;
        if !under.is_within(&self.settings.apex) {
            // `ns.dmz` exists, so `dmz` exists, too.
            return self.settings.apex.is_within(&under).then_some(Found::NoData);
        }
        Some(match qtype {
            _ if left == apex => Found::NoData,
            _ if under != self.settings.top.servers[0] => Found::NoName,
            Type::A | Type::AAAA => {
                Found::set(qtype, self.settings.ttl, address_data(qtype, &self.server_addresses()))
            }
            _ => Found::NoData,
        })
    }

    /// The outer addresses of the Services that lead to this server; its own addresses if there is
    /// none.
    fn server_addresses(&self) -> Vec<IpAddr> {
        let own = &self.settings.own_addresses;
        let mut addresses: Vec<_> = own
            .iter()
            .flat_map(|own| self.store.by_endpoint(*own))
            .flat_map(|entry| entry.outer_ips())
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() { own.clone() } else { addresses }
    }

    /// `[_port._proto | endpoint] svc ns` left of the zone.
    fn service(&self, left: &[u8], qtype: Type, scope: &Scope<'_>) -> Found {
        let offsets = label_offsets(left);
        let label =
            |at: usize| &left[offsets[at] + 1..offsets.get(at + 1).copied().unwrap_or(left.len())];
        if !self.store.is_synced(Kind::Namespace) || !self.store.is_synced(Kind::Service) {
            return Found::Unsynced;
        }
        if !self.settings.namespaces.show(label(offsets.len() - 1), &self.store) {
            return Found::NoName;
        }
        let (part, service_at) = match offsets.len() {
            1 => return Found::NoData,
            2 => (Selection::Service, 0),
            3 => (Selection::Endpoint { label: label(0), cluster: None }, offsets[1]),
            4 => (Selection::port(label(0), label(1)), offsets[2]),
            _ => return Found::NoName,
        };
        match self.store.service(&left[service_at..]) {
            Some(entry) => self.answer(&entry, part, qtype, scope),
            None => Found::NoName,
        }
    }

    /// The answer of a Service that is shown.
    fn answer(
        &self,
        entry: &ServiceEntry,
        part: Selection<'_>,
        qtype: Type,
        scope: &Scope<'_>,
    ) -> Found {
        let Some(service) = &entry.service else { return Found::NoName };
        let place = entry.own_place();
        // `_tcp.SERVICE` exists, because names of ports exist below it.
        if let Selection::Endpoint { label: label @ [b'_', ..], .. } = part
            && !place.is_empty()
            && service
                .ports
                .iter()
                .any(|port| Selection::port(b"", label).has_port(&port.name, port.protocol))
        {
            return Found::NoData;
        }
        let of_endpoints = place.is_empty()
            && self.settings.headless
            && (entry.is_headless() || matches!(part, Selection::Endpoint { .. }));
        if of_endpoints || matches!(part, Selection::Endpoint { .. }) {
            if scope.no_endpoints {
                return Found::NoName;
            }
            if !scope.endpoints_known {
                return Found::Unsynced;
            }
            let found = entry.endpoints_answer(part, qtype, scope);
            // An existing endpoint has the outer addresses of its Service.
            if of_endpoints || matches!(found, Found::NoName) {
                return found;
            }
        }
        if place.is_empty() {
            Found::NoName
        } else {
            entry.answer_at(service, &place, part, qtype, scope)
        }
    }

    /// PTR records for the Services that have the address outside of the cluster.
    fn reverse(&self, question: &Question) -> Found {
        if !self.store.is_synced(Kind::Namespace) || !self.store.is_synced(Kind::Service) {
            return Found::Unsynced;
        }
        let Some(address) = reverse::address(&question.name) else { return Found::NoName };
        let zone = Spelled::from(primary(&self.settings.zones));
        let scope = self.scope(&zone);
        let entries = self.store.by_outer_ip(address);
        let shown = entries
            .iter()
            .filter(|entry| self.settings.namespaces.show(entry.namespace(), &self.store));
        let targets: Vec<_> = shown.filter_map(|entry| entry.target_name(None, &scope)).collect();
        match question.qtype {
            _ if targets.is_empty() => Found::NoName,
            Type::PTR => Found::set(Type::PTR, scope.ttl, targets.into_iter().collect()),
            _ => Found::NoData,
        }
    }
}

/// The records of transfers.
impl External {
    /// The PTR records of a reverse zone.
    fn pointers(
        &self,
        shown: &[Arc<ServiceEntry>],
        zone: &Name,
    ) -> impl Iterator<Item = RecordSet> + use<> {
        let ttl = self.settings.ttl;
        let target_zone = Spelled::from(primary(&self.settings.zones));
        let scope = self.scope(&target_zone);
        let mut targets = BTreeMap::<IpAddr, Vec<Vec<u8>>>::new();
        for entry in shown {
            let target = entry.target_name(None, &scope);
            for address in entry.outer_ips() {
                targets.entry(address).or_default().extend(target.clone());
            }
        }
        let zone = zone.clone();
        targets.into_iter().filter_map(move |(address, targets)| {
            let name = Name::reverse(address);
            let is_here = name.is_within(&zone) && !targets.is_empty();
            let set =
                || RecordSet::new(Owner::from(&name), Type::PTR, ttl, targets.iter().collect());
            is_here.then(set)
        })
    }

    /// The records of a Service, of its ports and, if it is headless, of its endpoints.
    fn records(&self, entry: &ServiceEntry, zone: &Name) -> Sets {
        let plain = Spelled::from(zone);
        let scope = self.scope(&plain);
        let (Some(service), Some(own)) = (&entry.service, entry.target_name(None, &scope)) else {
            return Sets::new();
        };
        let Some(own) = Name::from_wire(&own) else { return Sets::new() };
        // Names of name servers are not those of Services.
        if own.left_of(zone).is_some_and(|left| self.name_server(left, Type::NS).is_some()) {
            return Sets::new();
        }
        let mut sets = self.sets(entry, &own, Selection::Service, &scope);
        for [port, protocol] in transfer::port_labels(service) {
            if let Some(name) = Name::join([&port[..], &protocol[..]], &own) {
                sets.extend(self.sets(entry, &name, Selection::port(&port, &protocol), &scope));
            }
        }
        if self.settings.headless && entry.is_headless() && entry.own_place().is_empty() {
            let endpoints = entry.endpoints();
            let labels: BTreeSet<_> = endpoints
                .map(|(slice, endpoint)| label(slice, endpoint, &scope))
                .map(|label| label.text.to_ascii_lowercase().into_bytes())
                .collect();
            for label in &labels {
                if let Some(name) = Name::join([&label[..]], &own) {
                    let part = Selection::Endpoint { label, cluster: None };
                    sets.extend(self.sets(entry, &name, part, &scope));
                }
            }
        }
        sets
    }

    fn sets(
        &self,
        entry: &ServiceEntry,
        name: &Name,
        part: Selection<'_>,
        scope: &Scope<'_>,
    ) -> Sets {
        transfer::sets(name, |qtype| self.answer(entry, part, qtype, scope))
    }
}

impl View for External {
    fn find(&self, question: &Question) -> Found {
        let Some(zone) = longest(&self.settings.zones, &question.name) else {
            return Found::NotInZone;
        };
        let Some(left) = question.name.left_of(zone) else { return Found::NotInZone };
        if left.is_empty() {
            return self
                .top(question.qtype)
                .answer(question, zone, |_| self.server_addresses())
                .unwrap_or(Found::NoData);
        }
        if is_reverse(zone) {
            return self.reverse(question);
        }
        let spelled = question.spelled_from(left.len());
        self.name_server(left, question.qtype)
            .unwrap_or_else(|| self.service(left, question.qtype, &self.scope(&spelled)))
    }

    fn zone_of(&self, name: &Name) -> Option<&Name> {
        longest(&self.settings.zones, name)
    }

    fn soa(&self, question: &Question) -> Option<RecordSet> {
        let zone = longest(&self.settings.zones, &question.name)?;
        Some(self.top(question.qtype).soa(question, zone))
    }

    fn transfer(&self, question: &Question) -> Option<Result<Transfer, UnsyncedError>> {
        let zone = self.settings.zones.iter().find(|zone| **zone == question.name)?;
        if !self.waiting().is_empty() {
            return Some(Err(UnsyncedError));
        }
        let take = || self.store.snapshot(ZoneKind::Cluster);
        let (serial, snapshot) = transfer::at_one_serial(self.store.outside.serial(), take);
        let shown = self.settings.namespaces.shown(&snapshot, ZoneKind::Cluster);
        let soa = self.top_at(serial).soa(question, zone);
        let top = transfer::top(self, question, |_| false);
        let below: Records = if is_reverse(zone) {
            Box::new(self.pointers(&shown, zone))
        } else {
            let (view, zone) = (self.clone(), zone.clone());
            Box::new(shown.into_iter().flat_map(move |entry| view.records(&entry, &zone)))
        };
        Some(Ok(Transfer { soa, serial, records: Box::new(top.into_iter().chain(below)) }))
    }

    fn stale_age(&self) -> Option<u32> {
        stale_age(&self.store, self.settings.kinds())
    }

    fn waiting(&self) -> Vec<(Kind, Option<Box<str>>)> {
        let waiting = self.settings.kinds().filter(|kind| !self.store.is_ready(*kind));
        waiting.map(|kind| (kind, self.store.refusal(kind))).collect()
    }
}
