//! The bounds of the plugin `etcd`.

use std::time::Duration;

/// Keys of etcd that are held in memory. Each takes some hundred octets.
pub const ETCD_KEYS: usize = 500_000;
/// Keys of one page of a list.
pub const ETCD_PAGE: u64 = 500;
/// Octets of a message of etcd. A value in etcd may have 1.5 MiB, but a service has only some
/// hundred octets.
pub const ETCD_MESSAGE_OCTETS: usize = 64 << 20;
/// How long etcd may take to answer, as in CoreDNS.
pub const ETCD_TIME: Duration = Duration::from_secs(5);
/// How long ndots waits at its start for the first keys.
pub const ETCD_START: Duration = Duration::from_secs(2);
/// How often ndots checks at its start whether the first keys have been read.
pub const ETCD_START_LOOK: Duration = Duration::from_millis(10);
/// How often the remaining time of leases is read.
pub const ETCD_LEASES_LOOK: Duration = Duration::from_secs(10);
/// Leases whose remaining time is read.
pub const ETCD_LEASES: usize = 10_000;
/// Services of one name. More records do not fit into a message.
pub const ETCD_SERVICES: usize = 4096;
/// Keys that are looked at for one name with a wildcard. A lookup then takes some milliseconds.
pub const ETCD_LOOKED_AT: usize = 20_000;
/// Calls about leases that wait for replies at once.
pub const ETCD_LEASE_CALLS: usize = 64;
/// How many values that are not services are logged in each [`super::API_LOG_INTERVAL`]. The log
/// has only the number of the others.
pub const ETCD_BAD_VALUES: usize = 10;
/// Names that are looked up for one query, because aliases can lead to many others.
pub const ETCD_LOOKUPS: usize = 100;
/// Names in other zones whose records are resolved for one query, within [`super::NESTED_QUERIES`].
pub const ETCD_TARGETS: usize = 12;
