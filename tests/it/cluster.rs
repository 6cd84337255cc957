//! ndots in a real cluster, started as kubeadm starts CoreDNS.

use std::{
    net::SocketAddr,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    Ndots,
    end::{Ended, end},
    lab::{Cluster, LabOptions, until},
    packet::{self, ask},
    turn::{self, Shared},
    udp,
};
use serde_json::{Value, json};

/// The cluster for all tests of this module.
fn shared_cluster() -> Shared<Cluster> {
    let world =
        ["--address=/my.database.example.com/192.0.2.77", "--address=/www.example.org/192.0.2.80"];
    turn::shared(module_path!(), |turn| {
        let cluster = Cluster::start(turn, &LabOptions::default(), "iptables", &world);
        cluster.lab.apply(OBJECTS);
        cluster
    })
}

const OBJECTS: &str = "
apiVersion: v1
kind: Namespace
metadata: { name: monitoring }
---
apiVersion: v1
kind: Service
metadata: { name: grafana, namespace: monitoring }
spec: { clusterIP: 10.96.7.1, ports: [{ name: http, port: 3000 }] }
---
apiVersion: v1
kind: Service
metadata: { name: my-nginx, namespace: default }
spec: { clusterIP: 10.96.7.2, ports: [{ name: http, port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: my-service, namespace: default }
spec: { type: ExternalName, externalName: my.database.example.com }
";

#[test]
fn kubeadms_manifests_with_only_the_image_changed_serve_a_pod() {
    let cluster = &*shared_cluster();
    let pod = cluster.client("monitoring", "10.244.0.7");
    let looked_up = pod.text("nslookup kubernetes.default");
    assert!(
        looked_up.contains("Server:\t\t10.96.0.10\n")
            && looked_up
                .contains("\nName:\tkubernetes.default.svc.cluster.local\nAddress: 10.96.0.1\n"),
        "{looked_up}"
    );

    for (question, expected) in [
        ("grafana", "10.96.7.1"),
        ("grafana.monitoring", "10.96.7.1"),
        ("grafana.monitoring.svc", "10.96.7.1"),
        ("my-nginx.default", "10.96.7.2"),
        ("kubernetes.default", "10.96.0.1"),
        ("_http._tcp.grafana SRV", "0 100 3000 grafana.monitoring.svc.cluster.local."),
        ("my-service.default", "my.database.example.com.\n192.0.2.77"),
        ("www.example.org", "192.0.2.80"),
        ("my-nginx", ""),
        ("-x 10.96.7.1", "grafana.monitoring.svc.cluster.local."),
    ] {
        for transport in ["+notcp", "+tcp"] {
            // No retry: the first answer must be right.
            let line = format!("dig {transport} +search +short +tries=1 +time=5 {question}");
            assert_eq!(pod.text(&line), expected, "{line}\n{}", cluster.logs());
        }
    }
    for (question, address) in [
        ("ahostsv4 grafana", "10.96.7.1"),
        ("hosts my-nginx.default", "10.96.7.2"),
        ("hosts kubernetes.default", "10.96.0.1"),
        ("ahostsv4 www.example.org", "192.0.2.80"),
        ("hosts 10.96.7.1", "10.96.7.1"),
    ] {
        let found = pod.text(&format!("getent {question}"));
        assert!(found.starts_with(address), "getent {question}: {found:?}");
    }
    assert_eq!(pod.text("getent ahostsv4 nothing.default"), "");
}

#[test]
fn a_laptop_serves_the_cluster_of_a_kubeconfig() {
    let cluster = &*shared_cluster();
    let kubeconfig = cluster.lab.kubeconfig();
    let laptop = Ndots::serve(&[
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
        "--upstream",
        &cluster.world.netns.address.to_string(),
    ]);
    let dig = |question: &str| {
        let (server, port) = (laptop.address.ip(), laptop.address.port());
        let dig = Command::new("dig")
            .args(format!("@{server} -p {port} +short +tries=1 {question}").split(' '))
            .output()
            .unwrap();
        String::from_utf8(dig.stdout).unwrap().trim().to_owned()
    };
    until("the cluster's names", Duration::from_secs(10), || {
        (dig("kubernetes.default.svc.cluster.local") == "10.96.0.1").then_some(())
    });
    assert_eq!(dig("grafana.monitoring.svc.cluster.local"), "10.96.7.1");
    assert_eq!(dig("kube-dns.kube-system.svc.cluster.local"), "10.96.0.10");
    assert_eq!(dig("-x 10.96.7.2"), "my-nginx.default.svc.cluster.local.");
    assert_eq!(
        dig("_dns._udp.kube-dns.kube-system.svc.cluster.local SRV"),
        "0 100 53 kube-dns.kube-system.svc.cluster.local."
    );
    assert_eq!(dig("my-service.default.svc.cluster.local"), "my.database.example.com.\n192.0.2.77");
    assert_eq!(dig("www.example.org"), "192.0.2.80");
}

/// A change of the Service, and the answer after it.
struct Change {
    method: &'static str,
    body: Option<Value>,
    answer: String,
}

/// The life of a Service, from creation to deletion, through all types.
fn life(number: usize) -> [Change; 6] {
    let address = format!("10.96.{}.{}", 100 + number / 250, number % 250 + 1);
    let target = format!("number-{number}.example.org");
    let create = json!({ "metadata": { "name": "changing" }, "spec": { "clusterIP": address, "ports": [{ "port": 80 }] } });
    let external = json!({ "spec": { "type": "ExternalName", "externalName": target, "clusterIP": null, "clusterIPs": null } });
    let headless = json!({ "spec": { "type": "ClusterIP", "externalName": null, "clusterIP": "None", "ports": [{ "port": 80 }] } });
    let change = |method, body, answer: &str| Change { method, body, answer: answer.to_owned() };
    [
        change("POST", Some(create), &address),
        change("PATCH", Some(json!({ "spec": { "type": "NodePort" } })), &address),
        change("PATCH", Some(json!({ "spec": { "type": "LoadBalancer" } })), &address),
        change("PATCH", Some(external), &format!("{target}.")),
        change("PATCH", Some(headless), "10.244.9.9"),
        change("DELETE", None, "NXDOMAIN"),
    ]
}

/// Sends queries in a loop. Each answer must match a state that was already written, and never a
/// state before the last one seen.
fn follow(server: SocketAddr, changes: &[Change], begun: &AtomicUsize, ended: &Ended) -> usize {
    let (mut at, mut count) = (0, 0);
    while !ended.is_true() {
        let said = answer(server, CHANGING);
        let last = begun.load(Ordering::SeqCst);
        let of = |state: usize| {
            state.checked_sub(1).map_or("NXDOMAIN", |change| &changes[change].answer)
        };
        match (at..=last).find(|state| of(*state) == said) {
            Some(state) => at = state,
            None => panic!("`{said}` after `{}`, when `{}` was the newest", of(at), of(last)),
        }
        count += 1;
    }
    count
}

const CHANGING: &str = "changing.monitoring.svc.cluster.local";

#[test]
fn changes_of_a_service_appear_at_once_and_never_go_back() {
    let cluster = &*shared_cluster();
    let kubeconfig = cluster.lab.kubeconfig();
    let server = Ndots::serve(&[
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
        "--upstream",
        &cluster.world.netns.address.to_string(),
    ]);
    let services = "/api/v1/namespaces/monitoring/services";
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": [],
        "metadata": { "name": "changing", "labels": { "kubernetes.io/service-name": "changing" } },
        "endpoints": [{ "addresses": ["10.244.9.9"] }],
    });
    let mut api = cluster.lab.api();
    api.json(
        "POST",
        "/apis/discovery.k8s.io/v1/namespaces/monitoring/endpointslices",
        Some(&slice),
    );
    until("the cluster's names", Duration::from_secs(10), || {
        (answer(server.address, CHANGING) == "NXDOMAIN").then_some(())
    });

    let changes: Vec<_> = (0..167).flat_map(life).collect();
    let begun = AtomicUsize::new(0);
    let mut times = Vec::new();
    let answers = thread::scope(|scope| {
        let (end, ended) = end();
        let (changes, begun) = (&changes, &begun);
        let follower = scope.spawn(move || follow(server.address, changes, begun, &ended));
        for (index, change) in changes.iter().enumerate() {
            let path =
                if change.method == "POST" { services } else { &format!("{services}/changing") };
            begun.store(index + 1, Ordering::SeqCst);
            api.json(change.method, path, change.body.as_ref());
            let replied = Instant::now();
            while answer(server.address, CHANGING) != change.answer && !follower.is_finished() {
                assert!(
                    replied.elapsed() < Duration::from_secs(5),
                    "change {index} to `{}` does not show",
                    change.answer
                );
            }
            times.push(replied.elapsed());
        }
        drop(end);
        follower.join().expect("what is answered never goes back")
    });
    times.sort_unstable();
    let [median, late, last] = [500, 990, 1001].map(|index| times[index]);
    println!(
        "1002 changes, {answers} answers meanwhile: shown {median:?} after the API's reply (median), {late:?} (99 of 100), {last:?} (all)"
    );
    assert!(median < Duration::from_secs(1), "{median:?}");
}

