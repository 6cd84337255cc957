//! Sockets, timers and tasks. Only this module waits for the network of clients and upstreams.

pub mod admin;
mod arrival;
pub mod bulk;
pub mod client;
pub mod connect;
mod dispatch;
pub mod dnstap;
mod doh;
pub mod etcd;
pub mod exchange;
#[doc(hidden)]
pub mod fuzzing;
mod grpc;
mod hickory;
pub mod http;
pub mod listeners;
pub mod log;
pub mod memory;
pub mod notify;
pub mod otlp;
mod panics;
mod quic;
pub mod signing;
mod slots;
mod status_counter;
mod stream;
#[cfg(test)]
mod testing;
pub mod tls;
mod udp;
pub mod zone_transfer;

use crate::send_queue::WallClock;

pub use dispatch::Dispatcher;

/// How many threads can work at the same time: the number of cores, or the CPU quota of the cgroup
/// if that is lower, but at most `most`.
pub fn parallelism(most: usize) -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(most)
}

/// Seconds since 1970, for signatures. The clock of the system is read each time, because it may be
/// set.
pub fn unix_time() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}

/// The current time of the system clock, with the [`Instant`](std::time::Instant) of the reading.
#[expect(clippy::disallowed_methods, reason = "the clock is read here")]
fn wall_clock() -> WallClock {
    WallClock {
        now: std::time::Instant::now(),
        since_1970: std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(),
    }
}
