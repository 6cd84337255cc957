//! The settings of a `kubernetes` block: which facts it shows, and how.

use std::{net::IpAddr, sync::Arc};

use crate::{
    model::{EndpointFields, Kind, Namespace, Selector},
    wire::Name,
};

use super::{
    cluster_set::ZoneKind,
    derive::ServiceEntry,
    store::{Snapshot, Store},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Cluster and reverse zones, at least one of them a cluster zone.
    pub zones: Vec<Name>,
    /// TTL in seconds of every record except `dns-version`.
    pub ttl: u32,
    pub pods: PodMode,
    pub namespaces: Namespaces,
    /// Name endpoints without a hostname by their Pod.
    pub endpoint_pod_names: bool,
    /// Serve no records that come from EndpointSlices.
    pub no_endpoints: bool,
    /// Answer `TZ.pin._zone` and `TZ.prefer._zone` under a headless Service with the endpoints of a
    /// topology zone.
    pub zonal: bool,
    /// The zones of the Services that a set of clusters shares.
    pub multicluster: Vec<Name>,
    /// A ClusterIP Service without a ready endpoint does not exist.
    pub ignore_empty_service: bool,
    /// The server's own addresses. A Service that has one of them as an endpoint is a name server
    /// of the zone.
    pub own_addresses: Vec<IpAddr>,
}

/// Which names under `pod.ZONE` exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodMode {
    #[default]
    Disabled,
    /// Every address in a namespace that exists.
    Insecure,
    /// The addresses of the namespace's Pods.
    Verified,
}

/// Which namespaces are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespaces {
    #[default]
    All,
    Named(Vec<Box<str>>),
    Labelled(Selector),
}

impl Namespaces {
    /// Whether the namespace with this label exists and is shown.
    pub(super) fn show(&self, label: &[u8], store: &Store) -> bool {
        store.namespace(label).is_some_and(|namespace| self.include(label, &namespace))
    }

    /// The Services of a moment in the namespaces that are shown, by name.
    pub(super) fn shown(&self, snapshot: &Snapshot, zone_kind: ZoneKind) -> Vec<Arc<ServiceEntry>> {
        let is_shown = |entry: &&Arc<ServiceEntry>| {
            let label = entry.namespace();
            snapshot.namespaces.get(label).is_some_and(|it| self.include(label, it))
        };
        snapshot.services.of(zone_kind).values().filter(is_shown).cloned().collect()
    }

    /// Whether the namespace with this label is shown, if its name alone decides that.
    pub(super) fn include_unseen(&self, label: &[u8]) -> Option<bool> {
        match self {
            Self::All => Some(true),
            Self::Named(names) => Some(names.iter().any(|name| name.as_bytes() == label)),
            Self::Labelled(_) => None,
        }
    }

    /// Whether the namespace with this label is shown.
    pub(super) fn include(&self, label: &[u8], namespace: &Namespace) -> bool {
        match self {
            Self::Labelled(selector) => selector.matches(&namespace.labels),
            Self::All | Self::Named(_) => self.include_unseen(label) == Some(true),
        }
    }
}

impl Settings {
    /// These zones with CoreDNS's defaults.
    pub fn new(zones: Vec<Name>) -> Self {
        Self {
            zones,
            ttl: 5,
            pods: PodMode::Disabled,
            namespaces: Namespaces::All,
            endpoint_pod_names: false,
            no_endpoints: false,
            zonal: false,
            multicluster: Vec::new(),
            ignore_empty_service: false,
            own_addresses: Vec::new(),
        }
    }

    /// The kinds of objects that the view answers from.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        let needed = [
            (Kind::Namespace, true),
            (Kind::Service, true),
            (Kind::EndpointSlice, !self.no_endpoints),
            (Kind::Pod, self.pods == PodMode::Verified),
            (Kind::ServiceImport, !self.multicluster.is_empty()),
        ];
        needed.into_iter().filter_map(|(kind, needed)| needed.then_some(kind))
    }

    /// The details of endpoints that the view answers from.
    pub fn endpoint_fields(&self) -> EndpointFields {
        EndpointFields { pods: self.endpoint_pod_names, zones: self.zonal, nodes: false }
    }

    /// The zone that the targets of PTR records are in: the first of the cluster's own.
    pub fn primary(&self) -> &Name {
        let own =
            self.zones.iter().find(|zone| !is_reverse(zone) && !self.multicluster.contains(zone));
        own.unwrap_or_else(|| primary(&self.zones))
    }
}

pub(super) fn primary(zones: &[Name]) -> &Name {
    zones.iter().find(|zone| !is_reverse(zone)).unwrap_or(&zones[0])
}

/// Whether a zone has PTR records: `in-addr.arpa`, `ip6.arpa`, or a zone below them.
pub fn is_reverse(zone: &Name) -> bool {
    let wire = zone.wire();
    wire.ends_with(b"\x07in-addr\x04arpa\x00") || wire.ends_with(b"\x03ip6\x04arpa\x00")
}
