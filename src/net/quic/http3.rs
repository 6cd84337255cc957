//! DNS over HTTPS with HTTP/3 (RFC 9114): each request has a stream of its own.

use std::{pin::pin, sync::Arc};

use bytes::{Buf, Bytes};
use h3::{
    error::{Code, ConnectionError, StreamError},
    server::{Connection, RequestResolver, RequestStream},
};
use http_body_util::Full;
use hyper::{Method, Request, Response};
use quinn::VarInt;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    limits,
    metrics::{CounterFamily, Family},
};

use super::{
    super::{
        dispatch::new_cx,
        doh::{self, Refusal},
        slots::Activity,
        stream::{GRACE, stopped},
    },
    connection::ClientConnection,
    streams::{HttpStream, HttpStreams},
};

static RESPONSES: CounterFamily<2> = Family::new(
    "dns_https3_responses_total",
    "HTTP/3 responses by status code.",
    ["server", "status"],
);

const NO_ERROR: VarInt = VarInt::from_u32(0x100);
pub(super) const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(0x107);

type Http = Connection<HttpStreams, Bytes>;
type HttpRequest = (Request<Full<Bytes>>, RequestStream<HttpStream, Bytes>);

impl ClientConnection {
    /// Answers until the client closes the connection, is idle for too long, or is evicted.
    pub(super) async fn run_http(self, mut stop: watch::Receiver<bool>) {
        let Ok(Ok(mut http)) = timeout(limits::TLS_HANDSHAKE_TIME, self.begin_http()).await else {
            return self.connection.close(EXCESSIVE_LOAD, b"");
        };
        let (client, mut streams) = (Arc::new(self), JoinSet::new());
        let mut stalled = pin!(client.slot.stalled());
        let (mut deadline, mut stopping) = (Instant::now() + client.timeouts().idle, false);
        let code = loop {
            client.slot.set_activity(Activity::of(streams.len()));
            tokio::select! {
                request = http.accept() => match request {
                    Ok(Some(request)) => {
                        let client = Arc::clone(&client);
                        streams.spawn(async move { client.answer_request(request).await });
                    }
                    Ok(None) => break NO_ERROR,
                    Err(_) => return,
                },
                Some(_) = streams.join_next(), if !streams.is_empty() => {
                    if !stopping {
                        deadline = Instant::now() + client.timeouts().idle;
                    }
                }
                () = sleep_until(deadline), if stopping || streams.is_empty() => break NO_ERROR,
                () = client.slot.evicted() => break EXCESSIVE_LOAD,
                () = &mut stalled => break EXCESSIVE_LOAD,
                () = stopped(&mut stop), if !stopping => {
                    // The client sends the requests after these on another connection.
                    stopping = true;
                    deadline = Instant::now() + limits::TCP_DRAIN_TIME;
                    let _ = timeout(limits::TCP_DRAIN_TIME, http.shutdown(0)).await;
                }
            }
        };
        if stopping {
            let answered = async { while streams.join_next().await.is_some() {} };
            let _ = timeout(GRACE, answered).await;
        }
        client.connection.close(code, b"");
    }

    async fn begin_http(&self) -> Result<Http, ConnectionError> {
        let streams = HttpStreams::new(self.connection.clone());
        h3::server::builder()
            .max_field_section_size(limits::HTTP_HEAD_OCTETS as u64)
            .send_grease(false)
            .build(streams)
            .await
    }

    /// Answers the request of a stream.
    async fn answer_request(&self, request: RequestResolver<HttpStreams, Bytes>) {
        // Without a whole request, the stream ends without a response.
        let request = timeout(self.timeouts().read, whole(request)).await;
        let Ok(Ok((request, mut stream))) = request else { return };
        let response = match doh::message(request).await {
            Ok(packet) => doh::respond(&self.slot, self.reply(&packet)).await,
            Err(refusal) => Err(refusal),
        };
        let response = response.unwrap_or_else(Refusal::into_response);
        let (server, status) = (self.listen.to_string(), response.status());
        RESPONSES.with(&self.dispatcher.metrics, [&server, status.as_str()]).inc();
        if timeout(self.timeouts().write, send(&mut stream, response)).await.is_err() {
            stream.stop_stream(Code::H3_EXCESSIVE_LOAD);
        }
    }

    /// The reply to a message; `None` if the client gets none.
    async fn reply(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut server = Arc::clone(&self.server);
        self.dispatcher.update_server(&mut server, self.listen);
        let cx = new_cx(self.peer, self.local, self.listen.scheme.transport());
        self.dispatcher.answer(&server, self.listen, packet, cx).await
    }
}

/// Reads a request with its body. Of a body that is too long, no more than that is read.
async fn whole(request: RequestResolver<HttpStreams, Bytes>) -> Result<HttpRequest, StreamError> {
    let (request, mut stream) = request.resolve_request().await?;
    let mut body = Vec::new();
    if request.method() == Method::POST {
        while let Some(data) = stream.recv_data().await? {
            body.extend_from_slice(data.chunk());
            if body.len() > limits::REQUEST_OCTETS {
                break;
            }
        }
    }
    Ok((request.map(|()| Full::from(Bytes::from(body))), stream))
}

/// Sends a response, and waits until the client has it.
async fn send(
    stream: &mut RequestStream<HttpStream, Bytes>,
    response: Response<Bytes>,
) -> Result<(), StreamError> {
    let (head, body) = response.into_parts();
    stream.send_response(Response::from_parts(head, ())).await?;
    // The octets count until the last of these copies is dropped.
    stream.send_data(body.clone()).await?;
    let sent = stream.finish().await;
    drop(body);
    sent
}
