//! `ndots explain --probe` on a machine outside of the cluster: it reaches the DNS server and the
//! Pods through the API server.

use std::{net::TcpListener, path::Path, process::Command, sync::LazyLock};

use serde_json::{Value, json};

use crate::{
    explain::api::{self, PodPort, Rights},
    explain_probe::saw,
    support::{Ndots, free_address, program},
};

/// A Service with one Pod, and the Service and a Pod of the DNS server.
fn objects() -> Vec<Value> {
    let pod = |namespace: &str, name: &str, app: &str, ip: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": namespace, "labels": { "k8s-app": app } },
            "spec": { "nodeName": "n1", "containers": [{ "name": "main", "image": "example" }] },
            "status": { "phase": "Running", "podIP": ip, "conditions": [{ "type": "Ready", "status": "True" }] },
        })
    };
    let slice = |namespace: &str, service: &str, ip: &str, port: Value| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": { "name": format!("{service}-1"), "namespace": namespace, "labels": { "kubernetes.io/service-name": service } },
            "addressType": "IPv4", "ports": port,
            "endpoints": [{ "addresses": [ip], "conditions": { "ready": true } }],
        })
    };
    let dns = json!([{ "name": "dns", "port": 53, "protocol": "UDP" }, { "name": "dns-tcp", "port": 53, "protocol": "TCP" }]);
    vec![
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "default" } }),
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "kube-system" } }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "kubernetes", "namespace": "default" },
            "spec": { "clusterIP": "10.96.0.1", "ports": [{ "port": 443, "targetPort": 6443 }] },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "kube-dns", "namespace": "kube-system", "labels": { "k8s-app": "kube-dns" } },
            "spec": { "clusterIP": "10.96.0.10", "selector": { "k8s-app": "kube-dns" }, "ports": dns },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "namespace": "default" },
            "spec": { "clusterIP": "10.96.0.80", "selector": { "k8s-app": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
        }),
        pod("kube-system", "dns-1", "kube-dns", "10.244.0.2"),
        pod("default", "web-1", "web", "10.244.0.31"),
        slice("kube-system", "kube-dns", "10.244.0.2", dns.clone()),
        slice(
            "default",
            "web",
            "10.244.0.31",
            json!([{ "name": "", "port": 8080, "protocol": "TCP" }]),
        ),
    ]
}

/// Runs `explain` against a cluster with these ports of Pods. Returns its report, and its text.
fn explain(ports: &[PodPort], forbidden: &[&str], arguments: &[&str]) -> (Value, String) {
    let here = tempfile::tempdir().unwrap();
    let kubeconfig = here.path().join("kubeconfig");
    let mut objects = objects();
    if ports.iter().any(|it| it.pod == "dns-2") {
        let mut second =
            objects.iter().find(|it| it["metadata"]["name"] == "dns-1").unwrap().clone();
        second["metadata"]["name"] = "dns-2".into();
        second["status"]["podIP"] = "10.244.0.3".into();
        objects.push(second);
        let slice = objects.iter_mut().find(|it| it["metadata"]["name"] == "kube-dns-1").unwrap();
        let endpoint = json!({ "addresses": ["10.244.0.3"], "conditions": { "ready": true } });
        slice["endpoints"].as_array_mut().unwrap().push(endpoint);
    }
    api::start_with_ports(objects, Rights::without(forbidden), ports, &kubeconfig);
    let run = |format: &str| {
        let output = Command::new(program())
            .args(["explain", "web", "-n", "default", "-o", format, "--kubeconfig"])
            .arg(&kubeconfig)
            .args(arguments)
            .env_remove("KUBERNETES_SERVICE_HOST")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr)
    };
    let json = run("json");
    let report = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    (report, run("text"))
}

/// A DNS server for the objects, where the Service has this cluster IP.
fn dns_server(directory: &Path, ip: &str) -> Ndots {
    let mut objects = objects();
    let web = objects.iter_mut().find(|it| it["metadata"]["name"] == "web").unwrap();
    web["spec"]["clusterIP"] = ip.into();
    let all: Vec<String> = objects.iter().map(Value::to_string).collect();
    std::fs::write(directory.join("all.yaml"), all.join("\n---\n")).unwrap();
    let corefile = format!(
        ".:0 {{\n    bind 127.0.0.1\n    kubernetes cluster.local {{\n        manifests {}\n    }}\n}}\n",
        directory.display()
    );
    Ndots::corefile(&corefile, &["dns"], &[])
}

/// The report about a Pod that refuses connections. `explain_checks` counts it as a case, too.
static REFUSED: LazyLock<Value> = LazyLock::new(|| {
    let closed = PodPort { pod: "web-1", port: 8080, address: free_address() };
    explain(&[closed], &[], &["--probe"]).0
});

