//! All records of a zone at one moment, for zone transfers (RFC 5936).
//!
//! The transfer of a cluster zone contains what CoreDNS's contains: the names of Services, of the
//! endpoints of headless Services, and of named ports. Other names that are answered (Pods,
//! topology zones, ports without underscores) are left out.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    model::{Addressing, Kind, Protocol, Service},
    wire::{Name, Owner, Question, Rdatas, RecordSet, Records, Sets, Spelled, Transfer, Type},
};

use super::{
    answer::{Found, UnsyncedError},
    cluster::Zone,
    cluster_set::ZoneKind,
    derive::{Scope, ServiceEntry, address_data, distinct, label},
    endpoint_label::EndpointLabel,
    settings::is_reverse,
};

impl Zone {
    /// All records of the zone whose apex the question names; `None` if the view has no such zone.
    ///
    /// # Errors
    /// The source has not listed all objects of the zone yet.
    pub fn transfer(&self, question: &Question) -> Option<Result<Transfer, UnsyncedError>> {
        if !self.settings.zones.contains(&question.name) {
            return None;
        }
        let zone_kind = self.zone_kind_of(&question.name);
        let of_others = |kind: &Kind| match kind {
            Kind::Pod => true,
            Kind::Service => zone_kind == ZoneKind::ClusterSet,
            Kind::ServiceImport => zone_kind == ZoneKind::Cluster,
            _ => false,
        };
        let complete =
            self.settings.kinds().filter(|kind| !of_others(kind)).all(|kind| self.knows(&[kind]));
        Some(if complete { self.records_of(question) } else { Err(UnsyncedError) })
    }

    fn records_of(&self, question: &Question) -> Result<Transfer, UnsyncedError> {
        let zone_kind = self.zone_kind_of(&question.name);
        let snapshot = self.store.snapshot(zone_kind);
        let serial = *snapshot.serials.of(zone_kind);
        let soa = self.soa_of(question, serial).ok_or(UnsyncedError)?;
        let top = self.top(question);
        let view = ZoneSnapshot {
            zone: self.clone(),
            spelled: question.spelled(),
            zone_kind,
            services: self.settings.namespaces.shown(&snapshot, zone_kind),
        };
        let below: Records = if is_reverse(&question.name) {
            Box::new(view.pointers(question.name.clone()))
        } else {
            Box::new(view.records())
        };
        Ok(Transfer { soa, serial, records: Box::new(top.into_iter().chain(below)) })
    }

    /// The NS records, and the addresses of name servers that are not Services of the zone.
    fn top(&self, question: &Question) -> Sets {
        let question = Question { qtype: Type::NS, ..question.clone() };
        let Found::Records { answer, additional } = self.find(&question) else {
            return Sets::new();
        };
        let is_glue = |set: &RecordSet| {
            let Owner::Name(wire) = &set.owner else { return false };
            let Some(name) = Name::from_wire(wire) else { return false };
            let Some(left) = name.left_of(&question.name) else { return false };
            left == b"\x02ns\x03dns"
                || !matches!(
                    self.find(&Question::new(name.clone(), set.rtype)),
                    Found::Records { .. }
                )
        };
        answer.into_iter().chain(additional.into_iter().filter(is_glue)).collect()
    }
}

/// The Services of a view at one moment, sorted by name.
struct ZoneSnapshot {
    zone: Zone,
    /// The apex in the client's spelling.
    spelled: Spelled,
    zone_kind: ZoneKind,
    services: Vec<Arc<ServiceEntry>>,
}

impl ZoneSnapshot {
    fn records(self) -> impl Iterator<Item = RecordSet> + Send {
        let snapshot = Arc::new(self);
        (0..snapshot.services.len()).flat_map(move |at| {
            let (snapshot, entry) = (Arc::clone(&snapshot), Arc::clone(&snapshot.services[at]));
            let records = entry.records(&snapshot.scope());
            let ports = entry.endpoint_ports(&snapshot.scope());
            let ports = ports.into_iter().filter_map(move |((protocol, name), slices)| {
                let scope = snapshot.scope();
                let rdatas = entry.endpoint_srv(&slices, &scope);
                entry.port_set((protocol, &name), rdatas, &scope)
            });
            records.into_iter().chain(ports)
        })
    }

