//! `ndots explain -A` against an API server: certificates, and accounts that may read little.

use std::{fs, process::Command};

use serde_json::Value;

use crate::{
    explain::api::{self, Rights},
    support::program,
};

/// Services, Pods and an Ingress with a certificate, in two namespaces.
const OBJECTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: data}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, clusterIP: 10.96.4.4, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec: {type: ExternalName, externalName: db.data.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: data}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: main, image: example, ports: [{name: http, containerPort: 8080}]}]}
status: {phase: Running, podIP: 10.244.1.10, conditions: [{type: Ready, status: \"True\"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: data, labels: {app: db}}
spec: {nodeName: n1, containers: [{name: main, image: example, ports: [{name: http, containerPort: 8080}]}]}
status: {phase: Running, podIP: 10.244.1.20, conditions: [{type: Ready, status: \"True\"}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.1.10], conditions: {ready: true}, nodeName: n1}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: data, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.1.20], conditions: {ready: true}, nodeName: n1}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec: {ingressClassName: example, tls: [{hosts: [shop.example.com], secretName: shop-tls}], rules: [{host: shop.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.50}]}}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: example}
spec: {controller: example.com/ingress}
";

/// The report of `-A` with these arguments, and its exit code.
fn overview(rights: Rights, arguments: &[&str]) -> (Option<i32>, Value) {
    let here = tempfile::tempdir().unwrap();
    let kubeconfig = here.path().join("kubeconfig");
    let certificate = include_str!("../explain/field/certificate-live-ingress-by-name.yaml");
    let secret = certificate.split("\n---\n").find(|it| it.contains("kind: Secret")).unwrap();
    let documents = OBJECTS.split("\n---\n").chain([secret]);
    let objects = documents.map(|it| serde_saphyr::from_str(it).unwrap()).collect();
    api::start(objects, rights, &kubeconfig);
    let mut command = Command::new(program());
    command.args(["explain", "-A", "-o", "json", "--kubeconfig"]).arg(&kubeconfig).args(arguments);
    let output = command.env_remove("KUBERNETES_SERVICE_HOST").output().unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    fs::remove_file(&kubeconfig).unwrap();
    (output.status.code(), report)
}

/// The ids of the findings, with the objects.
fn rows(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = report["objects"].as_array().into_iter().flatten();
    rows.map(|row| (text(&row["argument"]), text(&row["finding"]["id"]))).collect()
}

#[test]
fn certificates_are_read_for_all_objects() {
    let (code, report) = overview(Rights::default(), &[]);
    assert_eq!((code, rows(&report)), (Some(0), Vec::new()), "{report:#}");
    // The role `view` does not allow to read Secrets.
    let (code, report) = overview(Rights::without(&["secrets"]), &[]);
    let row = ("ingress/web".to_owned(), "outside.tls-unread".to_owned());
    assert_eq!((code, rows(&report)), (Some(2), vec![row]), "{report:#}");
}

#[test]
fn nothing_is_healthy_that_was_not_read() {
    let of = |namespaces: &[&str]| Rights {
        namespaces: namespaces.iter().map(|it| (*it).to_owned()).collect(),
        ..Rights::default()
    };
    // An account that may read nothing at all.
    let (code, report) = overview(of(&["elsewhere"]), &[]);
    assert_eq!((code, &report["verdict"]), (Some(2), &"unknown".into()), "{report:#}");
    assert!(report["unread"].to_string().contains("permission to list services"), "{report:#}");
    let (code, report) = overview(Rights::without(&["ingresses"]), &[]);
    assert_eq!((code, &report["verdict"]), (Some(2), &"unknown".into()), "{report:#}");
    // An account of the namespaces that matter.
    let (code, report) = overview(of(&["shop", "data"]), &["-n", "shop"]);
    assert_eq!((code, rows(&report)), (Some(0), Vec::new()), "{report:#}");
    // The alias leads to a namespace that this account may not read.
    let (code, report) = overview(of(&["shop"]), &["-n", "shop"]);
    let row = ("svc/alias".to_owned(), "dns.unread".to_owned());
    assert_eq!((code, rows(&report)), (Some(2), vec![row]), "{report:#}");
}

/// Of a namespace, what its objects lead to is read, too.
#[test]
fn one_namespace_is_checked_with_what_it_leads_to() {
    let (code, report) = overview(Rights::default(), &["-n", "shop"]);
    assert_eq!((code, rows(&report)), (Some(0), Vec::new()), "{report:#}");
    assert_eq!(report["checked"], 3, "{report:#}");
}
