//! The objects of a real API server give the same facts in protobuf as in JSON.

use ndots::source::{
    api::decode_page,
    kind::{self, Decoded, KindDescriptor, Scope, Version},
};
use serde_json::{Value, json};

use super::shared_lab;
use crate::support::lab::{Api, Lab};

const OBJECTS: &str = "
apiVersion: v1
kind: Namespace
metadata: { name: encoded, labels: { team: a, empty: '' } }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: default, namespace: encoded }
---
apiVersion: v1
kind: Service
metadata: { name: several, namespace: encoded, annotations: { coredns.io/hostname: 'a.example, b.example' } }
spec: { selector: { app: a }, ports: [{ name: http, port: 80, targetPort: web }, { name: dns, port: 53, protocol: UDP, targetPort: 5353 }, { name: sctp, port: 9, protocol: SCTP }] }
---
apiVersion: v1
kind: Service
metadata: { name: bare, namespace: encoded }
spec: { ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: headless, namespace: encoded, labels: { k8s-gateway.dns/ignore: 'true' } }
spec: { clusterIP: None, publishNotReadyAddresses: true }
---
apiVersion: v1
kind: Service
metadata: { name: alias, namespace: encoded }
spec: { type: ExternalName, externalName: www.example.org. }
---
apiVersion: v1
kind: Service
metadata: { name: node-port, namespace: encoded }
spec: { type: NodePort, externalIPs: [192.0.2.9, '2001:db8::9'], externalTrafficPolicy: Local, ports: [{ port: 80, nodePort: 30080 }] }
---
apiVersion: v1
kind: Service
metadata: { name: balanced, namespace: encoded }
spec: { type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: [{ port: 443 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: full, namespace: encoded, labels: { kubernetes.io/service-name: headless }, annotations: { endpoints.kubernetes.io/last-change-trigger-time: '2026-11-28T10:00:00Z' } }
addressType: IPv4
ports: [{ name: http, port: 8080 }, { name: '', protocol: UDP, port: 53 }]
endpoints:
- { addresses: [10.244.9.1, 10.244.9.2], hostname: one, nodeName: lab, zone: z1, targetRef: { kind: Pod, name: one-0, namespace: encoded }, conditions: { ready: true, serving: true }, hints: { forZones: [{ name: z1 }] } }
- { addresses: [10.244.9.3], conditions: { ready: false, serving: true, terminating: true } }
- { addresses: [10.244.9.4], zone: z1, conditions: {} }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: six, namespace: encoded, labels: { kubernetes.io/service-name: headless, multicluster.kubernetes.io/service-name: shared, multicluster.kubernetes.io/source-cluster: east } }
addressType: IPv6
ports: []
endpoints: [{ addresses: ['2001:db8::1'] }]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: empty, namespace: encoded, labels: { kubernetes.io/service-name: bare } }
addressType: IPv4
endpoints: []
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: names, namespace: encoded, labels: { kubernetes.io/service-name: bare } }
addressType: FQDN
endpoints: [{ addresses: [www.example.org] }]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: web, namespace: encoded, annotations: { kubernetes.io/ingress.class: old } }
spec: { tls: [{ hosts: [secure.example] }, { secretName: x }], rules: [{ host: shop.example, http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: bare, port: { number: 80 } } } }] } }, {}] }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: new, namespace: encoded }
spec: { ingressClassName: new, defaultBackend: { service: { name: bare, port: { name: http } } } }
---
apiVersion: v1
kind: Pod
metadata: { name: running, namespace: encoded }
spec: { hostNetwork: true, nodeName: lab, containers: [{ name: c, image: x, ports: [{ containerPort: 80, hostPort: 80 }] }] }
---
apiVersion: v1
kind: Pod
metadata: { name: ending, namespace: encoded, finalizers: [example.org/kept] }
spec: { nodeName: lab, containers: [{ name: c, image: x }] }
---
apiVersion: v1
kind: Pod
metadata: { name: waiting, namespace: encoded }
spec: { containers: [{ name: c, image: x }] }
---
apiVersion: v1
kind: Pod
metadata: { name: finished, namespace: encoded }
spec: { nodeName: lab, containers: [{ name: c, image: x }] }
---
apiVersion: v1
kind: Node
metadata: { name: encoded }
";

