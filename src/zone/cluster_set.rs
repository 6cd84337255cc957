//! The two kinds of zones: those of the cluster's own Services, and those of the Services that a
//! set of clusters shares (KEP-1645). A Service of one kind is not visible in a zone of the other
//! kind.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ZoneKind {
    Cluster,
    ClusterSet,
}

/// One value for each kind of zone.
#[derive(Clone, Debug, Default)]
pub(super) struct PerZoneKind<T> {
    pub(super) cluster: T,
    pub(super) set: T,
}

impl<T> PerZoneKind<T> {
    pub(super) fn of(&self, zone_kind: ZoneKind) -> &T {
        match zone_kind {
            ZoneKind::Cluster => &self.cluster,
            ZoneKind::ClusterSet => &self.set,
        }
    }

    pub(super) fn of_mut(&mut self, zone_kind: ZoneKind) -> &mut T {
        match zone_kind {
            ZoneKind::Cluster => &mut self.cluster,
            ZoneKind::ClusterSet => &mut self.set,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        model::{
            Addressing, Change, Endpoint, EndpointSlice, Import, Key, Kind,
            Namespace as ModelNamespace, Object, Service,
        },
        wire::{Name, Question, Type},
        zone::{Found, Index, Settings, Zone},
    };

    fn headless(import: bool) -> Object {
        let service = Service::new("ns", "db", Addressing::Headless);
        if import { Object::ServiceImport(service) } else { Object::Service(service) }
    }

    fn slice(service: Option<&str>, import: Option<&str>) -> Object {
        Object::EndpointSlice(EndpointSlice {
            service: service.map(Into::into),
            import: import.map(|service| {
                Box::new(Import { service: service.into(), cluster: "west".into() })
            }),
            endpoints: [Endpoint::new([10, 1, 0, 1].into())].into(),
            ..EndpointSlice::new("ns", "db-1")
        })
    }

    #[test]
    fn cluster_and_cluster_set_have_their_own_records_and_serials() {
        let mut index = Index::default();
        let zones = ["cluster.local", "clusterset.local"].map(|zone| zone.parse::<Name>().unwrap());
        let multicluster = vec![zones[1].clone()];
        let settings = Settings { multicluster, ..Settings::new(zones.into()) };
        let zone = Zone::new(index.store(), settings);
        let namespace = ModelNamespace { name: "ns".into(), labels: Box::default() };
        index.apply(Change::Upsert(Object::Namespace(namespace)), 1);
        Kind::ALL.into_iter().for_each(|kind| {
            index.apply(Change::Synced(kind), 2);
        });

        // Whether records are found, and the serial: in the cluster's zone, then in the set's.
        let mut time = 2;
        let mut check = |change: Change, expected: [(bool, u32); 2]| {
            time += 1;
            index.apply(change.clone(), time);
            let found = ["cluster.local", "clusterset.local"].map(|suffix| {
                let question =
                    Question::new(format!("db.ns.svc.{suffix}").parse().unwrap(), Type::A);
                let serial = zone
                    .soa(&question)
                    .unwrap()
                    .rdatas
                    .iter()
                    .next()
                    .unwrap()
                    .last_chunk::<20>()
                    .map(|it| it[3])
                    .unwrap();
                (matches!(zone.find(&question), Found::Records { .. }), u32::from(serial))
            });
            assert_eq!(found, expected, "{change:?}");
        };
        check(Change::Upsert(headless(true)), [(false, 2), (false, 3)]);
        check(Change::Upsert(slice(None, Some("db"))), [(false, 2), (true, 4)]);
        check(Change::Upsert(slice(None, Some("db"))), [(false, 2), (true, 4)]);
        check(Change::Upsert(headless(false)), [(false, 6), (true, 4)]);
        // One slice of both Services, then of one of them, then of another one.
        check(Change::Upsert(slice(Some("db"), Some("db"))), [(true, 7), (true, 7)]);
        check(Change::Upsert(slice(Some("db"), None)), [(true, 8), (false, 8)]);
        check(Change::Upsert(slice(Some("db"), Some("other"))), [(true, 9), (false, 9)]);
        check(Change::Upsert(slice(Some("other"), Some("db"))), [(false, 10), (true, 10)]);
        check(Change::Remove(Key::new(Kind::Service, "ns", "db")), [(false, 11), (true, 10)]);
        check(
            Change::Remove(Key::new(Kind::ServiceImport, "ns", "db")),
            [(false, 11), (false, 12)],
        );
        check(Change::Upsert(headless(true)), [(false, 11), (true, 13)]);
        check(Change::Relist(Kind::ServiceImport), [(false, 11), (true, 13)]);
        check(Change::Synced(Kind::ServiceImport), [(false, 11), (false, 15)]);
        check(Change::Upsert(headless(true)), [(false, 11), (true, 16)]);
        check(
            Change::Remove(Key::new(Kind::EndpointSlice, "ns", "db-1")),
            [(false, 17), (false, 17)],
        );
    }
}
