//! An HTTP server that sends prepared replies, and objects in both encodings for them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

pub(super) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A reply with its body.
pub(super) struct Reply {
    code: u16,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    retry_after: Option<u32>,
    /// More octets of the body, which are sent one by one with a pause before each.
    slow: Vec<Vec<u8>>,
    /// Whether the connection ends before the body does.
    is_cut: bool,
}

impl Reply {
    pub(super) fn new(code: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self { code, content_type, body, retry_after: None, slow: Vec::new(), is_cut: false }
    }

    pub(super) fn cut(self) -> Self {
        Self { is_cut: true, ..self }
    }

    pub(super) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Sends this event so many times more, with a pause of half a second before each.
    pub(super) fn then_slowly(self, event: &[u8], times: usize) -> Self {
        Self { slow: vec![framed(event); times], ..self }
    }

    async fn send(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        stream.write_all(&self.octets()).await?;
        for octets in &self.slow {
            sleep(Duration::from_millis(500)).await;
            stream.write_all(octets).await?;
        }
        Ok(())
    }

    fn octets(&self) -> Vec<u8> {
        let retry =
            self.retry_after.map_or_else(String::new, |it| format!("Retry-After: {it}\r\n"));
        let slow: usize = self.slow.iter().map(Vec::len).sum();
        let length = self.body.len() + slow + usize::from(self.is_cut);
        let head = format!(
            "HTTP/1.1 {} x\r\nContent-Type: {}\r\nContent-Length: {length}\r\nConnection: close\r\n{retry}\r\n",
            self.code, self.content_type
        );
        [head.as_bytes(), &self.body].concat()
    }
}

