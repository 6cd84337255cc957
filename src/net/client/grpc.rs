//! Queries over gRPC, in the service that CoreDNS defines.

use std::io;

use crate::{
    limits,
    net::grpc::{GrpcConnection, GrpcError, NOT_FOUND},
    protobuf::{Malformed, Message, fields},
    wire::{Query, Rcode},
};

use super::{StreamError, answer_on_stream};

/// The only method of the service.
pub(in crate::net) const METHOD: &str = "/coredns.dns.DnsService/Query";

/// How many octets of the field precede the DNS message at most.
pub(in crate::net) const FIELD_OCTETS: usize = 5;

/// The message with a DNS message as its only field.
pub(in crate::net) fn wrap(message: &[u8]) -> Vec<u8> {
    Message::default().octets(1, message).finish()
}

/// The DNS message. If the field is missing, the message is empty.
pub(in crate::net) fn unwrap(message: &[u8]) -> Result<&[u8], Malformed> {
    let fields = fields(message)?;
    Ok(fields.iter().rfind(|(field, _)| *field == 1).map_or(&[], |(_, value)| value.octets()))
}

/// Sends a query and returns its reply.
pub(in crate::net) async fn converse(
    connection: &GrpcConnection,
    query: &Query,
) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    query.encode(&mut message);
    let longest = limits::STREAM_OCTETS + FIELD_OCTETS;
    let reply = match connection.call(METHOD, &wrap(&message), longest).await {
        Ok(reply) => unwrap(&reply).map_err(|_| StreamError::OtherQuery)?.to_vec(),
        // As in CoreDNS, this status stands for NXDOMAIN.
        Err(GrpcError::Status(NOT_FOUND, _)) => nxdomain(message),
        Err(GrpcError::Http(status)) => return Err(StreamError::Status(status).into()),
        Err(GrpcError::Malformed) => return Err(StreamError::OtherQuery.into()),
        Err(error) => return Err(io::Error::other(error)),
    };
    answer_on_stream(reply, query)
}

/// The reply NXDOMAIN to a query.
fn nxdomain(mut query: Vec<u8>) -> Vec<u8> {
    if let Some([high, low]) = query.get_mut(2..4) {
        *high |= 0x80;
        *low = *low & 0xf0 | Rcode::NXDOMAIN.0 as u8;
    }
    query
}
