//! The ready endpoints of a slice, in few octets: a large cluster has more than 100,000 of them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    ops::BitOr,
    sync::Arc,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub address: IpAddr,
    /// Stored apart from the address, because most Corefiles need only the address of an endpoint.
    pub details: Option<Box<EndpointDetails>>,
}

/// The fields of an endpoint besides its address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EndpointDetails {
    pub hostname: Option<Box<str>>,
    /// The name in `targetRef`, usually a Pod's.
    pub pod: Option<Box<str>>,
    /// The topology zone. The endpoints of a slice share the text.
    pub zone: Option<Arc<str>>,
    /// The Node that the endpoint is on.
    pub node: Option<Arc<str>>,
}

/// The details of endpoints that a configuration needs. Host names are always needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointFields {
    /// The option `endpoint_pod_names` needs the names of Pods.
    pub pods: bool,
    /// The option `zonal` needs topology zones.
    pub zones: bool,
    /// `k8s_gateway` needs Nodes for Services with `externalTrafficPolicy: Local`.
    pub nodes: bool,
}

impl EndpointFields {
    /// Whether these are all that `needed` has.
    pub fn include(self, needed: Self) -> bool {
        self | needed == self
    }
}

impl BitOr for EndpointFields {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self {
            pods: self.pods || other.pods,
            zones: self.zones || other.zones,
            nodes: self.nodes || other.nodes,
        }
    }
}

impl Endpoint {
    /// An endpoint of which nothing but the address is known.
    pub fn new(address: IpAddr) -> Self {
        Self { address, details: None }
    }

    pub fn with(address: IpAddr, details: EndpointDetails) -> Self {
        let details = (details != EndpointDetails::default()).then(|| Box::new(details));
        Self { address, details }
    }
}

impl EndpointDetails {
    /// Drops the fields that are not needed.
    fn reduce(&mut self, needed: EndpointFields) {
        self.pod.take_if(|_| !needed.pods);
        self.zone.take_if(|_| !needed.zones);
        self.node.take_if(|_| !needed.nodes);
    }
}

/// A list of [`Endpoint`]s. An address takes four octets if all are of IPv4, and the details take
/// none if no endpoint has any.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Endpoints {
    addresses: Addresses,
    /// One entry for each address, or no entry at all.
    details: Box<[Option<Box<EndpointDetails>>]>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Addresses {
    V4(Box<[Ipv4Addr]>),
    /// At least one address is of IPv6.
    Any(Box<[IpAddr]>),
}

impl Default for Addresses {
    fn default() -> Self {
        Self::V4(Box::default())
    }
}

/// An endpoint in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointRef<'e> {
    pub address: IpAddr,
    pub details: Option<&'e EndpointDetails>,
}

impl<'e> EndpointRef<'e> {
    pub fn hostname(self) -> Option<&'e str> {
        self.details?.hostname.as_deref()
    }

    pub fn pod(self) -> Option<&'e str> {
        self.details?.pod.as_deref()
    }

    pub fn zone(self) -> Option<&'e str> {
        self.details?.zone.as_deref()
    }

    pub fn node(self) -> Option<&'e Arc<str>> {
        self.details?.node.as_ref()
    }
}

impl Endpoints {
    pub fn len(&self) -> usize {
        match &self.addresses {
            Addresses::V4(all) => all.len(),
            Addresses::Any(all) => all.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = EndpointRef<'_>> {
        (0..self.len()).map(|at| self.get(at))
    }

    /// # Panics
    /// If the list has no endpoint at this place.
    pub fn get(&self, at: usize) -> EndpointRef<'_> {
        EndpointRef {
            address: match &self.addresses {
                Addresses::V4(all) => all[at].into(),
                Addresses::Any(all) => all[at],
            },
            details: self.details.get(at).and_then(Option::as_deref),
        }
    }

    /// Drops the details that are not needed.
    pub fn reduce(&mut self, needed: EndpointFields) {
        for slot in &mut self.details {
            slot.take_if(|details| {
                details.reduce(needed);
                **details == EndpointDetails::default()
            });
        }
        self.drop_empty_details();
    }

    /// The details of the endpoints that have any, so that a caller can change them.
    pub fn details_mut(&mut self) -> impl Iterator<Item = &mut EndpointDetails> {
        self.details.iter_mut().flatten().map(|details| &mut **details)
    }

    /// The size of the list in octets, without what the details refer to.
    pub(super) fn octets(&self) -> usize {
        let addresses = match &self.addresses {
            Addresses::V4(all) => size_of_val(&**all),
            Addresses::Any(all) => size_of_val(&**all),
        };
        addresses + size_of_val(&*self.details)
    }

    fn drop_empty_details(&mut self) {
        if self.details.iter().all(Option::is_none) {
            self.details = Box::default();
        }
    }
}

impl From<Vec<Endpoint>> for Endpoints {
    fn from(all: Vec<Endpoint>) -> Self {
        let v4 = |endpoint: &Endpoint| match endpoint.address {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        };
        let addresses = match all.iter().map(v4).collect() {
            Some(addresses) => Addresses::V4(addresses),
            None => Addresses::Any(all.iter().map(|endpoint| endpoint.address).collect()),
        };
        let details = all.into_iter().map(|endpoint| endpoint.details).collect();
        let mut endpoints = Self { addresses, details };
        endpoints.drop_empty_details();
        endpoints
    }
}

impl<const N: usize> From<[Endpoint; N]> for Endpoints {
    fn from(all: [Endpoint; N]) -> Self {
        Vec::from(all).into()
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_the_endpoints_that_it_was_made_of() {
        let v4 = |last: u8| Endpoint::new([10, 0, 0, last].into());
        let v6 = Endpoint::new("fd00::1".parse().unwrap());
        let named = |last: u8| {
            let details = EndpointDetails {
                hostname: Some(format!("h{last}").into()),
                zone: Some("a".into()),
                ..EndpointDetails::default()
            };
            Endpoint::with([10, 0, 0, last].into(), details)
        };
        for (all, octets) in [
            (vec![], 0),
            (vec![v4(1), v4(2)], 8),
            (vec![v4(1), v6.clone()], 34),
            (vec![v4(1), named(2)], 24),
            (vec![named(1), v6, named(3)], 75),
        ] {
            let list = Endpoints::from(all.clone());
            assert_eq!(list.octets(), octets, "{list:?}");
            assert_eq!((list.len(), list.is_empty()), (all.len(), all.is_empty()));
            let read = list.iter().map(|it| Endpoint {
                address: it.address,
                details: it.details.cloned().map(Box::new),
            });
            assert_eq!(read.collect::<Vec<_>>(), all);
            assert_eq!(Endpoints::from(all), list);
        }
        let mut list = Endpoints::from(vec![named(1), v4(2)]);
        list.reduce(EndpointFields::default());
        assert_eq!(list.iter().map(EndpointRef::hostname).collect::<Vec<_>>(), [Some("h1"), None]);
        assert_eq!(list.iter().next().unwrap().zone(), None);
        let only_zone = EndpointDetails { zone: Some("a".into()), ..EndpointDetails::default() };
        let mut list = Endpoints::from([Endpoint::with([10, 0, 0, 1].into(), only_zone)]);
        list.reduce(EndpointFields::default());
        assert_eq!(list, Endpoints::from([v4(1)]), "no details are left");
    }
}
