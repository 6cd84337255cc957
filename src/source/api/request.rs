//! Sends a request to an API server, within the bounds of [`Admission`](super::Admission), and
//! counts it.

use std::time::Duration;

use http::{Request, Response, header::RETRY_AFTER};
use kube::client::Body;
use tokio::{sync::SemaphorePermit, time::Instant};

use crate::metrics::{CounterFamily, Family, HistogramFamily, default_seconds};

use super::{
    Cluster,
    access::NumberedClient,
    error::{WatchError, with_causes},
    protocol::read_status,
};

static REQUESTS: CounterFamily<3> = Family::new(
    "kubernetes_rest_client_requests_total",
    "Requests to an API server, by status code.",
    ["code", "method", "host"],
);
static DURATION: HistogramFamily<2> = Family::histogram(
    "kubernetes_rest_client_request_duration_seconds",
    "Time until an API server begins to answer.",
    ["verb", "host"],
    default_seconds,
);
static LIMITER: HistogramFamily<2> = Family::histogram(
    "kubernetes_rest_client_rate_limiter_duration_seconds",
    "Time that a request to an API server waits before it is sent.",
    ["verb", "host"],
    default_seconds,
);

/// The permission to send one request.
pub(super) struct Turn<'c>(Option<SemaphorePermit<'c>>);

impl Cluster {
    /// Waits until a request may be sent. Do not put this wait inside a timeout: it does not count
    /// as time that the server takes, and a request that gave up would have used its turn.
    pub(super) async fn turn(&self) -> Turn<'_> {
        let waiting_since = Instant::now();
        let permit = self.access.admission.admit().await;
        let waited = waiting_since.elapsed().as_secs_f64();
        LIMITER.with(&self.metrics, ["GET", self.access.host()]).observe(waited);
        Turn(permit)
    }

    /// # Errors
    /// If there is no reply, or if its status is an error.
    pub(super) async fn send(
        &self,
        Turn(_permit): Turn<'_>,
        client: &NumberedClient,
        request: Request<Body>,
    ) -> Result<Response<Body>, WatchError> {
        let (metrics, host) = (&self.metrics, self.access.host());
        let begun = Instant::now();
        let sent = client.client.send(request).await;
        DURATION.with(metrics, ["GET", host]).observe(begun.elapsed().as_secs_f64());
        let code = sent
            .as_ref()
            .map_or("<error>".to_owned(), |response| response.status().as_str().to_owned());
        REQUESTS.with(metrics, [&code, "GET", host]).inc();
        let response = sent.map_err(|error| WatchError::Broken(with_causes(&error)))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let seconds =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let code = response.status().as_u16();
        let status = read_status(code, response.into_body()).await;
        Err(WatchError::of_status(status, seconds.map(Duration::from_secs)))
    }
}
