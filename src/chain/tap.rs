//! Taps: plugins that get copies of the messages of their block.

use std::{fmt, time::Instant};

use crate::{upstream::SentQuery, wire::Query};

use super::{Cx, Exchanged};

/// Gets a copy of each message of a block.
pub trait Tap {
    /// For [`TapEvent::Exchanged`], `query` is the one that was forwarded.
    fn tap(&self, cx: &mut Cx, query: &Query, event: TapEvent<'_>);
}

/// Messages in wire form.
#[derive(Clone, Copy, Debug)]
pub enum TapEvent<'m> {
    /// The query of a client.
    Received(&'m [u8]),
    /// The response to a client.
    Sent(&'m [u8]),
    /// The queries of an exchange, and the reply.
    Exchanged(&'m Exchanged),
}

/// The trace of a query.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub id: [u8; 16],
    /// The id of the span of the query itself.
    pub span: [u8; 8],
    pub exchanges: Vec<SentQuery>,
}

/// Records something together with the time at which the response is sent. Only the dispatcher
/// knows that time.
pub struct AtSending(Box<dyn FnOnce(Instant) + Send>);

impl AtSending {
    pub fn new(record: impl FnOnce(Instant) + Send + 'static) -> Self {
        Self(Box::new(record))
    }

    pub fn record(self, at: Instant) {
        (self.0)(at);
    }
}

impl fmt::Debug for AtSending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AtSending")
    }
}
