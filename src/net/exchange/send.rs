//! One query to one upstream: what is sent, and what replies and errors mean.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    limits,
    net::{
        client::{http_status, is_answered},
        tls::client::rejection,
    },
    upstream::{Group, LetterCase, QueryForm, Upstream, UpstreamError, UpstreamTransport},
    wire::{Caps, Edns, Query, Rcode, Response, reply},
};

use super::{Shared, multiplex, raw::RawReply, sockets};

/// The result of one query to one upstream.
pub(super) struct UpstreamResult {
    pub(super) upstream: usize,
    pub(super) transport: UpstreamTransport,
    pub(super) form: QueryForm,
    pub(super) outcome: UpstreamOutcome,
}

pub(super) enum UpstreamOutcome {
    Reply(Box<TimedReply>),
    /// The reply says that it is incomplete.
    Truncated(Box<TimedReply>),
    /// The reply lost the random case of the query.
    LostCase,
    /// The reply is doubtful: ask again over TCP.
    NeedsTcp,
    Failed(UpstreamError),
}

pub(super) struct TimedReply {
    pub(super) response: Response,
    pub(super) took: Duration,
}

impl Shared {
    /// Sends one query to one upstream. Without a reply this never ends: the caller limits the
    /// time.
    pub(super) async fn ask(
        self: &Arc<Self>,
        (group, upstream): (&Group, usize),
        (transport, form): (UpstreamTransport, QueryForm),
        query: &Query,
        client: IpAddr,
    ) -> UpstreamResult {
        let to = group.upstream(upstream);
        let metrics = to.metrics(&self.metrics);
        let result = |outcome| UpstreamResult { upstream, transport, form, outcome };
        metrics.count_query();
        let started = Instant::now();
        let asked = upstream_query(query, form, to);
        let raw = match transport {
            UpstreamTransport::Udp => sockets::ask(self, group, to, (asked, client)).await,
            UpstreamTransport::Tcp => multiplex::ask(self, group, to, (&asked, client)).await,
        };
        result(match raw {
            Ok(RawReply::OtherCase(_)) if form.case == LetterCase::Random => {
                UpstreamOutcome::LostCase
            }
            Ok(RawReply::Packet(packet) | RawReply::OtherCase(packet)) => {
                self.read(&packet, query, (transport, form), to, started)
            }
            Ok(RawReply::Doubtful) => UpstreamOutcome::NeedsTcp,
            Err(error) => UpstreamOutcome::Failed(failure(&error, transport, to.address)),
        })
    }

    fn read(
        &self,
        packet: &[u8],
        query: &Query,
        (transport, form): (UpstreamTransport, QueryForm),
        to: &Upstream,
        started: Instant,
    ) -> UpstreamOutcome {
        match reply::read(packet, query) {
            Ok(response) => {
                let took = started.elapsed();
                to.metrics(&self.metrics).count_reply(response.rcode, took);
                let is_truncated = response.truncated && transport == UpstreamTransport::Udp;
                let reply = Box::new(TimedReply { response, took });
                if is_truncated {
                    UpstreamOutcome::Truncated(reply)
                } else {
                    UpstreamOutcome::Reply(reply)
                }
            }
            // An upstream that does not understand OPT repeats it in the wrong place.
            Err(reply::ReplyError::OnlyOpt) => {
                let rcode = if form.edns { Rcode::FORMERR } else { Rcode::NOERROR };
                let took = started.elapsed();
                let response = Response::of(rcode);
                UpstreamOutcome::Reply(Box::new(TimedReply { response, took }))
            }
            // Over UDP a malformed reply may be forged. Over TCP it is the upstream's own.
            Err(_) if transport == UpstreamTransport::Udp => UpstreamOutcome::NeedsTcp,
            Err(reply::ReplyError::Malformed) => {
                UpstreamOutcome::Failed(UpstreamError::Malformed(to.address))
            }
            Err(reply::ReplyError::LongChain) => {
                UpstreamOutcome::Failed(UpstreamError::LongChain(to.address))
            }
            Err(reply::ReplyError::AliasLoop) => {
                UpstreamOutcome::Failed(UpstreamError::AliasLoop(to.address))
            }
        }
    }
}

pub(super) fn failure(error: &io::Error, over: UpstreamTransport, to: SocketAddr) -> UpstreamError {
    if let Some(reason) = rejection(error) {
        UpstreamError::Untrusted(to, reason)
    } else if let Some(status) = http_status(error) {
        UpstreamError::HttpStatus(to, status)
    } else if is_answered(error) {
        UpstreamError::Malformed(to)
    } else if error.kind() == io::ErrorKind::QuotaExceeded {
        UpstreamError::NoAnswer(over, to)
    } else {
        UpstreamError::Unreachable(over, to)
    }
}

/// The query to an upstream. It has ndots's own OPT record, with the options that plugins added,
/// and none of the client's. It has a random id, unless each query has its own stream. An encrypted
/// query is padded.
pub(super) fn upstream_query(query: &Query, form: QueryForm, to: &Upstream) -> Query {
    let mut asked = query.clone();
    asked.id = if to.protocol.has_streams() { 0 } else { rand::random() };
    if form.case == LetterCase::Random {
        asked.question.caps = Caps::random(&asked.question.name, rand::random());
    }
    asked.edns = form.edns.then(|| Edns {
        padding: to.protocol.is_encrypted(),
        ..Edns::new(limits::UDP_OCTETS, query.dnssec_ok())
    });
    asked
}
