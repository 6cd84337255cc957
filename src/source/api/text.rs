//! Single requests to an API server, for commands that a person waits for.

use anyhow::{Context, anyhow};
use form_urlencoded::Serializer;
use http::Request;
use kube::{Client, Error};
use tokio::time::timeout;

use crate::limits;

use super::ClusterConfig;

/// Reads the text of paths of an API server.
pub struct ApiReader(Client);

impl ApiReader {
    /// Reads the configuration. Nothing is sent to the server yet.
    ///
    /// # Errors
    /// If the configuration cannot be used.
    pub async fn open(config: &ClusterConfig) -> anyhow::Result<Self> {
        config.client().await.map(Self)
    }

    /// The body of the reply for a path with these parameters.
    ///
    /// # Errors
    /// If the server does not answer, or answers with an error.
    pub async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<String> {
        let parameters = Serializer::new(String::new()).extend_pairs(parameters).finish();
        let uri =
            if parameters.is_empty() { path.to_owned() } else { format!("{path}?{parameters}") };
        let request = Request::get(uri).body(Vec::new())?;
        let reply = timeout(limits::API_PAGE_TIME, self.0.request_text(request)).await;
        let reply = reply.with_context(|| {
            format!("the API server does not answer within {} s", limits::API_PAGE_TIME.as_secs())
        })?;
        reply.map_err(|error| match error {
            Error::Api(status) => anyhow!("{}", status.message),
            error => anyhow!("the API server cannot be asked: {error}"),
        })
    }
}
