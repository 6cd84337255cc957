//! `ndots diff`: equal servers, and servers with one difference each.

use std::{fs, net::SocketAddr, path::Path, process::Command, thread};

use serde_json::{Value, json};

use super::Run;
use crate::support::{
    Ndots,
    lab::Program,
    program,
    turn::{self},
};

/// The manifests of both sides.
const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { clusterIP: 10.96.0.80, ports: [{ name: http, port: 80 }], selector: { app: web } }
---
apiVersion: v1
kind: Service
metadata: { name: old, namespace: shop }
spec: { clusterIP: 10.96.0.81, ports: [{ name: http, port: 80 }], selector: { app: old } }
---
apiVersion: v1
kind: Service
metadata: { name: outside, namespace: shop }
spec: { type: ExternalName, externalName: pay.example.org }
---
apiVersion: v1
kind: Service
metadata: { name: db, namespace: shop }
spec: { clusterIP: None, ports: [{ name: sql, port: 5432 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: db-1, namespace: shop, labels: { kubernetes.io/service-name: db } }
addressType: IPv4
endpoints:
- { addresses: [10.244.0.5], targetRef: { kind: Pod, name: db-0, namespace: shop } }
- { addresses: [10.244.0.6], targetRef: { kind: Pod, name: db-1, namespace: shop } }
ports: [{ name: sql, port: 5432, protocol: TCP }]
";

/// How a server differs from ndots with `SHOP`.
struct Made {
    cause: &'static str,
    question: &'static str,
    /// A text of the manifests and its replacement.
    objects: (&'static str, &'static str),
    zone: &'static str,
    /// More options of `kubernetes`, and more plugins.
    options: &'static str,
    plugins: &'static str,
}

const MADE: Made = Made {
    cause: "",
    question: "web.shop.svc.cluster.local A",
    objects: ("", ""),
    zone: "cluster.local",
    options: "pods insecure",
    plugins: "",
};

const DIFFERENCES: [Made; 15] = [
    Made {
        cause: "pods-mode",
        question: "10-244-0-5.shop.pod.cluster.local A",
        options: "pods disabled",
        ..MADE
    },
    Made { cause: "ttl", options: "ttl 60", ..MADE },
    Made { cause: "only-in-ndots", objects: ("name: web,", "name: gone,"), ..MADE },
    Made {
        cause: "only-in-server",
        question: "new.shop.svc.cluster.local A",
        objects: ("name: old,", "name: new,"),
        ..MADE
    },
    Made { cause: "address", objects: ("10.96.0.80", "10.96.0.90"), ..MADE },
    Made {
        cause: "endpoints",
        question: "db.shop.svc.cluster.local A",
        objects: ("10.244.0.6]", "10.244.0.7]"),
        ..MADE
    },
    Made {
        cause: "ports",
        question: "_sql._tcp.db.shop.svc.cluster.local SRV",
        objects: ("port: 5432, protocol", "port: 5433, protocol"),
        ..MADE
    },
    Made {
        cause: "endpoint-names",
        question: "_sql._tcp.db.shop.svc.cluster.local SRV",
        options: "endpoint_pod_names",
        ..MADE
    },
    Made {
        cause: "external-name",
        question: "outside.shop.svc.cluster.local CNAME",
        objects: ("pay.example.org", "pay.example.com"),
        ..MADE
    },
    Made { cause: "zone-not-served", zone: "corp.example", ..MADE },
    Made {
        cause: "alias",
        plugins: "template IN A shop.svc.cluster.local {\n answer \"{{ .Name }} 5 IN CNAME db.shop.svc.cluster.local.\"\n }",
        ..MADE
    },
    Made {
        cause: "server-fails",
        plugins: "template IN A shop.svc.cluster.local {\n rcode SERVFAIL\n }",
        ..MADE
    },
    Made { cause: "server-silent", plugins: "acl {\n drop type A net *\n }", ..MADE },
    Made {
        cause: "address",
        plugins: "rewrite name web.shop.svc.cluster.local old.shop.svc.cluster.local",
        ..MADE
    },
    Made {
        cause: "sections",
        question: "_sql._tcp.db.shop.svc.cluster.local SRV",
        plugins: "minimal",
        ..MADE
    },
];

/// Runs the command and returns its exit code and its report.
fn diff(against: SocketAddr, arguments: &[&str]) -> (i32, Value) {
    let mut command = Command::new(program());
    command.args(["diff", "-o", "json", "--rate", "0", "--against", &against.to_string()]);
    let output = command.args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|_| Value::String(said.into_owned()));
    (output.status.code().unwrap(), report)
}

fn server(directory: &Path, made: &Made) -> Ndots {
    let Made { zone, options, plugins, .. } = made;
    let manifests = directory.display();
    // A server block for the zones only, so that the server refuses other names.
    let text = format!(
        "{zone}:0 in-addr.arpa:0 ip6.arpa:0 {{\n bind 127.0.0.1\n {plugins}\n kubernetes {zone} in-addr.arpa ip6.arpa {{\n  manifests {manifests}\n  {options}\n }}\n}}\n"
    );
    Ndots::corefile(&text, &["dns"], &[])
}

#[test]
fn differences_are_named_by_their_cause() {
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("shop.yaml"), SHOP).unwrap();
    let found = thread::scope(|scope| {
        let run = |(at, made): (usize, &'static Made)| {
            let (theirs, own) = (directory.path().join(format!("theirs-{at}")), own.clone());
            let names = directory.path().join(format!("names-{at}"));
            scope.spawn(move || {
                fs::create_dir(&theirs).unwrap();
                let (old, new) = made.objects;
                let objects =
                    if old.is_empty() { SHOP.to_owned() } else { SHOP.replacen(old, new, 1) };
                assert!(old.is_empty() || objects != SHOP, "{old}");
                fs::write(theirs.join("shop.yaml"), objects).unwrap();
                fs::write(&names, made.question).unwrap();
                let server = server(&theirs, made);
                let own = own.to_str().unwrap();
                let names = names.to_str().unwrap();
                diff(server.address, &["--names", names, "--manifests", own])
            })
        };
        let running: Vec<_> = DIFFERENCES.iter().enumerate().map(run).collect();
        running.into_iter().map(|it| it.join().unwrap()).collect::<Vec<_>>()
    });
    for (made, (code, report)) in DIFFERENCES.iter().zip(found) {
        let causes: Vec<_> = report["changes"].as_array().into_iter().flatten().collect();
        assert_eq!(code, 1, "{}: {report:#}", made.cause);
        assert_eq!(causes.len(), 1, "{}: {report:#}", made.cause);
        assert_eq!(causes[0]["cause"], made.cause, "{}: {report:#}", made.question);
    }
}

