//! Services that change while Pods resolve their names (dns.go, service.go).

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    clients::Client,
    cluster::{self, Cluster, PATIENCE},
};
use crate::support::lab::until;

/// The originals ask the Service over HTTP; any web server in the Pod will do.
fn served(client: &Client, url: &str) -> bool {
    client.netns.text(&format!("curl --silent --max-time 2 http://{url}/health")) == "OK"
}

/// Waits, because kube-proxy may take a moment, as in the originals.
fn until_served(client: &Client, url: &str, expected: bool) {
    until(&format!("{url}, reached: {expected}"), PATIENCE, || {
        (served(client, url) == expected).then_some(())
    });
}

fn patch(cluster: &Cluster, namespace: &str, service: &str, spec: &Value) -> Value {
    cluster.lab.patch(
        &format!("/api/v1/namespaces/{namespace}/services/{service}"),
        &json!({ "spec": spec }),
    )["spec"]
        .take()
}

/// "should provide DNS for ExternalName services": one target, another, then an address. It also
/// measures how long each change takes to show.
#[test]
fn an_external_name_changes() {
    let cluster = &*cluster::shared();
    let _usual = cluster.usual_corefile();
    cluster.namespace("dns-9");
    let client = cluster.client("dns-9", "dns-test", &json!({}));
    cluster.service(
        "dns-9",
        "dns-test-service-3",
        &json!({ "type": "ExternalName", "externalName": "foo.example.com" }),
    );
    let full = "dns-test-service-3.dns-9.svc.cluster.local";
    client.until(&format!("4 {full}."), |text| text == "foo.example.com 192.0.2.11");

    let ports = json!([{ "port": 80, "name": "http", "protocol": "TCP" }]);
    let external = |name: &str| json!({ "type": "ExternalName", "externalName": name });
    let states = [
        (external("foo.example.com"), vec!["foo.example.com."], ["192.0.2.11", "2001:db8::11"]),
        (external("bar.example.com"), vec!["bar.example.com."], ["192.0.2.12", "2001:db8::12"]),
        // As in the original, the other name does not change.
        (
            json!({ "type": "ClusterIP", "ports": ports, "ipFamilyPolicy": "PreferDualStack" }),
            vec![],
            [""; 2],
        ),
    ];
    let mut took = Vec::new();
    for round in 0..20 {
        for (state, alias, addresses) in &states {
            let spec = patch(cluster, "dns-9", "dns-test-service-3", state);
            let addresses =
                [0, 1].map(|at| spec["clusterIPs"][at].as_str().unwrap_or(addresses[at]));
            took.push(client.until(&format!("4 {full}."), |text| text.ends_with(addresses[0])));
            if round == 0 {
                client.dig(&format!("{full} CNAME"), alias);
                client.finds(&format!("{full} A"), &[&**alias, &addresses[..1]].concat());
                client.finds(&format!("{full} AAAA"), &[&**alias, &addresses[1..]].concat());
            }
        }
    }
    // The first patch does not change the records.
    tell_times("changes of an ExternalName, from the API's reply to the answer", took.split_off(1));
    client.tell("an ExternalName changes");
}

fn tell_times(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    println!("{what}: {} in {median:.1?}, the longest {longest:.1?}", took.len());
    // A change should show within 100 ms; a busy machine may take longer.
    assert!(longest < Duration::from_secs(2), "{what}: {longest:?}");
}

