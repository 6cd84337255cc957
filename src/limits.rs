//! Every bound in the program, each with its reason.

use std::time::Duration;

/// Octets of a name in wire form (RFC 1035 §3.1).
pub const NAME_OCTETS: usize = 255;
/// Octets of a label (RFC 1035 §3.1).
pub const LABEL_OCTETS: usize = 63;
/// Octets of a UDP message without EDNS (RFC 1035 §4.2.1).
pub const UDP_OCTETS_PLAIN: u16 = 512;
/// Our own EDNS size: what passes without fragments on every path (DNS Flag Day 2020).
pub const UDP_OCTETS: u16 = 1232;
/// Octets of a message over a stream: its length prefix is 16 bits (RFC 1035 §4.2.2).
pub const STREAM_OCTETS: usize = 65_535;

/// Nested questions (CNAME hops, `autopath` candidates, rewrites) that one client question may
/// cause.
pub const ASKS: u32 = 16;
/// Domains of a search list that `autopath` tries: with the first one asked again at the end, and
/// some aliases on the way, they stay within [`ASKS`]. Past them the client goes on by itself.
pub const SEARCH_DOMAINS: usize = 10;
/// CNAMEs followed inside the cluster zone for one question; CoreDNS answers chains of up to 11.
pub const ALIASES: usize = 11;

/// How long a client of ours waits: glibc, musl and Go give up after 5 s; a reply after that helps
/// nobody.
pub const QUERY_TIME: Duration = Duration::from_secs(5);
/// Octets that names and data of one upstream reply may take once they are uncompressed: four times
/// the largest message.
pub const REPLY_OCTETS: usize = 4 * STREAM_OCTETS;
/// Aliases within one upstream reply; more is a loop or as bad as one.
pub const REPLY_ALIASES: usize = 16;

/// Words of a Corefile with everything imported; the largest in the field have some thousands.
pub const COREFILE_WORDS: usize = 100_000;
/// Octets of a Corefile and all files that it imports: a ConfigMap holds 1 MiB, and several may be
/// mounted.
pub const COREFILE_OCTETS: usize = 4 << 20;
/// Imports that are followed: CoreDNS's own bound for snippets.
pub const COREFILE_IMPORTS: usize = 10_000;
/// Braces in braces, and imports in imports.
pub const COREFILE_DEPTH: usize = 32;
/// Mistakes that are told in one run.
pub const DIAGNOSTICS: usize = 100;
/// Characters of a message; a word that it quotes may be as long as the file.
pub const DIAGNOSTIC_CHARS: usize = 400;
/// Octets of a line that is shown with a message: what is longer was not written by hand.
pub const DIAGNOSTIC_LINE: usize = 4096;

/// For a resolver to tell the address of an upstream; CoreDNS's number.
pub const RESOLVE_TIME: Duration = Duration::from_secs(2);
/// Octets of a pattern of `errors`, as in CoreDNS.
pub const PATTERN_OCTETS: usize = 10_000;
/// Nodes whose addresses one answer has: a client tries a few, and 64 KiB hold no more than
/// thousands.
pub const OUTSIDE_NODES: usize = 512;
/// The highest `ttl` of `kubernetes`, as in CoreDNS: cluster names move.
pub const KUBERNETES_TTL: u32 = 3600;

/// How long facts are waited for before that is told, as in CoreDNS.
pub const KUBERNETES_STARTUP: Duration = Duration::from_secs(5);

/// Replies that a cache keeps of each kind where the Corefile does not say: CoreDNS's number.
pub const CACHE_REPLIES: usize = 9984;
/// Octets of records that a reply in the cache may have on average, or fewer are kept: so 10,000 of
/// them take some 10 MiB, where replies of the largest size would take 2 GiB.
pub const CACHE_REPLY_OCTETS: usize = 1024;
/// How long a failure may be kept (RFC 2308 §7.1).
pub const SERVFAIL_KEPT: Duration = Duration::from_secs(300);
/// How long a client waits before it gets a stale reply (RFC 8767 §5).
pub const STALE_PATIENCE: Duration = Duration::from_millis(1800);

