//! Where clients outside of the cluster find a Service.

use std::net::IpAddr;

use smallvec::SmallVec;

use crate::{
    model::{LoadBalancerPoint, Outside, Service, ServicePort},
    wire::{Rdatas, Type},
    zone::{
        Found,
        derive::{Alias, Part, Scope, ServiceEntry, Target, address_data, distinct},
    },
};

/// Addresses, or the name that has them.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) addresses: Vec<IpAddr>,
    /// Counts where there are no addresses: next to them no CNAME may stand (RFC 1034 §3.6.2).
    pub(super) hostname: Option<Box<str>>,
    /// The port at the addresses is the Service's own, not that of the nodes.
    pub(super) at_nodes: bool,
}

impl Place {
    pub(super) fn of_points(points: &[LoadBalancerPoint]) -> Self {
        let mut place = Self::default();
        for point in points {
            match point {
                LoadBalancerPoint::Ip(ip) => place.addresses.push(*ip),
                LoadBalancerPoint::Hostname(name) if place.hostname.is_none() => {
                    place.hostname = Some(name.clone());
                }
                // A name has one CNAME.
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

    /// What a name of the place has, ports left aside.
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

    /// Where its own addresses, or its load balancer's name, lead.
    pub(super) fn own_place(&self) -> Place {
        self.outside().map(outer).unwrap_or_default()
    }

    /// What the Service answers to clients that find it at a place.
    pub(super) fn answer_at(
        &self,
        service: &Service,
        place: &Place,
        part: Part<'_>,
        qtype: Type,
        scope: &Scope<'_>,
    ) -> Found {
        let ports = service
            .ports
            .iter()
            .filter(|port| part.has_port(&port.name, port.protocol))
            .filter_map(|port| place.port(port));
        let ports: SmallVec<[u16; 4]> = ports.collect();
        if matches!(part, Part::Port { .. }) && ports.is_empty() {
            return Found::NoName;
        }
        if !place.addresses.is_empty() {
            let (addresses, ports) =
                (place.addresses.iter().copied().collect(), ports.into_iter().map(Some).collect());
            let target = Target { label: None, addresses, ports };
            return self.targets_answer(vec![target], part, qtype, scope);
        }
        // Beside a CNAME there is nothing else (RFC 1034 §3.6.2): the Service's name has it, those
        // of its ports have SRV records.
        match (place.hostname.as_deref().and_then(Alias::new), part) {
            (Some(alias), Part::Port { .. }) if qtype == Type::SRV => {
                Found::set(qtype, scope.ttl, srv_to(&alias, &ports))
            }
            (Some(_), Part::Port { .. }) | (None, _) => Found::NoData,
            (Some(alias), _) => alias.lead(qtype, scope.ttl),
        }
    }
}

fn outer(outside: &Outside) -> Place {
    let mut place = Place::of_points(&outside.load_balancer);
    place.addresses = distinct(outside.external_ips.iter().copied().chain(place.addresses));
    place
}

/// The target of a SRV record must be no alias (RFC 2782): it is the name that the alias would lead
/// to.
fn srv_to(alias: &Alias, ports: &[u16]) -> Rdatas {
    let weight = (100 / ports.len().max(1)).max(1) as u16;
    let Some(target) = alias.rdata.iter().next() else { return Rdatas::default() };
    ports
        .iter()
        .map(|port| [&[0, 0], &weight.to_be_bytes()[..], &port.to_be_bytes(), target].concat())
        .collect()
}
