//! Transfers a zone from a primary server (RFC 5936, RFC 1995).

use std::{io, net::SocketAddr, sync::Arc};

use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    limits,
    wire::{
        Name, Query, Question, Rcode, TsigChain, TsigError, TsigKey, Type,
        reply::{self, Match, ReplyError, Transferred},
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
    let mut stream = open(primary).await?;
    if let Some(known) = known {
        let mut asked = ask(&mut stream, origin, (Type::SOA, None), key).await?;
        let message = receive(&mut stream, &mut asked).await?;
        let is_soa = |record: &&Transferred| record.rtype == Type::SOA;
        let serial = message.iter().find(is_soa).and_then(|soa| soa_serial(&soa.rdata));
        let serial = serial.ok_or(IncomingError::NoSoa)?;
        // Serial numbers wrap around (RFC 1982 §3.2).
        if !(1..1 << 31).contains(&serial.wrapping_sub(known.serial())) {
            return Ok(Fetched::Current);
        }
        let asked = ask(&mut stream, origin, (Type::IXFR, Some(known.serial())), key).await?;
        match records(&mut stream, asked, IncomingZone::since(known)).await {
            Ok(zone) => return Ok(Fetched::Zone(Box::new(zone))),
            Err(reason) => tracing::debug!(
                plugin = "secondary",
                "{primary} sends no usable changes of {origin}, so all records follow: {reason}"
            ),
        }
        // The rest of the reply may still arrive on the old connection.
        stream = open(primary).await?;
    }
    let asked = ask(&mut stream, origin, (Type::AXFR, None), key).await?;
    let zone = records(&mut stream, asked, IncomingZone::whole(origin.clone())).await?;
    Ok(Fetched::Zone(Box::new(zone)))
}

async fn open(primary: SocketAddr) -> Result<TcpStream, ZoneTransferError> {
    let connecting = timeout(limits::TRANSFER_IN_TIME, connect(primary, None)).await;
    Ok(connecting.map_err(|_| ZoneTransferError::Timeout)??)
}

/// A query that was sent, and the signatures of its replies.
struct Asked {
    query: Query,
    signing: Option<TsigChain>,
}

/// Reads messages until the transfer is complete.
async fn records(
    stream: &mut TcpStream,
    mut asked: Asked,
    mut incoming: IncomingZone,
) -> Result<Zone, ZoneTransferError> {
    let mut octets = 0;
    while !incoming.is_complete() {
        let records = receive(stream, &mut asked).await?;
        // A server without changes sends the SOA record alone (RFC 1995 §4).
        if records.is_empty() || asked.query.serial.is_some() && octets == 0 && records.len() == 1 {
            return Err(IncomingError::Inconsistent.into());
        }
        for Transferred { owner, rtype, ttl, rdata } in records {
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
    Ok(incoming.build()?)
}

/// Sends a query of this type. An IXFR query has the serial that is known.
async fn ask(
    stream: &mut TcpStream,
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
    stream.write_all(&frame).await?;
    Ok(Asked { query, signing })
}

/// The records of the next message.
async fn receive(
    stream: &mut TcpStream,
    Asked { query, signing }: &mut Asked,
) -> Result<Vec<Transferred>, ZoneTransferError> {
    let reading = async {
        let length = stream.read_u16().await?;
        let mut message = vec![0; length.into()];
        stream.read_exact(&mut message).await?;
        io::Result::Ok(message)
    };
    let message = timeout(limits::TRANSFER_IN_TIME, reading).await;
    let message = message.map_err(|_| ZoneTransferError::Timeout)??;
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
