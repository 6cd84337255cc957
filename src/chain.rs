//! Drives one question through the plugins of its server block, synchronously: what needs the
//! network comes out as a [`Step`], and the run goes on when the dispatcher has done it.
//!
//! On the way down each plugin says [`Flow`], on the way up [`Back`]. A question that a plugin asks
//! (an alias's target, a candidate of the search path) runs through the same driver, from the
//! plugin below or from the top of the block that the name belongs to. Whether a zone is handed
//! over is decided on the way down; its records are many messages, which do not pass through here.

use std::{
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use smallvec::SmallVec;

use crate::{
    limits,
    random::SplitMix64,
    upstream,
    wire::{Ede, Query, Question, Rcode, Response, Transfer},
};

pub use crate::transport::Transport;

/// What a question becomes.
pub type Reply = Result<Response, QueryError>;

/// One Corefile directive at work. It holds no socket, clock or task, and any number of threads
/// call it.
pub trait Plugin: Send + Sync {
    /// The directive's name.
    fn name(&self) -> &'static str;

    /// On the way down.
    fn query(&self, _cx: &mut Cx, _query: &Query) -> Flow {
        Flow::Next
    }

    /// On the way up: the reply to `query`. Where this plugin asked a nested question, `reply` is
    /// the reply to that question, and `nested` describes it; else the plugins below gave `reply`.
    fn response(
        &self,
        _cx: &mut Cx,
        _query: &Query,
        _nested: Option<Nested<'_>>,
        reply: Reply,
    ) -> Back {
        Back::Up(reply)
    }

    /// The zone whose apex the question names, whole, where it is this plugin's; or what is said
    /// instead.
    fn transfer(&self, _question: &Question) -> Option<Result<Transfer, Response>> {
        None
    }

    /// Why it cannot answer yet what it is there to answer; the `ready` page shows it.
    fn unready(&self) -> Option<Unready> {
        None
    }

    /// After the reply to a client's question is written, to log or count it.
    fn sent(&self, _cx: &mut Cx, _query: &Query, _sent: &Sent) {}
}

/// Says that a plugin cannot answer yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unready {
    /// What holds it up, where waiting will not help.
    pub why: Option<String>,
}

/// What a plugin says on the way down.
pub enum Flow {
    Next,
    Answer(Response),
    /// No reply at all.
    Drop,
    Ask(Ask),
    Forward(Exchange),
    /// Whoever asks may have the zone: the first plugin below that has it hands it over.
    Transfer,
}

/// What a plugin says on the way up.
pub enum Back {
    Up(Reply),
    Ask(Ask),
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
    pub from: From,
    /// What the plugin stored in [`Ask::step`].
    pub step: u32,
}

/// Where a nested question enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At the next plugin.
    Below,
    /// At the first plugin of the block that the name belongs to, which may be another one.
    Top,
}

/// One question to a group of upstreams: which of them, how often and over what is the group's to
/// say.
#[derive(Clone)]
pub struct Exchange {
    pub query: Query,
    pub group: Arc<upstream::Group>,
}

/// What the dispatcher must do next. Nothing else ever reaches the network.
pub enum Step {
    Done(Reply),
    Drop,
    /// Have it answered, within [`Cx::patience`], and call [`Run::resume`].
    Exchange(Exchange),
    /// Send all of it; that is the end.
    Transfer(Transfer),
}

/// Everything that an answer may depend on besides the question and the configuration; and what
/// plugins leave for the dispatcher.
#[derive(Debug)]
pub struct Cx {
    pub started: Instant,
    pub now: Instant,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub transport: Transport,
    /// A question of our own, asked to have its answer in the cache; nobody waits for the reply.
    pub refresh: bool,
    /// How long the dispatcher waits for an exchange before it resumes the run with
    /// [`QueryError::Impatient`]. The exchange goes on.
    pub patience: Option<Duration>,
    /// Questions to ask as a refresh once the reply is out.
    pub refreshes: Vec<Query>,
    /// Lines for the log.
    pub lines: Vec<Line>,
    /// The plugin that gave the reply; empty where none did.
    pub answered_by: &'static str,
    /// Spreads load; holds nothing that an attacker must not guess.
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
            peer,
            local,
            transport,
            refresh: false,
            patience: None,
            refreshes: Vec::new(),
            lines: Vec::new(),
            answered_by: "",
            random: SplitMix64::new(seed),
        }
    }

    /// Lowers the patience to this time.
    pub fn wait_at_most(&mut self, time: Duration) {
        self.patience = Some(self.patience.map_or(time, |patience| patience.min(time)));
    }

    pub fn say(&mut self, level: Level, text: impl Into<String>) {
        self.lines.push(Line::new(level, text));
    }
}

