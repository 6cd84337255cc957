//! Every bound in the program. Each says what it limits, in which unit, and why it has this value.
//!
//! An octet is eight bits. Durations carry their unit in their type.

mod api;
mod commands;
mod dnstap;
mod etcd;
mod signing;
mod trace;
mod updates;
mod zones;

use std::time::Duration;

pub use api::*;
pub use commands::*;
pub use dnstap::*;
pub use etcd::*;
pub use signing::*;
pub use trace::*;
pub use updates::*;
pub use zones::*;

/// Octets of a name in wire form (RFC 1035 §3.1).
pub const NAME_OCTETS: usize = 255;
/// Octets of a label (RFC 1035 §3.1).
pub const LABEL_OCTETS: usize = 63;
/// Octets of a character string, as in TXT records (RFC 1035 §3.3).
pub const CHARACTER_STRING_OCTETS: usize = 255;
/// Octets of a UDP message without EDNS (RFC 1035 §4.2.1).
pub const UDP_OCTETS_PLAIN: u16 = 512;
/// Octets of a UDP message with EDNS. A message of this size needs no fragments on any usual path
/// (DNS Flag Day 2020).
pub const UDP_OCTETS: u16 = 1232;
/// Encrypted replies and queries are padded to multiples of these octets (RFC 8467 §4.1).
pub const REPLY_PADDING: u16 = 468;
pub const QUERY_PADDING: u16 = 128;
/// Octets of a message over a stream, whose length prefix has 16 bits (RFC 1035 §4.2.2).
pub const STREAM_OCTETS: usize = 65_535;

/// Nested queries that one client query may cause: CNAME hops, `autopath` candidates and rewrites.
pub const NESTED_QUERIES: u32 = 16;
/// Search domains that `autopath` tries. With the first candidate, which is asked again at the end,
/// and some aliases, they stay within [`NESTED_QUERIES`]. The client itself tries the domains after
/// these.
pub const SEARCH_DOMAINS: usize = 10;
/// CNAMEs that are followed for one query inside the zones of the cluster, of zone files or of
/// etcd. CoreDNS answers chains of up to 11.
pub const CNAME_HOPS: usize = 11;

/// How long a client waits for a reply. glibc, musl and Go give up after 5 s, so a later reply is
/// useless.
pub const QUERY_TIME: Duration = Duration::from_secs(5);
/// How long a query may wait for upstreams before its client gets SERVFAIL: [`QUERY_TIME`] less the
/// time that the reply needs to reach the client.
pub const EXCHANGE_TIME: Duration = Duration::from_millis(4500);
/// How long ndots waits for replies of upstreams after it sent a query. A reply that comes after
/// [`EXCHANGE_TIME`] still fills the cache.
pub const LATE_REPLY_TIME: Duration = Duration::from_secs(7);
/// How long other queries with the same question share an exchange that has no reply yet. A later
/// query is sent on its own: the datagrams of the first one may be lost.
pub const JOIN_TIME: Duration = Duration::from_secs(2);
/// Octets that the names and data of one upstream reply may take after decompression: four times
/// the largest message.
pub const REPLY_OCTETS: usize = 4 * STREAM_OCTETS;
/// CNAMEs that are followed inside one upstream reply. A reply with a longer chain is an error.
pub const REPLY_ALIASES: usize = 16;

/// Words of a Corefile with all its imports. The largest known Corefiles have some thousands.
pub const COREFILE_WORDS: usize = 100_000;
/// Octets of a Corefile with all its imports. One ConfigMap holds at most 1 MiB, and several can be
/// mounted.
pub const COREFILE_OCTETS: usize = 4 << 20;
/// Imports that are followed in one Corefile, as in CoreDNS.
pub const COREFILE_IMPORTS: usize = 10_000;
/// How long ndots waits for the end of a program of `on`. CoreDNS has no limit. Kubernetes ends a
/// Pod after 30 s anyway.
pub const COMMAND_TIME: Duration = Duration::from_secs(30);
/// Operators, pipes and indexes of an expression, such as the two `or` of `a or b or c`. Each one
/// nests the expression one level deeper, and the recursive evaluation must not use up the stack.
pub const EXPRESSION_STEPS: usize = 500;
/// Octets of a text that an expression builds: a message has no more.
pub const EXPRESSION_OCTETS: usize = STREAM_OCTETS;
/// How deep braces, imports, the parts of an expression and the parts of a template may be nested.
/// The parsers are recursive and must not use up the stack.
pub const COREFILE_DEPTH: usize = 32;
/// Diagnostics that are printed in one run. More do not help, and a generated file can have
/// thousands.
pub const DIAGNOSTICS: usize = 100;
/// Characters of a diagnostic message, since a word that it quotes can be as long as the file.
pub const DIAGNOSTIC_CHARS: usize = 400;
/// Octets of a source line that is shown with a message. A longer line was not written by hand.
pub const DIAGNOSTIC_LINE_OCTETS: usize = 4096;

