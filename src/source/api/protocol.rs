//! The requests to an API server, and the format of its lists and watches around the objects.

use std::borrow::Cow;

use anyhow::{anyhow, bail};
use bytes::Bytes;
use form_urlencoded::Serializer;
use http::Request;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kube::client::Body;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    limits,
    source::kind::{LabelSelector, Watched, or_default},
};

/// Which objects of a kind are asked for.
pub(super) struct Selection<'s> {
    /// Of the kind's collection.
    pub(super) path: String,
    pub(super) watched: &'s Watched,
    /// The Corefile's `labels`.
    pub(super) labels: Option<&'s str>,
}

/// The request for a page of at most `limit` objects; `after` is the previous page's `continue`.
pub(super) fn list(selection: &Selection<'_>, limit: usize, after: &str) -> Request<Body> {
    let mut query = Serializer::new(String::new());
    query.append_pair("limit", &limit.to_string());
    if !after.is_empty() {
        query.append_pair("continue", after);
    }
    get(selection, query)
}

/// The request for the events after the resource version `version`, for [`limits::API_WATCH_TIME`].
pub(super) fn watch(selection: &Selection<'_>, version: &str) -> Request<Body> {
    let mut query = Serializer::new(String::new());
    let seconds = limits::API_WATCH_TIME.as_secs().to_string();
    query.append_pair("watch", "1").append_pair("allowWatchBookmarks", "true");
    query.append_pair("timeoutSeconds", &seconds).append_pair("resourceVersion", version);
    get(selection, query)
}

fn get(selection: &Selection<'_>, mut query: Serializer<'_, String>) -> Request<Body> {
    let Selection { path, watched, labels } = selection;
    if let Some(labels) = labels.filter(|_| watched.labels == LabelSelector::Applies) {
        query.append_pair("labelSelector", labels);
    }
    if let Some(fields) = watched.field_selector {
        query.append_pair("fieldSelector", fields);
    }
    let mut request = Request::new(Body::empty());
    let uri = format!("{path}?{}", query.finish());
    *request.uri_mut() = uri.parse().expect("a path of the table with an encoded query is a URI");
    request
}

/// A line of a watch.
#[derive(Deserialize)]
pub(super) struct Event<'e> {
    #[serde(rename = "type", borrow)]
    pub(super) name: Cow<'e, str>,
    #[serde(borrow)]
    pub(super) object: &'e RawValue,
}

/// An API server's description of a failure.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Status {
    #[serde(deserialize_with = "or_default")]
    pub(super) message: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) code: u16,
}

impl Status {
    /// Reads a reply's body. One that is not JSON, such as a proxy's page, is described by its code.
    pub(super) async fn read(code: u16, body: Body) -> Self {
        let text = complete(body, limits::API_STATUS_OCTETS).await.unwrap_or_default();
        let status = serde_json::from_slice::<Self>(&text).unwrap_or_default();
        let message = if status.message.is_empty() {
            format!("the server replied with HTTP status {code}")
        } else {
            status.message
        };
        Self { message, code }
    }

    /// Whether the resource version is too old to go on from, or newer than the server, which may have
    /// been restored from a backup.
    pub(super) fn is_expired(&self) -> bool {
        self.code == 410 || self.code == 504 && self.message.contains("resource version")
    }
}

/// Reads a body up to its end; `None` if it has more than `octets`.
pub(super) async fn at_most(body: Body, octets: usize) -> anyhow::Result<Option<Bytes>> {
    match Limited::new(body, octets).collect().await {
        Ok(read) => Ok(Some(read.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Ok(None),
        Err(error) => Err(anyhow!("{error}")),
    }
}

/// Reads a body up to its end.
pub(super) async fn complete(body: Body, octets: usize) -> anyhow::Result<Bytes> {
    at_most(body, octets).await?.ok_or_else(|| anyhow!("the body has more than {octets} octets"))
}

/// The lines of a body that has not ended yet.
pub(super) struct Events {
    body: Body,
    lines: Lines,
}

impl Events {
    pub(super) fn new(body: Body) -> Self {
        Self { body, lines: Lines::default() }
    }

    /// The next line; `None` at the end. An incomplete last line is dropped.
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
                    self.lines.read.extend_from_slice(frame?.data_ref().map_or(&[], |data| data));
                }
            }
        }
    }
}

#[derive(Default)]
struct Lines {
    read: Vec<u8>,
    /// The octets of `read` that have no line end.
    searched: usize,
}

impl Lines {
    fn next(&mut self) -> Option<Vec<u8>> {
        let found = self.read[self.searched..].iter().position(|octet| *octet == b'\n');
        self.searched = if found.is_some() { self.searched } else { self.read.len() };
        let rest = self.read.split_off(self.searched + found? + 1);
        self.searched = 0;
        Some(std::mem::replace(&mut self.read, rest))
    }
}

#[cfg(test)]
mod tests {
    use crate::{model::Kind, source::kind};

    use super::*;

    fn selection(kind: Kind, labels: Option<&'static str>) -> Selection<'static> {
        let (kind, watched) = kind::of_fact(kind);
        Selection { path: kind.path(kind.newest(), ""), watched, labels }
    }

    #[test]
    fn requests_have_selectors_and_versions() {
        let uri = |request: Request<Body>| request.uri().to_string();
        let fields = "fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed%2Cstatus.phase%21%3DUnknown";
        assert_eq!(
            uri(list(&selection(Kind::Pod, Some("app in (a,b)")), 500, "")),
            format!("/api/v1/pods?limit=500&labelSelector=app+in+%28a%2Cb%29&{fields}")
        );
        // `labels` does not apply to Namespaces.
        assert_eq!(
            uri(list(&selection(Kind::Namespace, Some("app=a")), 62, "ab=")),
            "/api/v1/namespaces?limit=62&continue=ab%3D"
        );
        let watched = "watch=1&allowWatchBookmarks=true&timeoutSeconds=30&resourceVersion=17";
        assert_eq!(
            uri(watch(&selection(Kind::Service, None), "17")),
            format!("/api/v1/services?{watched}")
        );
    }

    #[test]
    fn only_complete_lines_are_returned() {
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
    async fn a_failure_has_the_servers_message() {
        let status =
            |code, text: &'static str| Status::read(code, Body::from(text.as_bytes().to_vec()));
        let forbidden =
            status(403, r#"{"kind":"Status","message":"pods is forbidden","code":403}"#).await;
        assert_eq!((&*forbidden.message, forbidden.is_expired()), ("pods is forbidden", false));
        assert_eq!(status(502, "<html>").await.message, "the server replied with HTTP status 502");
        assert!(status(410, "{}").await.is_expired());
        assert!(
            status(504, r#"{"message":"Timeout: Too large resource version: 7, current: 5"}"#)
                .await
                .is_expired()
        );
        assert!(!status(504, "").await.is_expired());
    }
}
