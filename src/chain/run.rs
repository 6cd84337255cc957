//! Calls the plugins of a block in their order with the query, and in reverse order with the reply.

use smallvec::SmallVec;

use crate::{
    limits,
    wire::{Opcode, Query, Rcode, Response},
};

use super::{
    Ask, Back, Cx, Exchange, Flow, From, Nested, QueryError, Reply, ReplySource, Router, Step, Wait,
};

/// A query on its way through the plugins.
pub struct Run {
    queries: SmallVec<[Query; 1]>,
    frames: SmallVec<[Frame; 12]>,
    /// The responses of [`Back::Hold`], each with the index of its nested query.
    held: Vec<(usize, Box<Response>)>,
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
    /// Starts a query at the top of `block`.
    pub fn start(router: &dyn Router, cx: &mut Cx, block: usize, query: Query) -> (Self, Step) {
        let mut run = Self {
            queries: [query].into_iter().collect(),
            frames: SmallVec::new(),
            held: Vec::new(),
            asks: 0,
        };
        let step = run.descend(router, cx, At { block, plugin: 0, query: 0 });
        (run, step)
    }

    /// Continues with the result of an exchange.
    pub fn resume(&mut self, router: &dyn Router, cx: &mut Cx, reply: Reply) -> Step {
        self.ascend(router, cx, reply)
    }

    /// The query that started the run.
    pub fn query(&self) -> &Query {
        &self.queries[0]
    }

    /// The block and the query of the plugin that waits for an exchange.
    pub fn waiting(&self) -> Option<(usize, &Query)> {
        let frame = self.frames.last()?;
        Some((frame.block, &self.queries[frame.query]))
    }

    fn descend(&mut self, router: &dyn Router, cx: &mut Cx, mut at: At) -> Step {
        loop {
            let plugins = router.plugins(at.block);
            let Some(plugin) = plugins.get(at.plugin) else {
                let last = plugins.last().map_or("", |plugin| plugin.name());
                return self.ascend(router, cx, Err(QueryError::NoNextPlugin(last)));
            };
            let frame = Frame { block: at.block, plugin: at.plugin, query: at.query, nested: None };
            cx.block = at.block;
            let query = &self.queries[at.query];
            let flow = match query.opcode {
                Opcode::Update => plugin.update(cx, query),
                Opcode::Query | Opcode::Notify => plugin.query(cx, query),
            };
            match flow {
                // The outcome of an update does not come back to the plugins above.
                Flow::Next if query.opcode == Opcode::Update => at.plugin += 1,
                Flow::OutsideZones if at.plugin + 1 == plugins.len() => {
                    cx.set_answered(plugin.name(), ReplySource::Local);
                    return self.ascend(router, cx, Ok(Response::of(Rcode::REFUSED)));
                }
                Flow::Next | Flow::OutsideZones => {
                    self.frames.push(frame);
                    at.plugin += 1;
                }
                Flow::Instead(query) => at = self.replace(frame, *query),
                Flow::Answer(response) => {
                    cx.set_answered(plugin.name(), ReplySource::Local);
                    return self.ascend(router, cx, Ok(response));
                }
                Flow::Drop => return Step::Drop,
                Flow::Forward(exchange) => return self.forward(cx, plugin.name(), frame, exchange),
                Flow::Pause(time, response) => {
                    cx.set_answered(plugin.name(), ReplySource::Local);
                    return Step::Wait(Wait::Pause(time, Box::new(response)));
                }
                Flow::Commit(commit) => {
                    cx.set_answered(plugin.name(), ReplySource::Local);
                    return Step::Wait(Wait::Commit(commit));
                }
                Flow::Transfer => return self.transfer(router, cx, at),
                Flow::Ask(ask) => match self.ask(router, cx, frame, ask) {
                    Ok(next) => at = next,
                    Err(failure) => return self.ascend(router, cx, Err(failure)),
                },
            }
        }
    }