/// Sends one reply for each connection. After the last reply it accepts another connection, and
/// sends nothing there.
pub(super) struct ScriptedServer {
    pub(super) url: String,
    requests: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl ScriptedServer {
    pub(super) async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (mut tasks, seen) = (JoinSet::new(), Arc::clone(&requests));
        tasks.spawn(async move {
            for reply in replies {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = request(&mut stream).await;
                seen.lock().unwrap().push(request);
                // The client may have closed the connection.
                let _ = reply.send(&mut stream).await;
            }
            let (mut silent, _) = listener.accept().await.unwrap();
            let request = request(&mut silent).await;
            seen.lock().unwrap().push(request);
            std::future::pending::<()>().await;
        });
        Self { url, requests, _tasks: tasks }
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Reads a request, and returns it in short: `events`, `page`, `watch VERSION`, with `json` if it
/// does not ask for protobuf.
async fn request(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let line = head.lines().next().unwrap();
    let format = if head.contains(PROTOBUF) { "" } else { " json" };
    if line.contains("sendInitialEvents=true") {
        format!("events{format}")
    } else if line.contains("watch=1") {
        let version = line.split("resourceVersion=").nth(1).unwrap().split([' ', '&']).next();
        format!("watch{format} {}", version.unwrap())
    } else {
        format!("page{format}")
    }
}

/// A field of a protobuf message that has a length.
pub(super) fn field(number: u8, octets: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = octets.len();
    while length > 0x7f {
        field.push(length as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend_from_slice(octets);
    field
}

fn envelope(kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
    // A gogo encoder also writes the empty contentEncoding and contentType.
    [b"k8s\0".to_vec(), field(1, &type_meta), field(2, raw), field(3, b""), field(4, b"")].concat()
}

fn metadata(name: &str, version: &str) -> Vec<u8> {
    // With a generateName, as the encoder writes it, and managedFields, which ndots does not read.
    [
        field(1, name.as_bytes()),
        field(2, b""),
        field(3, b"default"),
        field(6, version.as_bytes()),
        vec![0x8a, 0x01, 0x02, 0x0a, 0x00],
    ]
    .concat()
}

fn bare_service(name: &str, version: &str) -> Vec<u8> {
    let spec = [field(3, b"10.96.0.7"), field(4, b"ClusterIP"), field(10, b"")].concat();
    [field(1, &metadata(name, version)), field(2, &spec)].concat()
}

/// A Service with its envelope.
pub(super) fn service(name: &str, version: &str) -> Vec<u8> {
    envelope("Service", &bare_service(name, version))
}

/// A Service with a port of 70000.
pub(super) fn broken_service(name: &str, version: &str) -> Vec<u8> {
    let spec = field(1, &[0x18, 0xf0, 0xa2, 0x04]);
    envelope("Service", &[field(1, &metadata(name, version)), field(2, &spec)].concat())
}

/// A Service with an annotation of this size.
pub(super) fn annotated(name: &str, octets: usize) -> Vec<u8> {
    let entry = [field(1, b"note"), field(2, &vec![b'x'; octets])].concat();
    let metadata = [metadata(name, "12"), field(12, &entry)].concat();
    envelope("Service", &field(1, &metadata))
}

pub(super) fn bookmark(version: &str, is_end: bool) -> Vec<u8> {
    let entry = [field(1, b"k8s.io/initial-events-end"), field(2, b"true")].concat();
    let mut metadata = field(6, version.as_bytes());
    if is_end {
        metadata.extend(field(12, &entry));
    }
    envelope("Service", &field(1, &metadata))
}

/// The event for a version that is too old.
pub(super) fn gone() -> Vec<u8> {
    failed(410)
}

/// The event of a failure with this code.
pub(super) fn failed(code: u16) -> Vec<u8> {
    // The code is field 6, a number of two octets.
    let raw = [field(3, b"failed"), vec![0x30, code as u8 | 0x80, (code >> 7) as u8]].concat();
    event("ERROR", &envelope("Status", &raw))
}

pub(super) fn event(name: &str, object: &[u8]) -> Vec<u8> {
    [field(1, name.as_bytes()), field(2, &field(1, object))].concat()
}

fn framed(event: &[u8]) -> Vec<u8> {
    [&(event.len() as u32).to_be_bytes()[..], event].concat()
}

pub(super) fn events(events: &[Vec<u8>]) -> Reply {
    let body = events.iter().flat_map(|event| framed(event)).collect();
    Reply::new(200, "application/vnd.kubernetes.protobuf;stream=watch", body)
}

/// A whole list.
pub(super) fn page(names: &[&str], version: &str) -> Reply {
    page_of("ServiceList", names, version)
}

pub(super) fn page_of(kind: &str, names: &[&str], version: &str) -> Reply {
    list(kind, names, &field(2, version.as_bytes()))
}

/// A page that another one follows.
pub(super) fn page_before(next: &str, names: &[&str]) -> Reply {
    list("ServiceList", names, &[field(2, b"1"), field(3, next.as_bytes())].concat())
}

fn list(kind: &str, names: &[&str], metadata: &[u8]) -> Reply {
    let items = names.iter().flat_map(|name| field(2, &bare_service(name, "1")));
    let raw: Vec<u8> = field(1, metadata).into_iter().chain(items).collect();
    Reply::new(200, PROTOBUF, envelope(kind, &raw))
}

pub(super) fn status(code: u16, message: &str) -> Vec<u8> {
    format!(r#"{{"kind":"Status","message":"{message}","code":{code}}}"#).into_bytes()
}

pub(super) mod json {
    use serde_json::json;

    use super::Reply;

    fn service(name: &str) -> serde_json::Value {
        json!({
            "kind": "Service",
            "metadata": { "name": name, "namespace": "default", "resourceVersion": "1" },
            "spec": { "clusterIP": "10.96.0.7", "type": "ClusterIP" },
        })
    }

    pub(in super::super) fn page(names: &[&str], version: &str) -> Reply {
        let items: Vec<_> = names.iter().map(|name| service(name)).collect();
        let list = json!({ "kind": "ServiceList", "metadata": { "resourceVersion": version }, "items": items });
        Reply::new(200, "application/json", list.to_string().into_bytes())
    }

    pub(in super::super) fn events(names: &[&str], version: &str) -> Reply {
        let metadata = json!({
            "resourceVersion": version,
            "annotations": { "k8s.io/initial-events-end": "true" },
        });
        let bookmark = json!({ "type": "BOOKMARK", "object": { "metadata": metadata } });
        let added = names.iter().map(|name| json!({ "type": "ADDED", "object": service(name) }));
        let lines = added.chain([bookmark]).map(|event| format!("{event}\n"));
        Reply::new(200, "application/json", lines.collect::<String>().into_bytes())
    }
}
