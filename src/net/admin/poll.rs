//! Pages that the process asks itself for: what they take shows whether it still gets to run.
#![expect(clippy::disallowed_methods, reason = "here is the clock")]

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    chain::Level,
    limits,
    metrics::{CounterFamily, Family, HistogramFamily, Metrics},
};

use super::{Log, Pages};

pub(super) static DURATION: HistogramFamily<0> = Family::histogram(
    "health_request_duration_seconds",
    "Time of this process's own request to /health.",
    [],
    || vec![0.000_25, 0.002_5, 0.025, 0.25, 2.5],
);
pub(super) static FAILURES: CounterFamily<0> = Family::new(
    "health_request_failures_total",
    "This process's own requests to /health that failed.",
    [],
);

pub(super) async fn every_second(
    bound: SocketAddr,
    pages: Arc<Pages>,
    metrics: Arc<Metrics>,
    log: Log,
) {
    let to = own(bound);
    let mut tick = interval(limits::POLL_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first comes at once.
    tick.tick().await;
    loop {
        tick.tick().await;
        let Some(path) = pages.load().iter().find(|page| page.polled).map(|page| page.path) else {
            continue;
        };
        let begun = Instant::now();
        let asked = timeout(limits::POLL_TIME, ask(&to, path))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let (took, to) = (begun.elapsed(), to[0]);
        DURATION.with(&metrics, []).observe(took.as_secs_f64());
        match asked {
            Err(error) => {
                FAILURES.with(&metrics, []).inc();
                log.say(Level::Warning, format!("plugin/health: Local health request to \"http://{to}{path}\" failed: {error}"));
            }
            Ok(()) if took > limits::POLL_SLOW => {
                log.say(
                    Level::Warning,
                    format!("plugin/health: Local health request to \"http://{to}{path}\" took more than 1s: {took:?}"),
                );
            }
            Ok(()) => {}
        }
    }
}

/// Where the process reaches itself. A socket for every address may be an IPv6 one where no
/// interface has such an address: those of Pods without IPv6 are so.
fn own(bound: SocketAddr) -> Vec<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    let v6 = (!bound.is_ipv4()).then_some(Ipv6Addr::LOCALHOST.into());
    [Ipv4Addr::LOCALHOST.into()]
        .into_iter()
        .chain(v6)
        .map(|ip| SocketAddr::new(ip, bound.port()))
        .collect()
}

/// The first of the addresses that takes the connection.
async fn ask(to: &[SocketAddr], path: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    let to = stream.peer_addr()?;
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await?;
    let mut reply = Vec::new();
    stream.take(limits::POLL_OCTETS).read_to_end(&mut reply).await?;
    if reply.starts_with(b"HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(io::Error::other("it is not 200 OK"))
    }
}
