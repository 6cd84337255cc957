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

use crate::{limits, metrics::Family};

use super::{
    super::{
        arrival::arrival,
        dispatch::new_cx,
        doh::{self, Refusal},
        slots::Activity,
        status_counter::StatusFamily,
        stream::{GRACE, stopped},
    },
    connection::ClientConnection,
    streams::{HttpStream, HttpStreams},
};

pub(super) static RESPONSES: StatusFamily = StatusFamily {
    counters: Family::new(
        "dns_https3_responses_total",
        "HTTP/3 responses by status code.",
        ["server", "status"],
    ),
    label: |status| status.to_string(),
};

const NO_ERROR: VarInt = VarInt::from_u32(0x100);
pub(super) const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(0x107);

type Http = Connection<HttpStreams, Bytes>;

/// The outcome of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamEnd {
    /// The client got a response, or the stream ended within the body of its request.
    Request,
    /// The stream ended before the headers of a request.
    NoRequest,
    /// The client did not take the response in time, which ends its connection.
    Unread,
}

impl ClientConnection {
    /// Answers until the client closes the connection, is idle for too long, or is evicted.
    pub(super) async fn run_http(self, mut stop: watch::Receiver<bool>) {
        let Ok(Ok(mut http)) = timeout(limits::TLS_HANDSHAKE_TIME, self.begin_http()).await else {
            return self.connection.close(EXCESSIVE_LOAD, b"");
        };
        let (client, mut streams) = (Arc::new(self), JoinSet::new());
        let mut stalled = pin!(client.slot.stalled());
        let (mut deadline, mut stopping) = (Instant::now() + client.timeouts().idle, false);
        let mut broken = 0;
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
                Some(ended) = streams.join_next(), if !streams.is_empty() => {
                    broken += usize::from(matches!(ended, Ok(StreamEnd::NoRequest)));
                    if broken >= limits::HTTP3_BROKEN_STREAMS
                        || matches!(ended, Ok(StreamEnd::Unread))
                    {
                        break EXCESSIVE_LOAD;
                    }
                    if !stopping {
                        deadline = Instant::now() + client.timeouts().idle;
                    }
                }
                () = sleep_until(deadline), if stopping || streams.is_empty() => break NO_ERROR,
                () = client.slot.evicted() => break EXCESSIVE_LOAD,
                () = &mut stalled => break EXCESSIVE_LOAD,
                () = stopped(&mut stop), if !stopping => {
                    // The client sends later requests on another connection.
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
    async fn answer_request(&self, request: RequestResolver<HttpStreams, Bytes>) -> StreamEnd {
        let mut end = StreamEnd::NoRequest;
        let arriving = async {
            let (head, mut stream) = request.resolve_request().await.ok()?;
            end = StreamEnd::Request;
            let request = with_body(head, &mut stream).await.ok()?;
            Some((request, stream))
        };
        let (octets, time) = (limits::INCOMPLETE_HTTP3_OCTETS, self.timeouts().read);
        // Without a whole request, the stream ends without a response.
        let Ok(Some((request, mut stream))) = arrival(&self.slot, octets, time, arriving).await
        else {
            return end;
        };
        let response = match doh::message(&self.slot, request).await {
            Ok(packet) => doh::respond(&self.slot, self.reply(&packet)).await,
            Err(refusal) => Err(refusal),
        };
        let response = response.unwrap_or_else(Refusal::into_response);
        self.responses.count(response.status().as_u16());
        if timeout(self.timeouts().write, send(&mut stream, response)).await.is_err() {
            stream.stop_stream(Code::H3_EXCESSIVE_LOAD);
            return StreamEnd::Unread;
        }
        StreamEnd::Request
    }

    /// The reply to a message; `None` if the client gets none.
    async fn reply(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut server = Arc::clone(&self.server);
        self.dispatcher.update_server(&mut server, self.listen);
        let cx = new_cx(self.peer, self.local, self.listen.scheme.transport());
        self.dispatcher.answer(&server, self.listen, packet, cx).await
    }
}

/// Reads the body of a request. Stops reading as soon as the body is too long.
async fn with_body(
    request: Request<()>,
    stream: &mut RequestStream<HttpStream, Bytes>,
) -> Result<Request<Full<Bytes>>, StreamError> {
    let mut body = Vec::new();
    if request.method() == Method::POST {
        while let Some(data) = stream.recv_data().await? {
            body.extend_from_slice(data.chunk());
            if body.len() > limits::REQUEST_OCTETS {
                break;
            }
        }
    }
    Ok(request.map(|()| Full::from(Bytes::from(body))))
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
