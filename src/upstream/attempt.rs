//! The state of one query that is sent to a group: which upstream is next, over which transport, and
//! when to give up.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{limits, wire::Rcode};

use super::{EdnsSupport, Group, InFlightGuard, UpstreamError};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamTransport {
    Udp,
    /// TCP, or TLS over TCP for an upstream that is configured with TLS.
    Tcp,
}

/// The case of the letters in a query to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LetterCase {
    /// As the client spelled the name.
    Client,
    /// A forger must guess it (draft-vixie-dnsext-dns0x20).
    Random,
}

/// How a query to an upstream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueryForm {
    pub case: LetterCase,
    /// Whether the query has an OPT record.
    pub edns: bool,
}

impl QueryForm {
    /// The form that every upstream understands.
    pub const PLAIN: Self = Self { case: LetterCase::Client, edns: false };
    pub const EDNS: Self = Self { case: LetterCase::Client, edns: true };
}

/// What [`Attempt::replied`] must know of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplySummary {
    pub rcode: Rcode,
    /// The answer section has records.
    pub has_answer: bool,
    /// The form of the query that it answers.
    pub form: QueryForm,
}

impl ReplySummary {
    fn is_positive(self) -> bool {
        self.rcode == Rcode::NOERROR && self.has_answer
    }

    /// RFC 6891 §7: how servers without EDNS reply to an OPT record.
    fn complains_about_edns(self) -> bool {
        matches!(self.rcode, Rcode::FORMERR | Rcode::NOTIMP | Rcode::BADVERS)
    }
}

/// What the caller of [`Attempt::poll`] does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// Send the query to this upstream. Replies of the upstreams before it still count.
    Send {
        upstream: usize,
        transport: UpstreamTransport,
        form: QueryForm,
    },
    /// Give the truncated reply to clients that can repeat their query over TCP. The exchange goes
    /// on.
    PassOnTruncated,
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
    /// An upstream that was sent two queries is in the list twice.
    open: Vec<OpenSend>,
    follow_ups: Vec<FollowUp>,
    next_send: Instant,
    /// When the attempt ends if an upstream is short of sockets, or if all upstreams are down.
    ends_early: Instant,
    ends: Instant,
    /// When clients that can use a truncated reply get it.
    pass_on_truncated: Option<Instant>,
    has_truncated: bool,
    tried_over_tcp: Vec<usize>,
    /// Upstreams that were asked without OPT after a query with it.
    tried_without_edns: Vec<usize>,
    /// Upstreams that complained about OPT.
    rejected_edns: Vec<usize>,
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
    form: QueryForm,
    /// The upstream counts as silent from this time on.
    silent_from: Instant,
}

