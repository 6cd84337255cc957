//! API servers whose replies violate the protocol.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    Ndots,
    cgroup::{KUBEADM, MemoryGroup},
    program, question, turn,
};

/// Serves HTTP at a free port: the body of each path, with the HTTP status 200. `None` is 404. A
/// watch gets 422, so ndots can only read lists in pages.
pub(crate) fn serve(body: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> SocketAddr {
    serve_lists("422 Unprocessable", body)
}

/// The same with another HTTP status of watches. After `410 Gone`, the kind is listed again.
pub(crate) fn serve_lists(
    watch: &'static str,
    body: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> SocketAddr {
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
                let path = request.split(' ').nth(1)?;
                let (path, query) = path.split_once('?').unwrap_or((path, ""));
                let (status, text) = match body(path) {
                    _ if query.contains("sendInitialEvents") => {
                        ("422 Unprocessable", String::new())
                    }
                    _ if query.contains("watch=1") => (watch, String::new()),
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
pub(crate) fn kubeconfig(server: SocketAddr) -> String {
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

/// The exit code and the report of `explain` for the Service `web` of the namespace `shop`.
pub(super) fn explain(server: SocketAddr) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    fs::write(&file, kubeconfig(server)).unwrap();
    let mut command = Command::new(program());
    let ran = command.args(["explain", "web.shop", "--kubeconfig"]).arg(&file).output().unwrap();
    (ran.status.code(), String::from_utf8(ran.stdout).unwrap())
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
        let (code, text) = explain(server);
        assert_eq!(code, Some(2), "the Service is not known: {text}");
        assert!(text.contains(reason) && !text.contains("does not exist"), "{text}");
    }
}

/// The lists of all kinds are hostile at the same time.
#[test]
fn an_api_server_that_sends_without_end_does_not_fill_the_memory() {
    let _turn = turn::alone();
    let pages = AtomicUsize::new(0);
    let endless = move |kind: &str| {
        let page = pages.fetch_add(1, Ordering::Relaxed);
        let items: Vec<_> =
            (0..500).map(|at| object(kind, &format!("{kind}{page}-{at}"))).collect();
        list(kind, &page.to_string(), &items.join(","))
    };
    let needed = "the objects of the cluster need more than 63 MiB";
    check_memory("pages without end", needed, 2, serve_kinds(endless));
    let wide = serve_kinds(|kind: &str| list(kind, "", &vec!["{}"; 5 << 20].join(",")));
    check_memory("pages of empty objects", "objects at line 1", 2, wide);
    let large = serve_kinds(|kind: &str| list(kind, "", &object(kind, &"x".repeat(17 << 20))));
    check_memory("pages of 17 MiB", "an object has more than 16777216 octets", 2, large);
}

/// What was known before stays known.
#[test]
fn a_watch_that_adds_objects_without_end_does_not_fill_the_memory() {
    let _turn = turn::alone();
    let api = serve_endless_watches();
    let server = check_memory("events without end", "changes of objects are left out", 1, api);
    let known = server.udp(&question(1, "service1.default.svc.cluster.local", 1)).unwrap();
    assert!(known.ends_with(&[10, 96, 0, 9]), "{known:?}");
}

/// Serves empty lists, and watches that add Services as fast as they are read.
fn serve_endless_watches() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || -> Option<()> {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let request = lines.next()?.ok()?;
                lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
                let (path, query) = request.split(' ').nth(1)?.split_once('?')?;
                let head = "Content-Type: application/json\r\nConnection: close\r\n\r\n";
                if query.contains("sendInitialEvents") {
                    return write!(stream, "HTTP/1.1 422 x\r\n{head}").ok();
                }
                write!(stream, "HTTP/1.1 200 OK\r\n{head}").ok()?;
                if !query.contains("watch=1") {
                    let kind = match path.rsplit('/').next()? {
                        "services" => "Service",
                        "endpointslices" => "EndpointSlice",
                        "namespaces" => "Namespace",
                        _ => "Pod",
                    };
                    let item = if kind == "Namespace" {
                        json!([{ "metadata": { "name": "default" } }])
                    } else {
                        json!([])
                    };
                    let metadata = json!({ "resourceVersion": "1" });
                    let list = json!({ "kind": format!("{kind}List"), "metadata": metadata, "items": item });
                    return write!(stream, "{list}").ok();
                }
                if !path.ends_with("/services") {
                    thread::sleep(Duration::from_secs(30));
                    return None;
                }
                // The other kinds are listed first, so that they are complete.
                thread::sleep(Duration::from_secs(2));
                for number in 1.. {
                    let object = object("Service", &format!("service{number}"));
                    writeln!(stream, r#"{{"type":"ADDED","object":{object}}}"#).ok()?;
                }
                None
            });
        }
    });
    address
}