/// How long a resolver may take to answer with the address of an upstream, as in CoreDNS.
pub const RESOLVE_TIME: Duration = Duration::from_secs(2);
/// How long the system may take to resolve the name of an upstream while the server starts.
pub const SYSTEM_RESOLVE_TIME: Duration = Duration::from_secs(5);
/// The pause before a host name of the Corefile that could not be resolved is tried again. Each
/// further pause is twice as long, up to [`HOST_RETRY_LONGEST`].
pub const HOST_RETRY_FIRST: Duration = Duration::from_secs(2);
pub const HOST_RETRY_LONGEST: Duration = Duration::from_secs(60);
/// After a failed reload: the pause before ndots looks again for the files, hosts and interfaces
/// that it waits for.
pub const AWAITED_PAUSE: Duration = Duration::from_secs(30);
/// Octets of a regular expression in the Corefile, as in CoreDNS.
pub const PATTERN_OCTETS: usize = 10_000;
/// Nodes whose addresses are in one answer. A client tries only a few, and a message of 64 KiB
/// holds a few thousand addresses.
pub const OUTSIDE_NODES: usize = 512;
/// `k8s_gateway` looks for refused hosts after its objects have changed, but not more often than
/// this.
pub const CLAIMS_LOOK: Duration = Duration::from_secs(10);
/// Refused hosts that are logged at a time. A tenant can make thousands of them.
pub const CLAIMS_LOGGED: usize = 20;
/// The highest TTL of the SOA record of a `kubernetes` zone in seconds, as in CoreDNS.
pub const KUBERNETES_SOA_TTL: u32 = 300;
/// The highest `ttl` of `kubernetes`, `k8s_external` and `k8s_gateway` in seconds, as in CoreDNS.
pub const KUBERNETES_TTL: u32 = 3600;

/// How long `kubernetes` waits for its objects before it logs that they are missing, as in CoreDNS.
pub const KUBERNETES_STARTUP: Duration = Duration::from_secs(5);

/// Positive cache entries, and as many negative ones, if the Corefile sets no capacity, as in
/// CoreDNS.
pub const CACHE_REPLIES: usize = 9984;
/// Octets of records that a cache entry may have on average; larger replies mean fewer entries.
/// With this, 10,000 entries take about 10 MiB instead of up to 2 GiB.
pub const CACHE_REPLY_OCTETS: usize = 1024;
/// Octets of the text of an upstream's extended error. Real texts are one sentence, and the cache
/// holds them.
pub const EXTENDED_ERROR_OCTETS: usize = 256;
/// `prefer_positive`: after the upstreams failed to replace an expired entry, how long ndots serves
/// the entry before it queries them again (RFC 8767 §5).
pub const LAST_KNOWN_GOOD_RETRY: Duration = Duration::from_secs(30);
/// How long a failure may be cached (RFC 2308 §7.1).
pub const FAILURE_TTL: Duration = Duration::from_secs(300);
/// How often a gRPC connection with a call in progress is checked, and how long the check may take.
/// etcd rejects checks that come more often than every 5 s.
pub const GRPC_KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long a client waits for the upstreams before it gets a stale reply (RFC 8767 §5).
pub const STALE_PATIENCE: Duration = Duration::from_millis(1800);

