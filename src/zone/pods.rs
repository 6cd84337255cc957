//! The parts of a Pod that are stored. They are small, because there may be more than 100,000 Pods.

use std::{net::IpAddr, sync::Arc};

use smallvec::SmallVec;

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
    /// Most Pods have one, and those of dual-stack clusters have two.
    pub(super) addresses: SmallVec<[IpAddr; 1]>,
    pub(super) host_network: bool,
}

impl PodFacts {
    pub(super) fn new(pod: &Pod) -> Self {
        let Pod { addresses, host_network, .. } = pod;
        Self { addresses: addresses.iter().copied().collect(), host_network: *host_network }
    }

    /// Builds the complete fact.
    pub(super) fn pod(&self, key: &PodKey) -> Pod {
        Pod {
            namespace: (&*key.namespace).into(),
            name: key.name.clone(),
            addresses: self.addresses.iter().copied().collect(),
            host_network: self.host_network,
        }
    }
}
