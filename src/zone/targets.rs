//! Answers of hosts: a Service's own addresses, or its endpoints, with their ports.

use std::{collections::HashMap, net::IpAddr, ptr, rc::Rc};

use smallvec::{SmallVec, smallvec};

use crate::{
    limits,
    model::{EndpointRef, EndpointSlice},
    wire::{Owner, RecordSet, Sets, Type},
};

use super::{
    answer::Found,
    derive::{Scope, ServiceEntry, address_data, cluster_of, distinct, label},
    endpoint_label::{EndpointLabel, EndpointMatcher},
    labels::{dotted, is_labels},
    selection::{Selection, ZonePreference},
};

/// A host of SRV records: the Service itself, or an endpoint.
struct SrvHost<'e> {
    label: Option<EndpointLabel<'e>>,
    addresses: SmallVec<[IpAddr; 4]>,
    /// A host that is in several slices has the ports of each.
    ports: SmallVec<[Ports; 1]>,
}

/// Port numbers, which the endpoints of a slice share. `None` stands for all ports.
type Ports = Rc<[Option<u16>]>;

impl SrvHost<'_> {
    fn port_count(&self) -> usize {
        self.ports.iter().map(|ports| ports.len()).sum()
    }
}

impl ServiceEntry {
    /// The answer for a topology zone. The name exists for every zone name, because a misspelled
    /// zone looks like a zone without endpoints.
    pub(super) fn zonal(
        &self,
        zone: &[u8],
        preference: ZonePreference,
        qtype: Type,
        scope: &Scope<'_>,
    ) -> Found {
        let part = Selection::Service;
        let (text, all) = (dotted(zone), || self.endpoints());
        let mut there = self
            .endpoints_near(Some(&text), None)
            .filter(|(_, endpoint)| endpoint.zone().is_some_and(|name| is_labels(name, zone)))
            .peekable();
        match preference {
            _ if there.peek().is_some() => {
                self.targets_answer(self.targets(there, part, scope), part, qtype, scope)
            }
            ZonePreference::Prefer if all().next().is_some() => {
                self.targets_answer(self.targets(all(), part, scope), part, qtype, scope)
            }
            ZonePreference::Pin | ZonePreference::Prefer => Found::NoData,
        }
    }

    /// The answer from the endpoints that are selected.
    pub(super) fn endpoints_answer(
        &self,
        part: Selection<'_>,
        qtype: Type,
        scope: &Scope<'_>,
    ) -> Found {
        let Selection::Endpoint { label, cluster } = part else {
            // Whole slices without the port are left out first.
            let with_port = self.slices.iter().filter(|slice| {
                !matches!(part, Selection::Port { .. }) || !ports_of(slice, part).is_empty()
            });
            let endpoints = with_port
                .flat_map(|slice| slice.endpoints.iter().map(move |endpoint| (&**slice, endpoint)));
            return self.targets_answer(self.targets(endpoints, part, scope), part, qtype, scope);
        };
        let wanted = EndpointMatcher::new(label);
        let near = self.endpoints_near(Some(label), wanted.address());
        let endpoints = near.filter(|(slice, endpoint)| {
            let same = match (cluster_of(slice, scope), cluster) {
                (Some(is), Some(wanted)) => is.as_bytes().eq_ignore_ascii_case(wanted),
                (is, wanted) => is.is_none() && wanted.is_none(),
            };
            same && wanted.is(*endpoint, scope.pod_names)
        });
        self.targets_answer(self.targets(endpoints, part, scope), part, qtype, scope)
    }