    fn scope(&self) -> Scope<'_> {
        self.zone.scope(&self.spelled, self.zone_kind)
    }

    /// The PTR records of the addresses in a reverse zone: one for a cluster IP, and one for each
    /// Service of an endpoint.
    fn pointers(self, reverse: Name) -> impl Iterator<Item = RecordSet> + Send {
        let Self { zone, services, .. } = self;
        let cluster_ips: HashSet<IpAddr> =
            services.iter().flat_map(|entry| entry.cluster_ips()).copied().collect();
        let (primary, mut seen) = (zone.primary(), HashSet::new());
        services.into_iter().flat_map(move |entry| {
            let scope = zone.scope(&primary, ZoneKind::Cluster);
            let mut pointers = BTreeMap::<IpAddr, Vec<Vec<u8>>>::new();
            for address in entry.cluster_ips().iter().filter(|address| seen.insert(**address)) {
                pointers.entry(*address).or_default().extend(entry.target_name(None, &scope));
            }
            let endpoints = entry.endpoints().filter(|(_, endpoint)| {
                !scope.no_endpoints && !cluster_ips.contains(&endpoint.address)
            });
            for (slice, endpoint) in endpoints {
                let target = entry.target_name(Some(&label(slice, endpoint, &scope)), &scope);
                pointers.entry(endpoint.address).or_default().extend(target);
            }
            let named = pointers
                .into_iter()
                .map(|(address, targets)| (Name::reverse(address), distinct(targets.into_iter())));
            let within =
                named.filter(|(name, targets)| name.is_within(&reverse) && !targets.is_empty());
            within
                .map(|(name, targets)| {
                    RecordSet::new(
                        Owner::from(&name),
                        Type::PTR,
                        scope.ttl,
                        targets.iter().collect(),
                    )
                })
                .collect::<Vec<_>>()
        })
    }
}

/// For the protocol and the name of a port, the slices that have it, and its number in each.
type EndpointPorts = BTreeMap<(Protocol, Box<str>), Vec<(usize, u16)>>;

impl ServiceEntry {
    /// The record sets of the Service that a transfer contains.
    fn records(&self, scope: &Scope<'_>) -> Vec<RecordSet> {
        let (Some(service), Some(own)) = (&self.service, self.target_name(None, scope)) else {
            return Vec::new();
        };
        let mut sets = vec![
            set(&own, Type::A, self.v4.clone(), scope),
            set(&own, Type::AAAA, self.v6.clone(), scope),
        ];
        match &service.addressing {
            Addressing::ExternalName(_) => {
                let alias = self.alias().map(|alias| alias.rdata.clone());
                sets.push(set(&own, Type::CNAME, alias.unwrap_or_default(), scope));
            }
            Addressing::ClusterIps(ips)
                if ips.is_empty() || scope.ignore_empty && self.endpoints().next().is_none() =>
            {
                sets.clear();
            }
            Addressing::ClusterIps(_) => self.add_ports(service, &own, scope, &mut sets),
            Addressing::Headless if scope.no_endpoints => sets.clear(),
            Addressing::Headless => self.add_endpoints(scope, &mut sets),
        }
        sets.retain(|set| !set.rdatas.is_empty());
        sets
    }

    fn add_ports(
        &self,
        service: &Service,
        own: &[u8],
        scope: &Scope<'_>,
        sets: &mut Vec<RecordSet>,
    ) {
        let (mut all, mut named) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        for port in service.ports.iter() {
            let rdata = srv(100, port.port, own);
            if !port.name.is_empty() {
                named.entry((port.protocol, &*port.name)).or_default().push(rdata.clone());
            }
            all.push(rdata);
        }
        let all = distinct(all.into_iter());
        sets.push(set(own, Type::SRV, all.iter().collect(), scope));
        let named = named.into_iter();
        sets.extend(named.filter_map(|(port, rdatas)| self.port_set(port, rdatas, scope)));
    }

    fn add_endpoints(&self, scope: &Scope<'_>, sets: &mut Vec<RecordSet>) {
        let mut hosts = BTreeMap::<EndpointLabel<'_>, Vec<IpAddr>>::new();
        for (slice, endpoint) in self.endpoints() {
            let label = label(slice, endpoint, scope);
            hosts.entry(label).or_default().push(endpoint.address);
        }
        for (label, addresses) in hosts {
            let addresses = distinct(addresses.into_iter());
            let Some(host) = self.target_name(Some(&label), scope) else { continue };
            sets.extend(
                [Type::A, Type::AAAA]
                    .map(|rtype| set(&host, rtype, address_data(rtype, &addresses), scope)),
            );
        }
    }

