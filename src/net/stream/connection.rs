//! Messages behind their lengths, over TCP or TLS.

use std::{io, sync::Arc};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    chain::Cx,
    limits,
    server::{Outcome, Outgoing},
};

use super::super::dispatch::{Asked, Dispatcher, Job, header_of};
use super::{Visit, stopped};

/// What a connection's task wakes up for.
enum Event {
    Read(io::Result<usize>),
    Answered(Option<Late>),
    /// A message did not come in its time, or none came.
    Late,
    Stop,
    /// Someone else has the place.
    Leave,
}

/// A reply that had to wait, and its place among those: until it is written it takes memory.
struct Late {
    frame: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

pub(super) struct Connection<S> {
    visit: Visit,
    stream: S,
    /// What came in and is not yet a whole message, or has to wait for those before it.
    input: BytesMut,
    /// Questions that wait for upstreams.
    waiting: JoinSet<Option<Late>>,
    /// False once nothing more is wanted of the client, or comes from it.
    reading: bool,
    /// What has been sent already is still read.
    stopping: bool,
    deadline: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(visit: Visit, stream: S) -> Self {
        Self {
            visit,
            stream,
            input: BytesMut::with_capacity(limits::UDP_OCTETS_PLAIN.into()),
            waiting: JoinSet::new(),
            reading: true,
            stopping: false,
            deadline: Instant::now() + limits::TCP_MESSAGE_TIME,
        }
    }

    /// Answers until the client has enough, is late, or has to leave.
    pub(super) async fn run(mut self, stop: watch::Receiver<bool>) {
        self.converse(stop).await;
        // Over TLS the end is told: who was cut off cannot be taken for one who has everything (RFC
        // 7858 §3.4).
        let _ = timeout(limits::TCP_DRAIN_TIME, self.stream.shutdown()).await;
    }

    async fn converse(&mut self, mut stop: watch::Receiver<bool>) {
        while self.reading || !self.waiting.is_empty() {
            let (timed, between) = (self.is_timed(), self.input.is_empty());
            match self.event(&mut stop).await {
                Event::Read(Ok(1..)) | Event::Answered(None) => {}
                // A client may close its half and still wait for replies.
                Event::Read(Ok(0) | Err(_)) => self.reading = false,
                // So may one that is late with its next question.
                Event::Late => {
                    self.reading = false;
                    self.input.clear();
                }
                Event::Stop => {
                    self.stopping = true;
                    self.deadline = Instant::now() + limits::TCP_DRAIN_TIME;
                }
                Event::Answered(Some(late)) if self.write(&late.frame).await.is_ok() => {}
                Event::Answered(Some(_)) | Event::Leave => return,
            }
            let Ok(answered) = self.answer().await else { return };
            if !self.stopping {
                self.set_deadline(between, answered || !timed);
            }
            self.visit.place.set_idle(self.waiting.is_empty());
        }
    }

    /// `between` messages was where the client was before; with `anew` it was not waited for, or
    /// has sent a whole message.
    fn set_deadline(&mut self, between: bool, anew: bool) {
        let message = Instant::now() + limits::TCP_MESSAGE_TIME;
        if self.input.is_empty() {
            self.deadline = Instant::now() + limits::TCP_IDLE_TIME;
        } else if anew {
            self.deadline = message;
        } else if between {
            // A message has begun: from now on it has its time.
            self.deadline = self.deadline.min(message);
        }
    }

    fn may_read(&self) -> bool {
        self.reading && self.waiting.len() < limits::TCP_PENDING_QUERIES
    }

    /// Whether it is the client whom everything waits for: where it is owed replies it need not
    /// ask, but may not dawdle.
    fn is_timed(&self) -> bool {
        self.may_read() && (self.waiting.is_empty() || !self.input.is_empty() || self.stopping)
    }

    async fn event(&mut self, stop: &mut watch::Receiver<bool>) -> Event {
        let (may_read, is_timed) = (self.may_read(), self.is_timed());
        tokio::select! {
            read = self.stream.read_buf(&mut self.input), if may_read => Event::Read(read),
            Some(done) = self.waiting.join_next(), if !self.waiting.is_empty() => Event::Answered(done.ok().flatten()),
            () = sleep_until(self.deadline), if is_timed => Event::Late,
            () = self.visit.place.taken() => Event::Leave,
            () = stopped(stop), if !self.stopping => Event::Stop,
        }
    }

