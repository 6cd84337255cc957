//! Frame streams: each message has its length before it, and control frames begin and end the
//! stream (farsightsec.github.io/fstrm).

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::limits;

use super::{BoxStream, DnstapError};

const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FINISH: u32 = 5;

/// The field of a control frame that names the type of the messages.
const CONTENT_TYPE: u32 = 1;
const DNSTAP: &[u8] = b"protobuf:dnstap.Dnstap";

/// Adds a message as a frame.
pub(super) fn add(out: &mut Vec<u8>, message: &[u8]) {
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
}

/// Offers the type of the messages, and begins the stream if the receiver accepts it.
pub(super) async fn open(
    read: &mut ReadHalf<BoxStream>,
    write: &mut WriteHalf<BoxStream>,
) -> Result<(), DnstapError> {
    write.write_all(&control(READY, Some(DNSTAP))).await?;
    write.flush().await?;
    let (kind, fields) = receive(read).await?;
    let types = content_types(&fields);
    if kind != ACCEPT || !types.is_empty() && !types.contains(&DNSTAP) {
        return Err(DnstapError::Protocol);
    }
    write.write_all(&control(START, Some(DNSTAP))).await?;
    write.flush().await?;
    Ok(())
}

/// Ends the stream, and waits until the receiver has all of it.
pub(super) async fn close(
    read: &mut ReadHalf<BoxStream>,
    write: &mut WriteHalf<BoxStream>,
) -> Result<(), DnstapError> {
    write.write_all(&control(STOP, None)).await?;
    write.flush().await?;
    while receive(read).await?.0 != FINISH {}
    Ok(())
}

/// A control frame: a frame with the length zero, then the length and the content.
fn control(kind: u32, content_type: Option<&[u8]>) -> Vec<u8> {
    let mut content = kind.to_be_bytes().to_vec();
    if let Some(content_type) = content_type {
        content.extend_from_slice(&CONTENT_TYPE.to_be_bytes());
        add(&mut content, content_type);
    }
    let mut frame = 0_u32.to_be_bytes().to_vec();
    add(&mut frame, &content);
    frame
}

/// A control frame of the receiver: its kind, and its fields.
async fn receive(read: &mut ReadHalf<BoxStream>) -> Result<(u32, Vec<u8>), DnstapError> {
    let (escape, length) = (read.read_u32().await?, read.read_u32().await? as usize);
    if escape != 0 || !(4..=limits::DNSTAP_CONTROL_OCTETS).contains(&length) {
        return Err(DnstapError::Protocol);
    }
    let kind = read.read_u32().await?;
    let mut fields = vec![0; length - 4];
    read.read_exact(&mut fields).await?;
    Ok((kind, fields))
}

/// The types that the fields name.
fn content_types(mut fields: &[u8]) -> Vec<&[u8]> {
    let mut types = Vec::new();
    while let Some((field, rest)) = fields.split_first_chunk::<4>()
        && let Some((length, rest)) = rest.split_first_chunk::<4>()
        && let Some((value, rest)) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)
    {
        if u32::from_be_bytes(*field) == CONTENT_TYPE {
            types.push(value);
        }
        fields = rest;
    }
    types
}

#[cfg(test)]
mod tests {
    use tokio::io::{duplex, split};

    use super::*;

    /// The outcome of a handshake with a receiver that sends this.
    async fn opened(reply: &[u8]) -> Result<(), DnstapError> {
        let (ours, mut theirs) = duplex(4096);
        theirs.write_all(reply).await.unwrap();
        let (mut read, mut write) = split(Box::new(ours) as BoxStream);
        if reply.is_empty() {
            drop(theirs);
        }
        open(&mut read, &mut write).await
    }

    #[tokio::test]
    async fn a_receiver_that_does_not_accept_the_type_is_an_error() {
        assert!(opened(&control(ACCEPT, Some(DNSTAP))).await.is_ok());
        assert!(opened(&control(ACCEPT, None)).await.is_ok());
        let other = control(ACCEPT, Some(b"protobuf:other"));
        for odd in [&other[..], &control(FINISH, None), b"HTTP/1.1 400 Bad Request", &[0; 64]] {
            assert!(matches!(opened(odd).await, Err(DnstapError::Protocol)), "{odd:?}");
        }
        assert!(matches!(opened(b"").await, Err(DnstapError::Io(_))));
    }

    #[test]
    fn fields_that_are_cut_off_are_ignored() {
        let fields = control(ACCEPT, Some(DNSTAP));
        assert_eq!(content_types(&fields[12..]), [DNSTAP]);
        assert_eq!(content_types(&fields[12..30]), [b""; 0]);
        assert_eq!(content_types(&[0, 0, 0, 2, 0, 0, 0, 1, 9]), [b""; 0]);
    }
}
