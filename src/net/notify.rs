//! Tells secondary servers that a zone has changed (RFC 1996).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use thiserror::Error;
use tokio::{net::UdpSocket, time::timeout};

use crate::{
    limits,
    wire::{Name, Query, Question, Rcode, TsigChain, TsigError, TsigKey, Type, notify},
};

use super::{client::udp::local, unix_time};

/// Why a server has not accepted the message.
#[derive(Debug, Error)]
pub enum NotifyError {
    #[error("no reply after {} messages", limits::NOTIFY_TRIES)]
    Silence,
    #[error("rcode was \"{0}\"")]
    Rcode(Rcode),
    #[error(transparent)]
    Signature(#[from] TsigError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Sends the message until the server replies. `source` is the local address, if it is configured.
///
/// # Errors
/// See [`NotifyError`].
pub async fn send(
    zone: &Name,
    to: SocketAddr,
    source: Option<IpAddr>,
    key: Option<&TsigKey>,
) -> Result<(), NotifyError> {
    let any = match to {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(local(source.unwrap_or(any), to)).await?;
    socket.connect(to).await?;
    let question = Question::new(zone.clone(), Type::SOA);
    let query = Query { id: rand::random(), ..Query::internal(question) };
    let (plain, mut reply) = (notify::request(&query), vec![0; limits::UDP_REPLY_OCTETS]);
    let mut last = None;
    for _ in 0..limits::NOTIFY_TRIES {
        let mut signing = key.map(TsigChain::new);
        let mut request = plain.clone();
        if let Some(chain) = &mut signing {
            chain.sign(0, unix_time(), &mut request);
        }
        // The server may not listen yet, so an error of one message is not the end.
        last = socket.send(&request).await.err();
        let Ok(received) = timeout(limits::NOTIFY_TIME, socket.recv(&mut reply)).await else {
            continue;
        };
        match received {
            Ok(length) => match notify::outcome(&reply[..length], &query) {
                Some(Rcode::NOERROR) => {
                    let Some(mut chain) = signing else { return Ok(()) };
                    return Ok(chain.verify(&reply[..length], unix_time())?);
                }
                Some(rcode) => return Err(NotifyError::Rcode(rcode)),
                None => {}
            },
            Err(error) => {
                last = Some(error);
                tokio::time::sleep(limits::NOTIFY_TIME).await;
            }
        }
    }
    Err(last.map_or(NotifyError::Silence, NotifyError::Io))
}
