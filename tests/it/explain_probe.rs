//! `ndots explain --probe` against sockets of the loopback interface: connected, refused, reset and
//! silent are distinguished, and nothing is contacted without the flag.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::{
    explain::api::{self, Rights},
    support::{free_address, program},
};

/// What happens to connections at an address.
#[derive(Clone, Copy)]
enum Behaviour {
    Accepts,
    Refuses,
    Resets,
    Silent,
}

/// A socket with some behaviour, and how many connections it has accepted. A socket that accepts
/// connections stays open until the process ends.
struct Target {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    /// Connections that fill the queue of a socket that accepts none.
    _held: Vec<(Socket, Vec<TcpStream>)>,
}

fn target(ip: &str, behaviour: Behaviour) -> Target {
    let accepted = Arc::new(AtomicUsize::new(0));
    if matches!(behaviour, Behaviour::Refuses) {
        let address = SocketAddr::new(ip.parse().unwrap(), free_address().port());
        return Target { address, accepted, _held: Vec::new() };
    }
    if matches!(behaviour, Behaviour::Silent) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&format!("{ip}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        // The kernel drops what comes after the queue is full.
        let fill = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
        let held: Vec<TcpStream> = std::iter::from_fn(fill).take(4).collect();
        return Target { address, accepted, _held: vec![(socket, held)] };
    }
    let listener = TcpListener::bind(format!("{ip}:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let counter = Arc::clone(&accepted);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counter.fetch_add(1, Ordering::SeqCst);
            if matches!(behaviour, Behaviour::Resets) {
                Socket::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
    });
    Target { address, accepted, _held: Vec::new() }
}

/// A Service whose cluster IP, endpoints and node port are sockets of this machine.
fn explain(cluster_ip: &Target, endpoints: &[&Target], arguments: &[&str]) -> Value {
    let (ip, port) = (cluster_ip.address.ip(), cluster_ip.address.port());
    let refused = target("127.0.0.7", Behaviour::Refuses).address;
    let is_exposed = endpoints.is_empty();
    let mut objects = vec![
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" },
            "status": {
                "addresses": [{ "type": "InternalIP", "address": refused.ip() }],
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        }),
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "default" } }),
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "client", "namespace": "default" },
            "spec": { "containers": [{ "name": "main" }] },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "namespace": "default" },
            "spec": {
                "clusterIP": ip,
                "type": if is_exposed { "NodePort" } else { "ClusterIP" },
                "selector": { "app": "web" },
                "ports": [{ "port": port, "targetPort": "http", "nodePort": is_exposed.then_some(refused.port()) }],
            },
        }),
    ];
    for (index, it) in endpoints.iter().enumerate() {
        let (ip, port) = (it.address.ip(), it.address.port());
        objects.push(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": format!("web-{index}"), "namespace": "default", "labels": { "app": "web" } },
            "spec": { "containers": [{ "name": "main", "ports": [{ "name": "http", "containerPort": port }] }] },
            "status": { "phase": "Running", "podIP": ip, "conditions": [{ "type": "Ready", "status": "True" }] },
        }));
        objects.push(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": { "name": format!("web-{index}"), "namespace": "default", "labels": { "kubernetes.io/service-name": "web" } },
            "addressType": "IPv4", "ports": [{ "name": "", "port": port, "protocol": "TCP" }],
            "endpoints": [{ "addresses": [ip], "conditions": { "ready": true } }],
        }));
    }
    let here = tempfile::tempdir().unwrap();
    let kubeconfig = here.path().join("kubeconfig");
    api::start(objects, Rights::default(), &kubeconfig);
    let output = Command::new(program())
        .args(["explain", "web", "--pod", "default/client", "-o", "json", "--kubeconfig"])
        .arg(&kubeconfig)
        .args(arguments)
        // As in a Pod.
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Reports with a finding of each check of `--probe`.
static REPORTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let refused = target("127.0.0.8", Behaviour::Refuses);
    vec![explain(&refused, &[&refused], &["--probe"]), explain(&refused, &[], &["--probe"])]
});

pub(crate) fn reports() -> impl Iterator<Item = &'static Value> {
    REPORTS.iter()
}

/// What a check saw, with the level of each finding.
pub(crate) fn saw(report: &Value, id: &str) -> Vec<String> {
    let steps = report["steps"].as_array().unwrap().iter();
    steps
        .flat_map(|step| step["findings"].as_array().unwrap())
        .filter(|finding| finding["id"] == id)
        .map(|it| format!("{}: {}", it["level"].as_str().unwrap(), it["saw"].as_str().unwrap()))
        .collect()
}

#[test]
fn refused_reset_and_silent_connections_are_distinguished() {
    let service = target("127.0.0.2", Behaviour::Accepts);
    let fine = target("127.0.0.3", Behaviour::Accepts);
    let report = explain(&service, &[&fine], &["--probe"]);
    assert_eq!(report["verdict"], "healthy", "{report:#}");
    assert_eq!(
        saw(&report, "endpoints.connect"),
        [format!("ok: connected to endpoint {}", fine.address)]
    );
    assert_eq!(
        saw(&report, "proxy.connect"),
        [format!("ok: connected to cluster IP {}", service.address)]
    );
    for (behaviour, words) in [
        (Behaviour::Refuses, "refuses connections"),
        (Behaviour::Resets, "accepts connections and resets them"),
        (Behaviour::Silent, "does not reply within 2 s"),
    ] {
        let bad = target("127.0.0.4", behaviour);
        let report = explain(&service, &[&bad], &["--probe"]);
        assert_eq!(report["first"], "endpoints.connect", "{report:#}");
        let want = format!("broken: endpoint {} {words}", bad.address);
        assert_eq!(saw(&report, "endpoints.connect"), [want]);
        // Beside an endpoint that works it is a warning.
        let report = explain(&service, &[&fine, &bad], &["--probe"]);
        assert_eq!(report["verdict"], "healthy", "{report:#}");
        let want = format!("warning: endpoint {} {words}", bad.address);
        assert_eq!(saw(&report, "endpoints.connect").get(1), Some(&want), "{report:#}");
    }
    let refused = target("127.0.0.2", Behaviour::Refuses);
    let report = explain(&refused, &[&fine], &["--probe"]);
    assert_eq!(report["first"], "proxy.connect", "{report:#}");
}

#[test]
fn nothing_is_contacted_without_the_flag() {
    let service = target("127.0.0.5", Behaviour::Accepts);
    let endpoint = target("127.0.0.6", Behaviour::Accepts);
    let report = explain(&service, &[&endpoint], &[]);
    assert_eq!(report["verdict"], "healthy", "{report:#}");
    assert!(saw(&report, "endpoints.connect").is_empty());
    let accepted = [&service, &endpoint].map(|it| it.accepted.load(Ordering::SeqCst));
    assert_eq!(accepted, [0, 0]);
    explain(&service, &[&endpoint], &["--probe"]);
    let accepted = || [&service, &endpoint].map(|it| it.accepted.load(Ordering::SeqCst));
    // The thread counts a connection a moment after the kernel has accepted it.
    let deadline = Instant::now() + Duration::from_secs(20);
    while accepted() != [1, 1] && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(accepted(), [1, 1]);
}