/// The soonest that a second datagram follows a first one, whatever an upstream's speed: a late
/// reply is no lost one.
pub const HEDGE_EARLIEST: Duration = Duration::from_millis(50);
/// The latest: also how long an upstream is given that has never answered.
pub const HEDGE_LATEST: Duration = Duration::from_millis(300);
/// Datagrams for a question where few upstreams are configured: one may be lost, two in a row
/// hardly.
pub const SENDS_LEAST: u32 = 3;
/// Datagrams that are no reply after which a question goes over TCP: someone is guessing (RFC 5452
/// §9.2).
pub const STRAYS: u32 = 10;
/// Names that must have lost their case over TCP before an upstream is asked in lower case.
pub const CASE_LOST: u32 = 3;
/// Octets of a reply over UDP: we ask for [`UDP_OCTETS`], and an upstream that does not care sends
/// 4096 at most.
pub const UDP_REPLY_OCTETS: usize = 4097;
/// Sockets to upstreams that are open at once.
pub const UPSTREAM_SOCKETS: usize = 4096;
/// Of them to one upstream: a dead one holds each for as long as its question may take, and must
/// leave room for the others.
pub const UPSTREAM_SOCKETS_EACH: u32 = 1024;
/// Questions that wait for one exchange: a name that a whole cluster asks for may have half of all
/// jobs.
pub const WAITERS: usize = JOBS / 2;
/// Upstreams that a `forward` line may name, as in CoreDNS; a file among them may name more.
pub const FORWARD_TARGETS: usize = 15;
/// Idle connections kept to one upstream.
pub const IDLE_CONNECTIONS: usize = 16;
/// How often idle connections are looked over.
pub const IDLE_SWEEP: Duration = Duration::from_secs(1);
/// How long a health check waits for its reply, as in CoreDNS.
pub const PROBE_TIME: Duration = Duration::from_secs(1);

/// Datagrams a system call: past this many a batch gains nothing and delays its first reply.
pub const UDP_BATCH: usize = 16;
/// Octets of a request; over UDP the end of a longer one is cut off, and TCP clients that send one
/// are cut off themselves. The largest honest ones have some hundreds.
pub const REQUEST_OCTETS: usize = 4096;
/// Octets that the kernel is asked to hold for each UDP socket.
pub const UDP_BUFFER: usize = 4 << 20;
/// Batches that a thread still reads when it is told to stop: more than its socket's buffer holds
/// of small packets.
pub const UDP_LAST_BATCHES: usize = 512;
/// Datagrams' questions that wait for upstreams, and those of them that may wait for their task to
/// begin.
pub const JOBS: usize = 16_384;
pub const JOBS_QUEUED: usize = 4096;
/// Questions of all TCP connections that wait for upstreams, or for their client to take the reply.
pub const STREAM_JOBS: usize = 4096;
/// Lines that wait to be written to the log.
pub const LOG_LINES: usize = 8192;
/// For them to be written when the process ends.
pub const LOG_LAST_TIME: Duration = Duration::from_millis(500);

/// Connections at once, in all and of one client address; never more than half of the descriptors.
/// A NodeLocal cache on every one of 5,000 nodes keeps a few.
pub const TCP_CONNECTIONS: usize = 8192;
pub const TCP_CONNECTIONS_CLIENT: usize = 512;
/// Connections that wait to be accepted.
pub const TCP_BACKLOG: i32 = 1024;
/// Questions of one connection that wait for upstreams; then no more are read.
pub const TCP_QUESTIONS: usize = 100;
/// Octets of a head of HTTP/1.1, and of the headers of a request over HTTP/2: the longest question
/// in a URL, and as much again.
pub const HTTP_HEAD_OCTETS: usize = 16 << 10;
/// Octets of requests that an HTTP/2 client may send ahead on all streams of a connection.
pub const HTTP_WINDOW_OCTETS: u32 = 128 << 10;
/// Questions that are being answered at once at a listener of hickory-server, which has no bound of
/// its own.
pub const HICKORY_QUESTIONS: usize = 1024;
/// For a client to agree on keys: CoreDNS's number for whatever comes first on a connection.
pub const TLS_HANDSHAKE_TIME: Duration = Duration::from_secs(3);
/// From a message's first octet to its last; also from a connection's start to its first message.
/// CoreDNS's number.
pub const TCP_MESSAGE_TIME: Duration = Duration::from_secs(3);
/// Between questions; CoreDNS's number.
pub const TCP_IDLE_TIME: Duration = Duration::from_secs(10);
/// For a client to take its replies; CoreDNS's number.
pub const TCP_WRITE_TIME: Duration = Duration::from_secs(5);
/// For what a client has sent already when the server stops.
pub const TCP_LAST_TIME: Duration = Duration::from_millis(50);
/// After a failed accept.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Zones that are handed over at the same time; BIND's number.
pub const TRANSFERS: usize = 10;
/// For a client to take a whole zone; until then old facts are kept for it.
pub const TRANSFER_TIME: Duration = Duration::from_secs(600);
/// Octets of a message of a transfer before compression, whose pointers reach no further.
pub const TRANSFER_OCTETS: usize = 16_384;
/// Tries for a port that is free for both UDP and TCP.
pub const PORT_TRIES: usize = 8;

