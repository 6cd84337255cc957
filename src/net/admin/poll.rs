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

use crate::{chain::Level, limits, metrics::Metrics};

use super::{Log, Pages};

pub(super) async fn every_second(bound: SocketAddr, pages: Arc<Pages>, metrics: Arc<Metrics>, log: Log) {
    let to = SocketAddr::new(if bound.ip().is_unspecified() { loopback(bound) } else { bound.ip() }, bound.port());
    let mut tick = interval(limits::POLL_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first comes at once.
    tick.tick().await;
    loop {
        tick.tick().await;
        let Some(path) = pages.load().iter().find(|page| page.polled).map(|page| page.path) else { continue };
        let begun = Instant::now();
        let asked = timeout(limits::POLL_TIME, ask(to, path)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let took = begun.elapsed();
        metrics.health_duration.observe(took.as_secs_f64());
        match asked {
            Err(error) => {
                metrics.health_failures.inc();
                log.say(Level::Warning, format!("plugin/health: Local health request to \"http://{to}{path}\" failed: {error}"));
            }
            Ok(()) if took > limits::POLL_LONG => {
                log.say(
                    Level::Warning,
                    format!("plugin/health: Local health request to \"http://{to}{path}\" took more than 1s: {took:?}"),
                );
            }
            Ok(()) => {}
        }
    }
}

fn loopback(bound: SocketAddr) -> std::net::IpAddr {
    if bound.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}

async fn ask(to: SocketAddr, path: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut reply = Vec::new();
    stream.take(limits::POLL_OCTETS).read_to_end(&mut reply).await?;
    if reply.starts_with(b"HTTP/1.1 200 ") { Ok(()) } else { Err(io::Error::other("it is not 200 OK")) }
}
