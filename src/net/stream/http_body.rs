//! The bodies of HTTP responses: octets, and trailers after them.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::{
    HeaderMap,
    body::{Body, Frame, SizeHint},
};

pub(super) struct ResponseBody {
    octets: Bytes,
    trailers: Option<HeaderMap>,
}

impl ResponseBody {
    pub(super) fn with_trailers(octets: Bytes, trailers: HeaderMap) -> Self {
        Self { octets, trailers: Some(trailers) }
    }
}

impl From<Bytes> for ResponseBody {
    fn from(octets: Bytes) -> Self {
        Self { octets, trailers: None }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let octets = std::mem::take(&mut self.octets);
        let frame = if octets.is_empty() {
            self.trailers.take().map(Frame::trailers)
        } else {
            Some(Frame::data(octets))
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.octets.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.octets.len() as u64)
    }
}
