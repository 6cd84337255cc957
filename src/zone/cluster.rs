//! The zones of a `kubernetes` block: the facts in them, and what every answer needs.

use std::{net::IpAddr, sync::Arc};

use crate::{
    limits,
    model::Kind,
    wire::{Name, Question, RecordSet, Spelled, Transfer},
};

use super::{
    answer::{Found, UnsyncedError},
    cluster_set::ZoneKind,
    derive::Scope,
    describe::{Reading, describe},
    settings::{PodMode, Settings, is_reverse},
    store::Store,
    view::{Soa, View, longest, stale_age},
};

/// A view of a source's facts.
#[derive(Clone, Debug)]
pub struct Zone {
    pub(super) store: Arc<Store>,
    pub(super) settings: Settings,
}

impl Zone {
    pub fn new(store: Arc<Store>, settings: Settings) -> Self {
        Self { store, settings }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The kinds that this view needs and that the source has not listed yet. The text is the
    /// reason, if the source may not read the kind. ServiceImports are not required.
    pub fn unsynced(&self) -> impl Iterator<Item = (Kind, Option<Box<str>>)> {
        let waiting = self
            .settings
            .kinds()
            .filter(|kind| *kind != Kind::ServiceImport && !self.store.is_ready(*kind));
        waiting.map(|kind| (kind, self.store.refusal(kind)))
    }

    pub(super) fn knows(&self, kinds: &[Kind]) -> bool {
        kinds.iter().all(|kind| self.store.is_synced(*kind))
    }

    /// The longest of the view's zones that contains `name`.
    pub fn zone_of(&self, name: &Name) -> Option<&Name> {
        longest(&self.settings.zones, name)
    }

    /// Which Services are in one of the view's zones.
    pub(super) fn zone_kind_of(&self, zone: &Name) -> ZoneKind {
        if self.settings.multicluster.contains(zone) {
            ZoneKind::ClusterSet
        } else {
            ZoneKind::Cluster
        }
    }

    /// The SOA record of the zone that contains the question's name. Its owner has the client's
    /// spelling. Its TTL is at most that of the records, so that a negative answer lives no longer
    /// than a positive one (RFC 2308 §5).
    pub fn soa(&self, question: &Question) -> Option<RecordSet> {
        let serial = self.store.serial(self.zone_kind_of(self.zone_of(&question.name)?));
        self.soa_of(question, serial.reply(question.qtype))
    }

    pub(super) fn soa_of(&self, question: &Question, serial: u32) -> Option<RecordSet> {
        let (server, hostmaster) = (b"\x02ns\x03dns", b"\x0ahostmaster");
        let soa = Soa {
            server,
            hostmaster,
            serial,
            ttl: self.settings.ttl.min(limits::KUBERNETES_SOA_TTL),
            minimum: self.settings.ttl,
        };
        Some(soa.record(question, self.zone_of(&question.name)?))
    }

    /// The search list of the Pod with this address, for the zone that contains the name; `None` if
    /// the Pod is not known.
    pub fn search(&self, name: &Name, client: IpAddr) -> Option<[Name; 3]> {
        let zone = self
            .zone_of(name)
            .filter(|zone| !is_reverse(zone) && self.settings.pods == PodMode::Verified)?;
        let namespace = self.store.namespace_of(client)?;
        let services = Name::join([b"svc".as_slice()], zone)?;
        Some([Name::join([&*namespace], &services)?, services, zone.clone()])
    }

    /// The search list of the Pod, if this name is the first that a Pod tries for an external name:
    /// `LABELS.NAMESPACE.svc.ZONE` with two or more labels. `None` if something in the cluster can
    /// have the name. Two labels can be an endpoint and its Service, so the result is also `None`
    /// if that Service exists.
    pub fn search_of_name(&self, name: &Name) -> Option<[Name; 3]> {
        let zone = self.zone_of(name).filter(|zone| !is_reverse(zone))?;
        let labels: Vec<&[u8]> = name.labels().collect();
        let [base @ .., namespace, b"svc"] = labels.get(..labels.len() - zone.labels().count())?
        else {
            return None;
        };
        // Labels of SRV records begin with an underscore.
        if base.len() < 2 || base.iter().any(|label| label.starts_with(b"_")) {
            return None;
        }
        if let [_, service] = base {
            let key = Name::join([*service, *namespace], &Name::root())?;
            if self.store.service(key.left_of(&Name::root())?).is_some() {
                return None;
            }
        }
        if self.shows(namespace) != Some(true) {
            return None;
        }
        let services = Name::join([b"svc".as_slice()], zone)?;
        Some([Name::join([*namespace], &services)?, services, zone.clone()])
    }

    pub(super) fn scope<'q>(&self, zone: &'q Spelled, zone_kind: ZoneKind) -> Scope<'q> {
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

    /// Whether the namespace with this label is shown; `None` if that is not known yet.
    pub(super) fn shows(&self, label: &[u8]) -> Option<bool> {
        match self.knows(&[Kind::Namespace]) {
            true => Some(self.settings.namespaces.show(label, &self.store)),
            false => self.settings.namespaces.include_unseen(label),
        }
    }

    pub(super) fn primary(&self) -> Spelled {
        Spelled::from(self.settings.primary())
    }
}

impl View for Zone {
    fn find(&self, question: &Question) -> Found {
        Self::find(self, question)
    }

    fn zone_of(&self, name: &Name) -> Option<&Name> {
        Self::zone_of(self, name)
    }

    fn soa(&self, question: &Question) -> Option<RecordSet> {
        Self::soa(self, question)
    }

    fn transfer(&self, question: &Question) -> Option<Result<Transfer, UnsyncedError>> {
        Self::transfer(self, question)
    }

    fn describe(&self, name: &Name, client: IpAddr) -> Vec<(&'static str, String)> {
        let text = |label: &[u8]| String::from_utf8_lossy(label).into_owned();
        let verified = self.settings.pods == PodMode::Verified;
        let namespace = verified.then(|| self.store.namespace_of(client)).flatten();
        let client = namespace.map(|it| ("kubernetes/client-namespace", text(&it)));
        let of_name = self.zone_of(name).map(|zone| {
            let left = name.labels().count() - zone.labels().count();
            let labels: Vec<_> = name.labels().take(left).map(text).collect();
            let is_set = self.zone_kind_of(zone) == ZoneKind::ClusterSet;
            describe(&labels, Reading { is_set, zonal: self.settings.zonal })
        });
        client.into_iter().chain(of_name.into_iter().flatten()).collect()
    }

    fn stale_age(&self) -> Option<u32> {
        stale_age(&self.store, self.settings.kinds())
    }

    fn waiting(&self) -> Vec<(Kind, Option<Box<str>>)> {
        self.unsynced().collect()
    }
}
