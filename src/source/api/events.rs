//! Splits the body of a reply into events while it arrives. The events stay encoded.

use anyhow::bail;
use bytes::{Buf, Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt;
use kube::client::Body;

use crate::limits;

use super::encoding::Encoding;

pub(super) struct Events {
    pub(super) encoding: Encoding,
    body: Body,
    frames: Frames,
}

impl Events {
    pub(super) fn new(response: Response<Body>) -> Self {
        let encoding = Encoding::of(response.headers());
        Self { encoding, body: response.into_body(), frames: Frames::default() }
    }

    /// The next event; `None` at the end. An incomplete last event is dropped.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            if let Some(event) = self.frames.next(self.encoding) {
                return Ok(Some(event));
            }
            if self.frames.awaited(self.encoding) > limits::API_EVENT_OCTETS {
                bail!("an event of more than {} octets", limits::API_EVENT_OCTETS);
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    self.frames.read.extend_from_slice(frame?.data_ref().map_or(&[], |data| data));
                }
            }
        }
    }
}

/// In JSON each line is one event. In protobuf the length of an event comes before it, as a 32-bit
/// number.
#[derive(Default)]
struct Frames {
    read: BytesMut,
    /// How many octets at the start of `read` are known to contain no line end.
    searched: usize,
}

const LENGTH: usize = size_of::<u32>();

impl Frames {
    fn next(&mut self, encoding: Encoding) -> Option<Bytes> {
        match encoding {
            Encoding::Json => {
                let found =
                    self.read.get(self.searched..)?.iter().position(|octet| *octet == b'\n');
                let Some(end) = found.map(|found| self.searched + found + 1) else {
                    self.searched = self.read.len();
                    return None;
                };
                self.searched = 0;
                Some(self.read.split_to(end).freeze())
            }
            Encoding::Protobuf => {
                let length = self.length()?;
                if self.read.len() - LENGTH < length {
                    return None;
                }
                self.read.advance(LENGTH);
                Some(self.read.split_to(length).freeze())
            }
        }
    }

    /// The length of the next event in protobuf.
    fn length(&self) -> Option<usize> {
        let length = *self.read.first_chunk::<LENGTH>()?;
        Some(usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX))
    }

    /// How many octets the next event has at least.
    fn awaited(&self, encoding: Encoding) -> usize {
        match encoding {
            Encoding::Json => self.read.len(),
            Encoding::Protobuf => self.length().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(encoding: Encoding, chunks: &[&[u8]], want: &[&[u8]]) {
        let (mut frames, mut got) = (Frames::default(), Vec::new());
        for chunk in chunks {
            frames.read.extend_from_slice(chunk);
            got.extend(std::iter::from_fn(|| frames.next(encoding)));
        }
        assert_eq!(got, want, "{encoding:?} {chunks:?}");
    }

    #[test]
    fn only_complete_events_are_returned() {
        let json = |chunks: &[&[u8]], want: &[&[u8]]| check(Encoding::Json, chunks, want);
        json(&[b"a\nb", b"c\n", b"\nd"], &[b"a\n", b"bc\n", b"\n"]);
        json(&[b"", b"ab"], &[]);
        json(&[b"one\ntwo\nthree\n"], &[b"one\n", b"two\n", b"three\n"]);
        let protobuf = |chunks: &[&[u8]], want: &[&[u8]]| check(Encoding::Protobuf, chunks, want);
        protobuf(&[b"\0\0\0\x01a\0\0\0\x02b", b"c\0\0\0\0\0\0"], &[b"a", b"bc", b""]);
        protobuf(&[b"\0", b"\0\0", b"\x02a", b"b", b"\xff\xff\xff\xff"], &[b"ab"]);
    }

    #[tokio::test]
    async fn events_that_are_too_long_are_an_error() {
        for (content_type, body) in [
            ("application/json", vec![b'a'; limits::API_EVENT_OCTETS + 1]),
            ("application/vnd.kubernetes.protobuf;stream=watch", vec![0xff; 5]),
        ] {
            let response =
                Response::builder().header("content-type", content_type).body(Body::from(body));
            let error = Events::new(response.unwrap()).next().await.unwrap_err();
            assert!(error.to_string().contains("an event of more than"), "{error}");
        }
    }
}