/// The shortest delay before a query is sent again, even to a fast upstream, because a reply can be
/// late without being lost.
pub const MIN_HEDGE_DELAY: Duration = Duration::from_millis(50);
/// The longest delay before a query is sent again for the first time. An upstream that has never
/// replied has this delay. The delay of each further round through the upstreams is twice as long.
pub const MAX_HEDGE_DELAY: Duration = Duration::from_millis(300);
/// If it is unknown whether an upstream supports EDNS: how long ndots waits for its reply before it
/// also sends the query without OPT (RFC 6891 §7).
pub const EDNS_PATIENCE: Duration = Duration::from_millis(60);
/// How long an upstream that does not support EDNS gets queries without OPT.
pub const NO_EDNS_TIME: Duration = Duration::from_secs(900);
/// If this many queries in a row get a reply only when they are sent without OPT, the upstream
/// counts as one that does not support EDNS. A single query with OPT may have been lost.
pub const SILENT_EDNS: u32 = 3;
/// How long an upstream that is known to reply over UDP may be silent before the query is sent over
/// TCP as well: longer than most cold names take.
pub const UDP_PATIENCE: Duration = Duration::from_secs(1);
/// The same for an upstream that has not replied over UDP yet, and for a client over TCP, for which
/// CoreDNS would query the upstream over TCP at once.
pub const TCP_CLIENT_PATIENCE: Duration = Duration::from_millis(60);
/// How long an upstream that does not reply over UDP is queried over TCP.
pub const NO_UDP_TIME: Duration = Duration::from_secs(60);
/// If this many queries in a row get a reply only over TCP, the upstream counts as one that does
/// not reply over UDP. A single datagram may have been lost.
pub const SILENT_UDP: u32 = 3;
/// How long a truncated reply is held back while TCP may give the whole reply. After that, clients
/// over UDP get the truncated one.
pub const TRUNCATED_PATIENCE: Duration = Duration::from_millis(80);
/// How many times a query may be sent by default if the group has only one upstream. One lost
/// datagram is common, and two in a row are rare.
pub const MIN_SENDS: u32 = 3;
/// After this many datagrams that do not match the query, it is sent over TCP: they may be forged
/// replies (RFC 5452 §9.2). After this many messages on a connection that match no query, the
/// connection is closed.
pub const STRAY_REPLIES: u32 = 10;
/// After this many replies that lose the random case of the query, or that differ from the reply to
/// the client's spelling, an upstream gets no more queries in random case. A single such reply may
/// be forged.
pub const LOST_CASES: u32 = 3;
/// Octets of a buffer for a UDP reply. ndots announces [`UDP_OCTETS`], and an upstream that ignores
/// this sends at most 4096. The last octet shows that a reply is longer.
pub const UDP_REPLY_OCTETS: usize = 4097;
/// Sockets and connections to all upstreams that are open at once, without shared sockets: a fifth
/// of [`DESCRIPTORS`]. A client address may cause as many of them as are free.
pub const UPSTREAM_SOCKETS: usize = 4096;
/// Queries that ndots has sent to upstreams, retransmissions included, and that have no reply yet.
/// One takes up to 4 KiB, so all take 32 MiB. A client address may have as many of them as are
/// free.
pub const UPSTREAM_QUERIES: usize = 8192;
/// Queries that wait for one upstream. Queries to a dead upstream wait until their timeout, and
/// must leave places for queries to the other upstreams.
pub const UPSTREAM_QUERIES_EACH: usize = 2048;
/// If this many queries wait for one upstream, a query ends after `read_timeout` and not after
/// [`LATE_REPLY_TIME`]. This is half of the queries that one client can cause.
pub const UPSTREAM_QUERIES_CROWDED: usize = UPSTREAM_QUERIES_EACH / 4;
/// Queries of a burst that have their own ports, and queries a second that have them after the
/// burst. The conntrack table of a node has an entry for each port for 30 s, so there are at most
/// 856 entries.
pub const OWN_PORTS: f64 = 256.0;
pub const OWN_PORTS_PER_SECOND: f64 = 20.0;
/// Sockets to one upstream that queries share while there are many queries. A forger must guess the
/// port and the id: 8 bits and 16 bits.
pub const SHARED_SOCKETS: usize = 256;
/// Shared sockets to all upstreams. At most half of them are in use; the others have retired and
/// wait for late replies. Up to eight upstreams have [`SHARED_SOCKETS`] each, and more than eight
/// have fewer.
pub const SHARED_SOCKETS_ALL: usize = 16 * SHARED_SOCKETS;
/// How long a shared socket gets queries. This limits the time that a forger has after finding the
/// port.
pub const SHARED_SOCKET_TIME: Duration = Duration::from_secs(10);
/// Queries that one shared socket or connection sends in total. Each has an id that no earlier one
/// had, so the used ids are stored, and this bounds their number.
pub const SHARED_SOCKET_QUERIES: usize = 2048;
/// How often a retired socket checks whether a query still waits for its reply.
pub const RETIRED_SOCKET_POLL: Duration = Duration::from_millis(250);
/// How long the conntrack table of a node keeps the entry of a port after its last packet, if the
/// port was in use for longer than 2 s.
pub const PORT_ENTRY_TIME: Duration = Duration::from_secs(120);
/// If the conntrack table of the node has this many entries of shared sockets, most new sockets use
/// the port of one of these entries again.
pub const SHARED_PORTS: usize = 1536;
/// One in this number of sockets has a new port even then, so that the set of ports changes slowly.
/// With 256 sockets each 10 s, this adds about 190 entries.
pub const NEW_PORT_ONE_IN: u64 = 16;
/// Queries that share one exchange with an upstream. A name that the whole cluster asks for may
/// take half of all jobs.
pub const WAITERS: usize = JOBS / 2;
/// Upstreams that a `forward` or `grpc` directive may name, as in CoreDNS. A file among them may
/// add more.
pub const FORWARD_TARGETS: usize = 15;
/// Idle connections that stay open to one upstream. Each holds a descriptor in ndots and one at the
/// upstream.
pub const IDLE_CONNECTIONS: usize = 16;
/// Queries that wait on one connection to an upstream. Most servers of HTTPS and QUIC allow as many
/// streams.
pub const UPSTREAM_STREAMS: usize = 100;
/// The pause between two tests of pipelining at an upstream. A test sends one query twice.
pub const PIPELINING_TEST_INTERVAL: Duration = Duration::from_secs(10);
/// How long pipelining is not tested after a query waited behind another one.
pub const NO_PIPELINING_TIME: Duration = Duration::from_secs(60);
/// How long a QUIC connection to an upstream may be idle, as in CoreDNS.
pub const QUIC_IDLE_TIME: Duration = Duration::from_secs(30);
/// How often ndots checks, while it opens a QUIC connection, whether the port is unreachable.
pub const UNREACHABLE_POLL: Duration = Duration::from_millis(10);
/// Redirections within a server of DNS over HTTPS that are followed for one query.
pub const HTTP_REDIRECTS: usize = 3;
/// How long it may take to open a connection to an upstream that queries share, with its
/// handshakes.
pub const UPSTREAM_DIAL_TIME: Duration = Duration::from_secs(3);
/// How often ndots checks, while it shuts down, whether queries still wait.
pub const FINISH_POLL: Duration = Duration::from_millis(10);
/// How often idle connections are checked for their age.
pub const IDLE_SWEEP: Duration = Duration::from_secs(1);
/// How long the first health check of an upstream that did not reply waits. If no upstream replies
/// in this time, clients get stale replies.
pub const SUSPECT_TIME: Duration = Duration::from_millis(200);
/// How often a query that can have a stale reply checks whether its upstreams are down.
pub const SUSPECT_POLL: Duration = Duration::from_millis(5);
/// How long a health check waits for its reply, as in CoreDNS.
pub const PROBE_TIME: Duration = Duration::from_secs(1);

