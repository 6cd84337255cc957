//! Messages behind a length of two octets (RFC 1035 §4.2.2), over TCP or TLS.

use std::{io, pin::pin, sync::Arc};

use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    chain::{Cx, QueryError},
    limits,
    plugin::Timeouts,
    server::{Outcome, Outgoing},
    shares::Share,
};

use super::{
    super::{
        dispatch::{Appended, Dispatcher, ReceivedQuery, WaitingQuery},
        slots::Activity,
    },
    Session, stopped,
};

/// What a connection's task waits for.
enum Event {
    Read(io::Result<usize>),
    Answered(Option<DelayedReply>),
    /// No complete message arrived before the deadline.
    Timeout,
    Stop,
    /// Another connection has the slot.
    Evicted,
}

/// A reply that waited for an upstream. It keeps its permit until it is written, because it takes
/// memory until then.
struct DelayedReply {
    frame: Vec<u8>,
    _permit: Share,
}

pub(super) struct FramedConnection<S> {
    session: Session,
    stream: S,
    /// Received octets: an incomplete message, or messages that exceed the bound of queries.
    input: BytesMut,
    /// Queries that wait for upstreams.
    waiting: JoinSet<Option<DelayedReply>>,
    /// False when the client has closed its half, or its next message is too late.
    reading: bool,
    /// Whether the listener stops. Messages that clients have already sent are still read.
    stopping: bool,
    deadline: Instant,
    timeouts: Timeouts,
    /// The queries that the client has sent.
    messages: u32,
}

/// Where the client was when the connection's task last woke up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    BetweenMessages,
    InMessage,
}

impl<S: AsyncRead + AsyncWrite + Unpin> FramedConnection<S> {
    pub(super) fn new(session: Session, stream: S) -> Self {
        let timeouts = session.timeouts();
        Self {
            session,
            stream,
            input: BytesMut::with_capacity(limits::UDP_OCTETS_PLAIN.into()),
            waiting: JoinSet::new(),
            reading: true,
            stopping: false,
            deadline: Instant::now() + timeouts.read,
            timeouts,
            messages: 0,
        }
    }

    /// Answers until the client closes the connection, is too late, or is evicted.
    pub(super) async fn run(mut self, stop: watch::Receiver<bool>) {
        self.converse(stop).await;
        // Over TLS this sends close_notify, which distinguishes a complete conversation from one
        // that was cut off (RFC 7858 §3.4).
        let _ = timeout(limits::TCP_DRAIN_TIME, self.stream.shutdown()).await;
    }

    async fn converse(&mut self, mut stop: watch::Receiver<bool>) {
        while self.reading || !self.waiting.is_empty() {
            let timed = self.is_timed();
            let position = match self.input.is_empty() {
                true => Position::BetweenMessages,
                false => Position::InMessage,
            };
            match self.event(&mut stop).await {
                Event::Read(Ok(1..)) | Event::Answered(None) => {}
                // The client may close its half and still wait for replies.
                Event::Read(Ok(0) | Err(_)) => self.reading = false,
                // It may also wait for replies when its next query is too late.
                Event::Timeout => {
                    self.reading = false;
                    self.input.clear();
                }
                Event::Stop => {
                    self.stopping = true;
                    self.deadline = Instant::now() + limits::TCP_DRAIN_TIME;
                }
                Event::Answered(Some(reply)) if self.write(&reply.frame).await.is_ok() => {}
                Event::Answered(Some(_)) | Event::Evicted => return,
            }
            let Ok(messages) = self.answer().await else { return };
            if !self.stopping {
                self.set_deadline(position, timed && messages == 0);
            }
            self.session.slot.set_activity(Activity::of(self.waiting.len()));
        }
    }

    /// `continues` is true if the server waited for the client, and the client has completed no
    /// message. Then the deadline stays.
    fn set_deadline(&mut self, position: Position, continues: bool) {
        let message = Instant::now() + self.timeouts.read;
        if self.input.is_empty() {
            self.deadline = Instant::now() + self.timeouts.idle;
        } else if !continues {
            self.deadline = message;
        } else if position == Position::BetweenMessages {
            // A message has begun, which must be complete in time.
            self.deadline = self.deadline.min(message);
        }
    }

    fn may_read(&self) -> bool {
        self.reading && self.waiting.len() < limits::TCP_PENDING_QUERIES
    }

    /// Whether the deadline applies: the server waits for the client. A client that waits for
    /// replies need not send another query, but must complete one that it has begun.
    fn is_timed(&self) -> bool {
        self.may_read() && (self.waiting.is_empty() || !self.input.is_empty() || self.stopping)
    }

    async fn event(&mut self, stop: &mut watch::Receiver<bool>) -> Event {
        let (may_read, is_timed) = (self.may_read(), self.is_timed());
        tokio::select! {
            read = self.stream.read_buf(&mut self.input), if may_read => Event::Read(read),
            Some(done) = self.waiting.join_next(), if !self.waiting.is_empty() => Event::Answered(done.ok().flatten()),
            () = sleep_until(self.deadline), if is_timed => Event::Timeout,
            () = self.session.slot.evicted() => Event::Evicted,
            () = stopped(stop), if !self.stopping => Event::Stop,
        }
    }

