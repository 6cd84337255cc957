//! `ndots explain` on a real control plane with a real kube-proxy, in both modes: manual
//! faults, and accounts with few permissions.

mod scenes;

use std::{path::Path, process::Command, time::Duration};

use crate::support::{
    lab::{Cluster, LabOptions, Netns, until},
    program,
    turn::{self, Turn},
};
use serde_json::{Value, json};

const SERVICE: &str = "/api/v1/namespaces/default/services/web";

fn ndots() -> String {
    program().display().to_string()
}

const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: { name: web, namespace: default }
spec: { clusterIP: 10.96.8.1, type: NodePort, selector: { app: web }, ports: [{ name: http, port: 80, targetPort: http, nodePort: 30080 }] }
---
apiVersion: v1
kind: Service
metadata: { name: balanced, namespace: default }
spec: { clusterIP: 10.96.8.2, type: LoadBalancer, selector: { app: web }, ports: [{ name: http, port: 80, targetPort: http }] }
---
apiVersion: v1
kind: Service
metadata: { name: nowhere, namespace: default }
spec: { type: ExternalName, externalName: nothing.example.com }
---
apiVersion: v1
kind: Pod
metadata: { name: web-1, namespace: default, labels: { app: web } }
spec: { containers: [{ name: main, image: example, ports: [{ name: http, containerPort: 8080 }] }] }
---
apiVersion: v1
kind: Pod
metadata: { name: web-2, namespace: default, labels: { app: web } }
spec: { containers: [{ name: main, image: example, ports: [{ name: http, containerPort: 8080 }] }] }
---
apiVersion: v1
kind: Pod
metadata: { name: client, namespace: default }
spec: { containers: [{ name: main, image: example }] }
---
apiVersion: v1
kind: Secret
metadata: { name: shop, namespace: default }
type: Opaque
stringData: { tls.crt: none }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: shop, namespace: default }
spec:
  tls: [{ hosts: [shop.example.com], secretName: shop }]
  rules: [{ host: shop.example.com, http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] } }]
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: viewer, namespace: default }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: nobody, namespace: default }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: viewer }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view }
subjects: [{ kind: ServiceAccount, name: viewer, namespace: default }]
";

/// Returns the verdict with the first finding, such as `broken at endpoints.selector`, and the
/// text.
fn explain(mut command: Command, kubeconfig: &Path, arguments: &str) -> (String, String) {
    command
        .arg("explain")
        .args(arguments.split_whitespace())
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["-o", "json"]);
    let output = command.env_remove("KUBECONFIG").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let json: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {text}"));
    let first = json["first"].as_str().map_or(String::new(), |first| format!(" at {first}"));
    let verdict = json["verdict"].as_str().unwrap();
    let code = ["healthy", "broken", "unknown"].iter().position(|word| *word == verdict).unwrap();
    assert_eq!(output.status.code(), i32::try_from(code).ok(), "{text}");
    (format!("{verdict}{first}"), text)
}

struct Scene {
    cluster: Cluster,
    mode: &'static str,
    pod: Netns,
    /// A machine on the nodes' network without a route to Services.
    laptop: Netns,
}

impl Scene {
    fn start(turn: &Turn, mode: &'static str) -> Self {
        let cluster = Cluster::start(turn, &LabOptions::default(), mode, &[]);
        cluster.lab.apply(OBJECTS);
        // The node needs a route to the cluster IPs before the rules can rewrite packets.
        cluster.lab.node.netns.ip("route add 10.96.0.0/16 dev lan0");
        let pod = cluster.client("default", "10.244.0.50");
        let laptop = cluster.lab.guest();
        laptop.ip("route del default");
        let scene = Self { cluster, mode, pod, laptop };
        scene.cluster.lab.running("default", "client", &["10.244.0.50"], true);
        scene.ready(true);
        scene.until_rules_have("10.244.0.32");
        scene
    }

    fn ready(&self, ready: bool) {
        self.cluster.lab.running("default", "web-1", &["10.244.0.31"], ready);
        self.cluster.lab.running("default", "web-2", &["10.244.0.32"], ready);
    }

    fn rules(&self) -> String {
        self.node().text(if self.mode == "nftables" {
            "nft list table ip kube-proxy"
        } else {
            "iptables-save -t nat"
        })
    }