/// A line for the log, without its level's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub level: Level,
    pub text: String,
    /// What the line is about, for readers that want more than a text.
    pub answered: Option<Box<Answered>>,
}

impl Line {
    pub fn new(level: Level, text: impl Into<String>) -> Self {
        Self { level, text: text.into(), answered: None }
    }
}

/// A client's question with its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub peer: SocketAddr,
    pub transport: Transport,
    pub query: Query,
    pub sent: Sent,
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
    /// Octets of the request and of the reply.
    pub request_octets: usize,
    pub reply_octets: usize,
    pub took: Duration,
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    Upstream(upstream::UpstreamError),
    /// A question caused more questions than [`limits::NESTED_QUERIES`].
    TooManyAsks,
    /// No server block has the name.
    NotRouted,
    /// The last plugin of a block passed the question on.
    NoNextPlugin(&'static str),
    /// The exchange goes on, but whoever asked has waited long enough.
    Impatient,
    /// As many questions wait for upstreams as may.
    Overloaded,
}

impl QueryError {
    pub fn rcode(self) -> Rcode {
        match self {
            Self::Upstream(upstream::UpstreamError::TooManyInFlight(_)) => Rcode::REFUSED,
            Self::NotRouted => Rcode::REFUSED,
            Self::Upstream(_)
            | Self::TooManyAsks
            | Self::NoNextPlugin(_)
            | Self::Impatient
            | Self::Overloaded => Rcode::SERVFAIL,
        }
    }

    pub fn ede(self) -> Option<Ede> {
        match self {
            Self::Upstream(failure) => failure.ede(),
            Self::Impatient => Some(Ede::NO_REACHABLE_AUTHORITY),
            Self::TooManyAsks | Self::NotRouted | Self::NoNextPlugin(_) | Self::Overloaded => None,
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(failure) => failure.fmt(f),
            Self::TooManyAsks => {
                write!(f, "more than {} questions follow from this one", limits::NESTED_QUERIES)
            }
            Self::NotRouted => f.write_str("no server block has this name"),
            Self::NoNextPlugin(name) => write!(f, "plugin/{name}: no next plugin found"),
            Self::Impatient => f.write_str("no upstream answered in time"),
            Self::Overloaded => f.write_str("too many questions wait for upstreams"),
        }
    }
}

/// The server blocks, as the driver sees them.
pub trait Router {
    /// The block that answers a question which is asked from the top.
    fn route(&self, question: &Question) -> Option<usize>;
    /// A block's plugins in their order.
    fn plugins(&self, block: usize) -> &[Arc<dyn Plugin>];
}

/// A question on its way.
pub struct Run {
    queries: SmallVec<[Query; 1]>,
    frames: SmallVec<[Frame; 12]>,
    asks: u32,
}

/// A plugin that waits for the reply to `queries[query]`.
#[derive(Clone, Copy)]
struct Frame {
    block: usize,
    plugin: usize,
    query: usize,
    nested: Option<NestedAt>,
}

/// The nested question of a plugin that waits: `queries[query]`.
#[derive(Clone, Copy)]
struct NestedAt {
    query: usize,
    from: From,
    step: u32,
}

/// Where the next plugin is called.
#[derive(Clone, Copy)]
struct At {
    block: usize,
    plugin: usize,
    query: usize,
}

impl Run {
    /// A client's question, or one of our own, from the top of `block`.
    pub fn start(router: &dyn Router, cx: &mut Cx, block: usize, query: Query) -> (Self, Step) {
        let mut run =
            Self { queries: [query].into_iter().collect(), frames: SmallVec::new(), asks: 0 };
        let step = run.descend(router, cx, At { block, plugin: 0, query: 0 });
        (run, step)
    }

