//! The bounds of the plugin `trace`.

use std::time::Duration;

/// Spans that wait for a collector. Each takes some hundred octets.
pub const TRACE_SPANS: usize = 10_000;
/// Spans of one request to a collector.
pub const TRACE_BATCH: usize = 512;
/// How often spans are sent.
pub const TRACE_INTERVAL: Duration = Duration::from_secs(1);
/// How often ndots checks, between two requests to a collector, whether it shuts down.
pub const TRACE_LOOK: Duration = Duration::from_millis(50);
/// How long a request to a collector may take.
pub const TRACE_TIME: Duration = Duration::from_secs(5);