    /// Answers the whole messages that came in, as far as they may wait; true where there was one.
    ///
    /// # Errors
    /// Where the client does not take its replies, or sends what is no request.
    async fn answer(&mut self) -> io::Result<bool> {
        let (mut out, mut any) = (Vec::new(), false);
        while self.waiting.len() < limits::TCP_PENDING_QUERIES {
            let Some(packet) = next_message(&mut self.input)? else { break };
            any = true;
            if let Some((zone, cx)) = self.answer_one(&packet, &mut out) {
                self.hand_over(*zone, cx, &mut out).await?;
            }
            if out.len() >= limits::STREAM_OCTETS {
                self.write(&out).await?;
                out.clear();
            }
        }
        if !out.is_empty() {
            self.write(&out).await?;
        }
        Ok(any)
    }

    /// Appends the reply, if there is one yet; or gives the zone that is to be sent.
    fn answer_one(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Option<(Box<Outgoing>, Cx)> {
        let visit = &mut self.visit;
        visit.renew();
        let mut cx = visit.cx();
        let start = begin_frame(out);
        let replied =
            match visit.dispatcher.receive(&visit.server, visit.listen, packet, &mut cx, out) {
                Outcome::Exchange(pending, exchange) => {
                    let asked = Asked {
                        server: Arc::clone(&visit.server),
                        listen: visit.listen,
                        header: header_of(packet),
                        cx,
                    };
                    self.wait(Job { asked, pending, exchange }, out)
                }
                Outcome::Transfer(zone) => {
                    out.truncate(start);
                    return Some((zone, cx));
                }
                outcome => {
                    visit.dispatcher.after(&visit.server, visit.listen, &mut cx);
                    matches!(outcome, Outcome::Reply)
                }
            };
        if replied {
            end_frame(out, start);
        } else {
            out.truncate(start);
        }
        None
    }

    /// Sends a zone, no faster than the client takes it. What it asks meanwhile waits.
    async fn hand_over(
        &mut self,
        mut zone: Outgoing,
        mut cx: Cx,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let (dispatcher, server) =
            (Arc::clone(&self.visit.dispatcher), Arc::clone(&self.visit.server));
        let sent = match dispatcher.transfer_place() {
            Some(_place) => {
                self.visit.place.set_idle(false);
                let sent =
                    timeout(limits::TRANSFER_TIME, self.send(&dispatcher, &mut zone, out)).await;
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
        dispatcher.after(&server, self.visit.listen, &mut cx);
        sent
    }

    async fn send(
        &mut self,
        dispatcher: &Dispatcher,
        zone: &mut Outgoing,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        loop {
            let start = begin_frame(out);
            if !dispatcher.next_message(zone, out) {
                out.truncate(start);
                return Ok(());
            }
            end_frame(out, start);
            self.write(out).await?;
            out.clear();
        }
    }

    /// Has a question wait; where too many do, ends it. True where a reply was appended.
    fn wait(&mut self, job: Job, out: &mut Vec<u8>) -> bool {
        let dispatcher = Arc::clone(&self.visit.dispatcher);
        let Some(place) = dispatcher.stream_place() else { return dispatcher.turn_away(job, out) };
        self.waiting.spawn(async move {
            let mut frame = Vec::new();
            let start = begin_frame(&mut frame);
            let replied = dispatcher.drive(job, &mut frame).await;
            end_frame(&mut frame, start);
            replied.then_some(Late { frame, _place: place })
        });
        false
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        tokio::select! {
            written = timeout(limits::TCP_WRITE_TIME, written) => written?,
            () = self.visit.place.taken() => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

/// The next whole message.
///
/// # Errors
/// Where it is longer than any request.
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

/// Leaves room for a message's length.
fn begin_frame(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0, 0]);
    out.len() - 2
}

fn end_frame(out: &mut [u8], start: usize) {
    let length = (out.len() - start - 2) as u16;
    out[start..start + 2].copy_from_slice(&length.to_be_bytes());
}