/// Connections to one address with pages.
pub const PAGE_CONNECTIONS: usize = 64;
/// For the header of a page's request.
pub const PAGE_TIME: Duration = Duration::from_secs(5);
/// For all that one connection asks for pages.
pub const PAGE_CONNECTION_TIME: Duration = Duration::from_secs(300);

/// How often the process asks itself for its page, how long it waits, and what is told as long:
/// CoreDNS's numbers.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);
pub const POLL_TIME: Duration = Duration::from_secs(3);
pub const POLL_LONG: Duration = Duration::from_secs(1);
/// Octets of that page with its head.
pub const POLL_OCTETS: u64 = 4096;

/// Changes that wait for the index: a source that is ahead of it waits.
pub const CHANGES: usize = 1024;
/// The largest manifest that is read.
pub const MANIFEST_OCTETS: u64 = 64 << 20;
/// Directories in directories that are searched for manifests.
pub const MANIFESTS_DEPTH: usize = 16;
/// How often a directory is looked at where no event comes.
pub const MANIFESTS_POLL: Duration = Duration::from_secs(2);
/// How long an editor may take to finish what it began to write.
pub const MANIFESTS_SETTLE: Duration = Duration::from_millis(50);
/// Endpoints of a slice, as Kubernetes' controller has it.
pub const SLICE_ENDPOINTS: usize = 100;

/// Objects of a page of a list: some MiB of Pods.
pub const API_PAGE: usize = 500;
/// Octets of a page, of an event of a watch (etcd takes objects of 1.5 MiB), and of an error's
/// text.
pub const API_PAGE_OCTETS: usize = 512 << 20;
pub const API_EVENT_OCTETS: usize = 8 << 20;
pub const API_STATUS_OCTETS: usize = 64 << 10;
/// To connect to the API server.
pub const API_CONNECT_TIME: Duration = Duration::from_secs(5);
/// For a page to arrive whole.
pub const API_PAGE_TIME: Duration = Duration::from_secs(40);
/// How long a watch lasts before it is resumed: the server says where it stands at least that
/// often, so a connection that is dead, or a server that hangs, is noticed [`API_WATCH_GRACE`]
/// later.
pub const API_WATCH_TIME: Duration = Duration::from_secs(30);
/// For the server to end a watch on its own.
pub const API_WATCH_GRACE: Duration = Duration::from_secs(10);
/// The first and the longest wait after a failure.
pub const API_RETRY_FIRST: Duration = Duration::from_millis(500);
pub const API_RETRY_LAST: Duration = Duration::from_secs(15);
/// The longest wait before a server that cannot be reached is tried again: what it says is known 5
/// s after its return, and an attempt costs it little.
pub const API_RECONNECT_LAST: Duration = Duration::from_secs(4);
/// Watches that the server refuses to start in a row before the kind is listed anew: it may have
/// been restored from a backup.
pub const API_WATCH_FAILURES: u32 = 5;
/// How often a kind is looked for that the cluster does not have: its definition may be installed
/// later.
pub const API_ABSENT_LOOK: Duration = Duration::from_secs(30);
/// How often a failure that lasts is told of.
pub const API_SAY: Duration = Duration::from_secs(60);

/// How often watched files are looked at: a ConfigMap that is swapped shows within two seconds.
pub const RELOAD_LOOK: Duration = Duration::from_secs(1);
/// Times that a question of our own is asked at the start, a second apart.
pub const PROBES: usize = 30;
/// Descriptors that are asked for: TCP clients, upstream sockets, and some for files, pages and
/// listeners.
pub const DESCRIPTORS: u64 = 16_384;
/// For a server to answer a person who asks; twice the time in which a resolver gives up a first
/// try.
pub const EXPLAIN_ASK_TIME: Duration = Duration::from_secs(2);

/// Series of one metric family that code on the path of a query finds without a lookup: enough for
/// every query type over IPv4 and IPv6, and for the response codes that occur.
pub const CACHED_SERIES: usize = 40;
