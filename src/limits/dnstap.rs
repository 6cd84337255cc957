//! The bounds of the plugin `dnstap`.

use std::time::Duration;

/// Messages that wait for a receiver, as in CoreDNS. The argument QUEUE of `dnstap` multiplies this
/// number.
pub const DNSTAP_MESSAGES: usize = 10_000;
/// Octets of all messages that wait for a receiver.
pub const DNSTAP_OCTETS: usize = 64 << 20;
/// How often messages are taken from a queue. Each time all of them are sent.
pub const DNSTAP_LOOK: Duration = Duration::from_millis(20);
/// A write has this many octets, and the rest of its last message.
pub const DNSTAP_WRITE_OCTETS: usize = 64 << 10;
/// How long a connection, a handshake or a write may take, as in CoreDNS.
pub const DNSTAP_TIME: Duration = Duration::from_secs(4);
/// How long ndots waits for receivers when it shuts down.
pub const DNSTAP_FINISH: Duration = Duration::from_secs(1);
/// How often the log says how many messages were dropped, as in CoreDNS.
pub const DNSTAP_LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Octets of a control frame. Receivers allow as many.
pub const DNSTAP_CONTROL_OCTETS: usize = 512;
/// Receivers that may be connected to a listener.
pub const DNSTAP_RECEIVERS: usize = 16;
/// Writes of about [`DNSTAP_WRITE_OCTETS`] that wait for each receiver of a listener.
pub const DNSTAP_PARTS: usize = 64;
