//! A changed Corefile in the ConfigMap `coredns` (dns_configmap.go). The originals delete the Pods
//! so that new ones read it. Here the Corefile has `reload`, the server reads it itself, and no
//! query of a client fails.

use serde_json::json;

use super::{
    clients::Client,
    cluster::{self, Cluster},
};
use crate::support::lab::Container;

/// The Corefile of the originals with `reload`. Queries for external names go to `stub`; `more` is
/// added.
fn corefile(stub: &Container, more: &str) -> String {
    format!(
        ".:53 {{
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }}
    forward . {stub}
    reload
}}
{more}",
        stub = stub.netns.address
    )
}

/// The second server of the originals. It has these names and logs its queries.
fn hosts(lines: &[&str]) -> String {
    format!(". {{\n\thosts {{\n\t\t{}\n\t}}\n\tlog\n}}", lines.join("\n\t\t"))
}

fn client_and_stub(cluster: &Cluster, namespace: &str, lines: &[&str]) -> (Client, Container) {
    cluster.namespace(namespace);
    let stub = cluster.server(namespace, "e2e-configmap-dns-server", &hosts(lines));
    (cluster.client(namespace, "e2e-dns-configmap", &json!({})), stub)
}

/// Replaces the Corefile, and returns how long it takes until musl gets the new answer.
fn change(cluster: &Cluster, client: &Client, text: &str, question: &str, expected: &str) {
    cluster.write_corefile(text);
    let took = client.until(question, |text| text.starts_with(expected));
    println!("a Corefile was in use {took:?} after it was written");
}

/// "should be able to change stubDomain configuration". The original has one server for external
/// names and for the stub domain. Here there are two, so that each answer shows which one was
/// asked.
#[test]
fn stub_domains() {
    let cluster = &*cluster::shared();
    let _own = cluster.own_corefile();
    let acme = [
        "1.1.1.1 abc.acme.local",
        "2.2.2.2 def.acme.local",
        "2606:4700:4700::1111 abc.acme.local",
        "2606:4700:4700::2222 def.acme.local",
    ];
    let rest = ["3.3.3.3 widget.local", "2606:4700:4700::3333 widget.local"];
    let (client, world) = client_and_stub(cluster, "dns-18", &rest);
    let stub = cluster.server("dns-18", "e2e-stub-dns-server", &hosts(&acme));
    let more = format!("acme.local:53 {{\n  forward . {}\n}}\n", stub.netns.address);
    change(cluster, &client, &corefile(&world, &more), "4 widget.local.", "widget.local 3.3.3.3");
    for line in acme.iter().chain(&rest) {
        let (address, name) = line.split_once(' ').unwrap();
        client.finds(
            &format!("{name} {}", if address.contains(':') { "AAAA" } else { "A" }),
            &[address],
        );
    }
    change(cluster, &client, &cluster.usual, "4 abc.acme.local.", "error");
    for name in ["abc.acme.local", "def.acme.local", "widget.local"] {
        client.finds_nothing(&format!("{name} A"));
        client.finds_nothing(&format!("{name} AAAA"));
    }
    client.tell("stub domains");
}

/// "should forward PTR records lookup to upstream nameserver".
#[test]
fn reverse_names_of_external_addresses() {
    let cluster = &*cluster::shared();
    let _own = cluster.own_corefile();
    let (client, stub) =
        client_and_stub(cluster, "dns-19", &["192.0.2.123 my.test", "2001:db8::29 my.test"]);
    client.names("8.8.8.8", &["dns.google"]);
    client.names("2001:4860:4860::8888", &["dns.google"]);
    change(cluster, &client, &corefile(&stub, ""), "ptr 192.0.2.123", "my.test");
    client.names("192.0.2.123", &["my.test"]);
    client.names("2001:db8::29", &["my.test"]);
    change(cluster, &client, &cluster.usual, "ptr 192.0.2.123", "error");
    client.names("192.0.2.123", &[]);
    client.names("2001:db8::29", &[]);
    client.tell("reverse names of external addresses");
}

/// "should forward externalname lookup to upstream nameserver": first the alias, then its address.
#[test]
fn external_name_services_are_aliases() {
    let cluster = &*cluster::shared();
    let _own = cluster.own_corefile();
    let (client, stub) = client_and_stub(
        cluster,
        "dns-20",
        &["192.0.2.123 foo.example.com", "2001:db8::29 foo.example.com"],
    );
    let services = [
        ("dns-externalname-upstream-test", "dns.google"),
        ("dns-externalname-upstream-local", "foo.example.com"),
    ];
    for (name, target) in services {
        cluster.service("dns-20", name, &json!({ "type": "ExternalName", "externalName": target }));
        client
            .until(&format!("4 {name}.dns-20.svc.cluster.local."), |text| text.starts_with(target));
    }
    let [upstream, local] = services.map(|(name, _)| format!("{name}.dns-20.svc.cluster.local"));
    client.finds(&format!("{upstream} A"), &["dns.google.", "8.8.8.8"]);
    client.finds(&format!("{upstream} AAAA"), &["dns.google.", "2001:4860:4860::8888"]);
    change(
        cluster,
        &client,
        &corefile(&stub, ""),
        &format!("4 {local}."),
        "foo.example.com 192.0.2.123",
    );
    client.finds(&format!("{local} A"), &["foo.example.com.", "192.0.2.123"]);
    client.finds(&format!("{local} AAAA"), &["foo.example.com.", "2001:db8::29"]);
    change(cluster, &client, &cluster.usual, &format!("4 {local}."), "foo.example.com 192.0.2.11");
    client.finds(&format!("{upstream} A"), &["dns.google.", "8.8.8.8"]);
    client.tell("ExternalName Services");
}