/// Datagrams that one system call reads or writes. A larger batch is not faster, and it delays its
/// first reply.
pub const UDP_BATCH: usize = 16;
/// Sockets and threads for each address over UDP, however many cores the machine has, unless
/// `multisocket` sets another number. One thread answers more than 100,000 queries a second.
pub const UDP_THREADS: usize = 16;
/// Threads for everything else: connections, forwarded queries, API servers. Each may hold memory
/// of its own in the allocator.
pub const WORKERS: usize = 8;
/// Octets of a request. The largest honest requests have some hundreds. Over UDP the rest of a
/// longer request is cut off, and over TCP the connection is closed.
pub const REQUEST_OCTETS: usize = 4096;
/// Octets of the buffer that the kernel is asked for at each UDP socket: a burst of several
/// thousand queries.
pub const UDP_BUFFER_OCTETS: usize = 4 << 20;
/// The age up to which a snapshot of a cluster is used. After a day most Pods have other addresses.
pub const SNAPSHOT_AGE: Duration = Duration::from_secs(86_400);
/// The pause between two writes of a snapshot while facts change.
pub const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(30);
/// The age at which a snapshot is written again although nothing has changed, so that it does not
/// look old.
pub const SNAPSHOT_REFRESH: Duration = Duration::from_secs(3600);
/// Octets of a snapshot. That of a cluster of 150,000 Pods has about 30 MiB.
pub const SNAPSHOT_OCTETS: u64 = 1 << 30;
/// The highest TTL, in seconds, of a record from a snapshot.
pub const SNAPSHOT_TTL: u32 = 5;
/// How long a closing listener still forwards new queries while earlier ones wait for their
/// replies. After this time, a query that would have to be forwarded fails at once, so that the
/// wait has an end.
pub const CLOSING_EXCHANGES: Duration = Duration::from_secs(5);
/// Batches that a UDP thread reads at most before it closes its socket, when no query waits any
/// more. They are more datagrams than the socket's buffer can hold.
pub const UDP_DRAIN_BATCHES: usize = 512;
/// Clients' queries over UDP that wait for upstreams. A client address may have as many of them as
/// are free, so one client gets at most half. One query takes up to 4 KiB, so all take 32 MiB.
pub const JOBS: usize = 8192;
/// Clients' queries over UDP that are started and not yet sent to an upstream. The runtime runs
/// tasks in the order of their start, so a query waits behind this many others at most. With fewer,
/// the threads would have to wait for the queue.
pub const STARTING_QUERIES: usize = 64;
/// Queries of all connections together that wait for upstreams, or for their client to read the
/// reply. See [`JOBS`].
pub const STREAM_JOBS: usize = 4096;
/// How often ndots checks whether it must return memory to the system.
pub const MEMORY_INTERVAL: Duration = Duration::from_secs(2);
/// If more than this many queries wait, memory is not returned, because they need it.
pub const MEMORY_BURST: usize = 256;
/// If more than this many octets have become free, they are returned to the system: after a burst
/// of queries or connections, or after a list of objects.
pub const MEMORY_GROWTH: u64 = 4 << 20;
/// Entries of a table that always keeps the memory for them. A larger table that is nearly empty
/// gives its memory back.
pub const SPARSE_ENTRIES: usize = 16;
/// Log lines that wait to be written. A slow reader of the log must not use up the memory.
pub const LOG_LINES: usize = 8192;
/// How long the process waits at its end for the log to be written.
pub const LOG_FLUSH_TIME: Duration = Duration::from_millis(500);
/// How often the process tries at its end to reach the thread of the log, while the queue is full.
pub const LOG_FLUSH_POLL: Duration = Duration::from_millis(1);

