//! The parts of a Pod that are stored. They are small, because there may be more than 100,000 Pods.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use smallvec::{SmallVec, smallvec};

use crate::model::{Pod, pod_octets};

use super::table::Named;

/// The name of a namespace, which its Pods share. A pointer to it has half the size of an
/// `Arc<str>`.
pub(super) type SharedNamespace = Arc<Box<str>>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PodFacts {
    pub(super) namespace: SharedNamespace,
    name: Box<str>,
    addresses: PodAddresses,
}

/// The addresses of a Pod, and whether they are those of its node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum PodAddresses {
    /// Most Pods have one address. This form takes the fewest octets.
    V4 {
        address: Ipv4Addr,
        host_network: bool,
    },
    Other(Box<OtherAddresses>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OtherAddresses {
    list: Box<[IpAddr]>,
    host_network: bool,
}

impl PodFacts {
    pub(super) fn new(pod: Pod, namespace: SharedNamespace) -> Self {
        let Pod { name, addresses, host_network, .. } = pod;
        let addresses = match addresses[..] {
            [IpAddr::V4(address)] => PodAddresses::V4 { address, host_network },
            _ => PodAddresses::Other(Box::new(OtherAddresses { list: addresses, host_network })),
        };
        Self { namespace, name, addresses }
    }

    pub(super) fn addresses(&self) -> SmallVec<[IpAddr; 2]> {
        match &self.addresses {
            PodAddresses::V4 { address, .. } => smallvec![IpAddr::V4(*address)],
            PodAddresses::Other(other) => SmallVec::from_slice(&other.list),
        }
    }

    pub(super) fn host_network(&self) -> bool {
        match &self.addresses {
            PodAddresses::V4 { host_network, .. } => *host_network,
            PodAddresses::Other(other) => other.host_network,
        }
    }

    /// Builds the complete fact.
    pub(super) fn pod(&self) -> Pod {
        Pod {
            namespace: Box::clone(&self.namespace),
            name: self.name.clone(),
            addresses: self.addresses().into_boxed_slice(),
            host_network: self.host_network(),
        }
    }
}

impl Named for PodFacts {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn octets(&self) -> usize {
        pod_octets(&self.namespace, &self.name, self.addresses().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_takes_few_octets() {
        assert_eq!(size_of::<PodFacts>(), 40);
    }

    #[test]
    fn the_complete_fact_is_built_again() {
        let [v4, v6]: [IpAddr; 2] = [[10, 0, 0, 1].into(), "fd00::1".parse().unwrap()];
        for (addresses, host_network) in [
            (vec![v4], false),
            (vec![v4], true),
            (vec![v4, v6], false),
            (vec![v6], true),
            (vec![], false),
        ] {
            let pod = Pod {
                namespace: "ns".into(),
                name: "web-0".into(),
                addresses: addresses.into(),
                host_network,
            };
            let facts = PodFacts::new(pod.clone(), Arc::new("ns".into()));
            assert_eq!(facts.pod(), pod);
        }
    }
}
