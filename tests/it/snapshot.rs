//! The snapshot of an API server's facts: a restart while the server is away answers from the file,
//! and says so. The API server is scripted, so that it can be away at any moment.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    Ndots, child::OwnedChild, free_address, lab::until, packet::ask, page, program, rcode,
};

const NOERROR: u8 = 0;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;
/// Extended errors (RFC 8914).
const STALE_ANSWER: u16 = 3;
const STALE_NXDOMAIN: u16 = 19;
const READY: &str = "127.0.0.1:0";
const METRICS: &str = "127.0.0.2:0";
const WEB: &str = "web.shop.svc.cluster.local";

/// An API server with the Namespace `shop` and some Services. It reports no changes.
struct ApiServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    accepting: Option<thread::JoinHandle<()>>,
}

impl ApiServer {
    /// `web` is the cluster IP of the Service `web`.
    fn start(address: SocketAddr, web: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let (stop, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stopped, connections, web) = (Arc::clone(&stop), Arc::clone(&open), web.to_owned());
        let accepting = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                connections.lock().unwrap().push(stream.try_clone().unwrap());
                let web = web.clone();
                thread::spawn(move || respond(stream, &web));
            }
        });
        Self { address, stop, open, accepting: Some(accepting) }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        self.accepting.take().unwrap().join().unwrap();
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Answers one request, and closes the connection. A watch is silent for as long as it lasts.
fn respond(mut stream: TcpStream, web: &str) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(request)) = lines.next() else { return };
    let _ = lines.map_while(Result::ok).find(String::is_empty);
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n";
    if request.contains("watch=1") {
        let _ = write!(stream, "{head}\r\n");
        thread::sleep(Duration::from_secs(30));
        return;
    }
    let body = list(&request, web).to_string();
    let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
}

fn list(request: &str, web: &str) -> Value {
    let service = |name: &str, address: &str| {
        json!({
            "metadata": { "name": name, "namespace": "shop" },
            "spec": { "clusterIP": address, "clusterIPs": [address], "ports": [{ "port": 80 }] },
        })
    };
    let (kind, items) = if request.contains("/namespaces?") {
        ("NamespaceList", json!([{ "metadata": { "name": "shop" } }]))
    } else if request.contains("/services?") {
        let services = ["web", "old", "db"].map(|name| {
            service(
                name,
                if name == "web" {
                    web
                } else if name == "db" {
                    "None"
                } else {
                    "10.96.0.9"
                },
            )
        });
        ("ServiceList", json!(services))
    } else {
        let slice = json!({
            "metadata": {
                "name": "db-1",
                "namespace": "shop",
                "labels": { "kubernetes.io/service-name": "db" },
            },
            "addressType": "IPv4",
            "endpoints": [{ "addresses": ["10.244.0.7"], "targetRef": { "name": "db-x2k4f" } }],
        });
        ("EndpointSliceList", json!([slice]))
    };
    json!({ "kind": kind, "metadata": { "resourceVersion": "7" }, "items": items })
}

fn corefile(api: SocketAddr, file: &Path) -> String {
    format!(
        ".:0 {{\n bind 127.0.0.1\n ready 127.0.0.1:0\n prometheus 127.0.0.2:0\n kubernetes cluster.local {{\n endpoint http://{api}\n ttl 30\n snapshot {}\n }}\n}}\n",
        file.display()
    )
}

fn ndots(api: SocketAddr, file: &Path) -> Ndots {
    Ndots::corefile(&corefile(api, file), &["dns", READY, METRICS], &[])
}

/// Whether a start logs this text within 5 s.
fn start_log(corefile: &str, wanted: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let (conf, log) = (directory.path().join("Corefile"), directory.path().join("log"));
    fs::write(&conf, corefile).unwrap();
    let mut command = Command::new(program());
    command.arg("-conf").arg(conf).stdout(fs::File::create(&log).unwrap());
    let _child = OwnedChild::spawn(&mut command);
    let begun = Instant::now();
    let said = || fs::read_to_string(&log).unwrap().contains(wanted);
    while !said() && begun.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(20));
    }
    said()
}

/// The response code, the TTL of the first record, the extended error, and the address.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    rcode: u8,
    ttl: Option<u32>,
    error: Option<u16>,
    address: Option<[u8; 4]>,
}

fn answer(server: &Ndots, name: &str) -> Answer {
    let reply = server.udp(&ask(name, 1).edns().packet()).unwrap();
    let message = hickory_proto::op::Message::from_vec(&reply).unwrap();
    let first = message.answers.first().or(message.authorities.first());
    let address = message.answers.first().and_then(|record| match &record.data {
        hickory_proto::rr::RData::A(address) => Some(address.octets()),
        _ => None,
    });
    let error = reply
        .windows(4)
        .position(|it| it[..2] == [0, 15])
        .map(|at| u16::from_be_bytes([reply[at + 4], reply[at + 5]]));
    Answer { rcode: rcode(&reply), ttl: first.map(|record| record.ttl), error, address }
}

/// Waits until this is true, and returns how long that takes.
fn eventually(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    until(what, patience, || is_so().then_some(()));
    begun.elapsed()
}

/// Runs ndots with an API server until the snapshot is there.
fn make(api: &ApiServer, file: &Path) {
    let server = ndots(api.address, file);
    eventually("a snapshot", Duration::from_secs(10), || file.exists());
    assert_eq!(answer(&server, WEB).ttl, Some(30));
    // This kills the process, as the end of a container may do.
    drop(server);
}

