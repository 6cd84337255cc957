//! A connection over TCP or TLS that several queries use at once (RFC 7766 §6.2.1.1).

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    sync::mpsc::{Receiver, Sender, channel},
};

use crate::{limits, net::client::stream, wire::Query};

use super::{
    pending::{Delivery, Pending},
    raw::RawReply,
};

/// The connection is closed when this is dropped.
pub(super) struct FramedConnection {
    pending: Arc<Pending>,
    /// Messages with their lengths, which the driver sends.
    frames: Sender<Vec<u8>>,
}

impl FramedConnection {
    /// Nothing is sent or received unless the caller polls the future, which ends with the
    /// connection.
    pub(super) fn open<S>(stream: S) -> (Self, impl Future<Output = ()> + Send + 'static)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let pending = Arc::<Pending>::default();
        let (frames, queue) = channel(limits::UPSTREAM_STREAMS);
        let connection = Self { pending: Arc::clone(&pending), frames };
        (connection, async move {
            let (reader, writer) = tokio::io::split(stream);
            tokio::select! {
                _ = write(writer, queue) => {}
                _ = read(BufReader::new(reader), &pending) => {}
            }
            pending.close(|| Err(io::ErrorKind::ConnectionAborted.into()));
        })
    }

    /// Whether no further query can be sent.
    pub(super) fn is_closed(&self) -> bool {
        self.pending.is_closed()
    }

    /// Sends a query and returns its reply. The name in the reply may be in another case: only the
    /// server knows the sequence numbers of the connection, so the reply is not forged. The error
    /// is [`io::ErrorKind::NotConnected`] if the query was not sent, because the connection is
    /// closed or has no id left.
    pub(super) async fn converse(&self, query: &Query) -> io::Result<Vec<u8>> {
        let closed = || io::Error::from(io::ErrorKind::ConnectionAborted);
        let mut asked = query.clone();
        let ticket = self.pending.add(&mut asked).ok_or(io::ErrorKind::NotConnected)?;
        self.frames.send(stream::frame(&asked)).await.map_err(|_| closed())?;
        match ticket.reply().await? {
            RawReply::Packet(message) | RawReply::OtherCase(message) => Ok(message),
            RawReply::Doubtful => Err(closed()),
        }
    }
}

/// Sends messages until the connection fails or no query can be sent any more. Messages that wait
/// leave together.
async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut queue: Receiver<Vec<u8>>,
) -> io::Result<()> {
    while let Some(mut octets) = queue.recv().await {
        while let Ok(more) = queue.try_recv() {
            octets.extend_from_slice(&more);
        }
        writer.write_all(&octets).await?;
        writer.flush().await?;
    }
    Ok(())
}

/// Reads replies until the connection fails, or [`limits::STRAY_REPLIES`] messages match no query.
async fn read(mut reader: impl AsyncRead + Unpin, pending: &Pending) -> io::Result<()> {
    let mut strays = 0;
    while strays < limits::STRAY_REPLIES {
        let length = reader.read_u16().await?;
        let mut message = vec![0; length.into()];
        reader.read_exact(&mut message).await?;
        if pending.deliver(&message, true) == Delivery::Stray {
            strays += 1;
        }
    }
    Ok(())
}