/// TCP connections that are open at once, but never more than half of the descriptors. A NodeLocal
/// cache on each of 5,000 nodes opens a few.
pub const TCP_CONNECTIONS: usize = 8192;
/// TCP connections of one client address that are open at once.
pub const TCP_CONNECTIONS_CLIENT: usize = 512;
/// TCP connections that the kernel holds until they are accepted.
pub const TCP_BACKLOG: i32 = 1024;
/// Queries of one connection that wait for upstreams. Further queries stay unread.
pub const TCP_PENDING_QUERIES: usize = 100;
/// Octets of the head of an HTTP/1.1 request, and of the headers of an HTTP/2 request. The longest
/// query in a URL takes 5.3 KiB of it; the rest is for other headers.
pub const HTTP_HEAD_OCTETS: usize = 16 << 10;
/// Octets that an HTTP/2 client may send ahead, on all streams of a connection together.
pub const HTTP_WINDOW_OCTETS: u32 = 128 << 10;
/// Octets that the incomplete requests of all clients over HTTP and QUIC may take. A client address
/// may have as many of them as are free, so one client alone gets half.
pub const INCOMPLETE_OCTETS: usize = 16 << 20;
/// Octets of which an incomplete request over HTTP/1.1, HTTP/2 or gRPC counts: those of its body, in
/// a buffer that may be twice as large.
pub const INCOMPLETE_BODY_OCTETS: usize = 2 * REQUEST_OCTETS;
/// Octets of which an incomplete message over QUIC counts: those of the message, which are copied
/// once, and [`QUIC_SPARE_OCTETS`].
pub const INCOMPLETE_QUIC_OCTETS: usize = QUIC_SPARE_OCTETS + 2 * REQUEST_OCTETS;
/// Octets of which an incomplete request over HTTP/3 counts, in the same way.
pub const INCOMPLETE_HTTP3_OCTETS: usize = QUIC_SPARE_OCTETS + 2 * HTTP3_REQUEST_OCTETS;
/// Octets of datagrams that quinn keeps for a stream whose octets do not arrive in their order.
pub const QUIC_SPARE_OCTETS: usize = 32 << 10;
/// Queries that are answered at once at a listener of hickory-server, which has no bound itself.
pub const HICKORY_QUERIES: usize = 1024;
/// QUIC handshakes in progress at a listener. A client address may have as many of them as are
/// free. One takes up to 40 KiB.
pub const QUIC_HANDSHAKES: usize = 256;
/// If this many QUIC handshakes are in progress, a new client must first prove its address. Nothing
/// is stored for it before that.
pub const QUIC_UNPROVEN: usize = 32;
/// Octets that are stored for a QUIC client before its handshake is complete.
pub const QUIC_EARLY_OCTETS: u64 = 16 << 10;
/// Octets that a QUIC client may send before ndots has read them, on all streams of a connection
/// together.
pub const QUIC_WINDOW_OCTETS: u32 = 64 << 10;
/// How long a TLS or QUIC handshake may take, with clients and with upstreams. CoreDNS has this
/// value for the first message of a connection.
pub const TLS_HANDSHAKE_TIME: Duration = Duration::from_secs(3);
/// The time from the first octet of a message to its last, and from the start of a connection to
/// its first message, as in CoreDNS.
pub const TCP_MESSAGE_TIME: Duration = Duration::from_secs(3);
/// Streams in one direction that an HTTP/3 client may have open: HTTP/3 has three, and clients open
/// others to test that they are ignored.
pub const HTTP3_STREAMS: u32 = 8;
/// Octets of an HTTP/3 request: those of its headers and of its body, and of frames between them.
pub const HTTP3_REQUEST_OCTETS: usize = HTTP_HEAD_OCTETS + REQUEST_OCTETS + 1024;
/// The same for all requests of a connection that are not complete: 2.6 KiB for each of
/// [`TCP_PENDING_QUERIES`].
pub const HTTP3_REQUESTS_OCTETS: usize = 256 << 10;
/// Octets that each piece of an HTTP/3 request counts for at least. h3 keeps the pieces of a frame
/// until the frame is complete, and each piece has an allocation of its own.
pub const HTTP3_PIECE_OCTETS: usize = 64;
/// Octets of a frame on the control stream of an HTTP/3 client. After a longer frame, the stream is
/// not read any more. The longest frames hold settings, of up to 16 octets each.
pub const HTTP3_CONTROL_FRAME_OCTETS: u64 = 512;
/// Request streams of an HTTP/3 connection that end without a request. h3 stores the id of each one
/// until the connection ends.
pub const HTTP3_BROKEN_STREAMS: usize = 100;
/// How long a connection may be idle between queries, as in CoreDNS.
pub const TCP_IDLE_TIME: Duration = Duration::from_secs(10);
/// Octets of finished replies that a connection's client has not taken. The largest reply fits. An
/// HTTP/2 client can ask for 100 replies at once and take none of them.
pub const UNSENT_OCTETS_CONNECTION: usize = 256 << 10;
/// The same for all connections of a client address.
pub const UNSENT_OCTETS_CLIENT: usize = 1 << 20;
/// The same for all clients together.
pub const UNSENT_OCTETS: usize = 16 << 20;
/// If a client address has more of these octets, it gets no new connections. Otherwise a client
/// that reads nothing could make ndots prepare large replies for thousands of connections a second.
pub const UNSENT_OCTETS_CROWDED: usize = UNSENT_OCTETS_CLIENT / 2;
/// Octets that the kernel keeps for a connection until the client acknowledges them. Linux doubles
/// this for its own data.
pub const TCP_SEND_BUFFER: usize = 16 << 10;
/// How long a client may take to read its replies, as in CoreDNS.
pub const TCP_WRITE_TIME: Duration = Duration::from_secs(5);
/// How long a connection is still read when the server stops, for queries that are on their way.
/// Also how long the last messages that a protocol sends before a connection ends may take.
pub const TCP_DRAIN_TIME: Duration = Duration::from_millis(50);
/// The pause after a failed accept of a connection, or a failed read of a UDP socket. The usual
/// reason is a lack of descriptors or memory, which lasts a while.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How many times ndots tries to find a free port that both UDP and TCP can use.
pub const PORT_TRIES: usize = 8;

