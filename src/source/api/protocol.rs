//! What is asked of an API server, and the frame around its objects.

use std::borrow::Cow;

use anyhow::{anyhow, bail};
use bytes::Bytes;
use form_urlencoded::Serializer;
use http::Request;
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    limits,
    source::kind::{Resource, or_default},
};

/// Asks for a page of a list.
pub(super) fn list(
    resource: &Resource,
    path: &str,
    labels: Option<&str>,
    after: &str,
) -> Request<Body> {
    let mut query = Serializer::new(String::new());
    query.append_pair("limit", &limits::API_PAGE.to_string());
    if !after.is_empty() {
        query.append_pair("continue", after);
    }
    get(resource, path, labels, query)
}

/// Asks for what happens after `version`, for some seconds.
pub(super) fn watch(
    resource: &Resource,
    path: &str,
    labels: Option<&str>,
    version: &str,
) -> Request<Body> {
    let mut query = Serializer::new(String::new());
    let seconds = limits::API_WATCH_TIME.as_secs().to_string();
    query.append_pair("watch", "1").append_pair("allowWatchBookmarks", "true");
    query.append_pair("timeoutSeconds", &seconds).append_pair("resourceVersion", version);
    get(resource, path, labels, query)
}

fn get(
    resource: &Resource,
    path: &str,
    labels: Option<&str>,
    mut query: Serializer<'_, String>,
) -> Request<Body> {
    if let Some(labels) = labels.filter(|_| resource.is_labelled) {
        query.append_pair("labelSelector", labels);
    }
    if let Some(fields) = resource.field_selector {
        query.append_pair("fieldSelector", fields);
    }
    let mut request = Request::new(Body::empty());
    let uri = format!("{path}?{}", query.finish());
    *request.uri_mut() =
        uri.parse().expect("the table's paths and what the serializer writes are a URI");
    request
}

/// A page of a list. Its objects are decoded one by one.
#[derive(Deserialize)]
pub(super) struct Page<'p> {
    #[serde(default)]
    pub(super) metadata: PageMeta,
    #[serde(default, borrow, deserialize_with = "or_default")]
    pub(super) items: Vec<&'p RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PageMeta {
    #[serde(rename = "resourceVersion", deserialize_with = "or_default")]
    pub(super) resource_version: String,
    /// Where the next page begins; empty on the last one.
    #[serde(rename = "continue", deserialize_with = "or_default")]
    pub(super) after: String,
}

/// A line of a watch.
#[derive(Deserialize)]
pub(super) struct Event<'e> {
    #[serde(rename = "type", borrow)]
    pub(super) name: Cow<'e, str>,
    #[serde(borrow)]
    pub(super) object: &'e RawValue,
}

/// What an API server says of a failure.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Status {
    #[serde(deserialize_with = "or_default")]
    pub(super) message: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) code: u16,
}

impl Status {
    /// The reply's status; what is no JSON, such as a proxy's page, is told by its code.
    pub(super) async fn read(code: u16, body: Body) -> Self {
        let text = whole(body, limits::API_STATUS_OCTETS).await.unwrap_or_default();
        let said = serde_json::from_slice::<Self>(&text).unwrap_or_default();
        let message = if said.message.is_empty() {
            format!("the server answers with HTTP status {code}")
        } else {
            said.message
        };
        Self { message, code }
    }

    /// Whether what we know is too old, or of another time, to go on from.
    pub(super) fn is_expired(&self) -> bool {
        self.code == 410 || self.code == 504 && self.message.contains("resource version")
    }
}

/// A body up to its end.
pub(super) async fn whole(body: Body, octets: usize) -> anyhow::Result<Bytes> {
    let read = Limited::new(body, octets).collect().await;
    Ok(read.map_err(|error| anyhow!("{error}"))?.to_bytes())
}

/// The lines of a body that is still being written.
pub(super) struct Events {
    body: Body,
    lines: Lines,
}

impl Events {
    pub(super) fn new(body: Body) -> Self {
        Self { body, lines: Lines::default() }
    }

    /// The next line, `None` at the end; a last line that was cut off is none.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.lines.next() {
                return Ok(Some(line));
            }
            if self.lines.read.len() > limits::API_EVENT_OCTETS {
                bail!("an event of more than {} octets", limits::API_EVENT_OCTETS);
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    self.lines.read.extend_from_slice(frame?.data_ref().map_or(&[], |data| data))
                }
            }
        }
    }
}

#[derive(Default)]
struct Lines {
    read: Vec<u8>,
    /// How far `read` was looked through.
    looked: usize,
}

impl Lines {
    fn next(&mut self) -> Option<Vec<u8>> {
        let found = self.read[self.looked..].iter().position(|octet| *octet == b'\n');
        self.looked = if found.is_some() { self.looked } else { self.read.len() };
        let rest = self.read.split_off(self.looked + found? + 1);
        self.looked = 0;
        Some(std::mem::replace(&mut self.read, rest))
    }
}

#[cfg(test)]
mod tests {
    use crate::model::Kind;

    use super::*;

    #[test]
    fn requests_say_what_is_wanted() {
        let uri = |request: Request<Body>| request.uri().to_string();
        let pods = Resource::of(Kind::Pod);
        let fields = "fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed%2Cstatus.phase%21%3DUnknown";
        assert_eq!(
            uri(list(pods, pods.paths[0], Some("app in (a,b)"), "")),
            format!("/api/v1/pods?limit=500&labelSelector=app+in+%28a%2Cb%29&{fields}")
        );
        // Namespaces are no objects that `labels` chooses among.
        assert_eq!(
            uri(list(Resource::of(Kind::Namespace), "/api/v1/namespaces", Some("app=a"), "ab=")),
            "/api/v1/namespaces?limit=500&continue=ab%3D"
        );
        let watched = "watch=1&allowWatchBookmarks=true&timeoutSeconds=30&resourceVersion=17";
        assert_eq!(
            uri(watch(Resource::of(Kind::Service), "/api/v1/services", None, "17")),
            format!("/api/v1/services?{watched}")
        );
    }

    #[test]
    fn lines_are_whole_ones() {
        for (chunks, want) in [
            (&["a\nb", "c\n", "\nd"][..], &["a\n", "bc\n", "\n"][..]),
            (&["", "ab"], &[]),
            (&["one\ntwo\nthree\n"], &["one\n", "two\n", "three\n"]),
        ] {
            let (mut lines, mut got) = (Lines::default(), Vec::new());
            for chunk in chunks {
                lines.read.extend_from_slice(chunk.as_bytes());
                got.extend(std::iter::from_fn(|| lines.next()));
            }
            assert_eq!(got, want.iter().map(|line| line.as_bytes()).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_failure_is_told_in_the_servers_words() {
        let status =
            |code, text: &'static str| Status::read(code, Body::from(text.as_bytes().to_vec()));
        let forbidden =
            status(403, r#"{"kind":"Status","message":"pods is forbidden","code":403}"#).await;
        assert_eq!((&*forbidden.message, forbidden.is_expired()), ("pods is forbidden", false));
        assert_eq!(status(502, "<html>").await.message, "the server answers with HTTP status 502");
        assert!(status(410, "{}").await.is_expired());
        assert!(
            status(504, r#"{"message":"Timeout: Too large resource version: 7, current: 5"}"#)
                .await
                .is_expired()
        );
        assert!(!status(504, "").await.is_expired());
    }
}
