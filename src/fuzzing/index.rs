//! Checks that applying changes one by one gives the same zone as an index of the final facts.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::{
    model::{
        Addressing, Change, Endpoint, EndpointDetails, EndpointPort, EndpointSlice, Import, Key,
        Kind, Namespace, Object, Pod, Protocol, Selector, Service, ServicePort,
    },
    wire::{Name, Question, RecordSet, Type},
    zone::{Index, Namespaces, PodMode, Settings, Zone},
};

use super::Bytes;

const KINDS: [Kind; 5] =
    [Kind::Namespace, Kind::Service, Kind::EndpointSlice, Kind::Pod, Kind::ServiceImport];
const NAMESPACES: [&str; 2] = ["a", "svc"];
const NAMES: [&str; 3] = ["x", "y", "10-0-0-1"];
const PORTS: [&str; 3] = ["", "p", "q"];
/// There are few addresses, so that objects share them.
const ADDRESSES: u8 = 5;

/// Applies any changes, made from `data`. An index that applied them one by one answers every
/// question like an index that is built from the final facts.
///
/// # Panics
/// If the answers or the zones for a transfer differ.
pub fn index_equals_rebuild(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (mut index, mut facts) = (Index::default(), Facts::default());
    while !bytes.0.is_empty() {
        let change = bytes.change();
        facts.apply(&change);
        index.apply(change, 1);
    }
    let rebuilt = facts.index();
    for settings in views() {
        let zones = [&index, &rebuilt].map(|index| Zone::new(index.store(), settings.clone()));
        let [grown, new] = &zones;
        assert!(
            grown.unsynced().eq(new.unsynced()),
            "the kinds that are not synced differ in {settings:?}"
        );
        for question in questions() {
            assert_eq!(
                grown.find(&question),
                new.find(&question),
                "{question} with {facts:?} in {settings:?}"
            );
        }
        for zone in &settings.zones {
            assert_eq!(
                transferred(grown, zone),
                transferred(new, zone),
                "the transfer of {zone} with {facts:?} in {settings:?}"
            );
        }
    }
}

/// The records of a transfer of the zone; `None` before all its kinds are synced.
fn transferred(zone: &Zone, apex: &Name) -> Option<Vec<RecordSet>> {
    zone.transfer(&Question::new(apex.clone(), Type::AXFR))?.ok().map(|zone| zone.records.collect())
}

/// The facts after all changes, computed in the simplest way.
#[derive(Debug, Default)]
struct Facts {
    objects: BTreeMap<Key, Object>,
    unseen: BTreeMap<Kind, BTreeSet<Key>>,
    synced: BTreeSet<Kind>,
}

impl Facts {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Upsert(object) => {
                let key = object.key();
                self.unseen.entry(key.kind).or_default().remove(&key);
                self.objects.insert(key, object.clone());
            }
            Change::Remove(key) => drop(self.objects.remove(key)),
            Change::Relist(kind) => {
                let known = self.objects.keys().filter(|key| key.kind == *kind).cloned().collect();
                self.unseen.insert(*kind, known);
            }
            Change::Synced(kind) => {
                let gone = self.unseen.remove(kind).unwrap_or_default();
                self.objects.retain(|key, _| !gone.contains(key));
                self.synced.insert(*kind);
            }
            Change::Forget(kind) => {
                self.objects.retain(|key, _| key.kind != *kind);
                self.unseen.remove(kind);
                self.synced.remove(kind);
            }
            Change::Abandon(kind) if !self.synced.contains(kind) => {
                self.objects.retain(|key, _| key.kind != *kind);
                self.unseen.remove(kind);
            }
            Change::Abandon(_) | Change::Refused(..) | Change::Caused { .. } => {}
        }
    }

    fn index(&self) -> Index {
        let mut index = Index::default();
        self.objects.values().for_each(|object| {
            index.apply(Change::Upsert(object.clone()), 1);
        });
        self.synced.iter().for_each(|kind| {
            index.apply(Change::Synced(*kind), 1);
        });
        index
    }
}

