//! The state of one query that is sent to a group: which upstream is next, over which transport, and
//! when to give up.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{limits, wire::Rcode};

use super::{Group, InFlightGuard, UpstreamError, total_time};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamTransport {
    Udp,
    /// TCP, or TLS over TCP for an upstream that is configured with TLS.
    Tcp,
}

/// What the caller of [`Attempt::poll`] does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// Send the query to this upstream. Replies of the upstreams before it still count.
    Send {
        upstream: usize,
        transport: UpstreamTransport,
    },
    /// Poll again at this time, or when a reply or an error arrives before.
    Wait(Instant),
    Done(UpstreamError),
}

/// What the caller does with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyDecision {
    /// It is the answer to the client.
    Accept,
    /// Another upstream may have a better reply. If none has, this one is the answer.
    Hold,
}

/// One query to a group, with all its retransmissions.
#[derive(Debug)]
pub struct Attempt {
    group: Arc<Group>,
    _in_flight: InFlightGuard,
    /// Every upstream is down, and they are tried all the same.
    pub all_down: bool,
    order: Vec<usize>,
    /// How many sends followed `order`, over and over. Retries over TCP do not count.
    turn: usize,
    sends_left: u32,
    /// The sends that have neither a reply nor an error yet: the upstream, and the time from which
    /// it counts as silent. An upstream that was sent two queries is in the list twice.
    open: Vec<(usize, Instant)>,
    next_send: Instant,
    ends: Instant,
    /// Upstreams that are queried over TCP next.
    tcp_queue: VecDeque<usize>,
    tried_over_tcp: Vec<usize>,
    last_error: Option<UpstreamError>,
}

impl Attempt {
    /// # Errors
    /// [`UpstreamError::TooManyInFlight`], or [`UpstreamError::NoneHealthy`] if every upstream is
    /// down and the group has `failfast` set.
    pub fn begin(group: &Arc<Group>, now: Instant, seed: u64) -> Result<Self, UpstreamError> {
        let in_flight = group.enter()?;
        let (order, all_down) = group.order(seed);
        if all_down && group.settings.failfast || order.is_empty() {
            return Err(UpstreamError::NoneHealthy);
        }
        let default = (2 * order.len() as u32).max(limits::MIN_SENDS);
        let sends = match group.settings.max_attempts {
            None => default,
            Some(0) => u32::MAX,
            Some(maximum) => maximum,
        };
        Ok(Self {
            group: Arc::clone(group),
            _in_flight: in_flight,
            all_down,
            order,
            turn: 0,
            sends_left: sends,
            open: Vec::new(),
            next_send: now,
            ends: now + total_time(&group.settings),
            tcp_queue: VecDeque::new(),
            tried_over_tcp: Vec::new(),
            last_error: None,
        })
    }

    pub fn poll(&mut self, now: Instant) -> NextAction {
        if now >= self.ends {
            return NextAction::Done(self.final_error());
        }
        if let Some(upstream) = self.tcp_queue.pop_front() {
            return self.send(upstream, UpstreamTransport::Tcp, now + self.hedge_delay(upstream));
        }
        if self.sends_left == 0 {
            return if self.open.is_empty() {
                NextAction::Done(self.final_error())
            } else {
                NextAction::Wait(self.ends)
            };
        }
        if now < self.next_send {
            return NextAction::Wait(self.next_send.min(self.ends));
        }
        let upstream = self.order[self.turn % self.order.len()];
        self.next_send = now + self.hedge_delay(upstream);
        self.turn += 1;
        self.sends_left -= 1;
        let tcp_only = self.group.settings.force_tcp || self.group.upstream(upstream).tls.is_some();
        self.send(
            upstream,
            if tcp_only { UpstreamTransport::Tcp } else { UpstreamTransport::Udp },
            self.next_send,
        )
    }

    /// How long to wait before the next send. Each round through the upstreams waits twice as long as
    /// the one before, up to eight times.
    fn hedge_delay(&self, upstream: usize) -> Duration {
        let round = (self.turn / self.order.len()).min(3);
        self.group.upstream(upstream).health.hedge_delay() * (1 << round)
    }

    fn send(
        &mut self,
        upstream: usize,
        transport: UpstreamTransport,
        silent_from: Instant,
    ) -> NextAction {
        self.open.push((upstream, silent_from));
        NextAction::Send { upstream, transport }
    }

    /// Call this for a well-formed reply. An RCODE that reports a failure is not the answer while
    /// another upstream may have a better reply.
    pub fn replied(&mut self, upstream: usize, rcode: Rcode, now: Instant) -> ReplyDecision {
        self.open.retain(|(sent_to, _)| *sent_to != upstream);
        let doubtful =
            matches!(rcode, Rcode::SERVFAIL | Rcode::REFUSED | Rcode::NOTIMP | Rcode::FORMERR);
        if !doubtful && !self.group.settings.failover.contains(&rcode) {
            return ReplyDecision::Accept;
        }
        if self.turn < self.order.len() && self.sends_left > 0 {
            self.next_send = now;
            return ReplyDecision::Hold;
        }
        if self.open.is_empty() {
            return ReplyDecision::Accept;
        }
        // Every upstream was tried. Those that can still reply get the rest of their delay.
        self.ends = self
            .open
            .iter()
            .map(|(_, silent_from)| *silent_from)
            .fold(now, Instant::max)
            .min(self.ends);
        self.sends_left = 0;
        ReplyDecision::Hold
    }

    /// Call this if the reply is truncated, changes the case of the name, or may be forged. The same
    /// upstream is queried over TCP, once.
    pub fn retry_over_tcp(&mut self, upstream: usize) {
        self.close_one(upstream);
        if !self.tried_over_tcp.contains(&upstream) {
            self.tried_over_tcp.push(upstream);
            self.tcp_queue.push_back(upstream);
        }
    }

    /// Call this if the upstream is unreachable or its reply is malformed. The next upstream is tried
    /// at once if there is one that was not tried yet.
    pub fn failed(&mut self, upstream: usize, error: UpstreamError, now: Instant) {
        self.close_one(upstream);
        self.last_error = Some(error);
        // After the first round the delay stays, so that hosts that reject queries are not flooded.
        if self.turn < self.order.len() {
            self.next_send = now;
        }
    }

    /// The upstreams that have not replied within their delay.
    pub fn silent(&self, now: Instant) -> impl Iterator<Item = usize> {
        self.open
            .iter()
            .filter(move |(_, silent_from)| *silent_from <= now)
            .map(|(upstream, _)| *upstream)
    }

    fn close_one(&mut self, upstream: usize) {
        if let Some(at) = self.open.iter().position(|(sent_to, _)| *sent_to == upstream) {
            self.open.remove(at);
        }
    }

    fn final_error(&self) -> UpstreamError {
        let first = self.group.upstream(self.order[0]).address;
        self.last_error.unwrap_or(UpstreamError::NoAnswer(first))
    }
}
