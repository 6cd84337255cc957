//! The addresses at which clients outside of the cluster reach a Service.

use std::net::IpAddr;

use smallvec::SmallVec;

use crate::{
    model::{LoadBalancerPoint, Outside, Service, ServicePort},
    wire::{Rdatas, Type},
    zone::{
        alias::Alias,
        answer::Found,
        derive::{Scope, ServiceEntry, address_data, distinct},
        selection::Selection,
    },
};

/// Addresses, or a host name that has addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct OutsideAddresses {
    pub(super) addresses: Vec<IpAddr>,
    /// Used only if there are no addresses, because a CNAME record excludes other records (RFC 1034
    /// §3.6.2).
    pub(super) hostname: Option<Box<str>>,
    /// Whether clients connect to Nodes, where the node port counts.
    pub(super) at_nodes: bool,
}

impl OutsideAddresses {
    pub(super) fn of_points(points: &[LoadBalancerPoint]) -> Self {
        let mut place = Self::default();
        for point in points {
            match point {
                LoadBalancerPoint::Ip(ip) => place.addresses.push(*ip),
                LoadBalancerPoint::Hostname(name) if place.hostname.is_none() => {
                    place.hostname = Some(name.clone());
                }
                // A name can have one CNAME record only.
                LoadBalancerPoint::Hostname(_) => {}
            }
        }
        place
    }

    pub(super) fn add(&mut self, other: Self) {
        self.addresses.extend(other.addresses);
        self.hostname = self.hostname.take().or(other.hostname);
        self.at_nodes |= other.at_nodes;
    }

    /// The records for a name with these addresses, without ports.
    pub(super) fn answer(&self, qtype: Type, ttl: u32) -> Found {
        match (
            qtype,
            self.hostname.as_deref().filter(|_| self.addresses.is_empty()).and_then(Alias::new),
        ) {
            (Type::A | Type::AAAA, None) => {
                Found::set(qtype, ttl, address_data(qtype, &self.addresses))
            }
            (_, Some(alias)) => alias.lead(qtype, ttl),
            (_, None) => Found::NoData,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.hostname.is_none()
    }

    fn port(&self, port: &ServicePort) -> Option<u16> {
        if self.at_nodes { port.node_port } else { Some(port.port) }
    }
}

impl ServiceEntry {
    fn outside(&self) -> Option<&Outside> {
        self.service.as_ref()?.outside.as_deref()
    }

    /// `externalIPs` and the load balancer's addresses.
    pub(in crate::zone) fn outer_ips(&self) -> Vec<IpAddr> {
        self.outside().map(|outside| outer(outside).addresses).unwrap_or_default()
    }

    /// The Service's own addresses outside, or the name of its load balancer.
    pub(super) fn own_place(&self) -> OutsideAddresses {
        self.outside().map(outer).unwrap_or_default()
    }

    /// The answer for clients that reach the Service at these addresses.
    pub(super) fn answer_at(
        &self,
        service: &Service,
        place: &OutsideAddresses,
        part: Selection<'_>,
        qtype: Type,
        scope: &Scope<'_>,
    ) -> Found {
        let ports = service
            .ports
            .iter()
            .filter(|port| part.has_port(&port.name, port.protocol))
            .filter_map(|port| place.port(port));
        let ports: SmallVec<[u16; 4]> = ports.collect();
        if matches!(part, Selection::Port { .. }) && ports.is_empty() {
            return Found::NoName;
        }
        if !place.addresses.is_empty() {
            return self.addresses_answer(&place.addresses, ports.into_iter(), part, qtype, scope);
        }
        // A CNAME record excludes other records (RFC 1034 §3.6.2), so only the Service's own name
        // has it. The names of ports have SRV records.
        match (place.hostname.as_deref().and_then(Alias::new), part) {
            (Some(alias), Selection::Port { .. }) if qtype == Type::SRV => {
                Found::set(qtype, scope.ttl, srv_to(&alias, &ports))
            }
            (Some(_), Selection::Port { .. }) | (None, _) => Found::NoData,
            (Some(alias), _) => alias.lead(qtype, scope.ttl),
        }
    }
}

fn outer(outside: &Outside) -> OutsideAddresses {
    let mut place = OutsideAddresses::of_points(&outside.load_balancer);
    let addresses = outside.external_ips.iter().copied().chain(place.addresses);
    place.addresses = distinct(addresses).into_vec();
    place
}

/// The target of an SRV record must not be an alias (RFC 2782), so it is the target of the CNAME
/// record.
fn srv_to(alias: &Alias, ports: &[u16]) -> Rdatas {
    let weight = (100 / ports.len().max(1)).max(1) as u16;
    let Some(target) = alias.rdata.iter().next() else { return Rdatas::default() };
    ports
        .iter()
        .map(|port| [&[0, 0], &weight.to_be_bytes()[..], &port.to_be_bytes(), target].concat())
        .collect()
}
