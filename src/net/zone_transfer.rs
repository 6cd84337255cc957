//! Transfers a zone from a primary server (RFC 5936).

use std::{io, net::SocketAddr};

use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    limits,
    wire::{
        Name, Query, Question, Rcode, Type,
        reply::{self, Match, ReplyError, Transferred},
    },
    zonefile::{Zone, ZoneBuilder},
};

use super::client::stream::{connect, frame};

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
    #[error("the server has no SOA record of the zone")]
    NoSoa,
    #[error("the zone has more than {} octets", limits::TRANSFERRED_OCTETS)]
    TooLarge,
    #[error(transparent)]
    Malformed(#[from] ReplyError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Asks for the version of the zone, and for its records if `known` is not the newest one.
///
/// # Errors
/// See [`ZoneTransferError`].
pub async fn fetch(
    primary: SocketAddr,
    origin: &Name,
    known: Option<u32>,
) -> Result<Fetched, ZoneTransferError> {
    let connecting = timeout(limits::TRANSFER_IN_TIME, connect(primary, None)).await;
    let mut stream = connecting.map_err(|_| ZoneTransferError::Timeout)??;
    if let Some(known) = known {
        let query = ask(&mut stream, origin, Type::SOA).await?;
        let message = receive(&mut stream, &query).await?;
        let is_soa = |record: &&Transferred| record.rtype == Type::SOA;
        let soa = message.iter().find(is_soa).ok_or(ZoneTransferError::NoSoa)?;
        let serial = serial(soa).ok_or(ZoneTransferError::NoSoa)?;
        // Serial numbers wrap around (RFC 1982 §3.2).
        if !(1..1 << 31).contains(&serial.wrapping_sub(known)) {
            return Ok(Fetched::Current);
        }
    }
    let query = ask(&mut stream, origin, Type::AXFR).await?;
    let mut builder = ZoneBuilder::new(origin.clone());
    let (mut octets, mut starts) = (0, 0);
    // The SOA record comes first and last.
    while starts < 2 {
        let records = receive(&mut stream, &query).await?;
        if starts == 0 && records.first().is_none_or(|first| first.rtype != Type::SOA) {
            return Err(ZoneTransferError::NoSoa);
        }
        for Transferred { owner, rtype, ttl, rdata } in records {
            octets += owner.wire().len() + rdata.len();
            starts += u32::from(rtype == Type::SOA);
            // A record that does not belong to the zone is ignored, as in a file.
            let _ = builder.add(&owner, rtype, ttl, rdata);
        }
        if octets > limits::TRANSFERRED_OCTETS {
            return Err(ZoneTransferError::TooLarge);
        }
    }
    builder.build().map(|zone| Fetched::Zone(Box::new(zone))).ok_or(ZoneTransferError::NoSoa)
}

async fn ask(stream: &mut TcpStream, origin: &Name, qtype: Type) -> io::Result<Query> {
    let question = Question::new(origin.clone(), qtype);
    let query = Query {
        id: rand::random(),
        recursion_desired: false,
        edns: None,
        ..Query::internal(question)
    };
    stream.write_all(&frame(&query)).await?;
    Ok(query)
}

/// The records of the next message.
async fn receive(
    stream: &mut TcpStream,
    query: &Query,
) -> Result<Vec<Transferred>, ZoneTransferError> {
    let reading = async {
        let length = stream.read_u16().await?;
        let mut message = vec![0; length.into()];
        stream.read_exact(&mut message).await?;
        io::Result::Ok(message)
    };
    let message = timeout(limits::TRANSFER_IN_TIME, reading).await;
    let message = message.map_err(|_| ZoneTransferError::Timeout)??;
    match reply::matches(&message, query) {
        Match::No if !reply::continues(&message, query) => Err(ReplyError::Malformed.into()),
        _ => match reply::transferred(&message)? {
            (Rcode::NOERROR, records) => Ok(records),
            (rcode, _) => Err(ZoneTransferError::Refused(rcode)),
        },
    }
}

fn serial(soa: &Transferred) -> Option<u32> {
    let (_, numbers) = soa.rdata.split_last_chunk::<20>()?;
    numbers.first_chunk().map(|serial| u32::from_be_bytes(*serial))
}
