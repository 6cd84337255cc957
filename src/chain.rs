//! Runs a query through the plugins of its server block. A run is synchronous: if it needs the
//! network, it returns a [`Step`], and the dispatcher resumes it with the result.
//!
//! On the way down each plugin returns a [`Flow`], and on the way up a [`Back`]. A nested query of
//! a plugin (an alias's target, a name of the search list) uses the same driver. It starts at the
//! plugin below, or at the top of the block that the name belongs to. A plugin on the way down can
//! also decide that the client may transfer a zone. The records of a transfer are sent as many
//! messages and do not pass through the chain.

mod commit;
mod error;
mod metadata;
mod run;
mod tap;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    metrics::Histogram,
    random::SplitMix64,
    upstream,
    wire::{Query, Question, Rcode, Response, Transfer, TsigChain},
};

pub use crate::transport::Transport;
pub use commit::{Commit, Committed};
pub use error::QueryError;
pub use metadata::Metadata;
pub use run::Run;
pub use tap::{AtSending, Tap, TapEvent, Trace};

/// The outcome of a query.
pub type Reply = Result<Response, QueryError>;

/// A plugin of a server block. It holds no socket, clock or task, and many threads call it at once.
pub trait Plugin: Send + Sync {
    /// The directive's name.
    fn name(&self) -> &'static str;

    /// Handles a query on the way down.
    fn query(&self, _cx: &mut Cx, _query: &Query) -> Flow {
        Flow::Next
    }

    /// Handles an UPDATE message (RFC 2136). The plugins of the block are asked in their order, and
    /// their replies do not come back to them.
    fn update(&self, _cx: &mut Cx, _update: &Query) -> Flow {
        Flow::Next
    }

    /// Handles the reply of the plugins below on the way up.
    fn response(&self, _cx: &mut Cx, _query: &Query, reply: Reply) -> Back {
        Back::Up(reply)
    }

    /// Handles the reply to a nested query of this plugin.
    fn nested_reply(&self, _: &mut Cx, _: &Query, _: Nested<'_>, reply: Reply) -> Back {
        Back::Up(reply)
    }

    /// The transfer of the zone whose apex is the name of the question, or the response to send
    /// instead. `None` if this plugin does not have the zone.
    fn transfer(&self, _question: &Question) -> Option<Result<Transfer, Response>> {
        None
    }

    /// Handles a NOTIFY message about the zone with the question's name; `None` if the plugin
    /// transfers no such zone.
    fn notified(&self, _cx: &mut Cx, _notify: &Query) -> Option<Notified> {
        None
    }

    /// Adds what the plugin knows about a query before it is handled. It is called only if the
    /// block has the plugin `metadata`.
    fn metadata(&self, _cx: &Cx, _query: &Query, _metadata: &mut Metadata) {}

    /// Decides which queries the block gets, if this plugin does that.
    fn filter(&self) -> Option<&dyn Filter> {
        None
    }

    /// Gets copies of the block's messages, if this plugin wants them.
    fn tap(&self) -> Option<&dyn Tap> {
        None
    }

    /// Whether the plugin cannot answer yet. The `ready` page shows the reason.
    fn unready(&self) -> Option<Unready> {
        None
    }

    /// What the `ready` page adds about a plugin that can answer.
    fn note(&self) -> Option<String> {
        None
    }

    /// Called after the reply to a client is written, to log or count it.
    fn sent(&self, _cx: &mut Cx, _query: &Query, _sent: &Sent) {}
}

/// The outcome of a NOTIFY message (RFC 1996).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notified {
    Accepted,
    /// The client is not a primary server of the zone, and gets no reply.
    Ignored,
    /// The message has no valid signature.
    Refused(Rcode),
}

/// Selects the queries of a server block among those for its zones.
pub trait Filter {
    fn accepts(&self, cx: &Cx, query: &Query) -> bool;
}

/// A plugin that cannot answer yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unready {
    /// The reason, if waiting does not help.
    pub why: Option<String>,
}

/// The decision of a plugin on the way down.
pub enum Flow {
    Next,
    /// The name is in no zone of the plugin. The next plugin gets the query; without one, the reply
    /// is REFUSED.
    OutsideZones,
    /// The plugins below get this query instead. Its reply comes back as that of a nested query.
    Instead(Box<Query>),
    Answer(Response),
    /// No reply at all.
    Drop,
    Ask(Ask),
    Forward(Exchange),
    /// Sends this response after a time.
    Pause(Duration, Response),
    /// Makes a change outside of the threads that answer queries, and sends its response.
    Commit(Arc<dyn Commit>),
    /// The client may transfer the zone. The first plugin below that has it provides the records.
    Transfer,
}