    /// Goes on with what an exchange brought.
    pub fn resume(&mut self, router: &dyn Router, cx: &mut Cx, reply: Reply) -> Step {
        self.ascend(router, cx, reply)
    }

    /// The question that started the run.
    pub fn query(&self) -> &Query {
        &self.queries[0]
    }

    fn descend(&mut self, router: &dyn Router, cx: &mut Cx, mut at: At) -> Step {
        loop {
            let plugins = router.plugins(at.block);
            let Some(plugin) = plugins.get(at.plugin) else {
                let last = plugins.last().map_or("", |plugin| plugin.name());
                return self.ascend(router, cx, Err(QueryError::NoNextPlugin(last)));
            };
            let frame = Frame { block: at.block, plugin: at.plugin, query: at.query, nested: None };
            match plugin.query(cx, &self.queries[at.query]) {
                Flow::Next => {
                    self.frames.push(frame);
                    at.plugin += 1;
                }
                Flow::Answer(response) => {
                    cx.answered_by = plugin.name();
                    return self.ascend(router, cx, Ok(response));
                }
                Flow::Drop => return Step::Drop,
                Flow::Forward(exchange) => return self.forward(cx, plugin.name(), frame, exchange),
                Flow::Transfer => return self.transfer(router, cx, at),
                Flow::Ask(ask) => match self.ask(router, frame, ask) {
                    Ok(next) => at = next,
                    Err(failure) => return self.ascend(router, cx, Err(failure)),
                },
            }
        }
    }

    fn ascend(&mut self, router: &dyn Router, cx: &mut Cx, mut reply: Reply) -> Step {
        while let Some(frame) = self.frames.pop() {
            let plugin = &router.plugins(frame.block)[frame.plugin];
            let nested = frame.nested.map(|NestedAt { query, from, step }| {
                let question = &self.queries[query].question;
                Nested { question, from, step }
            });
            match plugin.response(cx, &self.queries[frame.query], nested, reply) {
                Back::Up(up) => reply = up,
                Back::Ask(ask) => match self.ask(router, frame, ask) {
                    Ok(next) => return self.descend(router, cx, next),
                    Err(failure) => reply = Err(failure),
                },
            }
        }
        Step::Done(reply)
    }

    fn forward(
        &mut self,
        cx: &mut Cx,
        name: &'static str,
        frame: Frame,
        exchange: Exchange,
    ) -> Step {
        cx.answered_by = name;
        self.frames.push(frame);
        Step::Exchange(exchange)
    }

    /// A name that is no plugin's apex is nobody's to hand over, and only a client can be handed a
    /// zone.
    fn transfer(&mut self, router: &dyn Router, cx: &mut Cx, at: At) -> Step {
        let question = &self.queries[at.query].question;
        let mut below = router.plugins(at.block)[at.plugin + 1..].iter();
        let instead =
            match below.find_map(|plugin| Some((plugin.name(), plugin.transfer(question)?))) {
                Some((name, Ok(transfer))) if at.query == 0 => {
                    cx.answered_by = name;
                    return Step::Transfer(transfer);
                }
                Some((_, Err(response))) => response,
                Some((_, Ok(_))) | None => Response::of(Rcode::NOTAUTH),
            };
        cx.answered_by = router.plugins(at.block)[at.plugin].name();
        self.ascend(router, cx, Ok(instead))
    }

    /// Enters a nested question; the asking plugin's frame waits for its reply. Where that fails,
    /// the frame is gone: a plugin that asks whatever it is told ends here.
    fn ask(&mut self, router: &dyn Router, frame: Frame, ask: Ask) -> Result<At, QueryError> {
        let Ask { question, from, step } = ask;
        self.asks += 1;
        if self.asks > limits::NESTED_QUERIES {
            return Err(QueryError::TooManyAsks);
        }
        let (block, plugin) = match from {
            From::Below => (frame.block, frame.plugin + 1),
            From::Top => (router.route(&question).ok_or(QueryError::NotRouted)?, 0),
        };
        let query = self.queries.len();
        self.frames.push(Frame { nested: Some(NestedAt { query, from, step }), ..frame });
        self.queries.push(self.queries[frame.query].asking(question));
        Ok(At { block, plugin, query })
    }
}
