//! The state of one query that is sent to a group of upstreams (one `forward` directive): which
//! upstream is next, over which transport, and when to give up.

mod transports;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{limits, wire::Rcode};

use super::{
    EdnsSupport, Group, InFlightGuard, LetterCase, QueryForm, ReplySummary, UpstreamError,
    UpstreamTransport,
};

/// What the caller of [`Attempt::poll`] does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// Send the query to this upstream. Replies of the upstreams before it still count.
    Send {
        /// Its index in the group, as everywhere in this module.
        upstream: usize,
        transport: UpstreamTransport,
        form: QueryForm,
    },
    /// Give the truncated reply to clients that can repeat their query over TCP. The exchange goes
    /// on.
    PassOnTruncated,
    /// Poll again at this time, or when a reply or an error arrives earlier.
    Wait(Instant),
    /// The attempt is over. The caller uses the reply that it kept ([`ReplyDecision::Hold`], or a
    /// truncated one), or else this error.
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
    /// Whether every upstream is down. The attempt tries them anyway.
    pub all_down: bool,
    order: Vec<usize>,
    /// How many times `send_to_next` chose an upstream. It goes through `order` again and again.
    /// Follow-ups do not count.
    turn: usize,
    sends_left: u32,
    /// The sends without a reply or an error. An upstream that was sent two queries is in the list
    /// twice.
    open: Vec<OpenSend>,
    follow_ups: Vec<FollowUp>,
    next_send: Instant,
    /// When the attempt ends if many queries wait for an upstream (`is_crowded`), or if all
    /// upstreams are down.
    ends_early: Instant,
    ends: Instant,
    /// When clients that can use a truncated reply get it.
    pass_on_truncated: Option<Instant>,
    has_truncated: bool,
    /// Transports over which upstreams were asked, or are going to be asked.
    tried: Vec<(usize, UpstreamTransport)>,
    /// Upstreams that are queried over TCP because their reply over UDP was truncated or malformed,
    /// or may be forged.
    fetched_over_tcp: Vec<usize>,
    /// Whether a client over TCP waits.
    has_stream_client: bool,
    /// Upstreams that were asked without OPT after a query with it.
    tried_without_edns: Vec<usize>,
    /// Upstreams that complained about OPT.
    rejected_edns: Vec<usize>,
    /// Upstreams that reported a failure to a query with OPT, and were asked without it.
    failed_with_edns: Vec<usize>,
    /// Upstreams whose reply to random case was not believed.
    doubted_case: Vec<usize>,
    /// Upstreams that failed, once for each failure.
    failures: Vec<usize>,
    last_error: Option<UpstreamError>,
}

/// A send that has neither a reply nor an error yet.
#[derive(Clone, Copy, Debug)]
struct OpenSend {
    upstream: usize,
    transport: UpstreamTransport,
    form: QueryForm,
    /// The upstream counts as silent from this time on.
    silent_from: Instant,
}

/// A send to an upstream in another form or over another transport than before. It changes neither
/// `turn` nor `sends_left`.
#[derive(Clone, Copy, Debug)]
struct FollowUp {
    due: Instant,
    upstream: usize,
    transport: UpstreamTransport,
    form: QueryForm,
    /// How long the upstream has to reply.
    patience: Duration,
}

