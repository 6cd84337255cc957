//! Failures of a real API server: missing permissions, expired tokens, dead connections, odd
//! objects, outages.

mod encodings;
mod outages;

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::support::{
    Ndots,
    end::{End, end},
    lab::{Api, Container, Lab, LabOptions, Program, until},
    packet::{self, ask},
    turn::{self, Shared},
    udp,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// The control plane for the tests that do not stop the API server.
fn shared_lab() -> Shared<Lab> {
    turn::shared(module_path!(), |turn| {
        let lab = Lab::start(turn, &LabOptions { controllers: false, ..LabOptions::default() });
        lab.apply(OBJECTS);
        lab
    })
}

const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: { name: kept, namespace: default }
spec: { clusterIP: 10.96.7.1, ports: [{ name: http, port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: headless, namespace: default }
spec: { clusterIP: None, ports: [{ name: http, port: 80 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: headless, namespace: default, labels: { kubernetes.io/service-name: headless } }
addressType: IPv4
ports: [{ name: http, port: 8080 }]
endpoints: [{ addresses: [10.244.9.1] }]
";

const COREFILE: &str = "
.:53 {
    errors
    ready
    kubernetes cluster.local in-addr.arpa {
        pods verified
        fallthrough in-addr.arpa
    }
    forward . UPSTREAM
}
";

fn corefile(upstream: Ipv4Addr) -> String {
    COREFILE.replace("UPSTREAM", &upstream.to_string())
}

/// The data of the answer to an A query, or its code.
fn said(server: &Container, name: &str) -> String {
    let reply = udp((server.netns.address, 53).into(), &ask(name, 1).edns().packet());
    reply.map_or_else(|| "no reply".to_owned(), |reply| packet::data(&reply))
}

const KEPT: &str = "kept.default.svc.cluster.local";

/// Queries the name of a Service that no test changes, and records every wrong answer.
struct Steady {
    end: End,
    asking: JoinHandle<()>,
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Steady {
    fn start(server: &Container) -> Self {
        let ((end, ended), wrong) = (end(), Arc::new(Mutex::new(Vec::new())));
        let (address, remembered) = (server.netns.address, Arc::clone(&wrong));
        let asking = thread::spawn(move || {
            while !ended.is_true() {
                let reply = udp((address, 53).into(), &ask(KEPT, 1).packet());
                let said =
                    reply.map_or_else(|| "no reply".to_owned(), |reply| packet::data(&reply));
                if said != "10.96.7.1" {
                    remembered.lock().expect("nobody panics").push(said);
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self { end, asking, wrong }
    }

    /// Ends the loop, and panics if an answer was wrong.
    fn assert(self, during: &str) {
        drop(self.end);
        self.asking.join().expect("it does not panic");
        let wrong = self.wrong.lock().expect("nobody panics");
        assert!(wrong.is_empty(), "{during}: {wrong:?}");
    }
}

/// Creates a Service, and returns the time until its name is answered.
fn shows(
    server: &Container,
    api: &mut Api,
    name: &str,
    address: &str,
    patience: Duration,
) -> Duration {
    let spec = json!({ "clusterIP": address, "ports": [{ "port": 80 }] });
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": spec });
    api.json("POST", "/api/v1/namespaces/default/services", Some(&service));
    let begun = Instant::now();
    let name = format!("{name}.default.svc.cluster.local");
    until(&name, patience, || (said(server, &name) == address).then_some(()));
    begun.elapsed()
}

const RULES: [(&str, &str); 4] =
    [("", "services"), ("discovery.k8s.io", "endpointslices"), ("", "namespaces"), ("", "pods")];

fn rule((group, resource): (&str, &str)) -> Value {
    json!({ "apiGroups": [group], "resources": [resource], "verbs": ["list", "watch"] })
}

/// Creates a ServiceAccount in kube-system with its own ClusterRole.
fn account(lab: &Lab, name: &str) {
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    lab.post(
        "/api/v1/namespaces/kube-system/serviceaccounts",
        &json!({ "metadata": { "name": name } }),
    );
    let rules: Vec<_> = RULES.into_iter().map(rule).collect();
    lab.post(
        &format!("{rbac}/clusterroles"),
        &json!({ "metadata": { "name": name }, "rules": rules }),
    );
    let role =
        json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name });
    let subject = json!({ "kind": "ServiceAccount", "namespace": "kube-system", "name": name });
    let binding = json!({ "metadata": { "name": name }, "roleRef": role, "subjects": [subject] });
    lab.post(&format!("{rbac}/clusterrolebindings"), &binding);
}

#[test]
fn each_missing_permission_is_logged_and_affects_only_its_kind() {
    let lab = &*shared_lab();
    account(lab, "limited");
    let world = lab.world(&["--address=/www.example.org/192.0.2.80"]);
    let mut server =
        lab.prepared(&lab.guest(), Program::Ndots, &corefile(world.netns.address), "limited");
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/limited";
    let questions = [
        KEPT,
        "headless.default.svc.cluster.local",
        "nothing.default.svc.cluster.local",
        "nothing.nowhere.svc.cluster.local",
        "10-244-9-1.default.pod.cluster.local",
        "www.example.org",
    ];
    let unknown = "SERVFAIL ede=14";
    let all = ["10.96.7.1", "10.244.9.1", "NXDOMAIN", "NXDOMAIN", "NXDOMAIN", "192.0.2.80"];
    for (missing, expected) in [
        ("services", [unknown, unknown, unknown, "NXDOMAIN", "NXDOMAIN", "192.0.2.80"]),
        (
            "endpointslices",
            ["10.96.7.1", unknown, "NXDOMAIN", "NXDOMAIN", "NXDOMAIN", "192.0.2.80"],
        ),
        // Service names need no list of namespaces, but Pod names do: the namespace must exist.
        ("namespaces", ["10.96.7.1", "10.244.9.1", "NXDOMAIN", "NXDOMAIN", unknown, "192.0.2.80"]),
        ("pods", ["10.96.7.1", "10.244.9.1", "NXDOMAIN", "NXDOMAIN", unknown, "192.0.2.80"]),
    ] {
        let some: Vec<_> =
            RULES.into_iter().filter(|(_, resource)| *resource != missing).map(rule).collect();
        lab.patch(role, &json!({ "rules": some }));
        wait_for_permission(lab, missing, false);
        server.serve();
        let refused = format!("kubernetes ({missing}");
        until(&refused, Duration::from_secs(10), || {
            server.page(8181, "/ready").1.contains(&refused).then_some(())
        });
        println!("without {missing}: {}", server.page(8181, "/ready").1.trim());
        until(&format!("{expected:?} without {missing}"), Duration::from_secs(5), || {
            (questions.map(|question| said(&server, question)) == expected).then_some(())
        });
        lab.patch(role, &json!({ "rules": RULES.into_iter().map(rule).collect::<Vec<_>>() }));
        wait_for_permission(lab, missing, true);
        let given = Instant::now();
        server.wait_until_ready();
        println!("the permission for {missing} helps after {:?}", given.elapsed());
        assert_eq!(questions.map(|question| said(&server, question)), all, "with {missing} again");
        assert_eq!(server.terminate(), 0);
    }
}

/// Waits until the API server applies a changed role.
fn wait_for_permission(lab: &Lab, resource: &str, given: bool) {
    let mut api = lab.api_as(&lab.token("kube-system", "limited"));
    let (group, _) = RULES.into_iter().find(|(_, it)| *it == resource).expect("it is in the table");
    let prefix = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/v1") };
    let path = format!("{prefix}/{resource}?limit=1");
    until("the role", Duration::from_secs(10), || {
        ((api.request("GET", &path, None).0 == 200) == given).then_some(())
    });
}

#[test]
fn a_newer_token_replaces_an_invalid_one() {
    let lab = &*shared_lab();
    account(lab, "renewed");
    let mut server =
        lab.prepared(&lab.guest(), Program::Ndots, &corefile(Ipv4Addr::LOCALHOST), "renewed");
    server.serve();
    server.wait_until_ready();
    let steady = Steady::start(&server);
    // Without the ServiceAccount its tokens are invalid. kubelet has mounted a new token.
    lab.delete("/api/v1/namespaces/kube-system/serviceaccounts/renewed");
    lab.post(
        "/api/v1/namespaces/kube-system/serviceaccounts",
        &json!({ "metadata": { "name": "renewed" } }),
    );
    server.service_account(lab, "kube-system", "renewed");
    let before = lab.asked_by("renewed").len();
    // ndots renews each watch every 30 s.
    until("watches with the new token", Duration::from_secs(45), || {
        let asked = lab.asked_by("renewed");
        let good = |what: &str| {
            asked[before..].iter().any(|line| line.ends_with(" 200") && line.contains(what))
        };
        RULES.iter().all(|(_, resource)| good(resource)).then_some(())
    });
    println!(
        "{:?}",
        shows(&server, &mut lab.api(), "after-renewal", "10.96.7.11", Duration::from_secs(5))
    );
    steady.assert("a renewed token");
    assert!(
        !lab.asked_by("renewed")
            .iter()
            .any(|line| line.starts_with("list") && !line.ends_with("200")),
        "{:?}",
        lab.asked_by("renewed")
    );
}

#[test]
fn a_silent_connection_is_replaced() {
    let lab = &*shared_lab();
    let guest = lab.guest();
    let mut server = lab.server(&guest, Program::Ndots, &corefile(Ipv4Addr::LOCALHOST));
    server.wait_until_ready();
    let steady = Steady::start(&server);
    // From now on packets of the existing connections are dropped silently; new connections work.
    let ports: Vec<_> = guest
        .run("ss -Htn state established")
        .lines()
        .filter(|line| line.contains(":6443"))
        .map(local_port)
        .collect();
    assert!(!ports.is_empty());
    let ports = ports.join(", ");
    guest.run("nft add table inet hole");
    for (direction, field) in [("output", "sport"), ("input", "dport")] {
        guest.nft(&format!(
            "add chain inet hole {direction} {{ type filter hook {direction} priority 0; }}"
        ));
        guest.nft(&format!("add rule inet hole {direction} tcp {field} {{ {ports} }} drop"));
    }
    let noticed =
        shows(&server, &mut lab.api(), "after-hole", "10.96.7.12", Duration::from_secs(45));
    println!("a black hole is noticed after {noticed:?}");
    steady.assert("a black hole");
}

fn local_port(line: &str) -> String {
    let local = line.split_whitespace().nth(2).expect("ss has a column for it");
    local.rsplit(':').next().unwrap_or_default().to_owned()
}

#[test]
fn kubeadms_permissions_are_enough_and_no_verb_writes() {
    let lab = &*shared_lab();
    let mut server = lab.server(&lab.guest(), Program::Ndots, &corefile(Ipv4Addr::LOCALHOST));
    server.wait_until_ready();
    let listed = lab.try_kubectl(
        "auth can-i --list --as=system:serviceaccount:kube-system:coredns --no-headers",
        "",
    );
    let listed = listed.expect("kubectl says what is allowed");
    for line in listed
        .lines()
        .filter(|line| !line.contains("selfsubject") && !line.trim_start().starts_with('['))
    {
        assert!(line.ends_with("[list watch]"), "{line}");
    }
    for (_, resource) in RULES {
        assert!(listed.lines().any(|line| line.starts_with(resource)), "{listed}");
    }
    let may_be = |line: &str| {
        let (verb, rest) = line.split_once(' ').unwrap_or_default();
        let path = rest.split(' ').next().unwrap_or_default();
        ["list", "watch"].contains(&verb)
            && RULES.iter().any(|(_, resource)| path.ends_with(&format!("/v1/{resource}")))
    };
    let asked = lab.asked_by("coredns");
    assert!(asked.len() >= RULES.len() && asked.iter().all(|line| may_be(line)), "{asked:?}");
}

#[test]
fn odd_objects_are_skipped_and_all_others_served() {
    let lab = &*shared_lab();
    let mut server = lab.server(&lab.guest(), Program::Ndots, &corefile(Ipv4Addr::LOCALHOST));
    server.wait_until_ready();
    let steady = Steady::start(&server);
    let long = "h".repeat(63);
    let many: Vec<_> = (0..1000).map(|number| json!({ "addresses": [format!("10.250.{}.{}", number / 250, number % 250 + 1)] })).collect();
    let odd = [
        json!({ "addresses": ["10.250.9.1"], "hostname": long, "conditions": { "ready": null } }),
        json!({ "addresses": ["10.250.9.2"], "conditions": {} }),
        json!({ "addresses": ["10.250.9.3"], "conditions": { "ready": false } }),
    ];
    for (name, endpoints) in [("many", json!(many)), ("odd", json!(odd))] {
        let spec = json!({ "clusterIP": "None" });
        lab.post(
            "/api/v1/namespaces/default/services",
            &json!({ "metadata": { "name": name }, "spec": spec }),
        );
        let metadata = json!({ "name": name, "labels": { "kubernetes.io/service-name": name } });
        let slice = json!({ "metadata": metadata, "addressType": "IPv4", "ports": [], "endpoints": endpoints });
        lab.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice);
    }
    // The API server rejects these objects, but passes them on if they are in etcd.
    let ports = json!([{ "port": 80, "name": "p".repeat(300) }, { "port": 80 }, { "port": 80 }]);
    smuggle(
        lab,
        "services/specs/default/no-address",
        &json!({ "clusterIP": "300.1.2.3", "clusterIPs": ["300.1.2.3"] }),
        &Value::Null,
    );
    smuggle(
        lab,
        "services/specs/default/odd-ports",
        &json!({ "clusterIP": "10.96.8.8", "clusterIPs": ["10.96.8.8"], "ports": ports }),
        &Value::Null,
    );
    smuggle(
        lab,
        "services/specs/default/no-type",
        &json!({ "type": "Sideways", "clusterIP": "10.96.8.9" }),
        &Value::Null,
    );
    smuggle(
        lab,
        "services/specs/default/no-target",
        &json!({ "type": "ExternalName", "externalName": "two words..example" }),
        &Value::Null,
    );
    smuggle(
        lab,
        "services/specs/default/Capital_and\u{e9}",
        &json!({ "clusterIP": "10.96.8.10", "clusterIPs": ["10.96.8.10"] }),
        &Value::Null,
    );
    let endpoints = json!([{ "addresses": ["nonsense"], "hostname": "not a name" }, { "addresses": [] }, { "addresses": null }]);
    smuggle(lab, "endpointslices/default/no-addresses", &Value::Null, &endpoints);
    println!(
        "{:?}",
        shows(&server, &mut lab.api(), "after-odd", "10.96.7.13", Duration::from_secs(5))
    );
    let dig = |question: &str| {
        server.netns.text(&format!("dig @127.0.0.1 +short +tries=1 +tcp {question}"))
    };
    assert_eq!(dig("many.default.svc.cluster.local").lines().count(), 1000);
    let mut addresses: Vec<_> =
        dig("odd.default.svc.cluster.local").lines().map(str::to_owned).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, ["10.250.9.1", "10.250.9.2"]);
    assert_eq!(dig(&format!("{long}.odd.default.svc.cluster.local")), "10.250.9.1");
    assert_eq!(said(&server, "odd-ports.default.svc.cluster.local"), "10.96.8.8");
    println!("{}", server.log());
    // A server that finds them in its first list serves the others, too.
    steady.assert("odd objects");
    server.kill();
    server.serve();
    server.wait_until_ready();
    assert_eq!(said(&server, KEPT), "10.96.7.1");
    assert_eq!(said(&server, "no-address.default.svc.cluster.local"), "NXDOMAIN");
}

/// Writes an object directly into etcd.
fn smuggle(lab: &Lab, path: &str, spec: &Value, endpoints: &Value) {
    let name = path.rsplit('/').next().unwrap_or_default();
    let metadata = json!({ "name": name, "namespace": "default", "uid": name, "labels": { "kubernetes.io/service-name": "headless" } });
    let object = if endpoints.is_null() {
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec })
    } else {
        json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4", "endpoints": endpoints })
    };
    let (key, value) =
        (STANDARD.encode(format!("/registry/{path}")), STANDARD.encode(object.to_string()));
    lab.etcd("kv/put", &json!({ "key": key, "value": value }));
}

/// The credentials of kubeconfigs: client certificates, token files, exec plugins. Also `endpoint`
/// of a Corefile.
#[test]
fn every_kind_of_credentials_works() {
    let lab = &*shared_lab();
    let kubectl = |line: &str| lab.try_kubectl(line, "").expect("kubectl does it");
    let (certificate, key) = (lab.path("pki/client.crt"), lab.path("pki/client.key"));
    let data = |file: &Path| STANDARD.encode(fs::read(file).expect("the lab's file"));
    kubectl("create serviceaccount traveller --namespace kube-system");
    let (token, token_file) = (lab.token("kube-system", "traveller"), lab.path("token"));
    fs::write(&token_file, &token).expect("a file of the lab's");
    kubectl(
        "create clusterrole lister --verb=list,watch --resource=namespaces,services,endpointslices.discovery.k8s.io",
    );
    kubectl(
        "create clusterrolebinding lister --clusterrole=lister --serviceaccount=kube-system:traveller",
    );
    let credential = json!({ "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": { "token": token } });
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
        "command": "sh", "args": ["-c", format!("echo '{credential}'")],
    });
    for (number, user) in [
        json!({ "client-certificate": certificate, "client-key": key }),
        json!({ "client-certificate-data": data(&certificate), "client-key-data": data(&key) }),
        json!({ "tokenFile": token_file }),
        json!({ "exec": exec }),
    ]
    .iter()
    .enumerate()
    {
        let kubeconfig = lab.path(&format!("way-{number}.conf"));
        fs::write(&kubeconfig, lab.kubeconfig_of(user)).expect("a file of the lab's");
        let server = Ndots::serve(&[
            "--kubeconfig",
            &kubeconfig.display().to_string(),
            "--upstream",
            "192.0.2.1",
        ]);
        leads_in(&server, &user.to_string());
    }
    let files = [&certificate, &key, &lab.ca()].map(|file| file.display().to_string()).join(" ");
    let kubernetes =
        format!("kubernetes cluster.local {{\n endpoint {}\n tls {files}\n }}", lab.url());
    let server =
        Ndots::corefile(&format!(".:0 {{\n bind 127.0.0.1\n {kubernetes}\n}}\n"), &["dns"], &[]);
    leads_in(&server, "endpoint");
}

fn leads_in(server: &Ndots, way: &str) {
    until(way, Duration::from_secs(5), || {
        let reply = server.udp(&ask(KEPT, 1).edns().packet())?;
        (packet::data(&reply) == "10.96.7.1").then_some(())
    });
}
