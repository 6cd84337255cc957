//! ndots: a DNS server for Kubernetes clusters.
//!
//! ```text
//!  8          app ◄ main                    composition: config -> sources -> zone -> server -> listeners
//!  7     explain  diff  top  cli            checks of names and Services / two servers' replies / their metrics / the command line
//!  6      net        source                 I/O; neither uses the other
//!  ────────┼──────────┼──── below this line there is no clock, random source, socket, file or task
//!  5     server       │                     the block that answers (longest suffix)
//!  4     plugin       │                     one file for each Corefile directive, in CoreDNS's order
//!  3     chain        │                     runs a query through the plugins
//!  2  zone zonefile cache upstream corefile none uses another (also: skydns dnstap trace dnssec)
//!  1     wire  send_queue                   DNS messages: parsing and encoding / queues of messages to send
//!  0  limits metrics model hash random      bounds with their reasons / the metrics registry / cluster facts
//!     printable shares transport            safe text / fair permits / schemes of server blocks and transports of messages
//!     protobuf proxy_header                 protocol buffers / the header of the PROXY protocol
//! ```

#[cfg(feature = "kubernetes")]
pub mod app;
pub mod cache;
pub mod chain;
#[cfg(feature = "kubernetes")]
pub mod cli;
pub mod corefile;
#[cfg(feature = "kubernetes")]
pub mod diff;
pub mod dnssec;
pub mod dnstap;
#[cfg(feature = "kubernetes")]
pub mod explain;
#[doc(hidden)]
pub mod fuzzing;
pub mod hash;
pub mod limits;
pub mod metrics;
pub mod model;
#[cfg(feature = "net")]
pub mod net;
pub mod plugin;
pub mod printable;
pub mod protobuf;
pub mod proxy_header;
pub mod random;
pub mod send_queue;
pub mod server;
pub mod shares;
pub mod skydns;
#[cfg(feature = "kubernetes")]
pub mod source;
#[cfg(feature = "kubernetes")]
pub mod top;
pub mod trace;
pub mod transport;
pub mod upstream;
pub mod wire;
pub mod zone;
pub mod zonefile;
