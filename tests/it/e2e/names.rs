//! Names of Services and of the Pods behind them (dns.go), in full and through the search list.

use serde_json::json;

use super::{
    clients::Client,
    cluster::{self, Cluster, DNS6},
};
use crate::support::lab::{DNS, resolv_conf};

const QUERIER: &str = "dns-querier-1";
const SERVICE: &str = "dns-test-service";

/// "should provide DNS for the cluster" and "should resolve DNS of partial qualified names for the
/// cluster", through the IPv4 and the IPv6 address of kube-dns, with kubelet's `/etc/hosts`.
#[test]
fn the_cluster() {
    let cluster = &*cluster::shared();
    cluster.namespace("dns-1");
    let client = cluster.client("dns-1", QUERIER, &json!({}));
    for server in [DNS, DNS6] {
        client.netns.resolv_conf(&resolv_conf("dns-1", server));
        for name in
            ["kubernetes.default.svc.cluster.local", "kubernetes.default", "kubernetes.default.svc"]
        {
            client.finds(&format!("{name} A"), &["10.96.0.1"]);
        }
        client.names("10.96.0.1", &["kubernetes.default.svc.cluster.local"]);
    }

    let full = format!("{QUERIER}.{SERVICE}.dns-1.svc.cluster.local");
    client
        .netns
        .etc("hosts", &format!("127.0.0.1 localhost\n{} {full} {QUERIER}\n", client.addresses[0]));
    for name in [&*full, QUERIER] {
        client.glibc_finds(&format!("{name} A"), &[&client.addresses[0]]);
    }
    client.tell("the cluster");
}

/// Makes a headless Service and one with cluster IPs, both with the client as their endpoint. Their
/// names are those of `names_of_services`.
fn services(cluster: &Cluster, namespace: &str) -> (Client, [String; 2]) {
    cluster.namespace(namespace);
    let selector = json!({ "dns-test": "true" });
    cluster.service(namespace, SERVICE, &json!({ "clusterIP": "None", "selector": selector }));
    let regular = cluster.service(namespace, "test-service-2", &json!({ "selector": selector }));
    let pod = json!({ "labels": selector, "hostname": QUERIER, "subdomain": SERVICE });
    let client = cluster.client(namespace, QUERIER, &pod);
    cluster.until_endpoints(namespace, SERVICE, 2);
    let full = format!("{QUERIER}.{SERVICE}.{namespace}.svc.cluster.local.");
    client.until(&format!("6 {full}"), |text| text.ends_with(&client.addresses[1]));
    client.until(&format!("4 {full}"), |text| text.ends_with(&client.addresses[0]));
    let address = |at: usize| regular["spec"]["clusterIPs"][at].as_str().unwrap().to_owned();
    (client, [address(0), address(1)])
}

fn both(addresses: &[String; 2]) -> [(&str, &str); 2] {
    [("A", &addresses[0]), ("AAAA", &addresses[1])]
}

/// "should provide DNS for services".
#[test]
fn services_by_their_whole_names() {
    let cluster = &*cluster::shared();
    let (client, regular) = services(cluster, "dns-5");
    let domain = "dns-5.svc.cluster.local";
    for (record, address) in both(&client.addresses) {
        client.finds(&format!("{SERVICE}.{domain} {record}"), &[address]);
        let dashed = address.replace(['.', ':'], "-");
        client.names(
            address,
            &[
                &format!("{dashed}.test-service-2.{domain}"),
                &format!("{QUERIER}.{SERVICE}.{domain}"),
            ],
        );
    }
    for (record, address) in both(&regular) {
        client.finds(&format!("test-service-2.{domain} {record}"), &[address]);
        client.names(address, &[&format!("test-service-2.{domain}")]);
    }
    // The SRV record has one target, and the two addresses share the weight, as in CoreDNS.
    let target = format!("0 50 80 {QUERIER}.{SERVICE}.{domain}.");
    client.dig(&format!("_http._tcp.{SERVICE}.{domain} SRV"), &[&target]);
    client.dig(
        &format!("_http._tcp.test-service-2.{domain} SRV"),
        &[&format!("0 50 80 test-service-2.{domain}.")],
    );
    client.tell("services");
}

