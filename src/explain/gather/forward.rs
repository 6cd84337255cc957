//! Connections to Pods through the API server, as `kubectl port-forward` makes them. A machine
//! outside of the cluster has no other way to a Pod.

use std::{fmt, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::{
    io::{AsyncReadExt, DuplexStream},
    time::timeout,
};

use crate::{
    explain::evidence::Unread,
    limits,
    net::{
        client::{self, ClientReply},
        connect::Outcome,
    },
    wire::Question,
};

/// How long to wait for an error on a new connection. The API server reports a connection before
/// the Pod has accepted it, and an error if the Pod does not accept it.
const ERROR_TIME: Duration = Duration::from_secs(1);

/// A port of a Pod.
pub(super) struct PodPort<'p> {
    pub(super) namespace: &'p str,
    pub(super) pod: &'p str,
    pub(super) port: u16,
}

pub(super) struct Forwarder {
    client: Client,
}

/// Why no connection to the Pod was made.
pub(super) enum ForwardError {
    /// The account lacks the permission.
    Forbidden(Unread),
    Failed(String),
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden(unread) => unread.fmt(f),
            Self::Failed(reason) => write!(f, "port-forward fails: {reason}"),
        }
    }
}

/// An open connection.
struct Forwarded {
    stream: DuplexStream,
    /// The error that ends the connection; `None` if it ends without one.
    error: std::pin::Pin<Box<dyn Future<Output = Option<String>> + Send>>,
}

impl Forwarder {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    async fn open(&self, to: &PodPort<'_>) -> Result<Forwarded, ForwardError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), to.namespace);
        let mut forwarder = match pods.portforward(to.pod, &[to.port]).await {
            Ok(forwarder) => forwarder,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                return Err(ForwardError::Forbidden(Unread {
                    resource: "pods/portforward".to_owned(),
                    verb: "create",
                    namespace: to.namespace.to_owned(),
                    why: status.message.clone(),
                    forbidden: true,
                    read_in: Vec::new(),
                }));
            }
            Err(kube::Error::Api(status)) => {
                return Err(ForwardError::Failed(status.message.clone()));
            }
            Err(error) => return Err(ForwardError::Failed(error.to_string())),
        };
        match (forwarder.take_stream(to.port), forwarder.take_error(to.port)) {
            (Some(stream), Some(error)) => Ok(Forwarded { stream, error: Box::pin(error) }),
            _ => Err(ForwardError::Failed("the API server opened no connection".to_owned())),
        }
    }

    /// Connects to the port on the loopback address of the Pod, and sends nothing.
    ///
    /// # Errors
    /// If the API server makes no connection.
    pub(super) async fn attempt(&self, to: &PodPort<'_>) -> Result<Outcome, ForwardError> {
        let opened = timeout(limits::EXPLAIN_ASK_TIME, self.open(to)).await;
        let Ok(opened) = opened else { return Ok(Outcome::TimedOut) };
        let Forwarded { mut stream, error } = opened?;
        let mut first = [0; 1];
        let outcome = tokio::select! {
            // An error also ends the connection, so both branches can be ready. It says more.
            biased;
            error = timeout(ERROR_TIME, error) => match error {
                Ok(Some(reason)) => outcome(&reason),
                Ok(None) | Err(_) => Outcome::Connected,
            },
            Ok(1..) = stream.read(&mut first) => Outcome::Connected,
        };
        Ok(outcome)
    }

    /// Sends a query over TCP to the DNS server in a Pod.
    ///
    /// # Errors
    /// If the API server makes no connection, or if the Pod does not answer.
    pub(super) async fn ask(
        &self,
        to: &PodPort<'_>,
        question: Question,
    ) -> Result<ClientReply, ForwardError> {
        let failed = |reason: String| ForwardError::Failed(reason);
        let exchange = async {
            let Forwarded { mut stream, error } = self.open(to).await?;
            tokio::select! {
                biased;
                Some(reason) = error => Err(failed(reason)),
                reply = client::query_over(&mut stream, question) => {
                    reply.map_err(|error| failed(error.to_string()))
                }
            }
        };
        let limit = limits::EXPLAIN_ASK_TIME;
        let late = |_| failed(format!("no reply within {} s", limit.as_secs()));
        timeout(limit, exchange).await.map_err(late)?
    }
}

/// Reads the text of the container runtime, which ends with the reason of the kernel.
fn outcome(reason: &str) -> Outcome {
    let has = |words: &str| reason.contains(words);
    if has("connection refused") {
        Outcome::Refused
    } else if has("connection reset") {
        Outcome::Reset
    } else if has("timed out") || has("timeout") {
        Outcome::TimedOut
    } else {
        Outcome::Failed(reason.trim().to_owned())
    }
}