/// The data of the answer section on one line, or the code.
fn answer(server: SocketAddr, name: &str) -> String {
    packet::data(&udp(server, &ask(name, 1).packet()).expect("a reply"))
}

fn deploy(name: &str) -> String {
    format!("{}/deploy/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_base_for_kubeadm_changes_nothing_but_the_image() {
    let cluster = &*shared_cluster();
    let applied = cluster
        .lab
        .try_kubectl(&format!("apply -k {} --dry-run=server -o json", deploy("kubeadm")), "");
    let changed: Value = serde_json::from_str(&applied.expect("the API server takes it"))
        .expect("kubectl prints JSON");
    let mut kubeadms =
        cluster.lab.get("/apis/apps/v1/namespaces/kube-system/deployments/coredns")["spec"].clone();
    let image = &mut kubeadms["template"]["spec"]["containers"][0]["image"];
    assert_ne!(*image, changed["spec"]["template"]["spec"]["containers"][0]["image"]);
    *image = "ndots/coredns:v1.14.2".into();
    assert_eq!(changed["spec"], kubeadms);
    assert_eq!(changed["metadata"]["labels"], json!({ "k8s-app": "kube-dns" }));
}

#[test]
fn it_runs_beside_the_existing_server_under_the_restricted_pod_security_standard() {
    let cluster = &*shared_cluster();
    let kubectl = |line: &str| cluster.lab.try_kubectl(line, "").expect("the API server takes it");
    // A dry run needs an existing namespace.
    kubectl(&format!("apply -f {}/namespace.yaml", deploy("standalone")));
    kubectl(&format!("apply -k {} --dry-run=server", deploy("standalone")));
    let said = kubectl(&format!("apply -k {}", deploy("standalone")));
    assert!(!said.contains("Warning"), "{said}");
    // The namespace enforces the restricted standard: it rejects Pods that do not comply.
    let containers = cluster.deployed(
        "ndots",
        "app.kubernetes.io/name=ndots",
        &["10.244.0.211", "10.244.0.212"],
    );
    for container in &containers {
        let dig = |question: &str| {
            cluster
                .lab
                .node
                .netns
                .text(&format!("dig @{} +short +tries=1 {question}", container.netns.address))
        };
        assert_eq!(
            dig("_dns._udp.dns.ndots.svc.cluster.local SRV"),
            "0 100 53 dns.ndots.svc.cluster.local."
        );
        assert_eq!(dig("grafana.monitoring.svc.cluster.local"), "10.96.7.1");
        assert_eq!(dig("www.example.org"), "192.0.2.80");
    }
    let addons =
        kubectl("get deployments --all-namespaces --selector k8s-app=kube-dns --output name");
    assert_eq!(
        addons.trim(),
        "deployment.apps/coredns",
        "`kubeadm upgrade` fails if two Deployments have this label"
    );
}
