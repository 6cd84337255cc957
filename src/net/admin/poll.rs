//! Requests for the process's own health page. Their duration shows whether the process gets enough
//! CPU time.
#![expect(clippy::disallowed_methods, reason = "the clock is read here")]

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    limits,
    metrics::{CounterFamily, Family, HistogramFamily, Metrics},
    net::http::{get, status},
};

use super::Pages;

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

pub(super) async fn every_second(bound: SocketAddr, pages: Arc<Pages>, metrics: Arc<Metrics>) {
    let to = local_addresses(bound);
    let mut tick = interval(limits::POLL_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once.
    tick.tick().await;
    loop {
        tick.tick().await;
        let Some(path) = pages.load().iter().find(|page| page.polled).map(|page| page.path) else {
            continue;
        };
        let started = Instant::now();
        let result = timeout(limits::POLL_TIME, fetch(&to, path))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let (took, to) = (started.elapsed(), to[0]);
        DURATION.with(&metrics, []).observe(took.as_secs_f64());
        match result {
            Err(error) => {
                FAILURES.with(&metrics, []).inc();
                tracing::warn!(
                    plugin = "health",
                    "Local health request to \"http://{to}{path}\" failed: {error}"
                );
            }
            Ok(()) if took > limits::POLL_SLOW => {
                tracing::warn!(
                    plugin = "health",
                    "Local health request to \"http://{to}{path}\" took more than 1s: {took:?}"
                );
            }
            Ok(()) => {}
        }
    }
}

/// The addresses at which the process reaches itself, in the order to try them. A wildcard socket
/// may be an IPv6 one although no interface has an IPv6 address, as in Pods without IPv6.
fn local_addresses(bound: SocketAddr) -> Vec<SocketAddr> {
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

async fn fetch(to: &[SocketAddr], path: &str) -> io::Result<()> {
    let response = get(to, path, limits::POLL_OCTETS).await?;
    if status(&response) == Some(200) {
        Ok(())
    } else {
        Err(io::Error::other("the status is not 200 OK"))
    }
}