pub(crate) fn reports() -> impl Iterator<Item = &'static Value> {
    [&*REFUSED].into_iter()
}

#[test]
fn pods_are_reached_through_the_api_server() {
    let here = tempfile::tempdir().unwrap();
    let server = dns_server(here.path(), "10.96.0.80");
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let dns = PodPort { pod: "dns-1", port: 53, address: server.address };
    let web = PodPort { pod: "web-1", port: 8080, address: web.local_addr().unwrap() };
    let (report, text) = explain(&[dns.clone(), web.clone()], &[], &["--probe"]);
    assert_eq!(report["verdict"], "healthy", "{report:#}");
    assert_eq!(
        saw(&report, "dns.server"),
        ["ok: Pod kube-system/dns-1 answers the same, over TCP through the API server"]
    );
    assert_eq!(
        saw(&report, "endpoints.forward"),
        ["ok: connected through the API server to port 8080 of Pod default/web-1"]
    );
    assert!(text.contains("not checked: connections"), "{text}");
    // Without the flag nothing is forwarded.
    let (report, _) = explain(&[dns, web], &["pods/portforward"], &[]);
    assert!(saw(&report, "endpoints.forward").is_empty(), "{report:#}");
    assert!(!report.to_string().contains("portforward"), "{report:#}");
}

#[test]
fn an_answer_that_differs_is_found_through_the_api_server() {
    let here = tempfile::tempdir().unwrap();
    let server = dns_server(here.path(), "10.96.0.99");
    let dns = PodPort { pod: "dns-1", port: 53, address: server.address };
    let (report, _) = explain(&[dns], &[], &["--probe"]);
    assert_eq!(report["first"], "dns.stale", "{report:#}");
}

/// One of two Pods of the DNS server serves old facts, or does not answer.
#[test]
fn every_pod_of_the_dns_server_is_queried() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [right, old] =
        [(&here, "10.96.0.80"), (&there, "10.96.0.99")].map(|(at, ip)| dns_server(at.path(), ip));
    let first = PodPort { pod: "dns-1", port: 53, address: right.address };
    let second = |address| PodPort { pod: "dns-2", port: 53, address };
    let (report, _) = explain(&[first.clone(), second(right.address)], &[], &["--probe"]);
    assert_eq!(
        saw(&report, "dns.server"),
        [
            "ok: Pod kube-system/dns-1, Pod kube-system/dns-2 answer the same, over TCP through the API server"
        ]
    );
    let (report, _) = explain(&[first.clone(), second(old.address)], &[], &["--probe"]);
    assert_eq!(report["first"], "dns.stale", "{report:#}");
    assert!(report.to_string().contains("Pod kube-system/dns-2 answers web.default"), "{report:#}");
    let (report, _) = explain(&[first, second(free_address())], &[], &["--probe"]);
    let silent = saw(&report, "dns.no-answer");
    assert!(silent[0].starts_with("unknown: Pod kube-system/dns-2 does not answer"), "{silent:?}");
}

#[test]
fn a_pod_that_refuses_is_named() {
    // The verdict is `unknown`: port-forward connects to the loopback address, and the server may
    // listen on the Pod's address only.
    assert_eq!(
        saw(&REFUSED, "endpoints.forward"),
        ["unknown: port 8080 of Pod default/web-1 refuses connections"]
    );
    let steps = REFUSED["steps"].to_string();
    assert!(steps.contains("Pod kube-system/dns-1 does not answer from here"), "{:#}", *REFUSED);
}

#[test]
fn a_missing_permission_is_named() {
    let (report, text) = explain(&[], &["pods/portforward"], &["--probe"]);
    assert_eq!(report["verdict"], "unknown", "{report:#}");
    assert_eq!(
        saw(&report, "endpoints.not-probed"),
        [
            "skipped: not probed: this account lacks the permission to create pods/portforward in namespace default"
        ]
    );
    assert!(
        text.contains(
            "this account lacks the permission to create pods/portforward in namespace kube-system"
        ),
        "{text}"
    );
}

/// A missing permission is a skipped test case of the report for CI.
#[test]
fn junit_names_what_was_not_read() {
    let here = tempfile::tempdir().unwrap();
    let kubeconfig = here.path().join("kubeconfig");
    api::start_with_ports(objects(), Rights::without(&["networkpolicies"]), &[], &kubeconfig);
    let mut command = Command::new(program());
    command.args(["explain", "-A", "-o", "junit", "--kubeconfig"]).arg(&kubeconfig);
    let output = command.env_remove("KUBERNETES_SERVICE_HOST").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let skipped = text.lines().find(|line| line.contains("<skipped")).unwrap_or_default();
    assert!(skipped.contains("networkpolicies"), "{text}");
    assert!(text.contains("skipped=\"1\""), "{text}");
}