    /// Answers the complete messages, as far as more queries may wait. Returns how many there were.
    ///
    /// # Errors
    /// The client does not read its replies, or sends something that is not a request.
    async fn answer(&mut self) -> io::Result<usize> {
        let (mut out, mut messages) = (Vec::new(), 0);
        while self.reading && self.waiting.len() < limits::TCP_PENDING_QUERIES {
            let Some(packet) = next_message(&mut self.input)? else { break };
            messages += 1;
            self.messages = self.messages.saturating_add(1);
            if self.timeouts.queries.is_some_and(|most| self.messages >= most) {
                self.reading = false;
            }
            if let Some((zone, cx)) = self.answer_one(&packet, &mut out) {
                self.send_zone(*zone, cx, &mut out).await?;
            }
            if out.len() >= limits::STREAM_OCTETS {
                self.write(&out).await?;
                out.clear();
            }
        }
        if !out.is_empty() {
            self.write(&out).await?;
        }
        Ok(messages)
    }

    /// Appends the reply, if it is ready. Returns the zone of a transfer, which is still to be
    /// sent.
    fn answer_one(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Option<(Box<Outgoing>, Cx)> {
        let session = &mut self.session;
        session.update_server();
        let mut cx = session.cx();
        let start = begin_frame(out);
        let Session { dispatcher, server, listen, .. } = session;
        let appended = match dispatcher.receive(server, *listen, packet, &mut cx, out) {
            Outcome::Wait(pending, wait) => {
                let received = ReceivedQuery::new(server, *listen, packet, cx);
                self.wait(WaitingQuery { received, pending, wait }, out)
            }
            Outcome::Transfer(zone) => {
                out.truncate(start);
                return Some((zone, cx));
            }
            outcome => {
                dispatcher.finish_query(server, *listen, &mut cx);
                match outcome {
                    Outcome::Reply => Appended::Reply,
                    _ => Appended::Nothing,
                }
            }
        };
        match appended {
            Appended::Reply => end_frame(out, start),
            Appended::Nothing => out.truncate(start),
        }
        None
    }

    /// Sends a zone, no faster than the client reads it. Its other queries wait meanwhile.
    async fn send_zone(
        &mut self,
        mut zone: Outgoing,
        mut cx: Cx,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let (dispatcher, server) =
            (Arc::clone(&self.session.dispatcher), Arc::clone(&self.session.server));
        let sent = match dispatcher.transfer_permit(cx.peer.ip()) {
            Some(_permit) => {
                self.session.slot.set_activity(Activity::Busy);
                let sent =
                    timeout(limits::TRANSFER_TIME, self.send_messages(&dispatcher, &mut zone, out))
                        .await;
                cx.now = Instant::now().into_std();
                server.transferred(&zone, &mut cx);
                sent?
            }
            None => {
                let start = begin_frame(out);
                server.put_off(&zone, &mut cx, out);
                end_frame(out, start);
                Ok(())
            }
        };
        dispatcher.finish_query(&server, self.session.listen, &mut cx);
        sent
    }

    async fn send_messages(
        &mut self,
        dispatcher: &Dispatcher,
        zone: &mut Outgoing,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        loop {
            let start = begin_frame(out);
            if dispatcher.next_transfer_message(zone, out) == Appended::Nothing {
                out.truncate(start);
                return Ok(());
            }
            end_frame(out, start);
            self.write(out).await?;
            out.clear();
        }
    }

    /// Leaves a query to a task. If too many queries wait, it fails at once.
    fn wait(&mut self, query: WaitingQuery, out: &mut Vec<u8>) -> Appended {
        let dispatcher = Arc::clone(&self.session.dispatcher);
        let Some(permit) = dispatcher.stream_permit(query.received.client()) else {
            return dispatcher.fail(query, QueryError::Overloaded, out);
        };
        self.waiting.spawn(async move {
            let mut frame = Vec::new();
            let start = begin_frame(&mut frame);
            let appended = dispatcher.complete(query, &mut frame).await;
            end_frame(&mut frame, start);
            (appended == Appended::Reply).then_some(DelayedReply { frame, _permit: permit })
        });
        Appended::Nothing
    }

    /// Writes replies. A client that does not take them in time, or that has too many of them
    /// waiting on all its connections, is disconnected.
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut written = pin!(async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        });
        if let Some(written) = written.as_mut().now_or_never() {
            return written;
        }
        let Session { slot, reset, .. } = &self.session;
        let result = match slot.count_unsent(bytes.len()) {
            None => Err(io::ErrorKind::OutOfMemory.into()),
            Some(_unsent) => tokio::select! {
                written = timeout(self.timeouts.write, written) => written?,
                () = slot.evicted() => Err(io::ErrorKind::ConnectionAborted.into()),
            },
        };
        if result.is_err() {
            reset.set();
        }
        result
    }
}

/// Takes the next complete message from the input.
///
/// # Errors
/// The message is longer than any request.
fn next_message(input: &mut BytesMut) -> io::Result<Option<BytesMut>> {
    let Some(length) = input.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length)))
    else {
        return Ok(None);
    };
    if length > limits::REQUEST_OCTETS {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if input.len() < 2 + length {
        return Ok(None);
    }
    input.advance(2);
    Ok(Some(input.split_to(length)))
}

/// Appends a placeholder for a message's length, and returns its position.
fn begin_frame(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0, 0]);
    out.len() - 2
}

fn end_frame(out: &mut [u8], start: usize) {
    let length = (out.len() - start - 2) as u16;
    out[start..start + 2].copy_from_slice(&length.to_be_bytes());
}
