//! API servers whose replies are not what the protocol says.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    process::Command,
    sync::Arc,
    thread,
};

use serde_json::json;

/// Serves HTTP at a free port: the body of each path, with the HTTP status 200. `None` is 404.
pub(super) fn serve(body: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = Arc::new(body);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let body = Arc::clone(&body);
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let request = lines.next()?.ok()?;
                lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
                let path = request.split(' ').nth(1)?.split('?').next()?;
                let (status, text) = match body(path) {
                    Some(text) => ("200 OK", text),
                    None => ("404 Not Found", String::new()),
                };
                let length = text.len();
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n\
                     Content-Length: {length}\r\nConnection: close\r\n\r\n{text}"
                )
                .ok()
            });
        }
    });
    address
}

/// The text of a kubeconfig for this server.
pub(super) fn kubeconfig(server: SocketAddr) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": { "server": format!("http://{server}") } }],
        "users": [{ "name": "u", "user": { "token": "t" } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "c",
    })
    .to_string()
}

/// An empty list of the kind that a path names, except for Services.
pub(super) fn empty_list(path: &str) -> Option<String> {
    let kind = match path.rsplit('/').next()? {
        "namespaces" => "Namespace",
        "endpointslices" => "EndpointSlice",
        "pods" => "Pod",
        "nodes" => "Node",
        "ingresses" => "Ingress",
        _ => return None,
    };
    Some(json!({ "kind": format!("{kind}List"), "items": [] }).to_string())
}

#[test]
fn explain_does_not_take_other_json_for_an_empty_list() {
    for (reply, reason) in [
        (json!({ "kind": "Status", "status": "Failure", "message": "try later" }), "try later"),
        (json!({ "kind": "ServiceList" }), "missing field `items`"),
        (json!({ "items": [] }), "missing field `kind`"),
        (json!({ "kind": "PodList", "items": [] }), "PodList"),
    ] {
        let server = serve(move |path| match path.ends_with("/services") {
            true => Some(reply.to_string()),
            false => empty_list(path),
        });
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config");
        fs::write(&file, kubeconfig(server)).unwrap();
        let ran = Command::new(env!("CARGO_BIN_EXE_ndots"))
            .args(["explain", "web.shop", "--kubeconfig"])
            .arg(&file)
            .output()
            .unwrap();
        let text = String::from_utf8(ran.stdout).unwrap();
        assert_eq!(ran.status.code(), Some(2), "the Service is not known: {text}");
        assert!(text.contains(reason) && !text.contains("does not exist"), "{text}");
    }
}