fn prepare(lab: &Lab) {
    lab.apply(OBJECTS);
    let point = |path: &str, points: Value| {
        let status = json!({ "status": { "loadBalancer": { "ingress": points } } });
        lab.patch(&format!("{path}/status"), &status);
    };
    let services = "/api/v1/namespaces/encoded/services";
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/encoded/ingresses";
    point(
        &format!("{services}/balanced"),
        json!([{ "ip": "192.0.2.1" }, { "hostname": "lb.example" }]),
    );
    point(&format!("{ingresses}/web"), json!([{ "ip": "2001:db8::80" }]));
    let pods = "/api/v1/namespaces/encoded/pods";
    for (pod, status) in [
        (
            "running",
            json!({ "phase": "Running", "podIP": "10.244.9.1", "podIPs": [{ "ip": "10.244.9.1" }, { "ip": "2001:db8::1" }], "conditions": [{ "type": "Ready", "status": "True" }] }),
        ),
        (
            "ending",
            json!({ "phase": "Running", "podIP": "10.244.9.2", "podIPs": [{ "ip": "10.244.9.2" }] }),
        ),
        (
            "finished",
            json!({ "phase": "Succeeded", "podIP": "10.244.9.3", "podIPs": [{ "ip": "10.244.9.3" }] }),
        ),
    ] {
        lab.patch(&format!("{pods}/{pod}/status"), &json!({ "status": status }));
    }
    lab.delete(&format!("{pods}/ending?gracePeriodSeconds=0"));
    let addresses = json!([{ "type": "InternalIP", "address": "172.18.0.9" }, { "type": "Hostname", "address": "lab" }, { "type": "ExternalIP", "address": "192.0.2.7" }]);
    let conditions = json!([{ "type": "Ready", "status": "True" }]);
    lab.patch(
        "/api/v1/nodes/encoded/status",
        &json!({ "status": { "addresses": addresses, "conditions": conditions } }),
    );
    // As large as API servers allow.
    let endpoints: Vec<_> = (0..1000)
        .map(|number| json!({ "addresses": [format!("10.250.{}.{}", number / 250, number % 250)] }))
        .collect();
    let slice = json!({
        "metadata": {
            "name": "large", "labels": { "kubernetes.io/service-name": "headless" },
            "annotations": { "note": "x".repeat(250_000) },
        },
        "addressType": "IPv4", "ports": [], "endpoints": endpoints,
    });
    lab.post("/apis/discovery.k8s.io/v1/namespaces/encoded/endpointslices", &slice);
}

/// The objects of this test that have a kind, in one encoding. Other tests change theirs meanwhile.
fn objects(api: &mut Api, kind: &KindDescriptor, version: &Version, accept: &str) -> Vec<Decoded> {
    let path = match kind.scope {
        Scope::Namespaced => kind.path(version, "encoded"),
        Scope::Cluster => kind.path(version, "") + "?fieldSelector=metadata.name%3Dencoded",
    };
    let (content_type, body) = api.accepting(accept, &path);
    assert!(content_type.starts_with(accept), "{kind:?}: {content_type}");
    decode_page(kind, version, &content_type, &body).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn protobuf_and_json_give_the_same_facts() {
    let lab = &*shared_lab();
    prepare(lab);
    let mut api = lab.api();
    let mut counted = Vec::new();
    for kind in kind::ALL {
        for version in kind.served() {
            if kind.message(version).is_none() {
                continue;
            }
            let [json, protobuf] = ["application/json", "application/vnd.kubernetes.protobuf"]
                .map(|accept| objects(&mut api, kind, version, accept));
            assert_eq!(json.len(), protobuf.len(), "{kind:?}");
            for (json, protobuf) in json.iter().zip(&protobuf) {
                assert_eq!(json.fact, protobuf.fact, "{kind:?} {}", json.meta.name);
                let [one, other] = [json, protobuf].map(|it| {
                    let meta = &it.meta;
                    (&meta.name, &meta.namespace, &meta.resource_version, &meta.deletion_timestamp)
                });
                assert_eq!(one, other, "{kind:?}");
                assert_eq!(
                    json.meta.annotations, protobuf.meta.annotations,
                    "{kind:?} {}",
                    json.meta.name
                );
            }
            let facts = json.iter().filter(|it| matches!(it.fact, Ok(Some(_)))).count();
            counted.push((kind.name, json.len(), facts));
        }
    }
    println!("{counted:?}");
    // Some objects are not facts.
    for expected in [
        ("Namespace", 1, 1),
        ("Service", 6, 6),
        ("EndpointSlice", 5, 4),
        ("Pod", 4, 1),
        ("Node", 1, 1),
        ("Ingress", 2, 2),
    ] {
        assert!(counted.contains(&expected), "{expected:?}: {counted:?}");
    }
}
