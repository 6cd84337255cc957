//! ndots: the DNS server of a Kubernetes cluster.
//!
//! ```text
//!  8          app ◄ main                    composition: config -> sources -> zone -> chains -> listeners
//!  7       explain  cli                     why a name or a Service does not answer / clap definitions
//!  6      net        source                 I/O; neither sees the other
//!  ────────┼──────────┼──── --no-default-features stops here: below, no clock, rng, socket, file or task
//!  5     server       │                     which block answers (longest suffix)
//!  4     plugin       │                     one file per Corefile directive, in CoreDNS's order
//!  3     chain        │                     Plugin, Flow, Back, Step, Run: drives a query through the plugins
//!  2  zone cache upstream corefile          do not see each other
//!  1     wire         │                     the only user of hickory_proto in the pure half
//!  0  limits metrics model hash random      bounds with their reasons / metric families / plain cluster facts
//!     transport                             schemes of server blocks and transports of messages
//! ```

#[cfg(feature = "kubernetes")]
pub mod app;
pub mod cache;
pub mod chain;
#[cfg(feature = "kubernetes")]
pub mod cli;
pub mod corefile;
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
pub mod random;
pub mod server;
#[cfg(feature = "kubernetes")]
pub mod source;
pub mod transport;
pub mod upstream;
pub mod wire;
pub mod zone;
