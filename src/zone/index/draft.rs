//! Services with changes that are not published yet. Many EndpointSlices of one Service are
//! published together, because each publication takes time for all endpoints of the Service.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;

use crate::{
    model::{EndpointSlice, Service},
    zone::{
        cluster_set::{PerZoneKind, ZoneKind},
        derive::ServiceEntry,
        key::ServiceKey,
        store::Store,
    },
};

/// A Service's facts while they change.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) service: Option<Arc<Service>>,
    pub(super) slices: Vec<Arc<EndpointSlice>>,
}

impl Draft {
    fn of(entry: &ServiceEntry) -> Self {
        Self { service: entry.service.clone(), slices: entry.slices.to_vec() }
    }

    pub(super) fn drop_slice(&mut self, slice: &Arc<EndpointSlice>) {
        if let Some(at) = self.slices.iter().position(|it| Arc::ptr_eq(it, slice)) {
            self.slices.swap_remove(at);
        }
    }

    pub(super) fn finish(mut self, key: &ServiceKey) -> Option<ServiceEntry> {
        // Sorted by name, so that the order of answers does not depend on the order of arrival.
        self.slices.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let anything = self.service.is_some() || !self.slices.is_empty();
        anything.then(|| ServiceEntry::new(key.clone(), self.service, self.slices.into()))
    }
}

/// The drafts, in the order of their first change.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    places: PerZoneKind<HashMap<ServiceKey, usize, RandomState>>,
    drafts: Vec<(ZoneKind, ServiceKey, Draft)>,
}

impl Drafts {
    /// The draft of a Service. It begins with the published facts.
    pub(super) fn draft(
        &mut self,
        zone_kind: ZoneKind,
        key: ServiceKey,
        store: &Store,
    ) -> &mut Draft {
        let next = self.drafts.len();
        let at = match self.places.of(zone_kind).get(&key) {
            Some(at) => *at,
            None => {
                let old = store.service_in(zone_kind, &key);
                // All maps hold the same copy of the key.
                let key = old.as_ref().map_or(key, |old| old.key());
                let draft = old.map_or_else(Draft::default, |old| Draft::of(&old));
                self.places.of_mut(zone_kind).insert(key.clone(), next);
                self.drafts.push((zone_kind, key, draft));
                next
            }
        };
        &mut self.drafts[at].2
    }

    pub(super) fn take(&mut self) -> Vec<(ZoneKind, ServiceKey, Draft)> {
        self.places.cluster.clear();
        self.places.set.clear();
        std::mem::take(&mut self.drafts)
    }
}
