//! A persistent connection to the API server. A request takes milliseconds; kubectl would start a
//! process for each.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::Value;

use super::API_PORT;

type Stream = StreamOwned<ClientConnection, TcpStream>;

pub(crate) struct Api {
    stream: BufReader<Stream>,
    token: String,
}

impl Api {
    /// `None` if the connection is refused.
    pub(crate) fn try_new(server: Ipv4Addr, authority: &Path, token: &str) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&fs::read(authority).unwrap()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        let address = SocketAddr::from((server, API_PORT));
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        let connection = ClientConnection::new(config, address.ip().into()).unwrap();
        Some(Self {
            stream: BufReader::new(StreamOwned::new(connection, stream)),
            token: token.to_owned(),
        })
    }

    /// The HTTP status and the body.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, String) {
        self.try_request(method, path, body)
            .unwrap_or_else(|| panic!("{method} {path}: the connection broke"))
    }

    /// The JSON body. Panics unless the status is 2xx.
    pub(crate) fn json(&mut self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (code, text) = self.request(method, path, body);
        assert!((200..300).contains(&code), "{method} {path}: {code} {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) fn try_request(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Option<(u16, String)> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let kind =
            if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: lab\r\nAuthorization: Bearer {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.token,
            body.len()
        );
        self.stream.get_mut().write_all((head + &body).as_bytes()).ok()?;
        self.stream.get_mut().flush().ok()?;
        self.reply()
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    }

    /// The content type and the body of the reply to a client that accepts these types.
    pub(crate) fn accepting(&mut self, types: &str, path: &str) -> (String, Vec<u8>) {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: lab\r\nAuthorization: Bearer {}\r\nAccept: {types}\r\n\r\n",
            self.token
        );
        self.stream.get_mut().write_all(head.as_bytes()).unwrap();
        self.stream.get_mut().flush().unwrap();
        let (code, content_type, body) = self.octets().expect("a whole reply");
        assert_eq!(code, 200, "{path}: {}", String::from_utf8_lossy(&body));
        (content_type, body)
    }

    fn reply(&mut self) -> Option<(u16, String)> {
        let (code, _, body) = self.octets()?;
        Some((code, String::from_utf8(body).ok()?))
    }

    /// The status, the content type and the body.
    fn octets(&mut self) -> Option<(u16, String, Vec<u8>)> {
        let code = self.line()?.split(' ').nth(1)?.parse().ok()?;
        let (mut length, mut chunked, mut content_type) = (0, false, String::new());
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(": ") {
                None => break,
                Some(("content-length", value)) => length = value.parse().ok()?,
                Some(("content-type", value)) => value.clone_into(&mut content_type),
                Some(("transfer-encoding", value)) => chunked = value == "chunked",
                Some(_) => {}
            }
        }
        let mut text = Vec::new();
        if chunked {
            while self.chunk(&mut text)? {}
        } else {
            text.resize(length, 0);
            self.stream.read_exact(&mut text).ok()?;
        }
        Some((code, content_type, text))
    }

    /// Reads one chunk; false after the last.
    fn chunk(&mut self, text: &mut Vec<u8>) -> Option<bool> {
        let length = usize::from_str_radix(&self.line()?, 16).ok()?;
        let begin = text.len();
        text.resize(begin + length, 0);
        self.stream.read_exact(&mut text[begin..]).ok()?;
        self.line()?;
        Some(length > 0)
    }
}