    /// The named ports of the endpoints of a headless Service. A thousand endpoints may have
    /// thousands of ports each, so their records are made for one port at a time.
    fn endpoint_ports(&self, scope: &Scope<'_>) -> EndpointPorts {
        let mut ports = EndpointPorts::new();
        if scope.no_endpoints || !self.is_headless() {
            return ports;
        }
        for (slice, at) in self.slices.iter().zip(0..) {
            for port in slice.ports.iter().filter(|port| !port.name.is_empty()) {
                let key = (port.protocol, port.name.clone());
                ports.entry(key).or_default().extend(port.port.map(|number| (at, number)));
            }
        }
        ports
    }

    /// The SRV data of a port of the endpoints in these slices.
    fn endpoint_srv(&self, slices: &[(usize, u16)], scope: &Scope<'_>) -> Vec<Vec<u8>> {
        let each = slices.iter().flat_map(|(at, number)| {
            let slice = &self.slices[*at];
            let weight = (100 / slice.endpoints.len().max(1)).max(1) as u16;
            slice.endpoints.iter().filter_map(move |endpoint| {
                let label = label(slice, endpoint, scope);
                Some(srv(weight, *number, &self.target_name(Some(&label), scope)?))
            })
        });
        each.collect()
    }

    /// The SRV records of a named port.
    fn port_set(
        &self,
        (protocol, name): (Protocol, &str),
        mut rdatas: Vec<Vec<u8>>,
        scope: &Scope<'_>,
    ) -> Option<RecordSet> {
        rdatas.sort_unstable();
        rdatas.dedup();
        let labels = [format!("_{}", name.to_ascii_lowercase()), format!("_{}", protocol.label())];
        let owner = self.name_under(labels.iter().map(String::as_str), scope)?;
        let set = set(&owner, Type::SRV, rdatas.iter().collect(), scope);
        (!set.rdatas.is_empty()).then_some(set)
    }
}

fn set(owner: &[u8], rtype: Type, rdatas: Rdatas, scope: &Scope<'_>) -> RecordSet {
    RecordSet::new(Owner::Name(owner.to_vec().into()), rtype, scope.ttl, rdatas)
}

/// SRV data of priority 0 (RFC 2782).
fn srv(weight: u16, port: u16, target: &[u8]) -> Vec<u8> {
    [&[0, 0], &weight.to_be_bytes()[..], &port.to_be_bytes(), target].concat()
}

#[cfg(test)]
mod tests {
    use crate::{
        model::{Change, Namespace, Object, ServicePort},
        zone::{Index, Settings},
    };

    use super::*;

    fn service(name: &str, last: u8) -> Change {
        let addressing = Addressing::ClusterIps(Box::new([[10, 96, 0, last].into()]));
        let ports = [ServicePort::new("http", Protocol::Tcp, 80)].into();
        Change::Upsert(Object::Service(Service { ports, ..Service::new("ns", name, addressing) }))
    }

    fn printed(transfer: Transfer) -> (u32, Vec<String>) {
        (transfer.serial, transfer.records.map(|set| format!("{set:?}")).collect())
    }

    #[test]
    fn a_transfer_contains_the_records_of_its_start() {
        let mut index = Index::default();
        let zone = Zone::new(index.store(), Settings::new(vec!["cluster.local".parse().unwrap()]));
        let apex = Question::new("cluster.local".parse().unwrap(), Type::AXFR);
        assert!(matches!(zone.transfer(&apex), Some(Err(UnsyncedError))));
        index.apply(
            Change::Upsert(Object::Namespace(Namespace {
                name: "ns".into(),
                labels: Box::default(),
            })),
            1,
        );
        [service("a", 1), service("b", 2)].into_iter().for_each(|change| {
            index.apply(change, 2);
        });
        Kind::ALL.into_iter().for_each(|kind| {
            index.apply(Change::Synced(kind), 3);
        });

        let take =
            || zone.transfer(&apex).unwrap().unwrap_or_else(|_| panic!("everything is listed"));
        let (before, mut half) = (printed(take()), take());
        let first = half.records.next();
        index.apply(service("b", 3), 4);
        index.apply(service("c", 4), 5);
        index.apply(Change::Remove(service_key("a")), 6);
        let rest: Vec<_> =
            first.into_iter().chain(half.records).map(|set| format!("{set:?}")).collect();
        assert_eq!((3, rest), before);
        let (serial, after) = printed(take());
        assert_eq!((serial, after.len()), (6, before.1.len()));
        assert_ne!(after, before.1);
    }

    fn service_key(name: &str) -> crate::model::Key {
        crate::model::Key::new(Kind::Service, "ns", name)
    }
}