/// What a Pod in this namespace finds under partial names.
fn partial_names(
    client: &Client,
    namespace: &str,
    headless: &[(&str, &str)],
    regular: &[String; 2],
) {
    let domain = format!("{namespace}.svc.cluster.local");
    for suffix in [String::new(), format!(".{namespace}"), format!(".{namespace}.svc")] {
        for (record, address) in headless {
            client.finds(&format!("{SERVICE}{suffix} {record}"), &[address]);
        }
        for (record, address) in both(regular) {
            client.finds(&format!("test-service-2{suffix} {record}"), &[address]);
        }
    }
    let target = format!("0 {} 80 {QUERIER}.{SERVICE}.{domain}.", 100 / headless.len());
    client.dig(&format!("_http._tcp.{SERVICE}.{namespace}.svc SRV"), &[&target]);
    client.dig(
        &format!("_http._tcp.test-service-2.{namespace}.svc SRV"),
        &[&format!("0 50 80 test-service-2.{domain}.")],
    );
    client.names(&regular[0], &[&format!("test-service-2.{domain}")]);
    client.names(&regular[1], &[&format!("test-service-2.{domain}")]);
}

/// "should resolve DNS of partial qualified names for services".
#[test]
fn services_by_parts_of_their_names() {
    let cluster = &*cluster::shared();
    let (client, regular) = services(cluster, "dns-6");
    partial_names(&client, "dns-6", &both(&client.addresses), &regular);
    client.tell("services, partial names");
}

/// "should provide DNS for pods for Subdomain", and the host name, for which the original reads
/// `/etc/hosts`.
#[test]
fn pods_of_a_subdomain() {
    let cluster = &*cluster::shared();
    cluster.namespace("dns-8");
    let selector = json!({ "dns-test-hostname-attribute": "true" });
    cluster.service(
        "dns-8",
        "dns-test-service-2",
        &json!({ "clusterIP": "None", "selector": selector }),
    );
    let pod = json!({ "labels": selector, "hostname": "dns-querier-2", "subdomain": "dns-test-service-2" });
    let client = cluster.client("dns-8", "dns-test", &pod);
    cluster.until_endpoints("dns-8", "dns-test-service-2", 2);
    let domain = "dns-test-service-2.dns-8.svc.cluster.local";
    client.until(&format!("6 {domain}."), |text| text.ends_with(&client.addresses[1]));
    client.until(&format!("4 {domain}."), |text| text.ends_with(&client.addresses[0]));
    for (record, address) in both(&client.addresses) {
        for name in [&format!("dns-querier-2.{domain}"), domain, "dns-querier-2.dns-test-service-2"]
        {
            client.finds(&format!("{name} {record}"), &[address]);
        }
        client.names(address, &[&format!("dns-querier-2.{domain}")]);
    }
    client.tell("pods of a subdomain");
}

/// "should work with a service name that starts with a digit", and a Service name that looks like
/// the address of a Pod.
#[test]
fn names_that_begin_with_digits() {
    let cluster = &*cluster::shared();
    cluster.namespace("dns-14");
    let client = cluster.client("dns-14", QUERIER, &json!({}));
    for name in ["1kubernetes", "1-2-3-4"] {
        let service = cluster.service("dns-14", name, &json!({ "ports": [{ "port": 443 }] }));
        let addresses = &service["spec"]["clusterIPs"];
        let full = format!("{name}.dns-14.svc.cluster.local");
        client.until(&format!("4 {full}."), |text| !text.starts_with("error"));
        for (at, record) in ["A", "AAAA"].into_iter().enumerate() {
            let address = addresses[at].as_str().unwrap();
            client.finds(&format!("{full} {record}"), &[address]);
            client.finds(&format!("{name} {record}"), &[address]);
            client.names(address, &[&full]);
        }
    }
    client.finds("1-2-3-4.dns-14.pod.cluster.local A", &["1.2.3.4"]);
    client.finds_nothing("1kubernetes.dns-14.pod.cluster.local A");
    client.tell("names that begin with digits");
}

/// "should resolve DNS of partial qualified names for services on hostNetwork pods with dnsPolicy:
/// ClusterFirstWithHostNet".
#[test]
fn pods_on_the_nodes_network() {
    let cluster = &*cluster::shared();
    cluster.namespace("dns-15");
    let selector = json!({ "dns-test": "true" });
    cluster.service("dns-15", SERVICE, &json!({ "clusterIP": "None", "selector": selector }));
    let regular = cluster.service("dns-15", "test-service-2", &json!({ "selector": selector }));
    let pod = json!({
        "labels": selector, "hostname": QUERIER, "subdomain": SERVICE, "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet",
    });
    let client = cluster.client_on_node("dns-15", QUERIER, &pod);
    cluster.until_endpoints("dns-15", SERVICE, 1);
    let node = client.addresses[0].clone();
    client.until(&format!("4 {SERVICE}.dns-15.svc.cluster.local."), |text| text.ends_with(&node));
    let address = |at: usize| regular["spec"]["clusterIPs"][at].as_str().unwrap().to_owned();
    partial_names(&client, "dns-15", &[("A", &node)], &[address(0), address(1)]);
    client.tell("pods on the node's network");
}
