//! Finds the endpoints of a Service with a label, an address, or in a topology zone. A Service may have many thousands
//! of endpoints, and a query for one of them must not read all.

use std::{
    hash::{BuildHasher, Hash},
    net::IpAddr,
    sync::Arc,
};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::model::EndpointSlice;

/// The places of endpoints, sorted by the hashes of what a question can name: host names, names of
/// Pods, topology zones, and addresses.
#[derive(Debug)]
pub(super) struct EndpointIndex {
    entries: Box<[Entry]>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    hash: u32,
    place: Place,
}

/// The number of a slice, and the number of an endpoint in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) slice: u32,
    pub(super) endpoint: u32,
}

impl EndpointIndex {
    pub(super) fn new(slices: &[Arc<EndpointSlice>]) -> Self {
        let hasher = RandomState::default();
        let mut entries = Vec::new();
        for (slice, number) in slices.iter().zip(0..) {
            for (endpoint, at) in slice.endpoints.iter().zip(0..) {
                let labels = [endpoint.hostname(), endpoint.pod(), endpoint.zone()];
                let labels = labels.into_iter().flatten();
                let hashes = labels.map(|label| hash_of_label(&hasher, label.as_bytes()));
                let place = Place { slice: number, endpoint: at };
                let hashes = hashes.chain([hash_of(&hasher, &endpoint.address)]);
                entries.extend(hashes.map(|hash| Entry { hash, place }));
            }
        }
        entries.sort_unstable();
        Self { entries: entries.into(), hasher }
    }

    /// The places of all endpoints with the label or the address, in order. The label can be the
    /// name of a topology zone, too. Other endpoints may be
    /// among them, because hashes are compared.
    pub(super) fn find(
        &self,
        label: Option<&[u8]>,
        address: Option<IpAddr>,
    ) -> SmallVec<[Place; 4]> {
        let label = label.map(|label| hash_of_label(&self.hasher, label));
        let address = address.map(|address| hash_of(&self.hasher, &address));
        let mut places: SmallVec<[Place; 4]> = label
            .into_iter()
            .chain(address)
            .flat_map(|hash| {
                let first = self.entries.partition_point(|entry| entry.hash < hash);
                let same = self.entries[first..].iter().take_while(move |entry| entry.hash == hash);
                same.map(|entry| entry.place)
            })
            .collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

fn hash_of(hasher: &RandomState, value: &(impl Hash + ?Sized)) -> u32 {
    hasher.hash_one(value) as u32
}

/// Labels are compared without regard to case.
fn hash_of_label(hasher: &RandomState, label: &[u8]) -> u32 {
    let lower: SmallVec<[u8; 64]> = label.iter().map(u8::to_ascii_lowercase).collect();
    hash_of(hasher, &lower[..])
}

#[cfg(test)]
mod tests {
    use crate::{
        model::{Addressing, Change, Endpoint, EndpointDetails, Kind, Namespace, Object, Service},
        wire::{Question, Type},
        zone::{Found, Index, Settings, Zone},
    };

    use super::*;

    /// A zone with a headless Service of two slices. They begin with these endpoints and have
    /// `others` more.
    fn zone(endpoints: [Endpoint; 4], others: u8) -> Zone {
        let mut index = Index::default();
        let [a, b, c, d] = endpoints;
        let more = |third: u8| (0..others).map(move |last| [10, 1, third, last].into());
        let slice = |name: &str, endpoints: [Endpoint; 2], third: u8| {
            let all = endpoints.into_iter().chain(more(third).map(Endpoint::new));
            Object::EndpointSlice(EndpointSlice {
                service: Some("web".into()),
                endpoints: all.collect::<Vec<_>>().into(),
                ..EndpointSlice::new("ns", name)
            })
        };
        let namespace = Namespace { name: "ns".into(), labels: Box::default() };
        for object in [
            Object::Namespace(namespace),
            Object::Service(Service::new("ns", "web", Addressing::Headless)),
            slice("web-1", [a, b], 1),
            slice("web-2", [c, d], 2),
        ] {
            index.apply(Change::Upsert(object), 1);
        }
        for kind in Kind::ALL {
            index.apply(Change::Synced(kind), 1);
        }
        let zones = ["cluster.local", "in-addr.arpa"].map(|name| name.parse().unwrap());
        let settings =
            Settings { endpoint_pod_names: true, zonal: true, ..Settings::new(zones.into()) };
        Zone::new(index.store(), settings)
    }

    #[test]
    fn few_and_many_endpoints_are_found_alike() {
        let endpoint = |last: u8, hostname: Option<&str>, pod: Option<&str>, zone: Option<&str>| {
            let details = EndpointDetails {
                hostname: hostname.map(Into::into),
                pod: pod.map(Into::into),
                zone: zone.map(Into::into),
                node: None,
            };
            Endpoint::with([10, 0, 0, last].into(), details)
        };
        for others in [0, 100] {
            let zone = zone(
                [
                    endpoint(1, Some("Db"), Some("pod-1"), Some("Zone.a")),
                    endpoint(2, None, Some("pod-2"), Some("b")),
                    endpoint(3, None, None, Some("zone.a")),
                    // The same label in two slices, and a label that looks like another address.
                    endpoint(4, Some("db"), Some("10-0-0-3"), None),
                ],
                others,
            );
            let check = |name: &str, qtype: Type, expected: &[&str]| {
                let found = match zone.find(&Question::new(name.parse().unwrap(), qtype)) {
                    Found::Records { answer, .. } => {
                        let all = answer.iter().flat_map(|set| set.rdatas.iter());
                        all.map(|rdata| rdata[..4].escape_ascii().to_string()).collect()
                    }
                    other => vec![format!("{other:?}")],
                };
                assert_eq!(found, expected, "{name} beside {others} others");
            };
            let under = |label: &str| format!("{label}.web.ns.svc.cluster.local");
            check(&under("db"), Type::A, &["\\n\\x00\\x00\\x01", "\\n\\x00\\x00\\x04"]);
            check(&under("pod-2"), Type::A, &["\\n\\x00\\x00\\x02"]);
            check(&under("pod-1"), Type::A, &["NoName"]);
            check(&under("10-0-0-1"), Type::A, &["NoName"]);
            check(&under("10-0-0-3"), Type::A, &["\\n\\x00\\x00\\x03"]);
            check(&under("10-0-0-9"), Type::A, &["NoName"]);
            let in_zone = |zone: &str| under(&format!("{zone}.pin._zone"));
            check(&in_zone("zone.a"), Type::A, &["\\n\\x00\\x00\\x01", "\\n\\x00\\x00\\x03"]);
            check(&in_zone("c"), Type::A, &["NoData"]);
            check("1.0.0.10.in-addr.arpa", Type::PTR, &["\\x02Db\\x03"]);
            check("3.0.0.10.in-addr.arpa", Type::PTR, &["\\x0810-"]);
            check("9.0.0.10.in-addr.arpa", Type::PTR, &["NoName"]);
        }
    }
}
