//! A real API server accepts the objects of the chart, the chart serves a cluster, and each way to
//! replace CoreDNS's image can be undone.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    helm::{all_values, objects, template},
    support::{
        lab::{Cluster, LabOptions, until},
        turn::{self, Shared},
    },
};

/// Definitions of the custom kinds that the chart uses, without their schemas.
const DEFINITIONS: &str = include_str!("../helm/definitions.yaml");
/// The default values of the chart.
const DEFAULT: &str = "tests/helm/golden/default/values.yaml";

fn shared_cluster() -> Shared<Cluster> {
    let world = ["--address=/www.example.org/192.0.2.80"];
    turn::shared(module_path!(), |turn| {
        let cluster = Cluster::start(turn, &LabOptions::dual_stack(), "iptables", &world);
        cluster.lab.apply(DEFINITIONS);
        cluster
    })
}

#[test]
fn an_api_server_accepts_all_objects_of_the_chart() {
    let cluster = &*shared_cluster();
    for values in all_values() {
        let made = template(&values, &[]).unwrap();
        if objects(&made).is_empty() {
            continue;
        }
        // Some values have addresses of other clusters, and names of objects that exist here.
        let foreign = |line: &str| {
            line.strip_prefix("  clusterIP: \"").is_some_and(|it| !it.starts_with("10.96."))
        };
        let lines = made.lines().filter(|line| !foreign(line));
        let free: String = lines.map(|line| format!("{line}\n")).collect();
        let free = free
            .replace("10.96.0.10\"", "10.96.0.99\"")
            .replace("10.96.0.10\n", "10.96.0.99\n")
            .replace("  name: kube-dns\n", "  name: kube-dns-of-the-chart\n")
            .replace("  name: coredns\n", "  name: coredns-of-the-chart\n");
        let apply = "apply --server-side --dry-run=server --validate=strict -f -";
        if let Err(said) = cluster.lab.try_kubectl(apply, &free) {
            panic!("{values}: {said}");
        }
    }
}

#[test]
fn the_chart_serves_a_cluster_under_the_restricted_pod_security_standard() {
    let cluster = &*shared_cluster();
    cluster.lab.apply(
        "
apiVersion: v1
kind: Namespace
metadata: { name: chart, labels: { pod-security.kubernetes.io/enforce: restricted } }
",
    );
    let made = template(DEFAULT, &["--namespace", "chart"]).unwrap();
    let said = cluster.lab.try_kubectl("apply --namespace chart -f -", &made).unwrap();
    assert!(!said.contains("Warning"), "{said}");
    let addresses = ["10.244.0.221", "10.244.0.222"];
    for container in cluster.deployed("chart", "app.kubernetes.io/instance=coredns", &addresses) {
        let dig = |question: &str| {
            let line = format!("dig @{} +short +tries=1 {question}", container.netns.address);
            cluster.lab.node.netns.text(&line)
        };
        assert_eq!(dig("kubernetes.default.svc.cluster.local"), "10.96.0.1");
        let service = dig("_udp-53._udp.coredns.chart.svc.cluster.local SRV");
        assert_eq!(service, "0 100 53 coredns.chart.svc.cluster.local.");
        assert_eq!(dig("www.example.org"), "192.0.2.80");
    }
}

/// The longest wait for a controller on a busy machine.
const SOON: Duration = Duration::from_secs(30);
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/kube-system/deployments/coredns";

/// Replaces kubeadm's Deployment by a tuned one, created as kubeadm creates it: without the
/// annotation of `kubectl apply`. Returns its specification.
fn tuned_deployment(cluster: &Cluster) -> Value {
    let mut spec = cluster.lab.get(DEPLOYMENT)["spec"].clone();
    spec["replicas"] = 7.into();
    let pod = &mut spec["template"]["spec"];
    pod["tolerations"] = json!([{ "key": "dedicated", "operator": "Exists" }]);
    pod["containers"][0]["resources"] =
        json!({ "limits": { "memory": "1Gi" }, "requests": { "cpu": "500m", "memory": "256Mi" } });
    cluster.lab.delete(DEPLOYMENT);
    let collection = DEPLOYMENT.strip_suffix("/coredns").unwrap();
    let metadata = json!({ "name": "coredns", "labels": { "k8s-app": "kube-dns" } });
    let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec });
    cluster.lab.post(collection, &object)["spec"].clone()
}

#[test]
fn each_way_to_replace_the_image_changes_nothing_else_and_can_be_undone() {
    let cluster = &*shared_cluster();
    let kubectl = |line: &str| cluster.lab.try_kubectl(line, "").unwrap();
    let before = tuned_deployment(cluster);
    let image = "ndots/coredns:v1.14.2";
    let mut after = before.clone();
    after["template"]["spec"]["containers"][0]["image"] = image.into();
    assert_ne!(after, before);

    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/image/deployment.yaml");
    let apply = "apply --server-side --force-conflicts --field-manager ndots";
    for way in [
        &format!("patch deployment coredns --namespace kube-system --patch-file {file}"),
        &format!("set image deployment/coredns coredns={image} --namespace kube-system"),
        &format!("{apply} --filename {file}"),
    ] {
        // A second run changes nothing.
        for _ in 0..2 {
            kubectl(way);
            assert_eq!(cluster.lab.get(DEPLOYMENT)["spec"], after, "{way}");
        }
        let undo = "rollout undo deployment/coredns --namespace kube-system";
        until("the previous revision", SOON, || cluster.lab.try_kubectl(undo, "").ok());
        assert_eq!(cluster.lab.get(DEPLOYMENT)["spec"], before, "{way}");
    }

    // Without a Deployment the command must fail and create none.
    let text = std::fs::read_to_string(file).unwrap();
    let other = text.replace("name: coredns\n  namespace", "name: another\n  namespace");
    let said = cluster.lab.try_kubectl(&format!("{apply} -f -"), &other).unwrap_err();
    assert!(said.contains("spec.selector"), "{said}");
}