#[test]
fn equal_servers_differ_in_nothing() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("shop.yaml"), SHOP).unwrap();
    let server = server(directory.path(), &MADE);
    let own = directory.path().to_str().unwrap();
    let (code, report) = diff(server.address, &["--manifests", own]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["same"], report["questions"], "{report:#}");
    assert!(report["questions"].as_u64().unwrap() > 20, "{report:#}");
    // External names are not compared. A file without any other name is an error.
    let names = directory.path().join("names");
    fs::write(&names, "web.shop.svc.cluster.local\nwww.example.org\n").unwrap();
    let from_file = ["--manifests", own, "--names", names.to_str().unwrap()];
    let (code, report) = diff(server.address, &from_file);
    assert_eq!((code, report["questions"].as_u64()), (0, Some(2)), "{report:#}");
    assert_eq!(report["not_compared"], 2);
    for text in ["www.example.org", "web..shop", "web.shop NONE", ""] {
        fs::write(&names, text).unwrap();
        assert_eq!(diff(server.address, &from_file).0, 2, "{text}");
    }
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    assert_eq!(diff(nobody, &["--manifests", own]).0, 2);
}

#[test]
fn every_difference_from_coredns_on_a_cluster_is_explained() {
    let turn = turn::alone();
    let run = Run::start(&turn);
    let corefile = super::corefile("kubeadm");
    let indented = corefile.replace('\n', "\n    ");
    run.lab.apply(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: coredns, namespace: kube-system }}\ndata:\n  Corefile: |\n    {indented}\n"
    ));
    let coredns = run.machines.start(&run.lab, Program::CoreDns, "kubeadm");
    let kubeconfig = run.lab.kubeconfig();
    let (code, report) = diff(coredns.address, &["--kubeconfig", kubeconfig.to_str().unwrap()]);
    assert!(report["questions"].as_u64() > Some(500), "{report:#}");
    assert_eq!((code, report["changes"].as_array().map(Vec::len)), (0, Some(0)), "{report:#}");
    // kubectl merges the files of KUBECONFIG: here the context and its cluster are in two of them.
    let text = fs::read_to_string(&kubeconfig).unwrap();
    let other = run.lab.path("context-only");
    let context = serde_saphyr::from_str::<Value>(&text).unwrap()["contexts"][0].clone();
    let merged = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "merged",
        "contexts": [{ "name": "merged", "context": context["context"] }],
    });
    fs::write(&other, merged.to_string()).unwrap();
    let names = run.lab.path("names");
    fs::write(&names, "kubernetes.default.svc.cluster.local\n").unwrap();
    let output = Command::new(program())
        .args(["diff", "-o", "json", "--against", &coredns.address.to_string(), "--names"])
        .arg(&names)
        .env("KUBECONFIG", std::env::join_paths([&other, &kubeconfig]).unwrap())
        .env_remove("KUBERNETES_SERVICE_HOST")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
}
