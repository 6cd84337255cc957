//! What a directive needs from outside of the plugin layer.

use std::{net::SocketAddr, time::Duration};

use crate::{
    limits,
    model::{EndpointFields, Kind},
    wire::Name,
};

use super::{ProxyPolicy, Source, Tls, UpstreamTls, ZoneDirectory};

/// A host name to resolve.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    pub name: String,
    /// The resolvers to query; empty for the resolver of this machine.
    pub resolvers: Vec<SocketAddr>,
}

/// One requirement of a directive. `app` and `server` provide it before the plugin is built or
/// while the server runs; a plugin itself opens no socket and no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// The facts of these kinds from a cluster. [`PluginContext::store`] returns them.
    ///
    /// [`PluginContext::store`]: super::PluginContext::store
    Source { source: Source, kinds: Vec<Kind>, endpoint_fields: EndpointFields },
    /// The facts of the source are kept in this file for the next start.
    Snapshot { source: Source, file: String },
    /// The content of a file. [`PluginContext::file`] returns it.
    ///
    /// [`PluginContext::file`]: super::PluginContext::file
    File(String),
    /// The content of a file that is not text. [`PluginContext::octets`] returns it.
    ///
    /// [`PluginContext::octets`]: super::PluginContext::octets
    Octets(String),
    /// A program that runs when something happens to the server.
    Command(Command),
    /// The content of a zone file and of the files that it includes. [`PluginContext::file`]
    /// returns them.
    ///
    /// [`PluginContext::file`]: super::PluginContext::file
    ZoneFile { path: String, origins: Vec<Name> },
    /// The zone files of a directory. They are among [`BuildContext::files`].
    ///
    /// [`BuildContext::files`]: super::BuildContext::files
    ZoneDirectory(ZoneDirectory),
    /// The addresses of a host. [`PluginContext::addresses`] returns them.
    ///
    /// [`PluginContext::addresses`]: super::PluginContext::addresses
    Host(Host),
    /// The block listens on these addresses or interfaces only.
    Bind { only: Vec<String>, except: Vec<String> },
    /// The number of sockets that receive UDP at each address.
    Sockets(usize),
    /// How long the connections of the block's listeners may take.
    Timeouts(Timeouts),
    /// Messages and connections of the block's listeners may begin with the address of the client.
    ProxyHeaders(ProxyPolicy),
    /// Plugins collect metadata for queries in these zones.
    Metadata(Vec<Name>),
    /// The block gets only the queries that its filter accepts. The name is for metrics.
    View(String),
    /// The size limit of UDP replies in octets.
    UdpOctets(u16),
    /// The block gets queries of every class, not only IN.
    AnyClass,
    /// A change of the Corefile, or of a file that its plugins read, causes a reload.
    Reload,
    /// A change of a file that plugins read causes a reload.
    WatchFiles,
    /// The block gets AXFR and IXFR queries.
    Transfers,
    /// The block gets UPDATE messages.
    Updates,
    /// The certificate of the block's encrypted listeners.
    Tls(Tls),
    /// The certificates for upstreams. They are checked before they are used.
    UpstreamTls { plugin: &'static str, tls: UpstreamTls },
    /// The `ready` page watches the plugins of this block.
    Readiness(Monitor),
    /// Log lines of the level DEBUG are written, and a panic ends the process.
    Debug,
    /// The stack trace of a panic is written.
    Stacktrace,
    /// The server keeps answering for this long after the signal to stop.
    Lameduck(Duration),
}

/// A program with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub event: Event,
    pub words: Vec<String>,
    /// Whether the server goes on before the program ends.
    pub background: bool,
}

/// When a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The program runs at the start, and after each reload.
    Startup,
    Shutdown,
}

/// How long the `ready` page asks a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Monitor {
    /// The plugin is asked until it was ready once.
    #[default]
    UntilReady,
    Continuously,
}

/// How long the connections of a listener may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The time from the first octet of a message over TCP or TLS to its last, and from the start
    /// of the connection to its first message.
    pub read: Duration,
    /// How long a client over TCP or TLS may take to read its replies.
    pub write: Duration,
    /// How long a connection may wait for its next message.
    pub idle: Duration,
    /// How many queries one connection over TCP or TLS may send; `None` for any number.
    pub queries: Option<u32>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            read: limits::TCP_MESSAGE_TIME,
            write: limits::TCP_WRITE_TIME,
            idle: limits::TCP_IDLE_TIME,
            queries: None,
        }
    }
}
