//! Taps: plugins that get copies of the messages of their block.

use crate::wire::Query;

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
