//! Lookup of a name in the zones of a `kubernetes` block. This file decides whether a name without
//! records of a type exists (NODATA) or not (NXDOMAIN).

use std::sync::Arc;

use crate::{
    model::Kind,
    wire::{Question, Rdatas, Type},
};

use super::{
    answer::Found,
    cluster::Zone,
    cluster_set::ZoneKind,
    derive::{Scope, ServiceEntry, address_data, distinct},
    key::label_offsets,
    labels::address_of_label,
    reverse,
    selection::{Selection, ZonePreference},
    settings::{PodMode, is_reverse},
};

/// The version of the DNS specification that the names follow, as the TXT record of
/// `dns-version.ZONE` states it.
const SCHEMA_VERSION: &[u8] = b"\x051.1.0";
/// In seconds, as in the example of the specification.
const SCHEMA_VERSION_TTL: u32 = 28_800;

impl Zone {
    /// The records of the question's type at its name (Kubernetes DNS-Based Service Discovery
    /// 1.1.0).
    pub fn find(&self, question: &Question) -> Found {
        let Some(zone) = self.zone_of(&question.name) else { return Found::NotInZone };
        let Some(left) = question.name.left_of(zone) else { return Found::NotInZone };
        let zone_name = question.spelled_from(left.len());
        let scope = self.scope(&zone_name, self.zone_kind_of(zone));
        match (left.is_empty(), is_reverse(zone)) {
            (true, _) => self.apex(question, &scope),
            (false, true) => self.reverse(question),
            (false, false) => self.cluster(left, question.qtype, &scope),
        }
    }

    /// A name under a cluster zone. `left` holds its labels left of the zone.
    fn cluster(&self, left: &[u8], qtype: Type, scope: &Scope<'_>) -> Found {
        let mut offsets = label_offsets(left);
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

    /// The names below `svc.ZONE`, such as `web.shop` (a Service), `_http._tcp.web.shop` (a port),
    /// `pod-1.web.shop` (an endpoint), `zone-a.pin._zone.web.shop` and
    /// `zone-a.prefer._zone.web.shop` (the endpoints of a topology zone). In the cluster set an
    /// endpoint has two labels, as in `pod-1.cluster-a.web.shop`, and there are no topology zones.
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
            2 => (Selection::Service, offsets[0]),
            3 => (Selection::Endpoint { label: label(0), cluster: None }, offsets[1]),
            4 if scope.zone_kind == ZoneKind::ClusterSet
                && !label(0).starts_with(b"_")
                && !label(1).starts_with(b"_") =>
            {
                (Selection::Endpoint { label: label(0), cluster: Some(label(1)) }, offsets[2])
            }
            4 => (Selection::port(label(0), label(1)), offsets[2]),
            5.. if self.settings.zonal && scope.zone_kind == ZoneKind::Cluster => {
                let directive_at = offsets.len() - 4;
                let preference = match (label(directive_at), label(directive_at + 1)) {
                    (b"pin", b"_zone") => ZonePreference::Pin,
                    (b"prefer", b"_zone") => ZonePreference::Prefer,
                    _ => return Found::NoName,
                };
                (
                    Selection::Zonal { zone: &left[..offsets[directive_at]], preference },
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

    /// The names below `pod.ZONE`, such as `10-1-2-3.shop`. `left` holds the labels left of
    /// `pod`.
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

    /// The PTR records of an address: one for its Service if it is a cluster IP, else one for each
    /// Service that has it as an endpoint.
    fn reverse(&self, question: &Question) -> Found {
        // With a label selector, it is not known which namespaces are shown until their labels are
        // known.
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
                let labels = entry.labels_of(address, &scope);
                targets.extend(labels.filter_map(|label| entry.target_name(Some(&label), &scope)));
            }
        }
        let targets = distinct(targets.into_iter());
        match Found::set(Type::PTR, scope.ttl, targets.into_iter().collect()) {
            Found::NoData => Found::NoName,
            found => found,
        }
    }
}
