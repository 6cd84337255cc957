//! The queries that share a socket or a connection, and the replies to them.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{Arc, Mutex},
};

use tokio::sync::oneshot;

use crate::{
    limits,
    wire::{Query, reply},
};

use super::{lock, raw::RawReply, shrink};

/// The queries that wait, by their ids. No id is used twice, so a late reply is not taken for the
/// reply to another query, nor for a forged one.
#[derive(Default)]
pub(super) struct Pending(Mutex<Table>);

#[derive(Default)]
struct Table {
    waiting: HashMap<u16, Waiting>,
    used: HashSet<u16>,
    /// No further query is added.
    is_closed: bool,
}

struct Waiting {
    asked: Query,
    sender: oneshot::Sender<io::Result<RawReply>>,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The reply to a query that waited for it.
    Expected,
    /// It has the id of a query that has ended.
    Late,
    /// It matches no query: it may be forged.
    Stray,
}

/// A query that waits for its reply. Dropping it ends the wait.
pub(super) struct Ticket {
    pending: Arc<Pending>,
    id: u16,
    reply: oneshot::Receiver<io::Result<RawReply>>,
}

impl Pending {
    /// Adds a query, which gets another random id if its own was used before. `None` if the table
    /// is closed, or had [`limits::SHARED_SOCKET_QUERIES`] queries.
    pub(super) fn add(self: &Arc<Self>, asked: &mut Query) -> Option<Ticket> {
        let (sender, reply) = oneshot::channel();
        let mut table = lock(&self.0);
        if table.is_closed || table.used.len() >= limits::SHARED_SOCKET_QUERIES {
            return None;
        }
        while !table.used.insert(asked.id) {
            asked.id = rand::random();
        }
        table.waiting.insert(asked.id, Waiting { asked: asked.clone(), sender });
        Some(Ticket { pending: Arc::clone(self), id: asked.id, reply })
    }

    /// Gives the message to the query that it answers. If the message is not whole, the query gets
    /// [`RawReply::Doubtful`].
    pub(super) fn deliver(&self, message: &[u8], is_whole: bool) -> Delivery {
        let Some(id) = message.first_chunk::<2>() else { return Delivery::Stray };
        let id = u16::from_be_bytes(*id);
        let mut table = lock(&self.0);
        let Some(waiting) = table.waiting.get(&id) else {
            return if table.used.contains(&id) { Delivery::Late } else { Delivery::Stray };
        };
        let verdict = reply::matches(message, &waiting.asked);
        if verdict == reply::Match::No {
            return Delivery::Stray;
        }
        let reply = match verdict {
            _ if !is_whole => RawReply::Doubtful,
            reply::Match::WrongCase => RawReply::OtherCase(message.to_vec()),
            _ => RawReply::Packet(message.to_vec()),
        };
        if let Some(Waiting { sender, .. }) = table.waiting.remove(&id) {
            let _ = sender.send(Ok(reply));
        }
        Delivery::Expected
    }

    /// Whether no further query can be added.
    pub(super) fn is_closed(&self) -> bool {
        let table = lock(&self.0);
        table.is_closed || table.used.len() >= limits::SHARED_SOCKET_QUERIES
    }

    /// Ends every wait with this outcome.
    pub(super) fn end_all(&self, outcome: impl Fn() -> io::Result<RawReply>) {
        let waiting = std::mem::take(&mut lock(&self.0).waiting);
        waiting.into_values().for_each(|waiting| drop(waiting.sender.send(outcome())));
    }

    /// Accepts no further queries, and ends every wait with this outcome.
    pub(super) fn close(&self, outcome: impl Fn() -> io::Result<RawReply>) {
        lock(&self.0).is_closed = true;
        self.end_all(outcome);
    }

    /// Closes the table if no query waits. Returns whether the table is closed.
    pub(super) fn close_if_idle(&self) -> bool {
        let mut table = lock(&self.0);
        table.is_closed |= table.waiting.is_empty();
        table.is_closed
    }
}

impl Ticket {
    /// Waits for the reply.
    pub(super) async fn reply(mut self) -> io::Result<RawReply> {
        (&mut self.reply).await.unwrap_or_else(|_| Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut table = lock(&self.pending.0);
        table.waiting.remove(&self.id);
        shrink(&mut table.waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_burst_leaves_no_memory() {
        let pending = Arc::new(Pending::default());
        let mut query = Query::parse(b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01").unwrap();
        let tickets: Vec<_> = (0..60).map(|_| pending.add(&mut query).unwrap()).collect();
        assert!(lock(&pending.0).waiting.capacity() >= 60);
        drop(tickets);
        assert!(lock(&pending.0).waiting.capacity() <= limits::SPARSE_ENTRIES);
    }
}