impl Attempt {
    /// Starts the attempt. The first [`Self::poll`] sends the query. `seed` is a random number. It
    /// decides the order of the upstreams if the policy is random, or if all of them are down.
    ///
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
        let read_timeout = group.settings.read_timeout;
        Ok(Self {
            group: Arc::clone(group),
            _in_flight: in_flight,
            all_down,
            order,
            turn: 0,
            sends_left: sends,
            open: Vec::new(),
            follow_ups: Vec::new(),
            next_send: now,
            ends_early: now + read_timeout.min(limits::EXCHANGE_TIME),
            ends: now + limits::LATE_REPLY_TIME,
            pass_on_truncated: None,
            has_truncated: false,
            tried: Vec::new(),
            fetched_over_tcp: Vec::new(),
            has_stream_client: false,
            tried_without_edns: Vec::new(),
            rejected_edns: Vec::new(),
            failed_with_edns: Vec::new(),
            doubted_case: Vec::new(),
            failures: Vec::new(),
            last_error: None,
        })
    }

    /// What to do now. Call this at the start, at the time of [`NextAction::Wait`], and after each
    /// of the other calls.
    pub fn poll(&mut self, now: Instant) -> NextAction {
        if now >= self.ends || now >= self.ends_early && self.is_short_of_time() {
            return NextAction::Done(self.final_error());
        }
        if let Some(at) = self.follow_ups.iter().position(|follow_up| follow_up.due <= now) {
            let follow_up = self.follow_ups.remove(at);
            let FollowUp { upstream, transport, form, patience, .. } = follow_up;
            return self.send(upstream, transport, form, now + patience);
        }
        if self.pass_on_truncated.take_if(|due| *due <= now).is_some() {
            return NextAction::PassOnTruncated;
        }
        if self.open.is_empty()
            && self.follow_ups.is_empty()
            && (self.sends_left == 0 || self.all_failed())
        {
            return NextAction::Done(self.final_error());
        }
        if self.sends_left > 0 && now >= self.next_send {
            return self.send_to_next(now);
        }
        let next_send = (self.sends_left > 0).then_some(self.next_send);
        let check = if now < self.ends_early { self.ends_early } else { now + limits::JOIN_TIME };
        let wake = self.follow_ups.iter().map(|follow_up| follow_up.due);
        let wake = wake.chain(self.pass_on_truncated).chain(next_send).chain([check, self.ends]);
        NextAction::Wait(wake.min().unwrap_or(self.ends))
    }

    /// Whether the attempt ends early: other queries need its place, or every upstream is down.
    fn is_short_of_time(&self) -> bool {
        let crowded = |open: &OpenSend| self.group.upstream(open.upstream).health.is_crowded();
        self.all_down || self.open.iter().any(crowded)
    }

    /// Whether every upstream failed, and one of them failed twice.
    fn all_failed(&self) -> bool {
        self.failures.len() > self.order.len()
            && self.order.iter().all(|upstream| self.failures.contains(upstream))
    }

    fn send_to_next(&mut self, now: Instant) -> NextAction {
        let upstream = self.order[self.turn % self.order.len()];
        let health = &self.group.upstream(upstream).health;
        let (edns, keeps_case) = (health.edns(now), health.keeps_case());
        let delay = self.hedge_delay(upstream);
        let transport = self.first_transport(upstream, now);
        let doubted = self.doubted_case.contains(&upstream);
        let random = self.group.settings.random_case && keeps_case && !doubted;
        // The third query to a silent upstream has no OPT: the record may be the reason.
        let is_last_resort = self.turn >= 2 * self.order.len();
        let form = QueryForm {
            case: match transport {
                UpstreamTransport::Udp if random => LetterCase::Random,
                _ => LetterCase::Client,
            },
            edns: !matches!(edns, EdnsSupport::Missing(_))
                && !is_last_resort
                && !self.rejected_edns.contains(&upstream),
        };
        self.next_send = now + delay;
        self.turn += 1;
        self.sends_left -= 1;
        if transport == UpstreamTransport::Udp
            && form.edns
            && matches!(edns, EdnsSupport::Unknown(_))
            && !self.tried_without_edns.contains(&upstream)
        {
            self.tried_without_edns.push(upstream);
            self.follow_up(upstream, transport, QueryForm::PLAIN, now + limits::EDNS_PATIENCE);
        }
        if transport == UpstreamTransport::Udp {
            self.plan_other_transport(upstream, form, now + self.udp_patience(upstream, now));
        }
        self.send(upstream, transport, form, self.next_send)
    }

    /// How long to wait before the next send. Each round through the upstreams waits twice as long
    /// as the one before, at most eight times the first delay.
    fn hedge_delay(&self, upstream: usize) -> Duration {
        let round = (self.turn / self.order.len()).min(3);
        let delay = self.group.upstream(upstream).health.hedge_delay() * (1 << round);
        delay.min(self.group.settings.read_timeout)
    }

    fn send(
        &mut self,
        upstream: usize,
        transport: UpstreamTransport,
        form: QueryForm,
        silent_from: Instant,
    ) -> NextAction {
        self.tried.push((upstream, transport));
        self.open.push(OpenSend { upstream, transport, form, silent_from });
        NextAction::Send { upstream, transport, form }
    }

    fn follow_up(
        &mut self,
        upstream: usize,
        transport: UpstreamTransport,
        form: QueryForm,
        due: Instant,
    ) {
        let patience = self.hedge_delay(upstream);
        self.follow_ups.push(FollowUp { due, upstream, transport, form, patience });
    }

    /// Call this for a well-formed reply that is not truncated. An RCODE that reports a failure is
    /// not the answer while another upstream, or the same one in another form, may have a better
    /// reply.
    pub fn replied(&mut self, upstream: usize, reply: ReplySummary, now: Instant) -> ReplyDecision {
        let silent: Vec<_> =
            self.open.iter().filter(|open| open.upstream == upstream).copied().collect();
        self.open.retain(|open| open.upstream != upstream);
        self.follow_ups.retain(|follow_up| follow_up.upstream != upstream);
        if let Some(form) = self.other_form(upstream, reply) {
            self.follow_up(upstream, reply.transport, form, now);
            self.ends = self.ends.min(now + self.group.settings.read_timeout);
            return ReplyDecision::Hold;
        }
        self.learn(upstream, reply, &silent, now);
        let reports_failure = matches!(
            reply.rcode,
            Rcode::SERVFAIL | Rcode::REFUSED | Rcode::NOTIMP | Rcode::FORMERR
        );
        if !reports_failure && !self.group.settings.failover.contains(&reply.rcode) {
            return ReplyDecision::Accept;
        }
        self.ask_without_edns(upstream, reply, now);
        if self.turn < self.order.len() && self.sends_left > 0 {
            self.next_send = now;
            return ReplyDecision::Hold;
        }
        // Every upstream was tried. Those that can still reply get the rest of their delay.
        self.follow_ups.retain(|follow_up| follow_up.due <= now + limits::TCP_CLIENT_PATIENCE);
        if self.open.is_empty() && self.follow_ups.is_empty() {
            return ReplyDecision::Accept;
        }
        self.ends = self
            .open
            .iter()
            .map(|open| open.silent_from)
            .chain(self.follow_ups.iter().map(|follow_up| follow_up.due + follow_up.patience))
            .fold(now, Instant::max)
            .min(self.ends);
        self.sends_left = 0;
        ReplyDecision::Hold
    }

    /// The OPT record may be the reason for the failure. The reply without it may take as long as a
    /// first one, because the upstream has to look the name up again.
    fn ask_without_edns(&mut self, upstream: usize, reply: ReplySummary, now: Instant) {
        if reply.may_dislike_edns() && !self.failed_with_edns.contains(&upstream) {
            self.failed_with_edns.push(upstream);
            let patience = self.group.settings.read_timeout;
            let (transport, form) = (reply.transport, QueryForm { edns: false, ..reply.form });
            self.follow_ups.push(FollowUp { due: now, upstream, transport, form, patience });
        }
    }

    /// The form in which the upstream must be asked again before its reply is believed. A server
    /// that does not handle random case may deny the name. `None` if the reply can be believed.
    fn other_form(&mut self, upstream: usize, reply: ReplySummary) -> Option<QueryForm> {
        if reply.form.edns && reply.complains_about_edns() {
            self.rejected_edns.push(upstream);
            return Some(QueryForm::PLAIN);
        }
        if reply.form.case == LetterCase::Random && !reply.is_positive() {
            self.doubted_case.push(upstream);
            return Some(QueryForm { case: LetterCase::Client, ..reply.form });
        }
        None
    }

    /// Remembers what the reply shows about the upstream. `silent` are all open sends to it, also
    /// the one that this reply answers.
    fn learn(&self, upstream: usize, reply: ReplySummary, silent: &[OpenSend], now: Instant) {
        let health = &self.group.upstream(upstream).health;
        if reply.is_positive() && self.doubted_case.contains(&upstream) {
            health.record_lost_case();
        }
        if reply.transport == UpstreamTransport::Udp {
            health.record_udp();
        } else if self.tried.contains(&(upstream, UpstreamTransport::Udp))
            && !self.fetched_over_tcp.contains(&upstream)
        {
            health.record_silent_udp(now);
        }
        if reply.form.edns {
            if !reply.rcode.is_failure() {
                health.record_edns();
            }
        } else if self.rejected_edns.contains(&upstream) {
            if !reply.complains_about_edns() {
                health.record_rejected_edns(now);
            }
        } else if self.failed_with_edns.contains(&upstream) && !reply.rcode.is_failure()
            || silent.iter().any(|open| open.form.edns && open.transport == reply.transport)
        {
            health.record_silent_edns(now);
        }
    }

    /// Call this if the reply has the name of the question in other letter case than the query. The
    /// upstream is asked again in the client's letter case.
    pub fn lost_case(&mut self, upstream: usize, form: QueryForm, now: Instant) {
        self.close_one(upstream, UpstreamTransport::Udp);
        if !self.doubted_case.contains(&upstream) {
            self.doubted_case.push(upstream);
            let form = QueryForm { case: LetterCase::Client, ..form };
            self.follow_up(upstream, UpstreamTransport::Udp, form, now);
        }
    }

    /// Call this if the reply is truncated and the caller keeps it. The same upstream is queried
    /// over TCP, once.
    pub fn truncated(&mut self, upstream: usize, form: QueryForm, now: Instant) {
        if !self.has_truncated {
            self.has_truncated = true;
            self.pass_on_truncated = Some(now + limits::TRUNCATED_PATIENCE);
            self.sends_left = 0;
            self.ends = self.ends.min(now + self.group.settings.read_timeout);
        }
        self.group.upstream(upstream).health.record_udp();
        self.follow_ups.retain(|follow_up| follow_up.transport == UpstreamTransport::Tcp);
        self.retry_over_tcp(upstream, form, now);
    }

    /// Call this if the upstream is unreachable or its reply over TCP is malformed. The upstream is
    /// asked over the other transport, and the next upstream is tried at once if there is one that
    /// was not tried yet. If the query over TCP failed after a truncated reply, the attempt ends
    /// with the truncated reply.
    pub fn failed(
        &mut self,
        upstream: usize,
        (transport, form): (UpstreamTransport, QueryForm),
        error: UpstreamError,
        now: Instant,
    ) {
        self.close_one(upstream, transport);
        self.last_error = Some(error);
        if self.has_truncated && self.fetched_over_tcp.contains(&upstream) {
            self.ends = now;
        }
        if transport == UpstreamTransport::Tcp && !self.uses_only_tcp(upstream) {
            self.group.upstream(upstream).health.forget_udp();
        }
        let planned = self
            .follow_ups
            .iter_mut()
            .find(|follow_up| follow_up.upstream == upstream && follow_up.transport != transport);
        if let Some(planned) = planned {
            planned.due = planned.due.min(now);
        } else if !self.plan_other_transport(upstream, form, now) {
            self.failures.push(upstream);
        }
        // After the first round the delay stays, so that hosts that reject queries are not flooded.
        if self.turn < self.order.len() {
            self.next_send = now;
        }
    }

    /// The upstreams that have not replied within their delay.
    pub fn silent(&self, now: Instant) -> impl Iterator<Item = usize> {
        self.open.iter().filter(move |open| open.silent_from <= now).map(|open| open.upstream)
    }

    fn close_one(&mut self, upstream: usize, transport: UpstreamTransport) {
        let is_it = |open: &OpenSend| open.upstream == upstream && open.transport == transport;
        if let Some(at) = self.open.iter().position(is_it) {
            self.open.remove(at);
        }
    }

    fn final_error(&self) -> UpstreamError {
        let first = self.group.upstream(self.order[0]).address;
        let over = match self.uses_only_tcp(self.order[0]) {
            true => UpstreamTransport::Tcp,
            false => UpstreamTransport::Udp,
        };
        match self.last_error {
            Some(error) if error.is_certain() => error,
            _ if self.group.is_down() => UpstreamError::Down(over, first),
            error => error.unwrap_or(UpstreamError::NoAnswer(over, first)),
        }
    }
}