fn list(kind: &str, after: &str, items: &str) -> String {
    format!(r#"{{"kind":"{kind}List","metadata":{{"continue":"{after}"}},"items":[{items}]}}"#)
}

fn object(kind: &str, name: &str) -> String {
    let spec = match kind {
        "Service" => json!({ "clusterIP": "10.96.0.9", "ports": [{ "port": 80 }] }),
        _ => json!({}),
    };
    let meta = json!({ "name": name, "namespace": "default", "labels": {
        "kubernetes.io/service-name": name,
    } });
    let status = json!({ "podIP": "10.244.0.9", "phase": "Running" });
    json!({
        "metadata": meta, "spec": spec, "status": status,
        "addressType": "IPv4", "endpoints": [{ "addresses": ["10.244.0.9"] }], "ports": [],
    })
    .to_string()
}

/// An API server whose lists of each kind come from `list`.
fn serve_kinds(list: impl Fn(&str) -> String + Send + Sync + 'static) -> SocketAddr {
    let kinds = ["Namespace", "Service", "EndpointSlice", "Pod"];
    serve(move |path| {
        let plural = path.rsplit('/').next()?;
        let is_it = |kind: &&&str| format!("{}s", kind.to_lowercase()) == plural;
        kinds.iter().find(is_it).map(|kind| list(kind))
    })
}

/// Starts ndots with an API server within kubeadm's memory limit. Waits until the log has this many
/// lines with `reason`. ndots must answer queries all the time.
fn check_memory(what: &str, reason: &str, lines: usize, api: SocketAddr) -> Ndots {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    fs::write(&file, kubeconfig(api)).unwrap();
    let text = format!(
        ".:0 {{\n bind 127.0.0.1\n kubernetes cluster.local {{\n kubeconfig {}\n pods verified\n }}\n \
         hosts {{\n 192.0.2.1 own.example\n fallthrough\n }}\n}}\n",
        file.display()
    );
    let mut server = Ndots::corefile(&text, &["dns"], &[]);
    let group = MemoryGroup::limit(server.child.id(), KUBEADM);
    let (begun, mut missing) = (Instant::now(), 0);
    while missing < lines {
        let left = Duration::from_secs(60).saturating_sub(begun.elapsed());
        let Ok(line) = server.log.recv_timeout(left) else {
            panic!("{what}: no {reason}; the process has ended: {:?}", server.child.try_wait());
        };
        missing += usize::from(line.contains(reason));
        let reply = server.udp(&question(1, "own.example", 1));
        assert!(reply.is_some_and(|reply| reply.ends_with(&[192, 0, 2, 1])), "{what}");
    }
    let peak = group.as_ref().map(|group| group.peak() >> 20);
    println!("{what}: at most {peak:?} MiB within {:?}", begun.elapsed());
    assert!(server.child.is_running(), "{what}: the process lives");
    assert!(peak.is_none_or(|mib| mib < 150), "{what}: {peak:?} MiB");
    server
}
