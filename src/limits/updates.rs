//! Updates of zones by clients.

use std::time::Duration;

use super::STREAM_OCTETS;

/// Octets that the names and data of one UPDATE message may take after decompression.
pub const UPDATE_OCTETS: usize = 4 * STREAM_OCTETS;
/// Records of one UPDATE message, unless `max_update_records` sets another number, as in CoreDNS.
pub const UPDATE_RECORDS: usize = 1024;
/// The records of a zone that is updated, unless `max_records` sets another number, as in CoreDNS.
pub const UPDATED_RECORDS: usize = 10_000;
/// Octets of these records, unless `max_bytes` sets another number, as in CoreDNS.
pub const UPDATED_OCTETS: usize = 8 << 20;
/// How often ndots looks whether a zone was updated, to tell its secondary servers.
pub const UPDATE_LOOK: Duration = Duration::from_millis(250);
/// How long ndots waits for another process that uses the database of a zone, as CoreDNS.
pub const DATABASE_LOCK_TIME: Duration = Duration::from_secs(1);
/// The pause between two attempts to lock a database.
pub const DATABASE_LOCK_PAUSE: Duration = Duration::from_millis(20);
