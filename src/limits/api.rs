//! Bounds of lists and watches of an API server.

use std::time::Duration;

/// Objects on a page of a list. That many Pods take some MiB.
pub const API_PAGE: usize = 500;
/// Octets of a page of a list. After a larger page ndots asks for fewer objects. One object always
/// fits, because etcd accepts objects of up to 1.5 MiB.
pub const API_PAGE_OCTETS: usize = 16 << 20;
/// If a page has more octets than this, ndots reads no other such page from the server at the same
/// time. Pages of usual clusters are smaller, so kinds do not wait for each other.
pub const API_PAGE_OCTETS_FREE: usize = 4 << 20;
/// Objects that a page may have. A server that ignores the requested number sends all objects, and
/// no real object has fewer octets than this number leaves for each.
pub const API_PAGE_OBJECTS: usize = API_PAGE_OCTETS / 256;
/// Objects of a list over all its pages. Kubernetes is designed for 150,000 Pods in a cluster.
pub const API_LIST_OBJECTS: usize = 1_000_000;
/// Octets of memory for the facts of a server if the process has no memory limit. With a limit they
/// are three eighths of it. Every 64 MiB are enough for about 400,000 Pods, 400,000 endpoints or
/// 70,000 Services.
pub const API_FACTS_OCTETS: usize = 1 << 30;
/// Octets of an event of a watch. etcd accepts objects of up to 1.5 MiB.
pub const API_EVENT_OCTETS: usize = 4 << 20;
/// Octets of the text of an error that the API server sends.
pub const API_STATUS_OCTETS: usize = 64 << 10;
/// How long a connection to the API server may take.
pub const API_CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a whole page of a list may take.
pub const API_PAGE_TIME: Duration = Duration::from_secs(40);
/// How long a list may take that the server sends as events. It ends earlier if the server does not
/// reply to the request within [`API_PAGE_TIME`], or is silent for [`API_LIST_SILENCE`] after that.
pub const API_LIST_TIME: Duration = Duration::from_secs(600);
/// How long the server may be silent within a list of events. Servers before Kubernetes 1.27 do not
/// mark the end of the list: they send nothing after the last object.
pub const API_LIST_SILENCE: Duration = Duration::from_secs(2);
/// How long a list of events may go on after an event that is no object of the list. Such a server
/// may send the events of a watch after the last object.
pub const API_LIST_END: Duration = Duration::from_secs(10);
/// How long a watch lasts before it is resumed. The server reports its latest resource version at
/// the end of each watch, so a dead connection or a server that hangs is noticed
/// [`API_WATCH_GRACE`] later.
pub const API_WATCH_TIME: Duration = Duration::from_secs(30);
/// How much longer than [`API_WATCH_TIME`] the server may take to end a watch.
pub const API_WATCH_GRACE: Duration = Duration::from_secs(10);
/// The first back-off after a failure.
pub const API_RETRY_MIN: Duration = Duration::from_millis(500);
/// The longest back-off after a failure.
pub const API_RETRY_MAX: Duration = Duration::from_secs(15);
/// The longest back-off if the server is unreachable. ndots then reconnects within 5 s of its
/// return, and an attempt costs the server little.
pub const API_RECONNECT_MAX: Duration = Duration::from_secs(4);
/// How long only JSON is asked for after a reply in protobuf that could not be read.
pub const API_JSON_TIME: Duration = Duration::from_secs(600);
/// If the server answers this many lists and watches in a row with an error, the kind is listed
/// again. The server may have been restored from a backup.
pub const API_WATCH_FAILURES: u32 = 5;
/// How often ndots looks for a kind that the cluster does not have. Its CustomResourceDefinition
/// may be installed later.
pub const API_ABSENT_KIND_INTERVAL: Duration = Duration::from_secs(30);
/// How often a failure that lasts is logged.
pub const API_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Host names of an object for clients outside of the cluster. An annotation of the largest size
/// holds 50,000 short names, and each of them takes about 300 octets of memory.
pub const OBJECT_HOSTS: usize = 10_000;
/// Octets of a reply that a command reads as a whole, such as a page of objects in JSON for
/// `explain`. A usual object has less than 20 KB.
pub const API_TEXT_OCTETS: usize = 64 << 20;
