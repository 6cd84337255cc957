//! Transfers a zone from a primary server (RFC 5936, RFC 1995).

#[cfg(test)]
pub(crate) mod scripted;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    limits,
    wire::{
        Name, Query, Question, Rcode, TsigChain, TsigError, TsigKey, Type, ZoneRecord,
        reply::{self, Match, ReplyError},
        soa_serial,
    },
    zonefile::{IncomingError, IncomingZone, Zone},
};

use super::{
    client::stream::{connect, frame},
    unix_time,
};

/// What a primary server has.
pub enum Fetched {
    /// The version that is known already, or an older one.
    Current,
    Zone(Box<Zone>),
}

/// Why there is no zone.
#[derive(Debug, Error)]
pub enum ZoneTransferError {
    #[error("no reply within {} s", limits::TRANSFER_IN_TIME.as_secs())]
    Timeout,
    #[error("the server sends less than {} octets a second", limits::TRANSFER_IN_RATE)]
    TooSlow,
    #[error("the transfer is not complete after {} s", limits::TRANSFER_IN_WHOLE.as_secs())]
    TooLong,
    #[error("the server answers {0}")]
    Refused(Rcode),
    #[error("the zone has more than {} octets", limits::TRANSFERRED_OCTETS)]
    TooLarge,
    #[error(transparent)]
    Signature(#[from] TsigError),
    #[error(transparent)]
    Records(#[from] IncomingError),
    #[error(transparent)]
    Malformed(#[from] ReplyError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Fetches a zone. If a version is `known`, the server is first asked for its version, and then for
/// the changes if its version is newer. Without usable changes, and without a known version, the
/// server is asked for all records.
///
/// # Errors
/// See [`ZoneTransferError`].
pub async fn fetch(
    primary: SocketAddr,
    origin: &Name,
    known: Option<&Arc<Zone>>,
    key: Option<&TsigKey>,
) -> Result<Fetched, ZoneTransferError> {
    let fetching = fetch_in_time(primary, origin, known, key);
    timeout(limits::TRANSFER_IN_WHOLE, fetching).await.map_err(|_| ZoneTransferError::TooLong)?
}

async fn fetch_in_time(
    primary: SocketAddr,
    origin: &Name,
    known: Option<&Arc<Zone>>,
    key: Option<&TsigKey>,
) -> Result<Fetched, ZoneTransferError> {
    let mut connection = Connection::open(primary).await?;
    if let Some(known) = known {
        let mut asked = connection.ask(origin, (Type::SOA, None), key).await?;
        let message = connection.receive(&mut asked).await?;
        let is_soa = |record: &&ZoneRecord| record.rtype == Type::SOA;
        let serial = message.iter().find(is_soa).and_then(|soa| soa_serial(&soa.rdata));
        let serial = serial.ok_or(IncomingError::NoSoa)?;
        // Serial numbers wrap around (RFC 1982 §3.2).
        if !(1..1 << 31).contains(&serial.wrapping_sub(known.serial())) {
            return Ok(Fetched::Current);
        }
        let asked = connection.ask(origin, (Type::IXFR, Some(known.serial())), key).await?;
        let known = Arc::clone(known);
        let incoming = blocking(move || IncomingZone::since(&known)).await?;
        match connection.records(asked, incoming).await {
            Ok(zone) => return Ok(Fetched::Zone(Box::new(zone))),
            Err(ZoneTransferError::TooSlow) => return Err(ZoneTransferError::TooSlow),
            Err(reason) => tracing::debug!(
                plugin = "secondary",
                "{primary} sends no usable changes of {origin}, so all records follow: {reason}"
            ),
        }
        // The rest of the reply may still arrive on the old connection.
        connection = Connection::open(primary).await?;
    }
    let asked = connection.ask(origin, (Type::AXFR, None), key).await?;
    let zone = connection.records(asked, IncomingZone::whole(origin.clone())).await?;
    Ok(Fetched::Zone(Box::new(zone)))
}

/// A query that was sent, and the signatures of its replies.
struct Asked {
    query: Query,
    signing: Option<TsigChain>,
}

/// A connection to a primary server, which must send at [`limits::TRANSFER_IN_RATE`].
struct Connection {
    stream: TcpStream,
    /// When the next octets are too late. Each octet that arrives moves it.
    deadline: Instant,
}

impl Connection {
    async fn open(primary: SocketAddr) -> Result<Self, ZoneTransferError> {
        let connecting = timeout(limits::TRANSFER_IN_TIME, connect(primary, None)).await;
        let stream = connecting.map_err(|_| ZoneTransferError::Timeout)??;
        Ok(Self { stream, deadline: Instant::now() + limits::TRANSFER_IN_GRACE })
    }

    /// Sends a query of this type. An IXFR query has the serial that is known.
    async fn ask(
        &mut self,
        origin: &Name,
        (qtype, serial): (Type, Option<u32>),
        key: Option<&TsigKey>,
    ) -> io::Result<Asked> {
        let question = Question::new(origin.clone(), qtype);
        let query = Query {
            id: rand::random(),
            recursion_desired: false,
            edns: None,
            serial,
            ..Query::internal(question)
        };
        let mut signing = key.map(TsigChain::new);
        let frame = match &mut signing {
            Some(chain) => {
                let mut message = Vec::new();
                query.encode(&mut message);
                chain.sign(0, unix_time(), &mut message);
                [&(message.len() as u16).to_be_bytes(), &*message].concat()
            }
            None => frame(&query),
        };
        self.stream.write_all(&frame).await?;
        Ok(Asked { query, signing })
    }

    /// Reads messages until the transfer is complete.
    async fn records(
        &mut self,
        mut asked: Asked,
        mut incoming: IncomingZone,
    ) -> Result<Zone, ZoneTransferError> {
        let mut octets = 0;
        while !incoming.is_complete() {
            let records = self.receive(&mut asked).await?;
            // A server without changes sends the SOA record alone (RFC 1995 §4).
            if records.is_empty()
                || asked.query.serial.is_some() && octets == 0 && records.len() == 1
            {
                return Err(IncomingError::Inconsistent.into());
            }
            for ZoneRecord { owner, rtype, ttl, rdata } in records {
                octets += owner.wire().len() + rdata.len();
                incoming.add(&owner, rtype, ttl, rdata)?;
            }
            if octets > limits::TRANSFERRED_OCTETS {
                return Err(ZoneTransferError::TooLarge);
            }
        }
        if asked.signing.is_some_and(|signing| !signing.is_complete()) {
            return Err(TsigError::Missing.into());
        }
        Ok(blocking(|| incoming.build()).await??)
    }

    /// The records of the next message.
    async fn receive(
        &mut self,
        Asked { query, signing }: &mut Asked,
    ) -> Result<Vec<ZoneRecord>, ZoneTransferError> {
        let mut length = [0; 2];
        self.read(&mut length).await?;
        let mut message = vec![0; u16::from_be_bytes(length).into()];
        self.read(&mut message).await?;
        let refused = reply::matches(&message, query) == Match::Failure;
        if let Some(chain) = signing.as_mut().filter(|_| !refused) {
            chain.verify(&message, unix_time())?;
        }
        match reply::matches(&message, query) {
            Match::No if !reply::continues(&message, query) => Err(ReplyError::Malformed.into()),
            _ => match reply::transferred(&message)? {
                (Rcode::NOERROR, records) => Ok(records),
                (rcode, _) => Err(ZoneTransferError::Refused(rcode)),
            },
        }
    }

    async fn read(&mut self, mut out: &mut [u8]) -> Result<(), ZoneTransferError> {
        while !out.is_empty() {
            let silent = Instant::now() + limits::TRANSFER_IN_TIME;
            let length = match timeout_at(silent.min(self.deadline), self.stream.read(out)).await {
                Ok(length) => length?,
                Err(_) if silent <= self.deadline => return Err(ZoneTransferError::Timeout),
                Err(_) => return Err(ZoneTransferError::TooSlow),
            };
            if length == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.deadline += Duration::from_secs(length as u64) / limits::TRANSFER_IN_RATE;
            out = &mut out[length..];
        }
        Ok(())
    }
}

/// Does work for all records of a zone, of which there may be a million, outside of the tasks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
