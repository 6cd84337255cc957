//! The parts of a Pod that are stored. They are small, because there may be more than 100,000 Pods.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use smallvec::{SmallVec, smallvec};

use crate::model::{Key, Kind, Pod};

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PodKey {
    /// The Pods of a namespace share the text.
    pub(super) namespace: Arc<str>,
    pub(super) name: Box<str>,
}

impl PodKey {
    pub(super) fn key(&self) -> Key {
        Key::new(Kind::Pod, &self.namespace, &self.name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PodFacts {
    pub(super) addresses: PodAddresses,
    pub(super) host_network: bool,
}

/// The addresses of a Pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum PodAddresses {
    /// Most Pods have one address. This form takes the fewest octets.
    V4(Ipv4Addr),
    Other(Box<[IpAddr]>),
}

impl PodAddresses {
    pub(super) fn new(addresses: &[IpAddr]) -> Self {
        match addresses {
            [IpAddr::V4(v4)] => Self::V4(*v4),
            _ => Self::Other(addresses.into()),
        }
    }

    pub(super) fn list(&self) -> SmallVec<[IpAddr; 2]> {
        match self {
            Self::V4(v4) => smallvec![IpAddr::V4(*v4)],
            Self::Other(addresses) => SmallVec::from_slice(addresses),
        }
    }
}

impl PodFacts {
    pub(super) fn new(pod: &Pod) -> Self {
        Self { addresses: PodAddresses::new(&pod.addresses), host_network: pod.host_network }
    }

    /// Builds the complete fact.
    pub(super) fn pod(&self, key: &PodKey) -> Pod {
        Pod {
            namespace: (&*key.namespace).into(),
            name: key.name.clone(),
            addresses: self.addresses.list().into_boxed_slice(),
            host_network: self.host_network,
        }
    }
}