/// Connections that are open at once to one address that serves HTTP pages.
pub const PAGE_CONNECTIONS: usize = 64;
/// How long a client may take to send the head of its request for a page.
pub const PAGE_TIME: Duration = Duration::from_secs(5);
/// How long one connection may ask for pages.
pub const PAGE_CONNECTION_TIME: Duration = Duration::from_secs(300);

/// How often the process requests its own health page, as in CoreDNS.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long the request for the health page may take, as in CoreDNS.
pub const POLL_TIME: Duration = Duration::from_secs(3);
/// A request for the health page that takes longer than this is logged as slow, as in CoreDNS.
pub const POLL_SLOW: Duration = Duration::from_secs(1);
/// Octets of the health page with its head.
pub const POLL_OCTETS: u64 = 4096;

/// Changes that wait for the index. A source that is faster has to wait.
pub const CHANGES: usize = 1024;
/// Changes of EndpointSlices that are published at once, if they have arrived. Each publication
/// takes time for all endpoints of a Service, and a large Service has a thousand slices.
pub const CHANGES_AT_ONCE: usize = 256;
/// Octets of the largest manifest that is read.
pub const MANIFEST_OCTETS: u64 = 64 << 20;
/// How deep directories of manifests, and those of the plugin `auto`, may be nested.
pub const MANIFESTS_DEPTH: usize = 16;
/// The threads that parse manifests. More do not help, because the rest of the work is on one
/// thread.
pub const MANIFESTS_THREADS: usize = 8;
/// How often a directory is read again if the system reports no events for it.
pub const MANIFESTS_POLL: Duration = Duration::from_secs(2);
/// How long ndots waits after the first event of a file, so that an editor can finish it.
pub const MANIFESTS_SETTLE: Duration = Duration::from_millis(50);
/// Endpoints of an EndpointSlice, as in the controller of Kubernetes.
pub const SLICE_ENDPOINTS: usize = 100;

