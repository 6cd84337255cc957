//! The streams of a connection in the form that the crate h3 takes. h3 keeps a frame in memory
//! until it is complete, whatever its length. So this module bounds the octets of each stream, and
//! those of all requests of a connection.

use std::{
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use h3::{
    error::Code,
    quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf},
};
use quinn::{ConnectionError, ReadError, VarInt, WriteError};

use crate::limits;

/// Octets that are read at once. A request with its headers is smaller.
const READ_OCTETS: usize = 2048;
/// The type of a control stream (RFC 9114 §6.2.1).
const CONTROL: u64 = 0;

type Pending<T> = Pin<Box<dyn Future<Output = Result<T, ConnectionError>> + Send>>;

/// A connection of quinn.
pub(super) struct HttpStreams {
    connection: quinn::Connection,
    requests: Option<Pending<(quinn::SendStream, quinn::RecvStream)>>,
    others: Option<Pending<quinn::RecvStream>>,
    opening: Option<Pending<quinn::SendStream>>,
    /// Octets of the requests that are not complete.
    incomplete: Arc<AtomicUsize>,
}

impl HttpStreams {
    pub(super) fn new(connection: quinn::Connection) -> Self {
        let incomplete = Arc::default();
        Self { connection, requests: None, others: None, opening: None, incomplete }
    }
}

/// Polls what is pending, or else begins it with `begin`.
fn poll<T>(
    pending: &mut Option<Pending<T>>,
    begin: impl FnOnce() -> Pending<T>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, ConnectionErrorIncoming>> {
    let result = ready!(pending.get_or_insert_with(begin).as_mut().poll(cx));
    *pending = None;
    Poll::Ready(result.map_err(connection_error))
}

impl quic::Connection<Bytes> for HttpStreams {
    type RecvStream = HttpReceiver;
    type OpenStreams = Self;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<HttpReceiver, ConnectionErrorIncoming>> {
        let connection = &self.connection;
        let begin = || {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_uni().await }) as Pending<_>
        };
        let stream = ready!(poll(&mut self.others, begin, cx))?;
        Poll::Ready(Ok(HttpReceiver { stream, bound: Bound::OneWay(Frames::default()) }))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<HttpStream, ConnectionErrorIncoming>> {
        let connection = &self.connection;
        let begin = || {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_bi().await }) as Pending<_>
        };
        let (sender, stream) = ready!(poll(&mut self.requests, begin, cx))?;
        let share = RequestShare { octets: 0, of_connection: Arc::clone(&self.incomplete) };
        Poll::Ready(Ok(HttpStream {
            sender: HttpSender::new(sender),
            receiver: HttpReceiver { stream, bound: Bound::Request(share) },
        }))
    }

    fn opener(&self) -> Self {
        Self::new(self.connection.clone())
    }
}

impl quic::OpenStreams<Bytes> for HttpStreams {
    type BidiStream = HttpStream;
    type SendStream = HttpSender;

    /// A server opens no requests.
    fn poll_open_bidi(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Result<HttpStream, StreamErrorIncoming>> {
        Poll::Ready(Err(StreamErrorIncoming::Unknown("a server sends no requests".into())))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<HttpSender, StreamErrorIncoming>> {
        let connection = &self.connection;
        let begin = || {
            let connection = connection.clone();
            Box::pin(async move { connection.open_uni().await }) as Pending<_>
        };
        let sender = ready!(poll(&mut self.opening, begin, cx));
        Poll::Ready(sender.map(HttpSender::new).map_err(lost))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.connection.close(var_int(code.value()), reason);
    }
}

/// A request and its response.
pub(super) struct HttpStream {
    sender: HttpSender,
    receiver: HttpReceiver,
}

impl quic::BidiStream<Bytes> for HttpStream {
    type SendStream = HttpSender;
    type RecvStream = HttpReceiver;

    fn split(self) -> (HttpSender, HttpReceiver) {
        (self.sender, self.receiver)
    }
}

impl quic::RecvStream for HttpStream {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.receiver.poll_data(cx)
    }

    fn stop_sending(&mut self, code: u64) {
        self.receiver.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.receiver.recv_id()
    }
}

impl quic::SendStream<Bytes> for HttpStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sender.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.sender.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sender.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.sender.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.sender.send_id()
    }
}

pub(super) struct HttpReceiver {
    stream: quinn::RecvStream,
    bound: Bound,
}

/// What bounds the octets of a stream that h3 keeps.
enum Bound {
    Request(RequestShare),
    OneWay(Frames),
}

impl Bound {
    /// Counts octets that were read. `octets` is empty at the end of the stream. `None` if there
    /// are too many.
    fn count(&mut self, octets: &[u8]) -> Option<()> {
        match self {
            Self::Request(share) if octets.is_empty() => share.give_back(),
            Self::Request(share) => return share.take(octets.len()),
            Self::OneWay(frames) => return frames.follow(octets),
        }
        Some(())
    }
}

/// The octets of a request. They count until the request is complete or dropped.
struct RequestShare {
    octets: usize,
    of_connection: Arc<AtomicUsize>,
}

