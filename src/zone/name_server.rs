//! The apex of a zone: its SOA and NS records, and the names and addresses of its name servers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use smallvec::smallvec;

use crate::wire::{Owner, Question, RecordSet, Sets, Type};

use super::{
    answer::Found,
    cluster::Zone,
    cluster_set::ZoneKind,
    derive::{Scope, address_data},
    settings::is_reverse,
};

impl Zone {
    pub(super) fn apex(&self, question: &Question, scope: &Scope<'_>) -> Found {
        match question.qtype {
            Type::SOA => match self.soa(question) {
                Some(soa) => Found::Records { answer: smallvec![soa], additional: Sets::new() },
                None => Found::NotInZone,
            },
            Type::NS => self.name_servers(question, scope),
            _ => Found::NoData,
        }
    }

    /// The Services that have one of this server's addresses as an endpoint; `ns.dns.ZONE` if there
    /// is none.
    fn name_servers(&self, question: &Question, scope: &Scope<'_>) -> Found {
        let primary = self.primary();
        // A reverse zone and a zone of the cluster set contain no Services of the cluster, so the
        // name servers have their names in the cluster's first zone.
        let in_other_zone = is_reverse(&question.name) || scope.zone_kind == ZoneKind::ClusterSet;
        let scope = if in_other_zone { &self.scope(&primary, ZoneKind::Cluster) } else { scope };
        let servers = self.own_servers(scope);
        let names = servers.keys();
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

    /// The names of the zone's name servers in wire form, each with its addresses.
    fn own_servers(&self, scope: &Scope<'_>) -> BTreeMap<Vec<u8>, BTreeSet<IpAddr>> {
        let mut servers = BTreeMap::<Vec<u8>, BTreeSet<IpAddr>>::new();
        for own in &self.settings.own_addresses {
            for entry in self.store.by_endpoint(*own) {
                if entry.is_headless() {
                    let labels = entry.labels_of(*own, scope);
                    // An endpoint may have addresses of both families.
                    for name in labels.filter_map(|label| entry.target_name(Some(&label), scope)) {
                        servers.entry(name).or_default().insert(*own);
                    }
                } else if !entry.cluster_ips().is_empty()
                    && let Some(name) = entry.target_name(None, scope)
                {
                    servers.entry(name).or_default().extend(entry.cluster_ips());
                }
            }
        }
        if servers.is_empty() {
            let name = [b"\x02ns\x03dns".as_slice(), scope.zone.wire()].concat();
            servers.insert(name, self.settings.own_addresses.iter().copied().collect());
        }
        servers
    }

    /// `dns.ZONE` and `ns.dns.ZONE`, the name server of the SOA record.
    pub(super) fn name_server(&self, left: &[u8], qtype: Type, scope: &Scope<'_>) -> Found {
        match left {
            b"" => Found::NoData,
            b"\x02ns" if matches!(qtype, Type::A | Type::AAAA) => {
                let addresses: BTreeSet<_> =
                    self.own_servers(scope).into_values().flatten().collect();
                Found::set(qtype, scope.ttl, address_data(qtype, &addresses))
            }
            b"\x02ns" => Found::NoData,
            _ => Found::NoName,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        model::{
            Addressing, Change, Endpoint, EndpointDetails, EndpointSlice, Kind, Namespace, Object,
            Service,
        },
        zone::{Index, Settings},
    };

    use super::*;

    #[test]
    fn a_name_server_with_addresses_of_both_families_is_listed_once() {
        let own: [IpAddr; 2] = [[10, 244, 0, 5].into(), "fd00::5".parse().unwrap()];
        let mut index = Index::default();
        let slice = |address: IpAddr| {
            let hostname = Some("dns-0".into());
            let details = EndpointDetails { hostname, ..EndpointDetails::default() };
            Object::EndpointSlice(EndpointSlice {
                service: Some("dns".into()),
                endpoints: [Endpoint::with(address, details)].into(),
                ..EndpointSlice::new("kube-system", &address.to_string())
            })
        };
        let namespace = Namespace { name: "kube-system".into(), labels: Box::default() };
        let service = Service::new("kube-system", "dns", Addressing::Headless);
        let objects = [Object::Namespace(namespace), Object::Service(service)];
        for object in objects.into_iter().chain(own.map(slice)) {
            index.apply(Change::Upsert(object), 1);
        }
        for kind in Kind::ALL {
            index.apply(Change::Synced(kind), 1);
        }
        let name = "cluster.local".parse().unwrap();
        let settings = Settings { own_addresses: own.into(), ..Settings::new(vec![name]) };
        let zone = Zone::new(index.store(), settings);
        let question = Question::new("cluster.local".parse().unwrap(), Type::NS);
        let Found::Records { answer, additional } = zone.find(&question) else { panic!() };
        let records = |sets: &Sets| {
            let count = |set: &RecordSet| (set.rtype, set.rdatas.iter().count());
            sets.iter().map(count).collect::<Vec<_>>()
        };
        assert_eq!(records(&answer), [(Type::NS, 1)]);
        assert_eq!(records(&additional), [(Type::A, 1), (Type::AAAA, 1)]);
    }
}