impl Bytes<'_> {
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.octet()) % of.len()]
    }

    fn some<T>(&mut self, most: u8, mut make: impl FnMut(&mut Self) -> T) -> Box<[T]> {
        (0..self.octet() % (most + 1)).map(|_| make(self)).collect()
    }

    fn address(&mut self) -> IpAddr {
        let octet = self.octet();
        address(octet % ADDRESSES, octet >= 128)
    }

    fn change(&mut self) -> Change {
        let kind = self.one(&KINDS);
        match self.octet() % 16 {
            0..=9 => Change::Upsert(self.object(kind)),
            10..=12 => Change::Remove(self.object(kind).key()),
            13 => Change::Relist(kind),
            14 => Change::Synced(kind),
            _ => match self.octet() % 2 {
                0 => Change::Forget(kind),
                _ => Change::Abandon(kind),
            },
        }
    }

    fn object(&mut self, kind: Kind) -> Object {
        let (namespace, name): (Box<str>, Box<str>) =
            (self.one(&NAMESPACES).into(), self.one(&NAMES).into());
        match kind {
            Kind::Namespace => {
                let labels = self.some(1, |_| ("shown".into(), "yes".into()));
                Object::Namespace(Namespace { name: namespace, labels })
            }
            Kind::Service | Kind::ServiceImport => {
                let ports = self.some(2, |bytes| {
                    let name = bytes.one(&PORTS);
                    let protocol = bytes.one(&[Protocol::Tcp, Protocol::Udp]);
                    ServicePort::new(name, protocol, bytes.one(&[53, 80]))
                });
                let addressing = self.addressing();
                let service =
                    Service { ports: ports.into(), ..Service::new(&namespace, &name, addressing) };
                if kind == Kind::Service {
                    Object::Service(service)
                } else {
                    Object::ServiceImport(service)
                }
            }
            Kind::Pod => Object::Pod(Pod {
                namespace,
                name,
                addresses: self.some(2, Self::address),
                host_network: self.octet() >= 192,
            }),
            _ => Object::EndpointSlice(self.slice(&namespace, &name)),
        }
    }

    fn addressing(&mut self) -> Addressing {
        match self.octet() % 3 {
            0 => Addressing::ClusterIps(self.some(2, Self::address)),
            1 => Addressing::Headless,
            _ => Addressing::ExternalName(
                self.one(&[
                    "x.a.svc.cluster.local",
                    "y.svc.svc.cluster.local",
                    "example.org",
                    "192.0.2.1",
                ])
                .into(),
            ),
        }
    }

    fn slice(&mut self, namespace: &str, name: &str) -> EndpointSlice {
        let of = self.octet();
        let service = (of >= 64).then(|| self.one(&NAMES).into());
        let import = (of < 128).then(|| {
            Box::new(Import { service: self.one(&NAMES).into(), cluster: self.one(&NAMES).into() })
        });
        let endpoints = self.some(3, |bytes| {
            let address = bytes.address();
            let details = EndpointDetails {
                hostname: bytes.some(1, |bytes| bytes.one(&NAMES).into()).into_iter().next(),
                pod: bytes.some(1, |bytes| bytes.one(&NAMES).into()).into_iter().next(),
                zone: bytes.some(1, |bytes| bytes.one(&NAMES).into()).into_iter().next(),
                node: None,
            };
            Endpoint::with(address, details)
        });
        let port = |bytes: &mut Self| EndpointPort {
            name: bytes.one(&PORTS).into(),
            protocol: Protocol::Tcp,
            port: bytes.one(&[Some(8080), Some(53), None]),
        };
        let ports = self.some(2, port);
        EndpointSlice {
            service,
            import,
            endpoints: Vec::from(endpoints).into(),
            ports: ports.into(),
            ..EndpointSlice::new(namespace, name)
        }
    }
}

fn address(last: u8, v6: bool) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into()
    } else {
        Ipv4Addr::new(10, 0, 0, last).into()
    }
}

/// Zone settings that together cover every option that selects facts.
fn views() -> [Settings; 3] {
    let zones = ["cluster.local", "clusterset.local", "in-addr.arpa", "ip6.arpa"]
        .iter()
        .filter_map(|zone| zone.parse().ok())
        .collect();
    let plain = Settings {
        pods: PodMode::Insecure,
        multicluster: "clusterset.local".parse().into_iter().collect(),
        own_addresses: vec![address(1, false)],
        ..Settings::new(zones)
    };
    let shown = Selector::parse("shown=yes").map_or(Namespaces::All, Namespaces::Labelled);
    [
        Settings {
            pods: PodMode::Verified,
            endpoint_pod_names: true,
            zonal: true,
            ignore_empty_service: true,
            namespaces: shown,
            ..plain.clone()
        },
        Settings { no_endpoints: true, own_addresses: Vec::new(), ..plain.clone() },
        plain,
    ]
}

fn questions() -> Vec<Question> {
    let mut names = vec!["cluster.local".to_owned(), "ns.dns.cluster.local".to_owned()];
    for namespace in NAMESPACES {
        names.push(format!("{namespace}.svc.cluster.local"));
        names.push(format!("10-0-0-1.{namespace}.pod.cluster.local"));
        for service in NAMES {
            names.extend(
                ["", "x.", "x.y.", "_p._tcp."]
                    .map(|labels| format!("{labels}{service}.{namespace}.svc.clusterset.local")),
            );
            let service = format!("{service}.{namespace}.svc.cluster.local");
            names.extend(
                ["x", "10-0-0-2", "fd00--1", "_p._tcp", "_._udp", "x.pin._zone", "y.prefer._zone"]
                    .map(|label| format!("{label}.{service}")),
            );
            names.push(service);
        }
    }
    let reverse = (0..ADDRESSES).flat_map(|last| {
        [false, true].map(|v6| Question::new(Name::reverse(address(last, v6)), Type::PTR))
    });
    let types = [Type::A, Type::AAAA, Type::SRV, Type::CNAME, Type::NS];
    let forward = names
        .iter()
        .filter_map(|name| name.parse().ok())
        .flat_map(|name: Name| types.map(|qtype| Question::new(name.clone(), qtype)));
    reverse.chain(forward).collect()
}
