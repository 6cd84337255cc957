//! Zones that are served from their complete records: what a reload keeps, and what `app` does for
//! them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    dnssec::ZoneKey,
    skydns::SkydnsStore,
    wire::Name,
    zonefile::{DynamicZone, Members, Zone, ZoneSlot},
};

use super::{EtcdSource, NamedKey};

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
    /// The key that signs the queries, if the primary servers require it.
    pub key: Option<NamedKey>,
    pub slot: Arc<ZoneSlot>,
    /// The secondary servers that get a NOTIFY message for a new version of the zone.
    pub notice: Option<ZoneNotice>,
    /// What the zone adds, if it is a catalog.
    pub catalog: Option<CatalogZone>,
}

/// The member zones of a catalog.
#[derive(Clone)]
pub struct CatalogZone {
    pub members: Arc<Members>,
    /// The zones that the catalog may name, with the zones below them; empty for all zones.
    pub allowed: Vec<Name>,
    /// The secondary servers of the zones that the block may have.
    pub notices: Vec<ZoneNotice>,
}

/// A zone that clients update, and its secondary servers.
#[derive(Clone)]
pub struct UpdatedZone {
    pub zone: Arc<DynamicZone>,
    /// The servers that get a NOTIFY message after an update.
    pub notice: ZoneNotice,
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

/// The line of `transfer` that decides for a zone, of lines with their zones: the one with the longest
/// matching zone, whatever its position (CVE-2026-33489), and the first of several with that zone.
pub(super) fn deciding_line<'z, L>(
    lines: impl DoubleEndedIterator<Item = (&'z Name, L)>,
    zone: &Name,
) -> Option<L> {
    let matching = lines.filter(|(wanted, _)| zone.is_within(wanted));
    // Of equal zones, `max_by_key` takes the last.
    let decides = matching.rev().max_by_key(|(wanted, _)| wanted.wire().len());
    decides.map(|(_, line)| line)
}

/// A zone file that `app` signs.
#[derive(Clone)]
pub struct ZoneSigner {
    pub origin: Name,
    /// The path of the zone file.
    pub file: String,
    /// The path of the file with signatures.
    pub signed: String,
    pub keys: Vec<ZoneKey>,
    /// The paths of the keys' files.
    pub key_files: Vec<String>,
}

/// Servers that get a NOTIFY message when a zone changes.
#[derive(Clone, Debug)]
pub struct ZoneNotice {
    pub zone: Name,
    pub to: Vec<SocketAddr>,
    pub source: Option<IpAddr>,
    /// The key that signs the messages.
    pub key: Option<NamedKey>,
}

impl ZoneNotice {
    /// The servers for this zone.
    pub fn find(notices: &[Self], zone: &Name) -> Option<Self> {
        let decides = deciding_line(notices.iter().map(|notice| (&notice.zone, notice)), zone)?;
        let notice = Self { zone: zone.clone(), ..decides.clone() };
        (!notice.to.is_empty()).then_some(notice)
    }
}
