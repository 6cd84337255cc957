//! A TCP connection that is closed with a reset when its client does not take its replies. After an
//! ordinary close the kernel would keep the replies and try to send them for minutes.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Whether a connection is closed with a reset.
#[derive(Clone, Default)]
pub(super) struct ResetFlag(Arc<AtomicBool>);

impl ResetFlag {
    /// From now on closing the connection drops what the client has not taken.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(super) struct ResettableStream {
    stream: TcpStream,
    flag: ResetFlag,
}

impl ResettableStream {
    pub(super) fn new(stream: TcpStream, flag: ResetFlag) -> Self {
        Self { stream, flag }
    }
}

impl ResettableStream {
    /// Waits for octets and copies them; they stay to be read.
    pub(super) async fn peek(&self, octets: &mut [u8]) -> io::Result<usize> {
        self.stream.peek(octets).await
    }
}

impl Drop for ResettableStream {
    fn drop(&mut self) {
        if self.flag.0.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for ResettableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ResettableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
