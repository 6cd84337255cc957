//! The check of a fuzz target, as those in `crate::fuzzing`.

use std::{
    cell::LazyCell,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Uri, header::CONTENT_TYPE};
use tokio::runtime::{Builder, Runtime};

use crate::limits;

use super::{doh, slots::Slots, stream::grpc_message};

thread_local! {
    static RUNTIME: LazyCell<Runtime> = LazyCell::new(|| {
        Builder::new_current_thread().enable_time().build().expect("a runtime without sockets")
    });
}

/// Reads any request over HTTPS or gRPC. The result is the message that was sent, with at most
/// [`limits::REQUEST_OCTETS`] octets, or a status that blames the client. The lines of `data` are
/// the method, the target, the content type and the body.
///
/// # Panics
/// If one of these does not hold.
pub fn doh_request(data: &[u8]) {
    let mut lines = data.splitn(4, |octet| *octet == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (method, target, content_type, body) = (line(), line(), line(), line());
    let (Ok(method), Ok(target)) = (Method::from_bytes(method), Uri::try_from(target)) else {
        return;
    };
    let request = || {
        let request = Request::builder().method(method.clone()).uri(target.clone());
        let request = request.header(CONTENT_TYPE, content_type);
        request.body(Full::<Bytes>::from(Bytes::copy_from_slice(body))).ok()
    };
    let (Some(https), Some(grpc)) = (request(), request()) else { return };
    let slot = Arc::new(Slots::new(1)).take(IpAddr::V4(Ipv4Addr::LOCALHOST)).expect("a slot");
    let (over_https, over_grpc) = RUNTIME.with(|runtime| {
        runtime.block_on(async {
            (doh::message_of(&slot, https).await, grpc_message(&slot, grpc).await)
        })
    });
    match over_https {
        Ok(message) if method == Method::POST => assert_eq!(message, body),
        Ok(message) => {
            let parameter = format!("dns={}", BASE64_URL_SAFE_NO_PAD.encode(&message));
            let mut query = target.query().unwrap_or_default().split('&');
            assert!(query.any(|it| it == parameter), "{target} does not have {parameter}");
            assert!(message.len() <= limits::REQUEST_OCTETS, "{} octets", message.len());
        }
        Err(status) => assert!(status.is_client_error(), "{status}"),
    }
    if let Some(message) = over_grpc {
        assert!(message.len() <= limits::REQUEST_OCTETS, "{} octets", message.len());
    }
}