/// The decision of a plugin on the way up.
#[expect(clippy::large_enum_variant, reason = "a reply is the usual case, and a box an allocation")]
pub enum Back {
    Up(Reply),
    Ask(Ask),
    /// Like [`Back::Ask`]. The response is returned in [`Nested::held`].
    Hold(Ask, Box<Response>),
    /// The plugins below get the query. Their reply does not come back to this plugin.
    PassOn,
    /// No reply at all.
    Drop,
}

/// A nested question that a plugin asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub question: Question,
    pub from: From,
    /// Returned with the reply in [`Nested::step`]; its meaning is the plugin's.
    pub step: u32,
}

/// The nested question whose reply a plugin receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nested<'r> {
    pub question: &'r Question,
    /// What the plugin stored in [`Ask::step`].
    pub step: u32,
    /// What the plugin stored in [`Back::Hold`].
    pub held: Option<&'r Response>,
}

/// Where a nested query starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// It starts at the next plugin.
    Below,
    /// It starts at the first plugin of the name's block, which may be another block.
    Top,
}

/// A query to a group of upstreams. The group decides which upstream, transport and retries to use.
#[derive(Clone)]
pub struct Exchange {
    pub query: Query,
    pub group: Arc<upstream::Group>,
}

/// The result of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchanged {
    pub reply: Reply,
    /// The queries to upstreams, in the order in which they were sent.
    pub sent: Arc<[upstream::SentQuery]>,
    /// The index in `sent` of the query that got the reply.
    pub answered: Option<usize>,
}

impl Exchanged {
    /// The upstream that gave the reply, or else the one that was queried last.
    pub fn upstream(&self) -> Option<SocketAddr> {
        let answered = self.answered.and_then(|at| self.sent.get(at));
        answered.or(self.sent.last()).map(|sent| sent.upstream)
    }
}

/// A result without queries to upstreams.
impl std::convert::From<Reply> for Exchanged {
    fn from(reply: Reply) -> Self {
        Self { reply, sent: Arc::default(), answered: None }
    }
}

/// What a run waits for.
#[derive(Clone)]
pub enum Wait {
    Exchange(Exchange),
    /// The time passes; then the run is resumed with this response.
    Pause(Duration, Box<Response>),
    /// The change is made; then the run is resumed with its response.
    Commit(Arc<dyn Commit>),
}

/// What the dispatcher must do next. Plugins reach the network in no other way.
pub enum Step {
    Done(Reply),
    Drop,
    /// Wait, no longer than [`Cx::patience`], and call [`Run::resume`].
    Wait(Wait),
    /// Send the zone. The run has ended.
    Transfer(Transfer),
}

/// The context of a query: everything besides the question and the configuration that an answer may
/// depend on, and what plugins leave for the dispatcher.
#[derive(Debug)]
pub struct Cx {
    pub started: Instant,
    pub now: Instant,
    /// Seconds since 1970 when the last exchange ended. Before the first exchange it is 0, unless
    /// the query has the DO bit or a signature.
    pub unix: u32,
    pub peer: SocketAddr,
    /// The facts that a load balancer adds about the client, in the form of the PROXY protocol.
    pub proxy_tlvs: Option<Arc<[u8]>>,
    pub local: SocketAddr,
    pub transport: Transport,
    /// Octets of the message with the query; zero for a query of the server itself.
    pub request_octets: usize,
    /// Whether the server is about to stop, so that clients should not keep their connections.
    pub closing: bool,
    /// Whether this is a query of the server itself, which only fills the cache and has no client.
    pub refresh: bool,
    /// How long the dispatcher waits for an exchange before it resumes the run with
    /// [`QueryError::Impatient`]. The exchange itself continues.
    pub patience: Option<Duration>,
    /// Whether a plugin has a stale reply for the client, so that the dispatcher does not wait for
    /// an exchange whose upstreams are probably down. Like `patience`, it applies to one exchange.
    pub has_stale_reply: bool,
    /// Queries to run as a refresh after the reply is sent.
    pub refreshes: Vec<Refresh>,
    /// The block of the plugin that is called.
    block: usize,
    /// Lines for the log.
    pub lines: Vec<LogLine>,
    /// What the dispatcher does when the response is sent.
    pub at_sending: Vec<AtSending>,
    /// The trace of the query, if there is one.
    pub trace: Option<Trace>,
    /// Where the time of the query is counted. The dispatcher measures it when the reply is
    /// written.
    pub timer: Option<Histogram>,
    /// Facts about the query for other plugins.
    pub metadata: Metadata,
    /// The upstream of the last exchange.
    pub upstream: Option<SocketAddr>,
    /// How the reply is signed, if the request has a signature that a plugin has checked.
    pub signing: Option<Box<TsigChain>>,
    /// The plugin that gave the reply; empty if none did.
    answered_by: &'static str,
    reply_source: ReplySource,
    /// Random numbers that spread load. An attacker can predict them.
    pub random: SplitMix64,
}

