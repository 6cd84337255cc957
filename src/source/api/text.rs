//! Single requests to an API server, for commands that a person waits for.

use std::time::Duration;

use form_urlencoded::Serializer;
use http::Request;
use kube::{Client, client::Body};
use tokio::time::timeout;

use crate::limits;

use super::{
    ClusterConfig,
    protocol::{Incomplete, complete, read_status},
};

/// Why a reply could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The server replied with an error.
    #[error("{message}")]
    Status { code: u16, message: String },
    #[error("the API server cannot be asked: {0}")]
    Unreachable(String),
    #[error("the API server does not answer within {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the API server sends more than {} MiB", limits::API_TEXT_OCTETS >> 20)]
    TooLarge,
}

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
    pub async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<String, ReadError> {
        let parameters = Serializer::new(String::new()).extend_pairs(parameters).finish();
        let uri =
            if parameters.is_empty() { path.to_owned() } else { format!("{path}?{parameters}") };
        read(&self.0, &uri, limits::API_PAGE_TIME).await
    }
}

/// The body of the reply for a path with its parameters.
///
/// # Errors
/// If the server does not send a text of at most [`limits::API_TEXT_OCTETS`] in this time.
pub async fn read(client: &Client, uri: &str, time: Duration) -> Result<String, ReadError> {
    let unreachable = |error: &dyn std::error::Error| ReadError::Unreachable(cause(error));
    let request = Request::get(uri).body(Body::empty()).map_err(|error| unreachable(&error))?;
    let text = async {
        let response = client.send(request).await.map_err(|error| unreachable(&error))?;
        let code = response.status().as_u16();
        if !response.status().is_success() {
            let message = read_status(code, response.into_body()).await.message;
            return Err(ReadError::Status { code, message });
        }
        match complete(response.into_body(), limits::API_TEXT_OCTETS).await {
            Ok(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
            Err(Incomplete::TooLarge) => Err(ReadError::TooLarge),
            Err(Incomplete::Broken(reason)) => Err(ReadError::Unreachable(reason)),
        }
    };
    timeout(time, text).await.map_err(|_| ReadError::Silent(time))?
}

/// The reason at the end of the chain of errors, such as `Connection refused`.
fn cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
