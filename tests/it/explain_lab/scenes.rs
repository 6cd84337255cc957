//! Faults beyond the Service: network policies, objects of the Gateway API, and connections that
//! `--probe` tries.

use serde_json::json;

use super::{Scene, explain, ndots};
use crate::{outside::definition, support::lab::Process};

const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
const ROUTE: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes/shop";
const GATEWAY: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways/edge";

/// Network policies. The API server stores them, and nothing enforces them here.
pub(super) fn policies(scene: &Scene) {
    let policy = |name: &str, spec: &str| {
        scene.cluster.lab.apply(&format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{ name: {name}, namespace: default }}\nspec: {spec}\n"
        ));
    };
    let delete = |name: &str| drop(scene.cluster.lab.delete(&format!("{POLICIES}/{name}")));
    policy("deny", "{ podSelector: { matchLabels: { app: web } }, policyTypes: [Ingress] }");
    scene.check("web --pod default/client", "broken at policy.ingress");
    // The port of a policy is that of the Pods.
    let from = "from: [{ podSelector: {} }]";
    policy(
        "allow",
        &format!(
            "{{ podSelector: {{ matchLabels: {{ app: web }} }}, ingress: [{{ {from}, ports: [{{ port: 80 }}] }}] }}"
        ),
    );
    scene.check("web --pod default/client", "broken at policy.ingress");
    policy(
        "allow",
        &format!(
            "{{ podSelector: {{ matchLabels: {{ app: web }} }}, ingress: [{{ {from}, ports: [{{ port: 8080 }}] }}] }}"
        ),
    );
    scene.check("web --pod default/client", "healthy");
    delete("deny");
    delete("allow");
    policy(
        "no-dns",
        "{ podSelector: {}, policyTypes: [Egress], egress: [{ to: [{ podSelector: { matchLabels: { app: web } } }] }] }",
    );
    scene.check("web --pod default/client", "broken at policy.dns");
    delete("no-dns");
    scene.check("web --pod default/client", "healthy");
}

/// A Gateway and a route, without a controller: the test writes their status.
pub(super) fn gateway_api(scene: &Scene) {
    let lab = &scene.cluster.lab;
    for (kind, plural) in [("Gateway", "gateways"), ("HTTPRoute", "httproutes")] {
        lab.apply(&definition(kind, plural));
    }
    let established = "wait --for=condition=Established crd/gateways.gateway.networking.k8s.io crd/httproutes.gateway.networking.k8s.io --timeout=30s";
    lab.try_kubectl(established, "").unwrap();
    let objects = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge, namespace: default }
spec: { gatewayClassName: example, listeners: [{ name: http, port: 80, protocol: HTTP }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: shop, namespace: default }
spec: { hostnames: [gate.example.com], parentRefs: [{ name: edge }], rules: [{ backendRefs: [{ name: web, port: 80 }] }] }
";
    // The API server needs a moment after the definition.
    crate::support::lab::until("the Gateway API", std::time::Duration::from_secs(30), || {
        lab.try_kubectl("apply -f -", objects).ok()
    });
    scene.check("http://gate.example.com/", "broken at gateway.address");
    let status =
        json!({ "status": { "addresses": [{ "type": "IPAddress", "value": "192.0.2.60" }] } });
    scene.patch(GATEWAY, &status);
    scene.check("http://gate.example.com/", "healthy");
    let rules = |name: &str, port: u16| json!({ "spec": { "rules": [{ "backendRefs": [{ "name": name, "port": port }] }] } });
    scene.patch(ROUTE, &rules("wbe", 80));
    scene.check("http://gate.example.com/", "broken at gateway.service");
    scene.patch(ROUTE, &rules("web", 8080));
    scene.check("http://gate.example.com/", "broken at gateway.service-port");
    scene.patch(ROUTE, &rules("web", 80));
    scene.patch(
        ROUTE,
        &json!({ "spec": { "parentRefs": [{ "name": "edge", "sectionName": "https" }] } }),
    );
    scene.check("http://gate.example.com/", "broken at gateway.listener");
    scene.patch(ROUTE, &json!({ "spec": { "parentRefs": [{ "name": "edge" }] } }));
    scene.check("httproute/shop", "healthy");
}

/// Servers in the Pods, which are killed one after the other.
pub(super) fn probes(scene: &Scene) {
    let lab = &scene.cluster.lab;
    let corefile = lab.path("listens.corefile");
    std::fs::write(&corefile, ".:8080 {\n    whoami\n}\n").unwrap();
    let pods: Vec<_> =
        ["10.244.0.31", "10.244.0.32"].map(|address| lab.node.pod(&[address])).into();
    let listen = |index: usize| {
        let mut command = pods[index].command(&ndots());
        command.arg("-conf").arg(&corefile);
        Process::start("a server", command, lab.path(&format!("listens-{index}.log")))
    };
    let servers = [listen(0), listen(1)];
    let probe = "web --pod default/client --probe";
    scene.check(probe, "healthy");
    let (_, text) = scene.on_node(probe);
    for words in ["connected to endpoint 10.244.0.31:8080", "connected to cluster IP 10.96.8.1:80"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    let [one, other] = servers;
    drop(one);
    let (verdict, text) = scene.on_node(probe);
    assert!(text.contains("endpoint 10.244.0.31:8080 refuses connections"), "{verdict} {text}");
    drop(other);
    scene.check(probe, "broken at endpoints.connect");
    let server = listen(0);
    pods[0].nft("add table ip t; add chain ip t in { type filter hook input priority 0; }; add rule ip t in tcp dport 8080 drop");
    let (verdict, text) = scene.on_node(probe);
    assert_eq!(verdict, "broken at endpoints.connect", "{text}");
    assert!(text.contains("endpoint 10.244.0.31:8080 does not reply within 2 s"), "{text}");
    drop(server);
    from_the_laptop(scene);
}

/// From a laptop only port-forward can reach Pods. It fails here, because there is no kubelet. The
/// role `view` does not permit port-forward.
fn from_the_laptop(scene: &Scene) {
    let lab = &scene.cluster.lab;
    let probe = "web --pod default/client --probe";
    let (verdict, text) = explain(scene.laptop.command(&ndots()), &lab.kubeconfig(), probe);
    assert_eq!(verdict, "unknown at dns.no-answer", "{text}");
    assert!(text.contains("port-forward fails"), "{text}");
    let viewer = lab.account_kubeconfig("default", "viewer");
    let (_, text) = explain(scene.laptop.command(&ndots()), &viewer, probe);
    let lacks = "this account lacks the permission to create pods/portforward in namespace default";
    assert!(text.contains(lacks), "{text}");
}