    fn ascend(&mut self, router: &dyn Router, cx: &mut Cx, mut reply: Reply) -> Step {
        while let Some(frame) = self.frames.pop() {
            let plugin = &router.plugins(frame.block)[frame.plugin];
            cx.block = frame.block;
            let query = &self.queries[frame.query];
            let back = match frame.nested {
                Some(nested) => plugin.nested_reply(cx, query, self.nested(nested), reply),
                None => plugin.response(cx, query, reply),
            };
            match back {
                Back::Up(up) => reply = up,
                Back::PassOn => {
                    let Frame { block, plugin, query, .. } = frame;
                    return self.descend(router, cx, At { block, plugin: plugin + 1, query });
                }
                Back::Drop => return Step::Drop,
                Back::Ask(ask) => match self.ask(router, cx, frame, ask) {
                    Ok(next) => return self.descend(router, cx, next),
                    Err(failure) => reply = Err(failure),
                },
                Back::Hold(ask, response) => {
                    self.held.push((self.queries.len(), response));
                    match self.ask(router, cx, frame, ask) {
                        Ok(next) => return self.descend(router, cx, next),
                        Err(failure) => reply = Err(failure),
                    }
                }
            }
        }
        Step::Done(reply)
    }

    fn nested(&self, NestedAt { query, step }: NestedAt) -> Nested<'_> {
        let question = &self.queries[query].question;
        let held = self.held.iter().find(|(of, _)| *of == query);
        Nested { question, step, held: held.map(|(_, response)| &**response) }
    }

    /// Continues below with another query. The frame of the plugin waits for its reply.
    fn replace(&mut self, frame: Frame, query: Query) -> At {
        let place = self.queries.len();
        let nested = NestedAt { query: place, step: 0 };
        self.frames.push(Frame { nested: Some(nested), ..frame });
        self.queries.push(query);
        At { block: frame.block, plugin: frame.plugin + 1, query: place }
    }

    fn forward(
        &mut self,
        cx: &mut Cx,
        name: &'static str,
        frame: Frame,
        exchange: Exchange,
    ) -> Step {
        cx.set_answered(name, ReplySource::Upstream);
        self.frames.push(frame);
        Step::Wait(Wait::Exchange(exchange))
    }

    /// Only a client's own query can start a transfer, not a nested query. If no plugin has the
    /// zone, the response is NOTAUTH.
    fn transfer(&mut self, router: &dyn Router, cx: &mut Cx, at: At) -> Step {
        let question = &self.queries[at.query].question;
        let mut below = router.plugins(at.block)[at.plugin + 1..].iter();
        let instead =
            match below.find_map(|plugin| Some((plugin.name(), plugin.transfer(question)?))) {
                Some((name, Ok(transfer))) if at.query == 0 => {
                    cx.set_answered(name, ReplySource::Local);
                    return Step::Transfer(transfer);
                }
                Some((_, Err(response))) => response,
                Some((_, Ok(_))) | None => Response::of(Rcode::NOTAUTH),
            };
        cx.set_answered(router.plugins(at.block)[at.plugin].name(), ReplySource::Local);
        self.ascend(router, cx, Ok(instead))
    }

    /// Starts a nested query; the frame of the plugin waits for the reply. If no block has the
    /// name, the plugin gets that error as the reply. After too many queries its frame is dropped,
    /// so that a plugin that reacts to every reply with another query comes to an end.
    fn ask(
        &mut self,
        router: &dyn Router,
        cx: &mut Cx,
        frame: Frame,
        ask: Ask,
    ) -> Result<At, QueryError> {
        let Ask { question, from, step } = ask;
        self.asks += 1;
        if self.asks > limits::NESTED_QUERIES {
            return Err(QueryError::TooManyAsks);
        }
        let asked = self.queries[frame.query].asking(question);
        let place = match from {
            From::Below => Some((frame.block, frame.plugin + 1)),
            From::Top => router.route(cx, &asked).map(|block| (block, 0)),
        };
        let query = self.queries.len();
        self.frames.push(Frame { nested: Some(NestedAt { query, step }), ..frame });
        self.queries.push(asked);
        let (block, plugin) = place.ok_or(QueryError::NotRouted)?;
        Ok(At { block, plugin, query })
    }
}
