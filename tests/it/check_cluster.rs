//! `ndots check --cluster` on a real API server: it finds no fault in kubeadm's manifests, and
//! reports each fault that the test puts into them. The faults are those with which changes of
//! CoreDNS's image or version failed.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{
    lab::{Lab, LabOptions, manifests},
    program, turn,
};

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/kube-system/deployments/coredns";
const MAP: &str = "/api/v1/namespaces/kube-system/configmaps/coredns";
const SERVICE: &str = "/api/v1/namespaces/kube-system/services/kube-dns";
const ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:coredns";
const BINDING: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/system:coredns";

/// Objects beside those of `kubeadm init phase addon coredns`.
const AROUND: &str = "
apiVersion: v1
kind: ConfigMap
metadata: { name: kubeadm-config, namespace: kube-system }
data:
  ClusterConfiguration: |
    apiVersion: kubeadm.k8s.io/v1beta4
    dns:
      imageRepository: registry.example/ndots
      imageTag: v1.14.2
    kind: ClusterConfiguration
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: { name: coredns, namespace: kube-system }
spec: { maxUnavailable: 1, selector: { matchLabels: { k8s-app: kube-dns } } }
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: node-local-dns, namespace: kube-system, labels: { k8s-app: node-local-dns } }
spec:
  selector: { matchLabels: { k8s-app: node-local-dns } }
  template:
    metadata: { labels: { k8s-app: node-local-dns } }
    spec: { containers: [{ name: node-cache, image: registry.example/node-cache }] }
";

fn check(lab: &Lab, kubeconfig: &std::path::Path) -> (i32, Value) {
    let mut command = Command::new(program());
    command.args(["check", "--cluster", "-o", "json", "--kubeconfig"]).arg(kubeconfig);
    let output = command.env("HOME", lab.path("")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::String(said));
    (output.status.code().unwrap(), report)
}