    /// The hosts of SRV records for these endpoints, which are in the order of their slices.
    fn targets<'e>(
        &'e self,
        endpoints: impl Iterator<Item = (&'e EndpointSlice, EndpointRef<'e>)>,
        part: Selection<'_>,
        scope: &Scope<'_>,
    ) -> impl Iterator<Item = SrvHost<'e>> {
        let mut latest: Option<(&EndpointSlice, Ports)> = None;
        endpoints.map(move |(slice, endpoint)| {
            let ports = match &latest {
                Some((same, ports)) if ptr::eq(*same, slice) => Rc::clone(ports),
                _ => Rc::clone(&latest.insert((slice, ports_of(slice, part))).1),
            };
            SrvHost {
                label: Some(label(slice, endpoint, scope)),
                addresses: smallvec![endpoint.address],
                ports: smallvec![ports],
            }
        })
    }

    /// The answer of the Service itself, which has these addresses and ports.
    pub(super) fn addresses_answer(
        &self,
        addresses: &[IpAddr],
        ports: impl Iterator<Item = u16>,
        part: Selection<'_>,
        qtype: Type,
        scope: &Scope<'_>,
    ) -> Found {
        let addresses = SmallVec::from_slice(addresses);
        let target =
            SrvHost { label: None, addresses, ports: smallvec![ports.map(Some).collect()] };
        self.targets_answer([target], part, qtype, scope)
    }

    fn targets_answer<'e>(
        &self,
        targets: impl IntoIterator<Item = SrvHost<'e>>,
        part: Selection<'_>,
        qtype: Type,
        scope: &Scope<'_>,
    ) -> Found {
        let has_port = |target: &SrvHost<'_>| {
            !matches!(part, Selection::Port { .. }) || target.port_count() > 0
        };
        let mut targets = targets.into_iter().filter(has_port).peekable();
        if targets.peek().is_none() {
            return Found::NoName;
        }
        match qtype {
            Type::A | Type::AAAA => {
                let addresses = distinct(targets.flat_map(|target| target.addresses));
                Found::set(qtype, scope.ttl, address_data(qtype, &addresses))
            }
            Type::SRV => self.srv(targets.collect(), scope),
            _ => Found::NoData,
        }
    }

    /// One record for each host and port (RFC 2782), and the addresses of the hosts. The weights of
    /// all addresses and ports add up to about 100, and each is at least 1, as in CoreDNS.
    fn srv(&self, targets: Vec<SrvHost<'_>>, scope: &Scope<'_>) -> Found {
        let shares: usize =
            targets.iter().map(|target| target.addresses.len() * target.port_count()).sum();
        let weight = (100 / shares.max(1)).max(1) as u16;
        let (mut srv, mut additional) = (Vec::new(), Sets::new());
        let mut octets = 0;
        for target in merged(targets) {
            // A thousand hosts with ten thousand ports each would be ten million records.
            if octets > limits::STREAM_OCTETS {
                break;
            }
            let Some(name) = self.target_name(target.label.as_ref(), scope) else { continue };
            let ports = target.ports.iter().flat_map(|ports| ports.iter().copied());
            let ports = distinct(ports.flatten());
            for port in &ports {
                let rdata = [&[0, 0], &weight.to_be_bytes()[..], &port.to_be_bytes(), &name];
                let rdata = rdata.concat();
                octets += rdata.len();
                srv.push(rdata);
                if octets > limits::STREAM_OCTETS {
                    break;
                }
            }
            for rtype in [Type::A, Type::AAAA] {
                let data = address_data(rtype, &target.addresses);
                if !data.is_empty() && !ports.is_empty() {
                    additional.push(RecordSet::new(
                        Owner::Name(name.clone().into()),
                        rtype,
                        scope.ttl,
                        data,
                    ));
                }
            }
        }
        match Found::set(Type::SRV, scope.ttl, srv.into_iter().collect()) {
            Found::Records { answer, .. } => Found::Records { answer, additional },
            other => other,
        }
    }
}

fn ports_of(slice: &EndpointSlice, part: Selection<'_>) -> Ports {
    let ports = slice.ports.iter().filter(|port| part.has_port(&port.name, port.protocol));
    ports.map(|port| port.port).collect()
}

/// Merges hosts with the same label, so that each address occurs once. A host may be in several
/// slices, and in both families.
fn merged(targets: Vec<SrvHost<'_>>) -> Vec<SrvHost<'_>> {
    if targets.len() == 1 {
        return targets;
    }
    let mut merged: Vec<SrvHost<'_>> = Vec::with_capacity(targets.len());
    let mut places = HashMap::with_capacity(targets.len());
    for target in targets {
        let place = *places.entry(target.label.clone()).or_insert(merged.len());
        let Some(whole) = merged.get_mut(place) else {
            merged.push(target);
            continue;
        };
        whole.addresses.extend(target.addresses);
        for ports in target.ports {
            if whole.ports.last().is_none_or(|last| !Rc::ptr_eq(last, &ports)) {
                whole.ports.push(ports);
            }
        }
    }
    for whole in &mut merged {
        whole.addresses = distinct(whole.addresses.drain(..));
    }
    merged
}