impl RequestShare {
    fn take(&mut self, piece: usize) -> Option<()> {
        let piece = piece.max(limits::HTTP3_PIECE_OCTETS);
        self.octets += piece;
        let all = self.of_connection.fetch_add(piece, Ordering::Relaxed) + piece;
        (self.octets <= limits::HTTP3_REQUEST_OCTETS && all <= limits::HTTP3_REQUESTS_OCTETS)
            .then_some(())
    }

    fn give_back(&mut self) {
        self.of_connection.fetch_sub(mem::take(&mut self.octets), Ordering::Relaxed);
    }
}

impl Drop for RequestShare {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// How far a one-way stream was read. Only the frames of a control stream are followed, because h3
/// reads only the type of other one-way streams.
#[derive(Default)]
struct Frames {
    part: Part,
    /// The value of the octets of the current number that have arrived.
    number: u64,
    /// Octets that the current number or payload lacks.
    missing: u64,
}

#[derive(Clone, Copy, Default)]
enum Part {
    #[default]
    StreamType,
    FrameType,
    Length,
    Payload,
    /// What follows the type of a stream that is not a control stream.
    Other,
}

impl Frames {
    /// Follows the next octets. `None` if a frame is too long.
    fn follow(&mut self, octets: &[u8]) -> Option<()> {
        for octet in octets {
            match self.part {
                Part::Other => return Some(()),
                Part::Payload => {}
                // The first two bits of a number say how long it is (RFC 9000 §16).
                _ if self.missing == 0 => {
                    self.missing = 1 << (octet >> 6);
                    self.number = u64::from(octet & 0x3f);
                }
                _ => self.number = self.number << 8 | u64::from(*octet),
            }
            self.missing -= 1;
            if self.missing == 0 {
                self.begin_part()?;
            }
        }
        Some(())
    }

    /// Begins the next part after the current one is complete.
    fn begin_part(&mut self) -> Option<()> {
        self.part = match self.part {
            Part::StreamType if self.number != CONTROL => Part::Other,
            Part::FrameType => Part::Length,
            Part::Length if self.number > limits::HTTP3_CONTROL_FRAME_OCTETS => return None,
            Part::Length if self.number > 0 => {
                self.missing = self.number;
                Part::Payload
            }
            _ => Part::FrameType,
        };
        Some(())
    }
}

impl quic::RecvStream for HttpReceiver {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let mut octets = [0; READ_OCTETS];
        let length = ready!(self.stream.poll_read(cx, &mut octets)).map_err(read_error)?;
        if self.bound.count(&octets[..length]).is_none() {
            self.stop_sending(Code::H3_EXCESSIVE_LOAD.value());
            return Poll::Ready(Err(StreamErrorIncoming::Unknown("the stream is too long".into())));
        }
        Poll::Ready(Ok((length > 0).then(|| Bytes::copy_from_slice(&octets[..length]))))
    }

    fn stop_sending(&mut self, code: u64) {
        let _ = self.stream.stop(var_int(code));
    }

    fn recv_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

pub(super) struct HttpSender {
    stream: quinn::SendStream,
    /// The data that has not been sent yet.
    data: Option<WriteBuf<Bytes>>,
    /// Ends when the client has everything, or wants no more.
    taken: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl HttpSender {
    fn new(stream: quinn::SendStream) -> Self {
        Self { stream, data: None, taken: None }
    }
}

impl quic::SendStream<Bytes> for HttpSender {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(data) = self.data.as_mut().filter(|data| Buf::has_remaining(*data)) {
            let sent = Pin::new(&mut self.stream).poll_write(cx, data.chunk());
            data.advance(ready!(sent).map_err(write_error)?);
        }
        self.data = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.data = Some(data.into());
        Ok(())
    }

    /// Waits until the client has the response, because its octets count until then.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        let stream = &mut self.stream;
        let taken = self.taken.get_or_insert_with(|| {
            let _ = stream.finish();
            let stopped = stream.stopped();
            Box::pin(async move { drop(stopped.await) })
        });
        taken.as_mut().poll(cx).map(Ok)
    }

    fn reset(&mut self, code: u64) {
        let _ = self.stream.reset(var_int(code));
    }

    fn send_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

/// The codes of HTTP/3 are smaller than the largest one of QUIC.
fn var_int(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

fn stream_id(id: quinn::StreamId) -> StreamId {
    StreamId::try_from(VarInt::from(id).into_inner()).expect("ids of HTTP/3 are those of QUIC")
}

fn connection_error(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into_inner() }
        }
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        error => ConnectionErrorIncoming::Undefined(Arc::new(error)),
    }
}

fn lost(connection_error: ConnectionErrorIncoming) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error }
}

fn read_error(error: ReadError) -> StreamErrorIncoming {
    match error {
        ReadError::Reset(code) => {
            StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() }
        }
        ReadError::ConnectionLost(error) => lost(connection_error(error)),
        error => StreamErrorIncoming::Unknown(Box::new(error)),
    }
}

fn write_error(error: WriteError) -> StreamErrorIncoming {
    match error {
        WriteError::Stopped(code) => {
            StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() }
        }
        WriteError::ConnectionLost(error) => lost(connection_error(error)),
        error => StreamErrorIncoming::Unknown(Box::new(error)),
    }
}
