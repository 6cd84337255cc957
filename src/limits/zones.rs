//! Bounds of zone files and of zone transfers.

use std::time::Duration;

/// Zone transfers that run at once, as in BIND. A client address may have as many of them as are
/// free, so a client that reads slowly leaves half of them to others.
pub const TRANSFERS: usize = 10;
/// How long a client may take to read a whole zone. The zone's old records stay in memory until
/// then.
pub const TRANSFER_TIME: Duration = Duration::from_secs(600);
/// How long a primary server may take for a connection, and how long it may be silent before a
/// message is complete.
pub const TRANSFER_IN_TIME: Duration = Duration::from_secs(10);
/// Octets a second that a primary server must send in a transfer, on average. Otherwise a server
/// that sends little would keep ndots from the next primary server.
pub const TRANSFER_IN_RATE: u32 = 1024;
/// How much longer a transfer may take than its octets take at this rate.
pub const TRANSFER_IN_GRACE: Duration = Duration::from_secs(60);
/// How long a transfer from a primary server may take in all, as in BIND.
pub const TRANSFER_IN_WHOLE: Duration = Duration::from_secs(7200);
/// Octets of the records of one message of a transfer, without compression.
pub const TRANSFER_MESSAGE_OCTETS: usize = 4 << 20;
/// Octets of a zone that is transferred from a primary server.
pub const TRANSFERRED_OCTETS: usize = 512 << 20;
/// The first pause after a zone could not be transferred at all, as in CoreDNS.
pub const TRANSFER_RETRY_FIRST: Duration = Duration::from_millis(250);
/// The longest such pause, as in CoreDNS.
pub const TRANSFER_RETRY_MAX: Duration = Duration::from_secs(10);
/// How many times a NOTIFY message is sent to a secondary server that does not reply.
pub const NOTIFY_TRIES: u32 = 3;
/// How long the reply to each of these messages may take.
pub const NOTIFY_TIME: Duration = Duration::from_secs(2);
/// Member zones of one catalog zone. Each has a task and its records.
pub const CATALOG_MEMBERS: usize = 10_000;
/// How often ndots looks whether a NOTIFY message has arrived for a secondary zone.
pub const NOTIFY_LOOK: Duration = Duration::from_millis(250);
/// Lines that one `$GENERATE` of a zone file stands for.
pub const ZONE_GENERATED: usize = 65_536;
/// Problems of a zone file that are logged at a time.
pub const ZONE_PROBLEMS: usize = 10;
/// How deep files may include each other with `$INCLUDE`, as in CoreDNS.
pub const ZONE_INCLUDES: usize = 7;
/// Octets of a message of a zone transfer before compression. A compression pointer reaches no
/// further (RFC 1035 §4.1.4).
pub const TRANSFER_OCTETS: usize = 16_384;
