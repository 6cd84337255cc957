//! What is sent to an upstream, and what its errors mean.

use std::{io, net::SocketAddr, sync::Arc};

use crate::{
    limits,
    net::{
        client::{http_status, is_answered},
        tls::client::rejection,
    },
    upstream::{Group, LetterCase, QueryForm, Upstream, UpstreamError},
    wire::{Caps, Edns, Query},
};

use super::{RawReply, Shared, multiplex, pool};

pub(super) fn failure(error: &io::Error, to: SocketAddr) -> UpstreamError {
    if let Some(reason) = rejection(error) {
        UpstreamError::Untrusted(to, reason)
    } else if let Some(status) = http_status(error) {
        UpstreamError::HttpStatus(to, status)
    } else if is_answered(error) {
        UpstreamError::Malformed(to)
    } else {
        UpstreamError::Unreachable(to)
    }
}

/// Sends one query on a connection, and waits for the reply.
pub(super) async fn over_stream(
    shared: &Arc<Shared>,
    group: &Group,
    to: &Upstream,
    asked: &Query,
) -> io::Result<RawReply> {
    if to.protocol.has_streams() {
        multiplex::ask(shared, group, to, asked).await
    } else {
        pool::ask(shared, group, to, asked).await
    }
}

/// The query to an upstream: with an id that cannot be guessed if it needs one, our own EDNS record, and none of the
/// client's EDNS options. An encrypted query is padded.
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