/// Octets of the header of the PROXY protocol, with the data that a load balancer may add to it.
pub const PROXY_HEADER_OCTETS: usize = 4096;
/// Clients over UDP whose PROXY header came once, unless the Corefile sets another number, as in
/// CoreDNS.
pub const PROXY_SESSIONS: usize = 10_240;
/// How often ndots checks whether the rest of an incomplete PROXY header has arrived.
pub const PROXY_HEADER_LOOK: Duration = Duration::from_millis(2);

/// How often watched files are checked. A change of a ConfigMap is loaded within two seconds.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(1);
/// Octets of the largest watched file whose content is compared. Of a larger one, the times and the
/// size are compared.
pub const WATCHED_OCTETS: u64 = 256 << 10;
/// How many probes the plugin `loop` sends at most after the start. It sends one a second, until
/// one is answered.
pub const LOOP_PROBES: usize = 30;
/// File descriptors that the system is asked for: for TCP clients, upstream sockets and shared
/// sockets, and some for files, pages and listeners.
pub const DESCRIPTORS: u64 = 20_480;
/// Series of one metric family that code on the path of a query finds without a lookup: enough for
/// every query type over IPv4 and IPv6, and for the response codes that occur.
pub const CACHED_SERIES: usize = 40;
/// How many clients, names and namespaces `prometheus { top }` counts: by default, and at most.
pub const TOP_SIZES: [usize; 2] = [100, 1_000];