/// The ids of the findings that are not notes.
fn ids(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().into_iter().flatten();
    let faults = findings.filter(|it| it["level"] != "note");
    faults.map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

/// A change of the first container of the Deployment.
fn container(change: impl Fn(&mut Value)) -> impl Fn(&mut Value) {
    move |deployment| change(&mut deployment["spec"]["template"]["spec"]["containers"][0])
}

fn corefile(change: impl Fn(&str) -> String) -> impl Fn(&mut Value) {
    move |map| {
        let text = change(map["data"]["Corefile"].as_str().unwrap());
        map["data"]["Corefile"] = text.into();
    }
}

type Damage = (&'static str, &'static str, Box<dyn Fn(&mut Value)>);

fn of(path: &'static str, id: &'static str, change: Box<dyn Fn(&mut Value)>) -> Damage {
    (path, id, change)
}

fn pod(change: fn(&mut Value)) -> Box<dyn Fn(&mut Value)> {
    Box::new(container(change))
}

/// Faults in the objects that the server reads, and in its image.
fn of_settings() -> Vec<Damage> {
    vec![
        // A role from before EndpointSlices.
        of(
            ROLE,
            "rbac.rule",
            Box::new(|it| {
                it["rules"]
                    .as_array_mut()
                    .unwrap()
                    .retain(|rule| rule["apiGroups"] != json!(["discovery.k8s.io"]));
            }),
        ),
        of(BINDING, "rbac.binding", Box::new(|it| it["subjects"][0]["name"] = "another".into())),
        // A build number in the tag.
        of(
            DEPLOYMENT,
            "image.tag",
            pod(|it| it["image"] = "registry.example/coredns:1.6.2-100".into()),
        ),
        of(
            DEPLOYMENT,
            "image.tag",
            pod(|it| {
                it["image"] = "registry.example:5000/coredns@sha256:1111111111111111111111111111111111111111111111111111111111111111".into();
            }),
        ),
        // Probes of pages that the server does not serve.
        of(MAP, "probe.page", Box::new(corefile(|text| text.replace("    ready\n", "")))),
        of(MAP, "probe.page", Box::new(corefile(|text| text.replace("ready\n", "ready :8282\n")))),
        of(
            DEPLOYMENT,
            "probe.port",
            pod(|it| it["readinessProbe"]["httpGet"]["port"] = "http-ready".into()),
        ),
        // No capability for port 53.
        of(
            DEPLOYMENT,
            "capability.port",
            pod(|it| it["securityContext"]["capabilities"]["add"] = json!([])),
        ),
    ]
}

/// Faults in the container and in the Corefile.
fn of_program() -> Vec<Damage> {
    vec![
        // Programs that an image without a shell does not have.
        of(
            DEPLOYMENT,
            "container.exec",
            pod(|it| {
                it["lifecycle"] =
                    json!({ "preStop": { "exec": { "command": ["/usr/bin/sleep", "5"] } } });
            }),
        ),
        of(DEPLOYMENT, "container.command", pod(|it| it["command"] = json!(["/bin/sh", "-c"]))),
        of(
            DEPLOYMENT,
            "container.args",
            pod(|it| it["args"] = json!(["-conf", "/etc/coredns/Corefile", "-alsologtostderr"])),
        ),
        of(DEPLOYMENT, "container.name", pod(|it| it["name"] = "dns".into())),
        // Options that newer versions removed.
        of(
            MAP,
            "corefile.mistake",
            Box::new(corefile(|text| {
                text.replace("pods insecure", "pods insecure\n       upstream")
            })),
        ),
        of(
            MAP,
            "corefile.mistake",
            Box::new(corefile(|text| text.replace("forward .", "proxy ."))),
        ),
        of(MAP, "corefile.none", Box::new(|it| it["data"] = json!({ "Other": "" }))),
    ]
}

/// Faults in the objects around the server.
fn of_surroundings() -> Vec<Damage> {
    vec![
        of(DEPLOYMENT, "cluster.replicas", Box::new(|it| it["spec"]["replicas"] = 0.into())),
        of(
            DEPLOYMENT,
            "strategy.recreate",
            Box::new(|it| it["spec"]["strategy"] = json!({ "type": "Recreate" })),
        ),
        of(
            DEPLOYMENT,
            "deployment.reconciled",
            Box::new(|it| {
                it["metadata"]["labels"]["addonmanager.kubernetes.io/mode"] = "Reconcile".into();
            }),
        ),
        of(
            SERVICE,
            "service.selector",
            Box::new(|it| it["spec"]["selector"]["k8s-app"] = "coredns".into()),
        ),
        of(
            SERVICE,
            "cluster.port",
            Box::new(|it| {
                it["spec"]["ports"]
                    .as_array_mut()
                    .unwrap()
                    .retain(|port| port["protocol"] != "TCP" || port["port"] != 53);
            }),
        ),
        of(
            "/apis/policy/v1/namespaces/kube-system/poddisruptionbudgets/coredns",
            "budget.blocks",
            Box::new(|it| it["spec"]["maxUnavailable"] = 0.into()),
        ),
        of(
            "/api/v1/namespaces/kube-system/configmaps/kubeadm-config",
            "kubeadm.image",
            Box::new(|it| it["data"]["ClusterConfiguration"] = "dns: {}\n".into()),
        ),
    ]
}

/// Replaces the whole object, whatever its resource version is now.
fn replace(lab: &Lab, path: &str, mut object: Value) {
    let now = lab.get(path);
    object["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"].clone();
    let (code, reply) = lab.api().request("PUT", path, Some(&object));
    assert_eq!(code, 200, "{path}: {reply}");
}

/// Changes that the switch survives.
fn works(lab: &Lab, kubeconfig: &std::path::Path) {
    // A variable that the Deployment sets.
    let (deployment, map) = (lab.get(DEPLOYMENT), lab.get(MAP));
    let mut with_variable = deployment.clone();
    container(|it| it["env"] = json!([{ "name": "TTL", "value": "30" }]))(&mut with_variable);
    let mut of_variable = map.clone();
    corefile(|text| text.replace("ttl 30", "ttl {$TTL}"))(&mut of_variable);
    assert_ne!(of_variable, map);
    replace(lab, MAP, of_variable.clone());
    // The value is not known, so the mistake is not sure.
    let (code, report) = check(lab, kubeconfig);
    let is_break = report["findings"].to_string().contains("\"break\"");
    assert!(code == 0 && !is_break, "{report:#}");
    replace(lab, DEPLOYMENT, with_variable);
    let (code, report) = check(lab, kubeconfig);
    assert_eq!((code, ids(&report)), (0, Vec::new()), "{report:#}");
    replace(lab, DEPLOYMENT, deployment);
    replace(lab, MAP, map);
    // A Service for metrics with the label of the DNS server, before kube-dns in the list.
    let metrics = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "a-metrics", "namespace": "kube-system", "labels": { "k8s-app": "kube-dns" } },
        "spec": { "clusterIP": "None", "selector": { "app": "metrics" }, "ports": [{ "port": 9153 }] },
    });
    lab.post(SERVICE.strip_suffix("/kube-dns").unwrap(), &metrics);
    let (code, report) = check(lab, kubeconfig);
    assert_eq!((code, ids(&report)), (0, Vec::new()), "{report:#}");
    lab.delete(&SERVICE.replace("kube-dns", "a-metrics"));
    // The role and the binding of a chart have other names.
    let (role, binding) = (lab.get(ROLE), lab.get(BINDING));
    for (mut object, path) in [(role, ROLE), (binding.clone(), BINDING)] {
        object["metadata"] = json!({ "name": "dns-chart" });
        if path == BINDING {
            object["roleRef"]["name"] = "dns-chart".into();
        }
        lab.post(path.strip_suffix("/system:coredns").unwrap(), &object);
    }
    lab.delete(BINDING);
    let (code, report) = check(lab, kubeconfig);
    assert_eq!((code, ids(&report)), (0, Vec::new()), "{report:#}");
    let mut again = binding;
    again["metadata"] = json!({ "name": "system:coredns" });
    lab.post(BINDING.strip_suffix("/system:coredns").unwrap(), &again);
}

