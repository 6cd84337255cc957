//! A client's connection: its queries, each on its own stream, within the same bounds as those of
//! other transports.

use std::{net::SocketAddr, pin::pin, sync::Arc};

use quinn::{Connection, ReadExactError, RecvStream, SendStream};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use crate::{
    limits,
    metrics::Family,
    plugin::Timeouts,
    server::{Listen, Server},
};

use super::{
    super::{
        arrival::arrival,
        dispatch::{Dispatcher, new_cx},
        slots::{Activity, Slot},
        status_counter::{StatusCounter, StatusFamily},
        stream::{GRACE, stopped},
    },
    code,
};

pub(super) static RESPONSES: StatusFamily = StatusFamily {
    counters: Family::new(
        "dns_quic_responses_total",
        "Replies over QUIC by DoQ error code.",
        ["server", "status"],
    ),
    label: |code| format!("{code:#x}"),
};

pub(super) struct ClientConnection {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) responses: Arc<StatusCounter>,
    pub(super) server: Arc<Server>,
    pub(super) listen: Listen,
    pub(super) connection: Connection,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) slot: Slot,
}

/// The outcome of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamEnd {
    /// A reply was sent, or the stream was reset because there is none.
    Done,
    /// The client broke the protocol, which ends its connection (RFC 9250 §4.3.3).
    ProtocolError,
    /// The client did not take the reply in time, which ends its connection, too.
    Unread,
}

impl ClientConnection {
    /// Answers until the client closes the connection, is idle for too long, or is evicted.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let (client, mut streams) = (Arc::new(self), JoinSet::new());
        let mut stalled = pin!(client.slot.stalled());
        let (mut deadline, mut stopping) = (Instant::now() + client.timeouts().idle, false);
        let code = loop {
            client.slot.set_activity(Activity::of(streams.len()));
            tokio::select! {
                opened = client.connection.accept_bi() => match opened {
                    Ok((sender, receiver)) => {
                        let client = Arc::clone(&client);
                        streams.spawn(async move { client.answer(sender, receiver).await });
                    }
                    Err(_) => return,
                },
                Some(end) = streams.join_next(), if !streams.is_empty() => {
                    match end {
                        Ok(StreamEnd::ProtocolError) => break code::PROTOCOL_ERROR,
                        Ok(StreamEnd::Unread) => break code::EXCESSIVE_LOAD,
                        Ok(StreamEnd::Done) | Err(_) => {}
                    }
                    if !stopping {
                        deadline = Instant::now() + client.timeouts().idle;
                    }
                }
                () = sleep_until(deadline), if stopping || streams.is_empty() => break code::NO_ERROR,
                () = client.slot.evicted() => break code::EXCESSIVE_LOAD,
                () = &mut stalled => break code::EXCESSIVE_LOAD,
                () = stopped(&mut stop), if !stopping => {
                    // Queries that are on their way are still answered.
                    stopping = true;
                    deadline = Instant::now() + limits::TCP_DRAIN_TIME;
                }
            }
        };
        if stopping {
            let answered = async { while streams.join_next().await.is_some() {} };
            let _ = timeout(GRACE, answered).await;
        }
        client.connection.close(code, b"");
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.server.timeouts(self.listen)
    }

    /// Answers the query of a stream.
    async fn answer(&self, mut sender: SendStream, mut receiver: RecvStream) -> StreamEnd {
        let (octets, time) = (limits::INCOMPLETE_QUIC_OCTETS, self.timeouts().read);
        let message = match arrival(&self.slot, octets, time, message(&mut receiver)).await {
            Ok(Ok(message)) => message,
            Ok(Err(end)) => {
                if end == StreamEnd::ProtocolError {
                    self.responses.count(2);
                }
                return end;
            }
            Err(_) => {
                let _ = (receiver.stop(code::EXCESSIVE_LOAD), sender.reset(code::EXCESSIVE_LOAD));
                return StreamEnd::Done;
            }
        };
        let mut server = Arc::clone(&self.server);
        self.dispatcher.update_server(&mut server, self.listen);
        let cx = new_cx(self.peer, self.local, self.listen.scheme.transport());
        let reply = self.dispatcher.answer(&server, self.listen, &message, cx).await;
        let sent = match reply {
            Some(reply) => self.send(&mut sender, &reply).await,
            None => Err(code::REQUEST_CANCELLED),
        };
        sent.unwrap_or_else(|code| {
            self.responses.count(1);
            let _ = sender.reset(code);
            StreamEnd::Done
        })
    }

    /// Sends a reply, and waits until the client has it, because its octets count until then. The
    /// error is the code for a reset.
    async fn send(
        &self,
        sender: &mut SendStream,
        reply: &[u8],
    ) -> Result<StreamEnd, quinn::VarInt> {
        let length = u16::try_from(reply.len()).map_err(|_| code::INTERNAL_ERROR)?;
        let _unsent = self.slot.count_unsent(reply.len()).ok_or(code::EXCESSIVE_LOAD)?;
        let sent = async {
            sender.write_all(&length.to_be_bytes()).await.ok()?;
            sender.write_all(reply).await.ok()?;
            sender.finish().ok()
        };
        let deadline = Instant::now() + self.timeouts().write;
        let taken = match timeout_at(deadline, sent).await {
            Ok(Some(())) => {
                self.responses.count(0);
                timeout_at(deadline, sender.stopped()).await.is_ok()
            }
            Ok(None) => return Err(code::INTERNAL_ERROR),
            Err(_) => {
                self.responses.count(1);
                false
            }
        };
        if taken {
            return Ok(StreamEnd::Done);
        }
        let _ = sender.reset(code::EXCESSIVE_LOAD);
        Ok(StreamEnd::Unread)
    }
}

/// Reads the message of a stream. If the message is longer than [`limits::REQUEST_OCTETS`], this is
/// a protocol error, and no memory is allocated for it. The client need not end its stream to get
/// the reply.
async fn message(receiver: &mut RecvStream) -> Result<Vec<u8>, StreamEnd> {
    let mut length = [0; 2];
    read(receiver, &mut length).await?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > limits::REQUEST_OCTETS {
        return Err(StreamEnd::ProtocolError);
    }
    let mut message = vec![0; length];
    read(receiver, &mut message).await?;
    // The message id must be 0 (RFC 9250 §4.2.1).
    if message.first_chunk::<2>().is_some_and(|id| *id != [0; 2]) {
        return Err(StreamEnd::ProtocolError);
    }
    Ok(message)
}

/// A stream must not end within a message (RFC 9250 §4.2).
async fn read(receiver: &mut RecvStream, out: &mut [u8]) -> Result<(), StreamEnd> {
    receiver.read_exact(out).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(_) => StreamEnd::ProtocolError,
        ReadExactError::ReadError(_) => StreamEnd::Done,
    })
}
