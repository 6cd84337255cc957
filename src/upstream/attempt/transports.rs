//! Over which transports an upstream is asked: UDP first, and TCP if UDP does not give the reply.

use std::time::{Duration, Instant};

use crate::limits;

use super::{
    super::{LetterCase, QueryForm, UdpSupport, UpstreamTransport},
    Attempt, OpenSend,
};

impl Attempt {
    pub(super) fn first_transport(&self, upstream: usize, now: Instant) -> UpstreamTransport {
        let udp = self.group.upstream(upstream).health.udp(now);
        if self.uses_only_tcp(upstream) || matches!(udp, UdpSupport::Missing(_)) {
            UpstreamTransport::Tcp
        } else {
            UpstreamTransport::Udp
        }
    }

    pub(super) fn uses_only_tcp(&self, upstream: usize) -> bool {
        self.group.settings.force_tcp || !self.group.upstream(upstream).protocol.has_udp()
    }

    /// How long an upstream may be silent over UDP before it is asked over TCP too.
    pub(super) fn udp_patience(&self, upstream: usize, now: Instant) -> Duration {
        let udp = self.group.upstream(upstream).health.udp(now);
        if udp == UdpSupport::Works && !self.has_stream_client {
            limits::UDP_PATIENCE
        } else {
            limits::TCP_CLIENT_PATIENCE
        }
    }

    /// Plans a query over the transport over which the upstream was not asked yet. Returns false if
    /// both were tried.
    pub(super) fn plan_other_transport(
        &mut self,
        upstream: usize,
        form: QueryForm,
        due: Instant,
    ) -> bool {
        let used = |transport| self.tried.contains(&(upstream, transport));
        let transport = match (used(UpstreamTransport::Udp), used(UpstreamTransport::Tcp)) {
            (_, false) => UpstreamTransport::Tcp,
            (false, true) if !self.uses_only_tcp(upstream) => UpstreamTransport::Udp,
            _ => return false,
        };
        self.tried.push((upstream, transport));
        let form = QueryForm { case: LetterCase::Client, ..form };
        self.follow_up(upstream, transport, form, due);
        true
    }

    /// Call this when a client over TCP waits for the reply. CoreDNS queries upstreams over TCP for
    /// it, so it does not wait as long for UDP as others.
    pub fn stream_client_waits(&mut self, now: Instant) {
        self.has_stream_client = true;
        for follow_up in &mut self.follow_ups {
            if follow_up.transport == UpstreamTransport::Tcp {
                follow_up.due = follow_up.due.min(now + limits::TCP_CLIENT_PATIENCE);
            }
        }
    }

    /// Call this if a reply over UDP may be forged or is malformed. The same upstream is queried
    /// over TCP, once.
    pub fn retry_over_tcp(&mut self, upstream: usize, form: QueryForm, now: Instant) {
        self.close_one(upstream, UpstreamTransport::Udp);
        if self.fetched_over_tcp.contains(&upstream) {
            return;
        }
        self.fetched_over_tcp.push(upstream);
        let planned = self.follow_ups.iter_mut().find(|follow_up| {
            follow_up.upstream == upstream && follow_up.transport == UpstreamTransport::Tcp
        });
        if let Some(planned) = planned {
            planned.due = now;
            return;
        }
        let is_tcp = |open: &OpenSend| open.transport == UpstreamTransport::Tcp;
        if !self.open.iter().any(|open| open.upstream == upstream && is_tcp(open)) {
            let form = QueryForm { case: LetterCase::Client, ..form };
            self.tried.push((upstream, UpstreamTransport::Tcp));
            self.follow_up(upstream, UpstreamTransport::Tcp, form, now);
        }
    }
}
