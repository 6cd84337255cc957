//! Search lists and servers that a Pod sets in its `dnsConfig` (dns.go).

use serde_json::json;

use super::cluster;
use crate::support::lab::DNS;

const CLUSTER: &str = "svc.cluster.local svc.cluster.local cluster.local";

/// "should support configurable pod resolv.conf": a Pod with its own server, which is ndots with
/// the Corefile of that test.
#[test]
fn a_server_of_the_pods_own() {
    let cluster = &*cluster::shared();
    cluster.namespace("dns-11");
    let corefile = ". {\n\thosts {\n\t\t1.1.1.1 notexistname.resolv.conf.local\n\t}\n\tlog\n}";
    let server = cluster.server("dns-11", "e2e-configmap-dns-server", corefile);
    let client = cluster.client(
        "dns-11",
        "e2e-dns-utils",
        &json!({ "dnsPolicy": "None", "dnsConfig": { "nameservers": ["192.0.2.1"] } }),
    );
    client.netns.resolv_conf(&format!(
        "nameserver {}\nsearch resolv.conf.local\noptions ndots:2\n",
        server.netns.address
    ));
    client.finds("notexistname A", &["1.1.1.1"]);
    client.names("1.1.1.1", &["notexistname.resolv.conf.local"]);
    assert!(
        server.log().contains("\"A IN notexistname.resolv.conf.local. udp "),
        "{}",
        server.log()
    );
    assert!(
        server.log().contains("\"A IN notexistname.resolv.conf.local. tcp "),
        "{}",
        server.log()
    );
    client.tell("a server of the Pod's own");
}

/// "should work with the pod containing more than 6 DNS search paths and longer than 256 search
/// list characters".
#[test]
fn long_search_lists() {
    let cluster = &*cluster::shared();
    let _usual = cluster.usual_corefile();
    cluster.namespace("dns-12");
    let client = cluster.client("dns-12", "dns-test", &json!({}));
    let paths: Vec<_> = (1..=6).map(|number| format!("{number:038}.k8s.io")).collect();
    let search = |paths: &[String]| {
        let text = format!(
            "search dns-12.{CLUSTER} {}\nnameserver {DNS}\noptions ndots:5\n",
            paths.join(" ")
        );
        client.netns.resolv_conf(&text);
    };
    let cluster_names = ["kubernetes.default A", "kubernetes.default.svc A"];
    search(&paths);
    for name in cluster_names {
        client.dig(name, &["10.96.0.1"]);
        client.glibc_finds(name, &["10.96.0.1"]);
    }
    client.glibc_finds("last A", &["192.0.2.13"]);
    // musl ignores a line of more than 255 characters, so it has no search list then.
    client.musl_finds("kubernetes.default.svc.cluster.local A", &["10.96.0.1"]);
    // dig uses the first eight domains.
    search(&paths[1..]);
    client.dig("last A", &["192.0.2.13"]);
    search(&paths[3..]);
    for name in cluster_names {
        client.musl_finds(name, &["10.96.0.1"]);
    }
    client.musl_finds("last A", &["192.0.2.13"]);
    client.tell("long search lists");
}

/// "should work with a search path containing an underscore and a search path with a single dot".
#[test]
fn underscores_and_the_root_in_a_search_list() {
    let cluster = &*cluster::shared();
    let _usual = cluster.usual_corefile();
    cluster.namespace("dns-13");
    let client = cluster.client("dns-13", "dns-test", &json!({}));
    let text = format!(
        "search dns-13.{CLUSTER} . _sip._tcp.abc_d.example.com\nnameserver {DNS}\noptions ndots:5\n"
    );
    client.netns.resolv_conf(&text);
    for name in ["kubernetes.default A", "kubernetes.default.svc A"] {
        client.finds(name, &["10.96.0.1"]);
    }
    // musl 1.2.3 builds a malformed query if the search domain is the root.
    client.dig("last A", &["192.0.2.14"]);
    client.glibc_finds("last A", &["192.0.2.14"]);
    // The upstream's log may have the name in another case.
    let asked = cluster.world.dnsmasq.log().to_ascii_lowercase();
    for name in ["query[a] last from", "query[a] last._sip._tcp.abc_d.example.com from"] {
        assert!(asked.contains(name), "the upstream was not queried: {name}");
    }
    client.tell("underscores and the root in a search list");
}
