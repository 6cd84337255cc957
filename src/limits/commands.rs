//! The bounds of the commands `explain`, `query`, `diff` and `top`.

use std::{ops::RangeInclusive, time::Duration};

/// Pods of the DNS server that `explain --probe` queries through the API server. Each connection
/// goes through a kubelet.
pub const EXPLAIN_DNS_PODS: usize = 10;
/// Octets of all objects that `explain` reads. A namespace of 10,000 Pods and the objects of 5,000
/// nodes have about 200 MiB.
pub const EXPLAIN_OCTETS: usize = 512 << 20;
/// How long `explain` and `query` wait for a server. A server that works answers in milliseconds.
pub const EXPLAIN_ASK_TIME: Duration = Duration::from_secs(2);
/// How many connections `explain --probe` tries to the endpoints of a Service, and to its node
/// ports. They are tried at the same time.
pub const EXPLAIN_PROBES: usize = 8;

/// Queries of `ndots diff` that wait for their replies at the same time. The socket's buffer must
/// hold that many replies of 64 KB.
pub const BULK_WINDOW: usize = 48;
/// Octets of all replies of one round. Real replies have some hundred octets each. When this limit
/// is reached, the remaining queries of the round are not sent and get no reply.
pub const BULK_OCTETS: usize = 64 << 20;
/// If no reply arrives for this time, the queries that wait end without a reply. They are sent
/// again in the next round.
pub const BULK_SILENCE: Duration = Duration::from_millis(700);
/// How many times `ndots diff` sends a query that gets no reply.
pub const BULK_TRIES: usize = 3;
/// After a pause, `ndots diff` sends at once only the queries of this much time. It does not catch
/// up on the rest of the pause.
pub const BULK_BURST: Duration = Duration::from_millis(20);
/// Queries a second of `ndots diff` to each server. A small CoreDNS answers 50 times as many.
pub const DIFF_RATE: u32 = 500;
/// The pause before `ndots diff` asks again about a difference, which a change of the cluster may
/// have caused.
pub const DIFF_SETTLE: Duration = Duration::from_secs(3);
/// The pause of `ndots diff --duration` between two rounds of the same questions.
pub const DIFF_ROUND: Duration = Duration::from_secs(1);
/// How often `ndots diff` checks whether its own server has read the cluster.
pub const DIFF_POLL: Duration = Duration::from_millis(20);
/// How many seconds older a forwarded record may be in one of the two replies.
pub const DIFF_AGE: u32 = 5;
/// Questions that `ndots diff` asks before it compares the replies.
pub const DIFF_BATCH: usize = 5_000;
/// How long the server of `ndots diff` may take to read the cluster.
pub const DIFF_START: Duration = Duration::from_secs(60);

/// How often `ndots top` reads the servers.
pub const TOP_INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(200)..=Duration::from_secs(60);
/// How long `ndots top` waits for a page of a server.
pub const TOP_PAGE_TIME: Duration = Duration::from_secs(2);
/// Octets of a page that `ndots top` reads. The page of a server of a large cluster has about
/// 200 KB.
pub const TOP_PAGE_OCTETS: u64 = 8 << 20;
/// How many DNS Pods `ndots top` reads.
pub const TOP_SERVERS: usize = 64;
