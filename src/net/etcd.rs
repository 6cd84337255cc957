//! Reads and watches the keys of etcd below a prefix, over gRPC.

mod bad_values;
mod message;
mod service;

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    io,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{
    StreamExt, TryStreamExt,
    future::{BoxFuture, Fuse, FusedFuture, FutureExt},
    stream,
};
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::{
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    limits,
    plugin::{EtcdEndpoint, EtcdSource},
    protobuf::Malformed,
    skydns::SkydnsStore,
    transport::Scheme,
};

use super::{
    grpc::{GrpcConnection, GrpcError, Responses},
    tls::{TlsConfigError, alpn, client},
};

pub use bad_values::BadValues;
use message::{Page, Watched};

/// Why the keys of a server are not followed any more.
#[derive(Debug, Error)]
pub enum EtcdError {
    #[error("no reply within {} s", limits::ETCD_TIME.as_secs())]
    Timeout,
    #[error("the server has closed the connection")]
    Closed,
    #[error("more than {} keys are below the path", limits::ETCD_KEYS)]
    TooMany,
    #[error("the server has deleted the revision that the watch begins with")]
    Compacted,
    #[error("the server ends the watch: {0}")]
    Cancelled(String),
    #[error("`{0}` cannot be the name of a TLS server")]
    ServerName(String),
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Grpc(#[from] GrpcFailure),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A call that failed.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct GrpcFailure(String);

impl From<GrpcError> for EtcdError {
    fn from(error: GrpcError) -> Self {
        Self::Grpc(GrpcFailure(error.to_string()))
    }
}

/// Fills the store from a server, and keeps it up to date until the connection fails.
///
/// # Errors
/// See [`EtcdError`].
pub async fn follow(
    source: &EtcdSource,
    endpoint: &EtcdEndpoint,
    store: &SkydnsStore,
    bad_values: &mut BadValues,
) -> Result<Infallible, EtcdError> {
    let (mut connection, driver) = in_time(connect(source, endpoint)).await?;
    let work = async {
        if let Some((user, password)) = &source.credentials {
            let request = message::login(user, &password.0);
            let reply = call(&connection, message::LOGIN, &request).await?;
            connection.set_token(&message::token(&reply)?);
        }
        let range = message::Range::of(&source.prefix);
        let revision = load(&connection, &range, store, bad_values).await?;
        let watch = message::watch(&range, revision + 1);
        let watching = connection.subscribe(message::WATCH, &watch, limits::ETCD_MESSAGE_OCTETS);
        let watching = in_time(async { Ok(watching.await?) }).await?;
        update(&connection, watching, store, bad_values).await
    };
    tokio::select! {
        ended = work => ended,
        () = driver => Err(EtcdError::Closed),
    }
}

async fn in_time<T>(step: impl Future<Output = Result<T, EtcdError>>) -> Result<T, EtcdError> {
    timeout(limits::ETCD_TIME, step).await.map_err(|_| EtcdError::Timeout)?
}

async fn call(
    connection: &GrpcConnection,
    path: &str,
    request: &[u8],
) -> Result<bytes::Bytes, EtcdError> {
    in_time(async { Ok(connection.call(path, request, limits::ETCD_MESSAGE_OCTETS).await?) }).await
}

async fn connect(
    source: &EtcdSource,
    endpoint: &EtcdEndpoint,
) -> Result<(GrpcConnection, BoxFuture<'static, ()>), EtcdError> {
    let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
    tcp.set_nodelay(true)?;
    if !endpoint.encrypted {
        return Ok(GrpcConnection::open(tcp, endpoint.url()).await?);
    }
    let mut config = client::config(&source.tls)?;
    config.alpn_protocols = alpn(Scheme::Grpc);
    let name = ServerName::try_from(endpoint.host.clone())
        .map_err(|_| EtcdError::ServerName(endpoint.host.clone()))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    Ok(GrpcConnection::open(stream, endpoint.url()).await?)
}

/// Reads all keys as they are at one revision, and returns it.
async fn load(
    connection: &GrpcConnection,
    range: &message::Range,
    store: &SkydnsStore,
    bad_values: &mut BadValues,
) -> Result<u64, EtcdError> {
    let (mut entries, mut revision) = (BTreeMap::new(), 0);
    let mut from = range.from.clone();
    loop {
        let request = message::range(&from, &range.to, revision);
        let Page { revision: of_page, keys, last, more } =
            Page::read(&call(connection, message::RANGE, &request).await?)?;
        revision = if revision == 0 { of_page } else { revision };
        keys.iter().for_each(|(key, entry)| bad_values.check(key, entry));
        entries.extend(keys);
        if entries.len() > limits::ETCD_KEYS {
            return Err(EtcdError::TooMany);
        }
        match last.filter(|_| more) {
            // This is the smallest key that is greater than the last one.
            Some(last) => from = [&last[..], &[0]].concat(),
            None => break,
        }
    }
    store.load(entries, revision);
    look_at_leases(connection, store).await?;
    Ok(revision)
}

async fn update(
    connection: &GrpcConnection,
    mut watching: Responses,
    store: &SkydnsStore,
    bad_values: &mut BadValues,
) -> Result<Infallible, EtcdError> {
    let mut look = interval(limits::ETCD_LEASES_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look.tick().await;
    let mut looking = pin!(Fuse::terminated());
    loop {
        tokio::select! {
            response = watching.next() => {
                let response = response?.ok_or(EtcdError::Closed)?;
                let Watched { revision, changes, end } = Watched::read(&response)?;
                match end {
                    Some(message::End::Compacted) => return Err(EtcdError::Compacted),
                    Some(message::End::Cancelled(reason)) => {
                        return Err(EtcdError::Cancelled(reason));
                    }
                    None => {}
                }
                let entries =
                    changes.iter().filter_map(|(key, entry)| Some((key, entry.as_ref()?)));
                let mut has_new_lease = false;
                for (key, entry) in entries {
                    bad_values.check(key, entry);
                    has_new_lease |= entry.lease != 0;
                }
                if !changes.is_empty() && !store.change(changes, revision) {
                    return Err(EtcdError::TooMany);
                }
                if has_new_lease {
                    look.reset_after(Duration::from_millis(10));
                }
            }
            looked = &mut looking => looked?,
            _ = look.tick() => {
                bad_values.tell_rest();
                if looking.is_terminated() {
                    looking.set(look_at_leases(connection, store).fuse());
                }
            }
        }
    }
}

/// Reads how long each lease still lasts. This is read again and again, because the renewal of a
/// lease does not change its keys, so the watch does not report it.
async fn look_at_leases(connection: &GrpcConnection, store: &SkydnsStore) -> Result<(), EtcdError> {
    let mut leases = store.leases();
    leases.truncate(limits::ETCD_LEASES);
    let ask = |lease| async move {
        let reply = call(connection, message::LEASE, &message::lease(lease)).await?;
        Ok(message::time_to_live(&reply)?)
    };
    store.set_expiry(expiry(leases, ask).await?);
    Ok(())
}

/// Asks when the leases end, with up to [`limits::ETCD_LEASE_CALLS`] calls at once.
async fn expiry<F: Future<Output = Result<Option<Duration>, EtcdError>>>(
    leases: Vec<i64>,
    ask: impl Fn(i64) -> F,
) -> Result<HashMap<i64, std::time::Instant>, EtcdError> {
    let asked = leases.into_iter().map(|lease| {
        let left = ask(lease);
        async move { left.await.map(|left| (lease, left)) }
    });
    let left = stream::iter(asked).buffer_unordered(limits::ETCD_LEASE_CALLS);
    let ends = left.try_filter_map(|(lease, left): (i64, Option<Duration>)| async move {
        Ok(left.map(|left| (lease, Instant::now().into_std() + left)))
    });
    ends.try_collect().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1,000 leases whose replies each take 10 ms.
    #[tokio::test(start_paused = true)]
    async fn leases_are_asked_for_at_once() {
        let begun = Instant::now();
        let ask = |lease: i64| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok((lease % 2 == 0).then_some(Duration::from_secs(lease as u64)))
        };
        let ends = expiry((0..1000).collect(), ask).await.unwrap();
        assert!(begun.elapsed() <= Duration::from_millis(200), "{:?}", begun.elapsed());
        assert_eq!(ends.len(), 500);
    }
}
