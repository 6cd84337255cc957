//! The apex of a zone: its SOA and NS records, and the names and addresses of its name servers.

use std::net::IpAddr;

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
        let names = servers.iter().map(|(name, _)| name);
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

    fn own_servers(&self, scope: &Scope<'_>) -> Vec<(Vec<u8>, Vec<IpAddr>)> {
        let mut servers = Vec::new();
        for own in &self.settings.own_addresses {
            for entry in self.store.by_endpoint(*own) {
                if entry.is_headless() {
                    let names = entry
                        .labels_of(*own, scope.pod_names)
                        .filter_map(|label| entry.target_name(Some(&label), scope));
                    servers.extend(names.map(|name| (name, vec![*own])));
                } else if !entry.cluster_ips().is_empty() {
                    servers.extend(
                        entry
                            .target_name(None, scope)
                            .map(|name| (name, entry.cluster_ips().to_vec())),
                    );
                }
            }
        }
        servers.sort_unstable();
        servers.dedup();
        if servers.is_empty() {
            let name = [b"\x02ns\x03dns".as_slice(), scope.zone.wire()].concat();
            servers.push((name, self.settings.own_addresses.clone()));
        }
        servers
    }

    /// `dns.ZONE` and `ns.dns.ZONE`, the name server of the SOA record.
    pub(super) fn name_server(&self, left: &[u8], qtype: Type, scope: &Scope<'_>) -> Found {
        match left {
            b"" => Found::NoData,
            b"\x02ns" if matches!(qtype, Type::A | Type::AAAA) => {
                let mut addresses: Vec<_> = self
                    .own_servers(scope)
                    .into_iter()
                    .flat_map(|(_, addresses)| addresses)
                    .collect();
                addresses.sort_unstable();
                addresses.dedup();
                Found::set(qtype, scope.ttl, address_data(qtype, &addresses))
            }
            b"\x02ns" => Found::NoData,
            _ => Found::NoName,
        }
    }
}