#[test]
fn damaged_clusters_are_distinguished_from_kubeadms() {
    let turn = turn::alone();
    let lab = Lab::start(&turn, &LabOptions { controllers: false, ..LabOptions::default() });
    lab.apply(&manifests(&lab));
    lab.apply(AROUND);
    let kubeconfig = lab.kubeconfig();
    let (code, report) = check(&lab, &kubeconfig);
    assert_eq!((code, ids(&report)), (0, Vec::new()), "{report:#}");
    let notes = report["findings"].to_string();
    assert!(notes.contains("node-local.front") && notes.contains("image.now"), "{notes}");
    for (path, id, change) in of_settings().into_iter().chain(of_program()).chain(of_surroundings())
    {
        let whole = lab.get(path);
        let mut damaged = whole.clone();
        change(&mut damaged);
        assert_ne!(damaged, whole, "{id}");
        replace(&lab, path, damaged);
        let (code, report) = check(&lab, &kubeconfig);
        assert_eq!(ids(&report).first().map(String::as_str), Some(id), "{report:#}");
        let breaks = report["findings"].to_string().contains("\"break\"");
        assert_eq!(code, i32::from(breaks), "{id}");
        replace(&lab, path, whole);
    }
    works(&lab, &kubeconfig);
    // Objects that were added, and an account that may read nothing.
    let mut second = lab.get(DEPLOYMENT);
    second["metadata"] = json!({ "name": "dns-new", "namespace": "kube-system", "labels": { "k8s-app": "kube-dns" } });
    lab.post(DEPLOYMENT.strip_suffix("/coredns").unwrap(), &second);
    assert_eq!(ids(&check(&lab, &kubeconfig).1), ["deployment.two"]);
    let nobody = lab.account_kubeconfig("kube-system", "coredns");
    assert_eq!(check(&lab, &nobody).0, 2);
}