/// "should be able to change the type from ExternalName to ClusterIP", "… to NodePort", and from
/// these back to ExternalName.
#[test]
fn services_change_their_type() {
    let cluster = &*cluster::shared();
    let _usual = cluster.usual_corefile();
    cluster.namespace("services");
    let client = cluster.client("services", "execpod", &json!({}));
    let labels = json!({ "name": "serve-hostname" });
    let _backends = ["first", "second"]
        .map(|name| cluster.web("services", name, &json!({ "labels": labels }), true, 9376));
    let ports = json!([{ "port": 80, "name": "http", "protocol": "TCP", "targetPort": 9376 }]);
    let spec = |kind: &str| json!({ "type": kind, "ports": ports, "selector": labels, "ipFamilyPolicy": "PreferDualStack" });

    let node = cluster.lab.node.address;
    for kind in ["ClusterIP", "NodePort"] {
        let (name, full) = names("externalname-service", kind);
        cluster.service(
            "services",
            &name,
            &json!({ "type": "ExternalName", "externalName": "foo.example.com" }),
        );
        client.until(&format!("4 {full}."), |text| text == "foo.example.com 192.0.2.11");
        let changed = patch(cluster, "services", &name, &spec(kind));
        finds_service(&client, &full, &changed, &[]);
        until_served(&client, &name, true);
        until_served(&client, changed["clusterIP"].as_str().unwrap(), true);
        if kind == "NodePort" {
            until_served(&client, &format!("{node}:{}", changed["ports"][0]["nodePort"]), true);
        }
    }

    let external = cluster.service("services", "externalsvc", &spec("ClusterIP"))["spec"].take();
    for kind in ["ClusterIP", "NodePort"] {
        let (name, full) = names("service", kind);
        let before = cluster.service("services", &name, &spec(kind))["spec"].take();
        finds_service(&client, &full, &before, &[]);
        let target = "externalsvc.services.svc.cluster.local";
        let changed = patch(
            cluster,
            "services",
            &name,
            &json!({ "type": "ExternalName", "externalName": target }),
        );
        assert!(changed["clusterIP"].is_null(), "{changed}");
        finds_service(&client, &full, &external, &[&format!("{target}.")]);
        let looked_up = client.netns.run(&format!("nslookup {full}"));
        assert!(looked_up.contains(&format!("{full}\tcanonical name = {target}.")), "{looked_up}");
        until_served(&client, &full, true);
    }
    client.tell("Services change their type");
}

fn names(base: &str, kind: &str) -> (String, String) {
    let name = format!("{base}-{}", kind.to_ascii_lowercase());
    let full = format!("{name}.services.svc.cluster.local");
    (name, full)
}

/// Waits until a change shows, and then sends every query once. The answers are the Service's
/// addresses behind this alias.
fn finds_service(client: &Client, full: &str, spec: &Value, alias: &[&str]) {
    let addresses = [0, 1].map(|at| spec["clusterIPs"][at].as_str().unwrap());
    client.until(&format!("4 {full}."), |text| text.ends_with(addresses[0]));
    for (record, address) in [("A", addresses[0]), ("AAAA", addresses[1])] {
        client.finds(&format!("{full} {record}"), &[alias, &[address]].concat());
    }
}

/// "should create endpoints for unready pods": the Service decides whether they are published, also
/// for a Pod that is terminating.
#[test]
fn pods_that_are_not_ready() {
    let cluster = &*cluster::shared();
    cluster.namespace("unready");
    let client = cluster.client("unready", "execpod", &json!({}));
    let labels = json!({ "name": "slow-terminating-unready-pod" });
    let (_web, addresses) = cluster.web(
        "unready",
        "slow-terminating-unready-pod",
        &json!({ "labels": labels }),
        false,
        80,
    );
    let services = [
        ("tolerate-unready", json!({})),
        ("tolerate-unready-headless", json!({ "clusterIP": "None" })),
    ];
    for (name, mut spec) in services.clone() {
        spec["selector"] = labels.clone();
        spec["publishNotReadyAddresses"] = json!(true);
        cluster.service("unready", name, &spec);
    }
    let headless = "tolerate-unready-headless.unready.svc.cluster.local";
    let pod = "/api/v1/namespaces/unready/pods/slow-terminating-unready-pod";
    let published = |publish: bool| {
        for (name, _) in &services {
            patch(cluster, "unready", name, &json!({ "publishNotReadyAddresses": publish }));
        }
        shows(&client, headless, publish.then_some(&addresses));
        until_served(&client, "tolerate-unready", publish);
    };
    published(true);
    published(false);
    let terminating = cluster.lab.delete(pod);
    assert!(terminating["metadata"]["deletionTimestamp"].is_string(), "{terminating}");
    published(true);
    published(false);
    published(true);
    cluster.lab.delete(&format!("{pod}?gracePeriodSeconds=0"));
    shows(&client, headless, None);
    client.tell("Pods that are not ready");
}

/// Waits until the controllers have done their work and the change shows, and then sends every
/// query once.
fn shows(client: &Client, name: &str, addresses: Option<&[String; 2]>) {
    for (at, (family, record)) in [(4, "A"), (6, "AAAA")].into_iter().enumerate() {
        let address = addresses.map(|addresses| &*addresses[at]);
        client.until(&format!("{family} {name}."), |text| {
            text.ends_with(address.unwrap_or_default())
                && text.starts_with("error") == address.is_none()
        });
        client.finds(&format!("{name} {record}"), address.as_slice());
    }
}
