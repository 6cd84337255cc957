//! Zones that are served from their complete records: what a reload keeps, and what `app` does for
//! them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    skydns::SkydnsStore,
    wire::Name,
    zonefile::{Zone, ZoneSlot},
};

use super::EtcdSource;

/// A zone that was read from a file, for the next reload.
#[derive(Clone)]
pub struct LoadedZone {
    pub(super) zone: Arc<Zone>,
    /// A hash of the file and of the files that it includes.
    pub(super) content: u64,
}

/// A zone that `app` transfers from its primary servers, and where its records belong.
#[derive(Clone)]
pub struct SecondaryZone {
    pub origin: Name,
    pub primaries: Vec<SocketAddr>,
    pub slot: Arc<ZoneSlot>,
    /// The secondary servers that get a NOTIFY message for a new version of the zone.
    pub notice: Option<ZoneNotice>,
}

/// Keys of etcd that `app` follows, and where they belong.
#[derive(Clone)]
pub struct EtcdKeys {
    pub source: EtcdSource,
    pub store: Arc<SkydnsStore>,
}

impl EtcdKeys {
    /// Equal texts mean the same keys.
    pub fn identity(&self) -> String {
        format!("{:?}", self.source)
    }
}

/// Servers that are told about a change of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneNotice {
    pub zone: Name,
    pub to: Vec<SocketAddr>,
    pub source: Option<IpAddr>,
}