impl Cx {
    pub fn new(
        now: Instant,
        seed: u64,
        peer: SocketAddr,
        local: SocketAddr,
        transport: Transport,
    ) -> Self {
        Self {
            started: now,
            now,
            unix: 0,
            peer,
            proxy_tlvs: None,
            local,
            transport,
            request_octets: 0,
            closing: false,
            refresh: false,
            patience: None,
            has_stale_reply: false,
            refreshes: Vec::new(),
            block: 0,
            lines: Vec::new(),
            at_sending: Vec::new(),
            trace: None,
            timer: None,
            metadata: Metadata::default(),
            upstream: None,
            signing: None,
            answered_by: "",
            reply_source: ReplySource::Local,
            random: SplitMix64::new(seed),
        }
    }

    /// The plugin that gave the reply; empty if none did.
    pub fn answered_by(&self) -> &'static str {
        self.answered_by
    }

    pub fn reply_source(&self) -> ReplySource {
        self.reply_source
    }

    /// Records which plugin gave the reply.
    pub fn set_answered(&mut self, plugin: &'static str, source: ReplySource) {
        (self.answered_by, self.reply_source) = (plugin, source);
    }

    /// Leaves a query to run as a refresh after the reply is sent.
    pub fn refresh_later(&mut self, query: Query) {
        self.refreshes.push(Refresh { query, block: self.block });
    }

    /// Sets the time that the dispatcher waits for the next exchange, if no shorter one is set.
    pub fn wait_at_most(&mut self, time: Duration) {
        self.patience = Some(self.patience.map_or(time, |patience| patience.min(time)));
    }

    /// Like [`Self::wait_at_most`], for a plugin that has a stale reply.
    pub fn wait_with_stale_reply(&mut self, time: Duration) {
        self.has_stale_reply = true;
        self.wait_at_most(time);
    }

    /// Leaves a line for the log.
    pub fn log(&mut self, level: Level, plugin: &'static str, text: impl Into<String>) {
        self.lines.push(LogLine::new(level, plugin, text));
    }
}

/// Converts an [`Instant`] into seconds since 1970. The pure layers cannot read the system clock
/// themselves.
#[derive(Clone, Copy)]
pub struct UnixClock(pub fn(Instant) -> u32);

impl Default for UnixClock {
    fn default() -> Self {
        Self(|_| 0)
    }
}

/// A query of the server itself, which only fills the cache of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    pub query: Query,
    /// A rewritten query may have a name that belongs to another block.
    pub block: usize,
}

/// Where a reply comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplySource {
    /// The reply comes from memory. No cache keeps it, so that a change shows at once.
    Local,
    /// The reply comes from the network. A cache may keep it.
    Upstream,
}

/// A line of the log. `net` writes it, because this layer has no output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub level: Level,
    pub plugin: &'static str,
    pub text: String,
    /// The query that the line is about, for the fields of a JSON line.
    pub query: Option<Box<LoggedQuery>>,
}

impl LogLine {
    pub fn new(level: Level, plugin: &'static str, text: impl Into<String>) -> Self {
        Self { level, plugin, text: text.into(), query: None }
    }
}

/// A client's query with its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedQuery {
    pub peer: SocketAddr,
    pub transport: Transport,
    pub query: Query,
    pub sent: Sent,
    /// When the query arrived. The time until the line is written is measured outside.
    pub started: Instant,
    /// The positions in the text, in octets, where the duration is inserted, in ascending order.
    pub duration_at: Vec<usize>,
}

impl LoggedQuery {
    /// The text of the line with the measured duration, in CoreDNS's form.
    pub fn with_duration(&self, text: &str, took: Duration) -> String {
        let (mut whole, mut done) = (String::with_capacity(text.len() + 16), 0);
        for &at in &self.duration_at {
            whole.push_str(&text[done..at]);
            whole.push_str(&format!("{:.9}s", took.as_secs_f64()));
            done = at;
        }
        whole + &text[done..]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

/// What was sent to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub rcode: Rcode,
    /// The flags word of the header.
    pub flags: u16,
    /// Records in the answer section.
    pub answers: u16,
    /// Whether the authority section has an SOA record, and whether it has NS records.
    pub has_soa: bool,
    pub has_name_servers: bool,
    /// Octets of the request and of the reply.
    pub request_octets: usize,
    pub reply_octets: usize,
}

/// The server blocks, as the driver sees them.
pub trait Router {
    /// The block for a nested query that starts at the top.
    fn route(&self, cx: &mut Cx, query: &Query) -> Option<usize>;
    /// A block's plugins in their order.
    fn plugins(&self, block: usize) -> &[Arc<dyn Plugin>];
}
