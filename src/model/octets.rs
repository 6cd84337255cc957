//! An estimate of the memory that facts take, so that a source can bound it.

use std::net::IpAddr;

use super::{
    Addressing, EndpointPort, EndpointRef, EndpointSlice, LoadBalancerPoint, Namespace, Object,
    Outside, Service, ServicePort,
};

/// What the allocator adds to each piece of memory.
const ALLOCATION: usize = 16;
/// What the zone stores for an object besides its fields: keys in tables and published records.
const ENTRY: usize = 256;
/// The same for a Service, whose entry has records of its own.
const SERVICE_ENTRY: usize = 768;
/// The same for a Pod, which is stored as its name and addresses.
const POD_ENTRY: usize = 96;
/// The entry of an endpoint's address in the map of addresses.
const ADDRESS_ENTRY: usize = 32;

impl Object {
    /// About how many octets of memory the fact takes in a zone.
    pub fn octets(&self) -> usize {
        match self {
            Self::Namespace(it) => it.octets(),
            Self::Service(it) | Self::ServiceImport(it) => it.octets(),
            Self::EndpointSlice(it) => it.octets(),
            Self::Pod(it) => pod_octets(&it.namespace, &it.name, it.addresses.len()),
            Self::Node(it) => ENTRY + text(&it.name) + array(&it.addresses),
            Self::Ingress(it) => {
                let own = text(&it.namespace) + text(&it.name) + text(&it.class);
                ENTRY + own + hosts(&it.hosts) + points(&it.points)
            }
            Self::Gateway(it) => {
                ENTRY + text(&it.namespace) + text(&it.name) + text(&it.class) + points(&it.points)
            }
            Self::Route(it) => {
                let gateways =
                    it.gateways.iter().map(|(namespace, name)| text(namespace) + text(name));
                let own = text(&it.namespace) + text(&it.name) + hosts(&it.hosts);
                ENTRY + own + gateways.sum::<usize>()
            }
        }
    }
}

/// [`Object::octets`] of a Pod.
pub fn pod_octets(namespace: &str, name: &str, addresses: usize) -> usize {
    POD_ENTRY + text(namespace) + text(name) + ALLOCATION + addresses * size_of::<IpAddr>()
}

impl Namespace {
    /// [`Object::octets`].
    pub fn octets(&self) -> usize {
        let labels = self.labels.iter().map(|(key, value)| text(key) + text(value));
        ENTRY + text(&self.name) + labels.sum::<usize>()
    }
}

fn text(text: &str) -> usize {
    size_of::<Box<str>>() + ALLOCATION + text.len()
}

fn array<T>(items: &[T]) -> usize {
    ALLOCATION + size_of_val(items)
}

/// A host is stored with the object, and in the map of claims.
fn hosts(hosts: &[Box<str>]) -> usize {
    hosts.iter().map(|host| ENTRY + text(host)).sum()
}

fn points(points: &[LoadBalancerPoint]) -> usize {
    let names = points.iter().map(|point| match point {
        LoadBalancerPoint::Ip(_) => 0,
        LoadBalancerPoint::Hostname(name) => name.len() + ALLOCATION,
    });
    array(points) + names.sum::<usize>()
}

impl Service {
    /// [`Object::octets`].
    pub fn octets(&self) -> usize {
        let addressing = match &self.addressing {
            Addressing::ClusterIps(addresses) => array(addresses),
            Addressing::Headless => 0,
            Addressing::ExternalName(name) => text(name),
        };
        let port = |port: &ServicePort| size_of::<ServicePort>() + text(&port.name);
        let ports: usize = self.ports.iter().map(port).sum();
        let outside = self.outside.as_ref().map_or(0, |it| outside(it));
        SERVICE_ENTRY + text(&self.namespace) + text(&self.name) + addressing + ports + outside
    }
}

fn outside(it: &Outside) -> usize {
    ENTRY + array(&it.external_ips) + points(&it.load_balancer) + hosts(&it.hosts)
}

impl EndpointSlice {
    /// [`Object::octets`].
    pub fn octets(&self) -> usize {
        let details = |it: EndpointRef<'_>| {
            it.details.map_or(0, |details| {
                let texts = [&details.hostname, &details.pod];
                let own: usize = texts.into_iter().flatten().map(|it| text(it)).sum();
                ALLOCATION + size_of_val(details) + own
            })
        };
        let port = |port: &EndpointPort| size_of::<EndpointPort>() + text(&port.name);
        let each = self.endpoints.len() * ADDRESS_ENTRY + self.endpoints.octets();
        let endpoints = each + self.endpoints.iter().map(details).sum::<usize>();
        let ports: usize = self.ports.iter().map(port).sum();
        let import = self.import.as_ref().map_or(0, |it| text(&it.service) + text(&it.cluster));
        let service = self.service.as_ref().map_or(0, |it| text(it));
        ENTRY + text(&self.namespace) + text(&self.name) + service + import + endpoints + ports
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::model::{Endpoint, Pod};

    #[test]
    fn the_estimate_grows_with_what_an_object_contains() {
        let address = IpAddr::from(Ipv4Addr::LOCALHOST);
        let pod = |name: &str, addresses: usize| {
            Object::Pod(Pod {
                namespace: "a".into(),
                name: name.into(),
                addresses: vec![address; addresses].into(),
                host_network: false,
            })
            .octets()
        };
        assert!((128..256).contains(&pod("web-0", 1)), "{}", pod("web-0", 1));
        assert!(pod(&"x".repeat(5000), 1) > 5000 && pod("x", 1000) > 16_000);
        let service = Service {
            ports: (0..100)
                .map(|port| ServicePort::new("p", super::super::Protocol::Tcp, port))
                .collect(),
            ..Service::new("a", "web", Addressing::ExternalName("x".repeat(250).into()))
        };
        assert!(Object::Service(service).octets() > 100 * size_of::<ServicePort>() + 1000);
        let slice = EndpointSlice {
            endpoints: vec![Endpoint::new(address); 1000].into(),
            ..EndpointSlice::new("a", "web-1")
        };
        assert!(Object::EndpointSlice(slice).octets() > 16_000);
    }
}