/// A send to an upstream in another form or over another transport than before. It does not count
/// among the sends of the group's order.
#[derive(Clone, Copy, Debug)]
struct FollowUp {
    due: Instant,
    upstream: usize,
    transport: UpstreamTransport,
    form: QueryForm,
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
            tried_over_tcp: Vec::new(),
            tried_without_edns: Vec::new(),
            rejected_edns: Vec::new(),
            doubted_case: Vec::new(),
            failures: Vec::new(),
            last_error: None,
        })
    }

    pub fn poll(&mut self, now: Instant) -> NextAction {
        if now >= self.ends || now >= self.ends_early && self.is_short_of_time() {
            return NextAction::Done(self.final_error());
        }
        if let Some(at) = self.follow_ups.iter().position(|follow_up| follow_up.due <= now) {
            let FollowUp { upstream, transport, form, .. } = self.follow_ups.remove(at);
            return self.send(upstream, transport, form, now + self.hedge_delay(upstream));
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

    /// Whether the sockets of this query are needed for others, or nothing is to be expected.
    fn is_short_of_time(&self) -> bool {
        let crowded = |open: &OpenSend| self.group.upstream(open.upstream).health.is_crowded();
        self.all_down || self.open.iter().any(crowded)
    }

    /// Whether every upstream failed, and one of them again after a pause.
    fn all_failed(&self) -> bool {
        self.failures.len() > self.order.len()
            && self.order.iter().all(|upstream| self.failures.contains(upstream))
    }

    fn send_to_next(&mut self, now: Instant) -> NextAction {
        let upstream = self.order[self.turn % self.order.len()];
        let health = &self.group.upstream(upstream).health;
        let (edns, keeps_case) = (health.edns(now), health.keeps_case());
        let delay = self.hedge_delay(upstream);
        let transport = self.first_transport(upstream);
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
        self.send(upstream, transport, form, self.next_send)
    }

    fn first_transport(&self, upstream: usize) -> UpstreamTransport {
        if self.group.settings.force_tcp || self.group.upstream(upstream).tls.is_some() {
            UpstreamTransport::Tcp
        } else {
            UpstreamTransport::Udp
        }
    }

    /// How long to wait before the next send. Each round through the upstreams waits twice as long as
    /// the one before, up to eight times.
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
        self.open.push(OpenSend { upstream, form, silent_from });
        NextAction::Send { upstream, transport, form }
    }

    fn follow_up(
        &mut self,
        upstream: usize,
        transport: UpstreamTransport,
        form: QueryForm,
        due: Instant,
    ) {
        self.follow_ups.push(FollowUp { due, upstream, transport, form });
    }

    /// Call this for a well-formed reply that is not truncated. An RCODE that reports a failure is
    /// not the answer while another upstream, or the same one in another form, may have a better
    /// reply.
    pub fn replied(&mut self, upstream: usize, reply: ReplySummary, now: Instant) -> ReplyDecision {
        let silent_to_edns =
            self.open.iter().any(|open| open.upstream == upstream && open.form.edns);
        self.open.retain(|open| open.upstream != upstream);
        self.follow_ups.retain(|follow_up| follow_up.upstream != upstream);
        if let Some(form) = self.other_form(upstream, reply) {
            self.follow_up(upstream, self.first_transport(upstream), form, now);
            self.ends = self.ends.min(now + self.group.settings.read_timeout);
            return ReplyDecision::Hold;
        }
        self.learn(upstream, reply, silent_to_edns, now);
        let doubtful = matches!(
            reply.rcode,
            Rcode::SERVFAIL | Rcode::REFUSED | Rcode::NOTIMP | Rcode::FORMERR
        );
        if !doubtful && !self.group.settings.failover.contains(&reply.rcode) {
            return ReplyDecision::Accept;
        }
        if self.turn < self.order.len() && self.sends_left > 0 {
            self.next_send = now;
            return ReplyDecision::Hold;
        }
        if self.open.is_empty() && self.follow_ups.is_empty() {
            return ReplyDecision::Accept;
        }
        // Every upstream was tried. Those that can still reply get the rest of their delay.
        self.ends = self
            .open
            .iter()
            .map(|open| open.silent_from)
            .chain(self.follow_ups.iter().map(|follow_up| follow_up.due))
            .fold(now, Instant::max)
            .min(self.ends);
        self.sends_left = 0;
        ReplyDecision::Hold
    }

    /// The form in which the upstream must be asked again before its reply is believed. A server
    /// that does not handle random case may deny the name.
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

    /// Remembers what the reply shows about the upstream.
    fn learn(&self, upstream: usize, reply: ReplySummary, silent_to_edns: bool, now: Instant) {
        let health = &self.group.upstream(upstream).health;
        if reply.is_positive() && self.doubted_case.contains(&upstream) {
            health.record_lost_case();
        }
        if reply.form.edns {
            if !reply.rcode.is_failure() {
                health.record_edns();
            }
        } else if self.rejected_edns.contains(&upstream) {
            if !reply.complains_about_edns() {
                health.record_rejected_edns(now);
            }
        } else if silent_to_edns {
            health.record_silent_edns(now);
        }
    }

    /// Call this if the reply has the name of the question in another case than the query. The
    /// upstream is asked in the client's spelling.
    pub fn lost_case(&mut self, upstream: usize, form: QueryForm, now: Instant) {
        self.close_one(upstream);
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
        self.follow_ups.retain(|follow_up| follow_up.transport == UpstreamTransport::Tcp);
        self.retry_over_tcp(upstream, form, now);
    }

    /// Call this if the reply may be forged, or is malformed. The same upstream is queried over TCP,
    /// once.
    pub fn retry_over_tcp(&mut self, upstream: usize, form: QueryForm, now: Instant) {
        self.close_one(upstream);
        if !self.tried_over_tcp.contains(&upstream) {
            self.tried_over_tcp.push(upstream);
            let form = QueryForm { case: LetterCase::Client, ..form };
            self.follow_up(upstream, UpstreamTransport::Tcp, form, now);
        }
    }

    /// Call this if the upstream is unreachable or its reply is malformed. The next upstream is tried
    /// at once if there is one that was not tried yet. A truncated reply of this upstream is then
    /// the best that there is.
    pub fn failed(&mut self, upstream: usize, error: UpstreamError, now: Instant) {
        self.close_one(upstream);
        self.last_error = Some(error);
        self.failures.push(upstream);
        if self.has_truncated && self.tried_over_tcp.contains(&upstream) {
            self.ends = now;
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

    fn close_one(&mut self, upstream: usize) {
        if let Some(at) = self.open.iter().position(|open| open.upstream == upstream) {
            self.open.remove(at);
        }
    }

    fn final_error(&self) -> UpstreamError {
        let first = self.group.upstream(self.order[0]).address;
        match self.last_error {
            Some(error) if error.is_certain() => error,
            _ if self.group.is_down() => UpstreamError::Down(first),
            error => error.unwrap_or(UpstreamError::NoAnswer(first)),
        }
    }
}