    fn until_rules_have(&self, words: &str) {
        until("kube-proxy's rules", Duration::from_secs(30), || {
            self.rules().contains(words).then_some(())
        });
    }

    fn node(&self) -> &Netns {
        &self.cluster.lab.node.netns
    }

    fn on_node(&self, arguments: &str) -> (String, String) {
        explain(self.node().command(&ndots()), &self.cluster.lab.kubeconfig(), arguments)
    }

    /// Runs explain on the node until the controllers have processed the change.
    fn check(&self, arguments: &str, want: &str) {
        let mut last = (String::new(), String::new());
        for _ in 0..20 {
            last = self.on_node(arguments);
            if last.0 == want {
                return;
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        panic!(
            "{} {arguments}: {} and not {want}:\n{}\n{}",
            self.mode,
            last.0,
            last.1,
            self.cluster.logs()
        );
    }

    /// Breaks the rules until `explain` reports `want`. A running sync of kube-proxy may repair
    /// them, so the fault is made again.
    fn breaks(&self, fault: impl Fn(&Self), want: &str) {
        let mut last = (String::new(), String::new());
        for _ in 0..10 {
            fault(self);
            last = self.on_node("web");
            if last.0 == want {
                return;
            }
        }
        panic!("{}: {} and not {want}:\n{}", self.mode, last.0, last.1);
    }

    fn patch(&self, path: &str, patch: &Value) {
        self.cluster.lab.patch(path, patch);
    }

    /// Deletes the node's rule for the Service `web`.
    fn delete_rule(&self) {
        if self.mode == "nftables" {
            self.node()
                .text("nft delete element ip kube-proxy service-ips { 10.96.8.1 . tcp . 80 }");
        } else {
            self.delete_lines("-A KUBE-SERVICES -d 10.96.8.1/32");
        }
    }

    fn flush_masquerade(&self) {
        self.node().run(if self.mode == "nftables" {
            "nft flush chain ip kube-proxy masquerading"
        } else {
            "iptables -t nat -F KUBE-POSTROUTING"
        });
    }

    fn delete_lines(&self, words: &str) {
        let rules = self.rules();
        for line in rules.lines().filter(|line| line.contains(words)) {
            let script = format!("iptables -t nat {}", line.replacen("-A ", "-D ", 1));
            self.node().command("sh").args(["-c", &script]).status().unwrap();
        }
    }
}

fn scene_by_scene(mode: &'static str) {
    let turn = turn::alone();
    let mut scene = Scene::start(&turn, mode);
    // Healthy: on the node, in the Pod, and from a laptop, which reports that it cannot reach the
    // cluster's DNS.
    scene.check("web", "healthy");
    scene.check("", "healthy");
    let kubeconfig = scene.cluster.lab.kubeconfig();
    let (verdict, text) =
        explain(scene.pod.command(&ndots()), &kubeconfig, "web --pod default/client");
    assert_eq!(verdict, "healthy", "{text}");
    assert!(text.contains("10.96.0.10 answers the same, over UDP and TCP"), "{text}");
    let (verdict, text) =
        explain(scene.laptop.command(&ndots()), &kubeconfig, "web --pod default/client");
    assert_eq!(verdict, "healthy", "{text}");
    assert!(text.contains("the DNS server's replies"), "{text}");
    assert!(
        text.contains("kubectl -n default exec client -- nslookup web.default.svc.cluster.local."),
        "{text}"
    );

    accounts_that_may_read_little(&scene);

    scene.check("wbe", "broken at dns.name");
    scene.check("web.defalt", "broken at dns.namespace");
    scene.check("nowhere", "broken at dns.external-name");
    scene.check("web:8080", "broken at service.port");
    scene.check("balanced", "broken at outside.pending");
    scene.check("https://shop.example.com", "broken at outside.ingress-address");

    scene.patch(SERVICE, &json!({ "spec": { "selector": { "app": "wbe" } } }));
    scene.check("web", "broken at endpoints.selector");
    scene.patch(SERVICE, &json!({ "spec": { "selector": { "app": "web" }, "ports": [{ "name": "http", "port": 80, "targetPort": "https", "nodePort": 30080 }] } }));
    scene.check("web", "broken at endpoints.target-port-name");
    scene.patch(SERVICE, &json!({ "spec": { "ports": [{ "name": "http", "port": 80, "targetPort": "http", "nodePort": 30080 }] } }));
    scene.ready(false);
    scene.check("web", "broken at endpoints.unready");
    scene.ready(true);
    scene.check("web", "healthy");
    scene.patch(SERVICE, &json!({ "spec": { "externalTrafficPolicy": "Local" } }));
    let (verdict, text) = scene.on_node("web --node node-9");
    assert_eq!(verdict, "broken at outside.local", "{text}");
    scene.patch(SERVICE, &json!({ "spec": { "externalTrafficPolicy": "Cluster" } }));
    scene.check("web", "healthy");

    scenes::policies(&scene);
    scenes::gateway_api(&scene);
    scenes::probes(&scene);

    scene.breaks(Scene::delete_rule, "broken at proxy.no-rule");
    scene.restart_proxy();
    scene.check("web", "healthy");
    scene.breaks(Scene::flush_masquerade, "broken at proxy.postrouting");
    scene.restart_proxy();
    if mode == "iptables" {
        scene.breaks(
            |scene| scene.delete_lines("--to-destination 10.244.0.31:8080"),
            "broken at proxy.dangling",
        );
        scene.restart_proxy();
    }
    scene.cluster.proxy.child.signal("STOP");
    scene.cluster.lab.running("default", "web-2", &["10.244.0.99"], true);
    // The stopped process still accepts connections, but does not answer.
    scene.check("web", "broken at proxy.stopped");
    scene.cluster.proxy.child.signal("CONT");
    scene.until_rules_have("10.244.0.99");
    scene.check("web", "healthy");

    let corefile =
        ".:53 {\n    kubernetes cluster.local in-addr.arpa ip6.arpa\n    forward . 10.96.0.10\n}\n";
    scene.patch(
        "/api/v1/namespaces/kube-system/configmaps/coredns",
        &json!({ "data": { "Corefile": corefile } }),
    );
    scene.check("", "broken at corefile.loop");
    scene.cluster.replicas.iter_mut().for_each(crate::support::lab::Container::kill);
    scene.check("web", "broken at dns.no-answer");
}

impl Scene {
    fn restart_proxy(&mut self) {
        self.cluster.proxy.child.signal("KILL");
        let _ = self.cluster.proxy.child.wait();
        // From now on the rules are those of the new kube-proxy.
        self.node().run(if self.mode == "nftables" {
            "nft delete table ip kube-proxy"
        } else {
            "iptables -t nat -F KUBE-SERVICES"
        });
        self.cluster.proxy = self.cluster.lab.node.kube_proxy(self.mode);
        self.until_rules_have(if self.mode == "nftables" {
            "10.96.8.1 . tcp . 80"
        } else {
            "-A KUBE-SERVICES -d 10.96.8.1/32"
        });
        until("a healthy kube-proxy", Duration::from_secs(30), || {
            self.node()
                .text("curl --silent http://127.0.0.1:10256/healthz")
                .contains("\"healthy\":true")
                .then_some(())
        });
    }
}

/// explain works with the role `view`, and reports missing permissions.
fn accounts_that_may_read_little(scene: &Scene) {
    let viewer = scene.cluster.lab.account_kubeconfig("default", "viewer");
    let (verdict, text) = explain(scene.node().command(&ndots()), &viewer, "web");
    assert_eq!(verdict, "healthy", "{text}");
    assert!(text.contains("lacks the permission to list nodes cluster-wide"), "{text}");
    let (_, text) = explain(scene.node().command(&ndots()), &viewer, "https://shop.example.com");
    assert!(
        text.contains("\"outside.tls-unread\"")
            && text.contains("lacks the permission to get secrets in namespace default"),
        "{text}"
    );
    let nobody = scene.cluster.lab.account_kubeconfig("default", "nobody");
    let (verdict, text) = explain(scene.node().command(&ndots()), &nobody, "web");
    assert_eq!(verdict, "unknown at dns.unread", "{text}");
    assert!(text.contains("lacks the permission to list services in namespace default"), "{text}");
}

#[test]
fn faults_made_by_hand_are_named_in_mode_iptables() {
    scene_by_scene("iptables");
}

#[test]
fn faults_made_by_hand_are_named_in_mode_nftables() {
    scene_by_scene("nftables");
}
