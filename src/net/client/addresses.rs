//! The addresses of a host name.

use std::{io, net::IpAddr};

use thiserror::Error;

use crate::wire::{Name, Question, Rcode, Type, reply};

use super::{ClientError, Nameserver, RetryPolicy};

/// Why a nameserver gave no addresses.
#[derive(Debug, Error)]
pub enum LookupError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the reply cannot be read")]
    Malformed,
    #[error("the server answered {0}")]
    Rcode(Rcode),
}

/// The A and AAAA records of a name, in that order, from one nameserver. If one of the two queries
/// fails, the addresses of the other one count, as in CoreDNS: some servers do not answer AAAA.
///
/// # Errors
/// See `LookupError`. A name without addresses is an empty list.
pub async fn lookup(
    nameserver: &Nameserver,
    name: &Name,
    policy: RetryPolicy,
) -> Result<Vec<IpAddr>, LookupError> {
    let mut addresses = Vec::new();
    let mut failure = Ok(());
    for qtype in [Type::A, Type::AAAA] {
        match lookup_type(nameserver, Question::new(name.clone(), qtype), policy).await {
            Ok(found) => addresses.extend(found),
            Err(error) => failure = Err(error),
        }
    }
    if addresses.is_empty() { failure.map(|()| addresses) } else { Ok(addresses) }
}

async fn lookup_type(
    nameserver: &Nameserver,
    question: Question,
    policy: RetryPolicy,
) -> Result<Vec<IpAddr>, LookupError> {
    let qtype = question.qtype;
    let asked = super::query(nameserver, question, policy).await?;
    let response = reply::read(&asked.message, &asked.query).map_err(|_| LookupError::Malformed)?;
    if response.rcode != Rcode::NOERROR {
        return Err(LookupError::Rcode(response.rcode));
    }
    let sets = response.answer.iter().filter(|set| set.rtype == qtype);
    Ok(sets.flat_map(|set| set.rdatas.iter()).filter_map(address).collect())
}

/// The data of an A or AAAA record.
fn address(rdata: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(rdata).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(rdata).ok().map(IpAddr::from))
}

/// The addresses of a name by the system's resolver. The absolute name is tried first, so that no
/// search list applies. If that fails, the name without the last dot follows, because only that
/// name finds entries of `/etc/hosts`.
///
/// # Errors
/// The system's reason.
pub async fn system_lookup(name: &str) -> io::Result<Vec<IpAddr>> {
    let name = name.trim_end_matches('.');
    let absolute = tokio::net::lookup_host((format!("{name}."), 0)).await;
    let found: Vec<_> = match absolute {
        Ok(found) => found.collect(),
        Err(_) => tokio::net::lookup_host((name, 0)).await?.collect(),
    };
    Ok(found.into_iter().map(|address| address.ip()).collect())
}