#[test]
fn a_restart_without_the_api_server_answers_from_the_snapshot_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("facts");
    let api = ApiServer::start(free_address(), "10.96.0.7");
    make(&api, &file);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let address = api.address;
    drop(api);

    let begun = Instant::now();
    let server = ndots(address, &file);
    let stale = |rcode, error, address| Answer { rcode, ttl: Some(5), error: Some(error), address };
    assert_eq!(answer(&server, WEB), stale(NOERROR, STALE_ANSWER, Some([10, 96, 0, 7])));
    println!("the first answer came {:?} after the start", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let missing = "no.shop.svc.cluster.local";
    assert_eq!(answer(&server, missing), stale(NXDOMAIN, STALE_NXDOMAIN, None));
    let ready = page(server.bound[READY], "/ready").unwrap();
    assert!(
        ready.starts_with("HTTP/1.1 200")
            && ready.contains("OK\nkubernetes answers from a snapshot that is "),
        "{ready}"
    );
    let age = |server: &Ndots| {
        let metrics = page(server.bound[METRICS], "/metrics").unwrap();
        let name = format!("coredns_kubernetes_snapshot_served_age_seconds{{host=\"{address}\"}} ");
        metrics.split_once(&name).unwrap().1.lines().next().unwrap().parse::<u32>().unwrap()
    };
    eventually("an age", Duration::from_secs(5), || age(&server) > 0);

    // The server returns, and the Service has another address.
    let _api = ApiServer::start(address, "10.96.0.8");
    let fresh =
        Answer { rcode: NOERROR, ttl: Some(30), error: None, address: Some([10, 96, 0, 8]) };
    let took =
        eventually("the new address", Duration::from_secs(5), || answer(&server, WEB) == fresh);
    println!("right {took:?} after the server's return");
    assert!(page(server.bound[READY], "/ready").unwrap().ends_with("\r\n\r\nOK"));
    eventually("no age", Duration::from_secs(5), || age(&server) == 0);
}

#[test]
fn a_snapshot_that_does_not_match_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("facts");
    let api = ApiServer::start(free_address(), "10.96.0.7");
    make(&api, &file);
    let address = api.address;
    drop(api);
    let good = fs::read(&file).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let mut newer = good.clone();
    newer[8] = 9;
    let elsewhere = SocketAddr::from(([127, 0, 0, 1], 1));
    for (content, api, reason) in [
        (good[..good.len() - 1].to_vec(), address, "it is incomplete"),
        (flipped, address, "it is damaged"),
        (newer, address, "a newer version of ndots has written it"),
        (good, elsewhere, "it belongs to another cluster"),
    ] {
        fs::write(&file, &content).unwrap();
        let server = ndots(api, &file);
        let Answer { rcode, error, .. } = answer(&server, WEB);
        assert_eq!((rcode, error), (SERVFAIL, Some(14)), "{reason}");
        assert!(page(server.bound[READY], "/ready").unwrap().starts_with("HTTP/1.1 503"));
        drop(server);
        let wanted = format!("the snapshot {} is not used: {reason}", file.display());
        assert!(start_log(&corefile(api, &file), &wanted), "there is no line {wanted:?}");
        // The file is kept, because the server that it belongs to may return.
        assert_eq!(fs::read(&file).unwrap(), content);
    }
}

/// ndots keeps the names of Pods only if the Corefile needs them.
#[test]
fn a_corefile_that_needs_names_of_pods_gets_them() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("facts");
    let api = ApiServer::start(free_address(), "10.96.0.7");
    let with_names =
        corefile(api.address, &file).replace(" ttl 30\n", " ttl 30\n endpoint_pod_names\n");
    let by_name = "db-x2k4f.db.shop.svc.cluster.local";

    let server = ndots(api.address, &file);
    eventually("a snapshot", Duration::from_secs(10), || file.exists());
    assert_eq!(answer(&server, "db.shop.svc.cluster.local").address, Some([10, 244, 0, 7]));
    assert_eq!(answer(&server, by_name).rcode, NXDOMAIN);
    fs::write(server.file.as_ref().unwrap(), &with_names).unwrap();
    server.child.signal("USR1");
    eventually("the name of the Pod", Duration::from_secs(10), || {
        answer(&server, by_name).address == Some([10, 244, 0, 7])
    });
    drop(server);

    // A snapshot without the names does not mean that the Pods have none.
    fs::remove_file(&file).unwrap();
    make(&api, &file);
    drop(api);
    let reason = "is not used: the Corefile needs names of Pods, zones or Nodes";
    assert!(start_log(&with_names, reason));
}

#[test]
fn a_snapshot_that_cannot_be_written_costs_one_warning() {
    let directory = tempfile::tempdir().unwrap();
    let blocked = directory.path().join("not-a-directory");
    fs::write(&blocked, "").unwrap();
    let api = ApiServer::start(free_address(), "10.96.0.7");
    let server = ndots(api.address, &blocked.join("facts"));
    let failures = || {
        let metrics = page(server.bound[METRICS], "/metrics").unwrap();
        metrics.contains(&format!(
            "coredns_kubernetes_snapshot_failures_total{{host=\"{}\"}} 1",
            api.address
        ))
    };
    eventually("a failure", Duration::from_secs(10), failures);
    assert_eq!(answer(&server, WEB).address, Some([10, 96, 0, 7]));
    thread::sleep(Duration::from_secs(3));
    let (code, log) = server.end();
    let warnings: Vec<_> = log.iter().filter(|line| line.contains("cannot be written")).collect();
    assert_eq!((code, warnings.len()), (0, 1), "{log:#?}");
}
