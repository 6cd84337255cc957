//! One question's way through a group: whom to ask next, over what, and when to stop.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{limits, wire::Rcode};

use super::{Failure, Group, InFlight, total};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Over {
    Udp,
    /// Or TLS above it, where the upstream is spoken to in no other way.
    Tcp,
}

/// What the dispatcher does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask this upstream, and go on listening to those that were asked before.
    Send {
        upstream: usize,
        over: Over,
    },
    /// Nothing before this time, unless something comes in.
    Wait(Instant),
    Done(Failure),
}

/// What becomes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Take,
    /// Another upstream may know better; this reply is the answer if none does.
    Keep,
}

#[derive(Debug)]
pub struct Attempt {
    group: Arc<Group>,
    _in_flight: InFlight,
    /// Whether every upstream is down and one is asked all the same.
    pub blind: bool,
    order: Vec<usize>,
    turn: usize,
    sends_left: u32,
    /// Asked and neither answered nor failed, with the time from which that is silence. One that
    /// was asked twice stands twice.
    open: Vec<(usize, Instant)>,
    next_send: Instant,
    ends: Instant,
    /// To be asked at once, over TCP.
    over_tcp: VecDeque<usize>,
    asked_over_tcp: Vec<usize>,
    failure: Option<Failure>,
}

impl Attempt {
    /// # Errors
    /// Where too many questions are on their way, or every upstream is down and the group fails
    /// fast.
    pub fn begin(group: &Arc<Group>, now: Instant, seed: u64) -> Result<Self, Failure> {
        let in_flight = group.enter()?;
        let (order, blind) = group.order(seed);
        if blind && group.settings.failfast || order.is_empty() {
            return Err(Failure::NoneHealthy);
        }
        let default = (2 * order.len() as u32).max(limits::SENDS_LEAST);
        let sends = match group.settings.max_attempts {
            None => default,
            Some(0) => u32::MAX,
            Some(most) => most,
        };
        Ok(Self {
            group: Arc::clone(group),
            _in_flight: in_flight,
            blind,
            order,
            turn: 0,
            sends_left: sends,
            open: Vec::new(),
            next_send: now,
            ends: now + total(&group.settings),
            over_tcp: VecDeque::new(),
            asked_over_tcp: Vec::new(),
            failure: None,
        })
    }

    pub fn poll(&mut self, now: Instant) -> Next {
        if now >= self.ends {
            return Next::Done(self.ended());
        }
        if let Some(upstream) = self.over_tcp.pop_front() {
            return self.send(upstream, Over::Tcp, now + self.patience(upstream));
        }
        if self.sends_left == 0 {
            return if self.open.is_empty() {
                Next::Done(self.ended())
            } else {
                Next::Wait(self.ends)
            };
        }
        if now < self.next_send {
            return Next::Wait(self.next_send.min(self.ends));
        }
        let upstream = self.order[self.turn % self.order.len()];
        self.next_send = now + self.patience(upstream);
        self.turn += 1;
        self.sends_left -= 1;
        let streams = self.group.settings.force_tcp || self.group.upstream(upstream).tls.is_some();
        self.send(upstream, if streams { Over::Tcp } else { Over::Udp }, self.next_send)
    }

    /// Each round through the upstreams waits twice as long as the one before.
    fn patience(&self, upstream: usize) -> Duration {
        let round = (self.turn / self.order.len()).min(3);
        self.group.upstream(upstream).health.patience() * (1 << round)
    }

    fn send(&mut self, upstream: usize, over: Over, silent_from: Instant) -> Next {
        self.open.push((upstream, silent_from));
        Next::Send { upstream, over }
    }

    /// A reply that can be read came. A failure of one upstream is not the answer while another may
    /// know better.
    pub fn replied(&mut self, upstream: usize, rcode: Rcode, now: Instant) -> Verdict {
        self.open.retain(|(asked, _)| *asked != upstream);
        let doubtful =
            matches!(rcode, Rcode::SERVFAIL | Rcode::REFUSED | Rcode::NOTIMP | Rcode::FORMERR);
        if !doubtful && !self.group.settings.failover.contains(&rcode) {
            return Verdict::Take;
        }
        if self.turn < self.order.len() && self.sends_left > 0 {
            self.next_send = now;
            return Verdict::Keep;
        }
        if self.open.is_empty() {
            return Verdict::Take;
        }
        // All were asked: who is still on the way gets the time that it was given, and no more.
        self.ends = self
            .open
            .iter()
            .map(|(_, silent_from)| *silent_from)
            .fold(now, Instant::max)
            .min(self.ends);
        self.sends_left = 0;
        Verdict::Keep
    }

    /// The reply was cut short, came in another case, or hides among forged ones: the same upstream
    /// is asked over TCP, once.
    pub fn needs_tcp(&mut self, upstream: usize) {
        self.close_one(upstream);
        if !self.asked_over_tcp.contains(&upstream) {
            self.asked_over_tcp.push(upstream);
            self.over_tcp.push_back(upstream);
        }
    }

    /// An upstream cannot be reached, or its reply cannot be read: one that was not asked yet is
    /// asked at once.
    pub fn failed(&mut self, upstream: usize, failure: Failure, now: Instant) {
        self.close_one(upstream);
        self.failure = Some(failure);
        // Where all were asked, the pause between rounds keeps hosts that refuse from being
        // hammered.
        if self.turn < self.order.len() {
            self.next_send = now;
        }
    }

    /// Upstreams that have been silent for longer than they are given, whatever the others said.
    pub fn silent(&self, now: Instant) -> impl Iterator<Item = usize> {
        self.open
            .iter()
            .filter(move |(_, silent_from)| *silent_from <= now)
            .map(|(upstream, _)| *upstream)
    }

    fn close_one(&mut self, upstream: usize) {
        if let Some(at) = self.open.iter().position(|(asked, _)| *asked == upstream) {
            self.open.remove(at);
        }
    }

    fn ended(&self) -> Failure {
        let first = self.group.upstream(self.order[0]).address;
        self.failure.unwrap_or(Failure::NoAnswer(first))
    }
}
