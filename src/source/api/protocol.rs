//! The requests to an API server, and the format of its lists and watches around the objects.

use anyhow::anyhow;
use bytes::{Bytes, BytesMut};
use form_urlencoded::Serializer;
use http::Request;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kube::client::Body;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    limits,
    source::kind::{LabelSelector, Watched},
};

use super::{
    encoding::{self, Encoding},
    status::Status,
};

/// Which objects of a kind are asked for.
pub(super) struct Selection<'s> {
    /// The path of the kind's collection in the API.
    pub(super) path: String,
    pub(super) watched: &'s Watched,
    /// The Corefile's `labels`.
    pub(super) labels: Option<&'s str>,
    pub(super) encoding: Encoding,
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

/// The request for all objects as events, which end with a bookmark
/// ([`Annotations::initial_events_end`](crate::source::kind::Annotations)). Without a resource
/// version the server sends the current objects, and not older ones from its cache.
pub(super) fn list_as_events(selection: &Selection<'_>) -> Request<Body> {
    let mut query = Serializer::new(String::new());
    let seconds = limits::API_LIST_TIME.as_secs().to_string();
    query.append_pair("watch", "1").append_pair("allowWatchBookmarks", "true");
    query.append_pair("sendInitialEvents", "true");
    query.append_pair("resourceVersionMatch", "NotOlderThan");
    query.append_pair("timeoutSeconds", &seconds);
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
    let Selection { path, watched, labels, encoding } = selection;
    if let Some(labels) = labels.filter(|_| watched.labels == LabelSelector::Applies) {
        query.append_pair("labelSelector", labels);
    }
    if let Some(fields) = watched.field_selector {
        query.append_pair("fieldSelector", fields);
    }
    let mut request = Request::new(Body::empty());
    encoding.ask(request.headers_mut());
    let uri = format!("{path}?{}", query.finish());
    *request.uri_mut() = uri.parse().expect("a path of the table with an encoded query is a URI");
    request
}

/// Reads the body of a reply with an error. If the body is not a Status, for example the page of a
/// proxy, the message contains the HTTP status code.
pub(super) async fn read_status(code: u16, body: Body) -> Status {
    let text = complete(body, limits::API_STATUS_OCTETS).await.unwrap_or_else(|_| Bytes::new());
    let status = encoding::status(&text).unwrap_or_default();
    let message = if status.message.is_empty() {
        format!("the server replied with HTTP status {code}")
    } else {
        status.message
    };
    Status { message, code }
}

/// The octets of a page. A large page holds the permit for large pages of its server.
pub(super) struct PageBody<'s> {
    octets: BytesMut,
    large: Option<SemaphorePermit<'s>>,
}

impl<'s> PageBody<'s> {
    /// Reads a body up to its end; `None` if it has more than [`limits::API_PAGE_OCTETS`].
    pub(super) async fn read(
        mut body: Body,
        large: &'s Semaphore,
    ) -> anyhow::Result<Option<PageBody<'s>>> {
        let mut page = Self { octets: BytesMut::new(), large: None };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| anyhow!("{error}"))?;
            let Some(data) = frame.data_ref() else { continue };
            let length = page.octets.len() + data.len();
            if length > limits::API_PAGE_OCTETS {
                return Ok(None);
            }
            if length > limits::API_PAGE_OCTETS_FREE && page.large.is_none() {
                page.large = Some(large.acquire().await?);
            }
            page.octets.extend_from_slice(data);
        }
        Ok(Some(page))
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }
}

/// Why a body was not read up to its end.
pub(super) enum Incomplete {
    TooLarge,
    Broken(String),
}

/// Reads a body of at most this many octets up to its end.
pub(super) async fn complete(body: Body, octets: usize) -> Result<Bytes, Incomplete> {
    match Limited::new(body, octets).collect().await {
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Incomplete::TooLarge),
        Err(error) => Err(Incomplete::Broken(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use crate::{model::Kind, source::kind};

    use super::*;

    fn selection(kind: Kind, labels: Option<&'static str>) -> Selection<'static> {
        let (kind, watched) = kind::of_fact(kind);
        Selection { path: kind.path(kind.newest(), ""), watched, labels, encoding: Encoding::Json }
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
        let initial = "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=600";
        assert_eq!(
            uri(list_as_events(&selection(Kind::Pod, Some("a=b")))),
            format!("/api/v1/pods?{initial}&labelSelector=a%3Db&{fields}")
        );
    }

    #[tokio::test]
    async fn a_failure_has_the_servers_message() {
        let status =
            |code, text: &'static str| read_status(code, Body::from(text.as_bytes().to_vec()));
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
