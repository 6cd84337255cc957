//! The questions: names from the objects, names similar to them, and every way to send a query.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ndots::{
    diff::How,
    wire::{Name, Spelled, Type},
};
use serde_json::Value;

use super::objects::Cluster;

const UDP: How = How {
    tcp: false,
    edns: None,
    dnssec_ok: false,
    no_recursion: false,
    authentic_data: false,
    checking_disabled: false,
    mixed: false,
};
const TCP: How = How { tcp: true, ..UDP };

pub(crate) const WAYS: [How; 14] = [
    UDP,
    How { edns: Some(1232), ..UDP },
    TCP,
    How { edns: Some(4096), dnssec_ok: true, ..UDP },
    How { mixed: true, ..UDP },
    How { edns: Some(512), ..UDP },
    How { edns: Some(1232), dnssec_ok: true, ..TCP },
    How { edns: Some(100), ..UDP },
    How { edns: Some(65_535), authentic_data: true, ..UDP },
    How { checking_disabled: true, authentic_data: true, ..UDP },
    How { edns: Some(1232), dnssec_ok: true, checking_disabled: true, ..UDP },
    How { no_recursion: true, ..UDP },
    How { edns: Some(1400), mixed: true, ..UDP },
    How { mixed: true, checking_disabled: true, ..TCP },
];

pub(crate) const TYPES: [Type; 14] = [
    Type::A,
    Type::AAAA,
    Type::SRV,
    Type::PTR,
    Type::CNAME,
    Type::TXT,
    Type::NS,
    Type::SOA,
    Type::MX,
    Type(65),
    Type::ANY,
    Type::DS,
    Type(64),
    Type(65_280),
];

/// The names to query in a cluster with these zones, with wrong names at every level.
pub(crate) fn names(cluster: &Cluster, zones: &[String]) -> Vec<String> {
    let mut names = Names::default();
    for zone in zones {
        names.apex(zone);
        cluster
            .namespaces
            .iter()
            .map(String::as_str)
            .chain(["nowhere"])
            .for_each(|namespace| names.namespace(namespace, zone));
        cluster
            .services
            .iter()
            .chain(&cluster.imports)
            .for_each(|service| names.service(service, cluster, zone));
        cluster.pods.iter().for_each(|pod| names.pod(pod, zone));
        names.wrong(zone);
    }
    names.reverse(cluster);
    names.world();
    names.0.into_iter().collect()
}

#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    fn add(&mut self, labels: &str, parent: &str) {
        let name = if labels.is_empty() { parent.to_owned() } else { format!("{labels}.{parent}") };
        // An invalid name cannot be queried.
        if name.parse::<Spelled>().is_ok() {
            self.0.insert(name);
        }
    }

    fn all(&mut self, labels: &[&str], parent: &str) {
        labels.iter().for_each(|labels| self.add(labels, parent));
    }

    fn apex(&mut self, zone: &str) {
        self.all(
            &[
                "",
                "svc",
                "pod",
                "dns",
                "ns.dns",
                "x.ns.dns",
                "x.dns",
                "dns-version",
                "x.dns-version",
                "ns",
                "hostmaster",
                "any",
                "*",
            ],
            zone,
        );
        self.all(
            &["_tcp", "_http._tcp", "foo", "foo.bar", "foo.bar.baz", "node", "endpoints", "*.svc"],
            zone,
        );
    }

    fn namespace(&mut self, namespace: &str, zone: &str) {
        let (svc, pod) = (format!("{namespace}.svc.{zone}"), format!("{namespace}.pod.{zone}"));
        self.all(&["", "missing", "*", "_tcp", "a.b.c.d.e"], &svc);
        self.all(&["", "10-1-2-3", "x.10-1-2-3", "fd00--1", "10-1-2", "web"], &pod);
        self.add(namespace, zone);
    }

    fn service(&mut self, service: &Value, cluster: &Cluster, zone: &str) {
        let (namespace, name) =
            (text(&service["metadata"]["namespace"]), text(&service["metadata"]["name"]));
        let own = format!("{name}.{namespace}.svc.{zone}");
        self.all(
            &[
                "",
                "nobody",
                "10-99-99-99",
                "_nope._tcp",
                "_tcp",
                "a.b.c",
                "a.b.c.d",
                "_._",
                "_._tcp",
                "_._udp",
                "*",
            ],
            &own,
        );
        self.all(&[name, &format!("{name}.{namespace}")], zone);
        self.add(name, &format!("{namespace}.pod.{zone}"));
        self.all(
            &[
                "eu-1a.pin._zone",
                "eu-1a.prefer._zone",
                "eu.1b.pin._zone",
                "us-2c.pin._zone",
                "us-2c.prefer._zone",
                "pin._zone",
            ],
            &own,
        );
        for port in list(&service["spec"]["ports"]) {
            let (port, protocol) = (
                port["name"].as_str().unwrap_or("nameless"),
                text(&port["protocol"]).to_lowercase(),
            );
            let other = if protocol == "tcp" { "udp" } else { "tcp" };
            let forms = [
                format!("_{port}._{protocol}"),
                format!("{port}.{protocol}"),
                format!("_{port}._{other}"),
                format!("_{port}"),
            ];
            forms.iter().for_each(|form| self.add(form, &own));
            self.add(&format!("_{}._{protocol}", service["spec"]["ports"][0]["port"]), &own);
            self.add(&format!("x._{port}._{protocol}"), &own);
        }
        // The endpoints of a large Service are alike, so some of each slice are enough.
        for endpoint in
            cluster.slices_of(namespace, name).flat_map(|slice| list(&slice["endpoints"]).take(8))
        {
            self.endpoint(endpoint, &own);
        }
    }

    fn endpoint(&mut self, endpoint: &Value, own: &str) {
        let addresses = list(&endpoint["addresses"])
            .filter_map(|address| text(address).parse().ok())
            .map(dashed);
        let given = [&endpoint["hostname"], &endpoint["targetRef"]["name"]]
            .into_iter()
            .filter_map(Value::as_str)
            .map(str::to_owned);
        for label in addresses.chain(given) {
            self.add(&label, own);
            self.add(&format!("x.{label}"), own);
            self.add(&format!("_http._tcp.{label}"), own);
        }
    }

    fn pod(&mut self, pod: &Value, zone: &str) {
        let namespace = text(&pod["metadata"]["namespace"]);
        for address in list(&pod["status"]["podIPs"]).filter_map(|it| text(&it["ip"]).parse().ok())
        {
            let label = dashed(address);
            self.all(&[&label, &format!("x.{label}")], &format!("{namespace}.pod.{zone}"));
            self.add(&label, &format!("default.pod.{zone}"));
        }
        self.add(text(&pod["metadata"]["name"]), &format!("{namespace}.pod.{zone}"));
    }

    /// Labels that are almost addresses or ports, and labels without a meaning.
    fn wrong(&mut self, zone: &str) {
        let pods = [
            "10-1-2-256",
            "1-2-3-4-5",
            "01-2-3-4",
            "--",
            "--1",
            "1--",
            "0--0",
            "fd00-0-0-0-0-0-0-1",
            "fd00--0",
            "fd00--1--2",
            "1--2-3-4",
        ];
        self.all(&pods, &format!("shop.pod.{zone}"));
        self.all(
            &["--ffff-10-1-2-3", "10.1.2.3", "localhost", "-", "1-2-3-", "a-b-c-d", "::1"],
            &format!("shop.pod.{zone}"),
        );
        self.all(
            &["web.shop", "web.shop.svc.svc", "web.shop.nope", "shop.svc.web", "web..shop"],
            zone,
        );
        let of_clusters = [
            "db-0.north",
            "db-0.south",
            "db-0.west",
            "10-246-0-2.north",
            "db-0",
            "10-246-0-2",
            "_sql._tcp",
            "sql.tcp",
            "x.db-0.north",
        ];
        self.all(&of_clusters, &format!("db.headless.svc.{zone}"));
        self.all(&["", "_http._tcp", "north", "x.north"], &format!("web.shop.svc.{zone}"));
        // The names that the search list of a Pod in the namespace `shop` produces.
        let searched = [
            "web.shop.svc",
            "www.example.org",
            "alias.example.org",
            "db.headless",
            "six.example.org",
            "nothing.example.org",
            "example.org",
        ];
        self.all(&searched, &format!("shop.svc.{zone}"));
        self.add("", zone.split_once('.').map_or("", |(_, parent)| parent));
        self.add(&format!("x{zone}"), "");
    }

    fn reverse(&mut self, cluster: &Cluster) {
        let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
        let texts = |value: &Value| {
            list(value).map(text).filter_map(|text| text.parse().ok()).collect::<Vec<IpAddr>>()
        };
        cluster
            .services
            .iter()
            .for_each(|service| addresses.extend(texts(&service["spec"]["clusterIPs"])));
        for endpoint in cluster.slices.iter().flat_map(|slice| list(&slice["endpoints"]).take(8)) {
            addresses.extend(texts(&endpoint["addresses"]));
        }
        addresses.extend(
            cluster
                .pods
                .iter()
                .flat_map(|pod| list(&pod["status"]["podIPs"]))
                .filter_map(|it| text(&it["ip"]).parse::<IpAddr>().ok()),
        );
        addresses.extend([
            Ipv4Addr::new(10, 96, 255, 1).into(),
            Ipv4Addr::new(8, 8, 8, 8).into(),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ]);
        for address in addresses {
            let name = Name::reverse(address).to_string();
            let name = name.trim_end_matches('.');
            self.all(&["", "x", "_http._tcp"], name);
        }
        let partial = [
            "in-addr.arpa",
            "ip6.arpa",
            "10.in-addr.arpa",
            "96.10.in-addr.arpa",
            "0.96.10.in-addr.arpa",
            "1.0.96.10.10.in-addr.arpa",
        ];
        partial.iter().for_each(|name| self.add("", name));
        self.all(&["256.0.96.10", "01.0.96.10", "a.0.96.10"], "in-addr.arpa");
        self.all(&["0.0.d.f", "g.0.d.f"], "ip6.arpa");
    }

    fn world(&mut self) {
        super::upstream::NAMES.iter().for_each(|name| self.add("", name));
        self.all(
            &["", "invalid", "missing.example.org", "a.missing.example.org", "x.www.example.org"],
            "",
        );
        self.0.insert(".".to_owned());
    }
}

/// The zones of a Corefile: the arguments of `kubernetes`.
pub(crate) fn zones(corefile: &str) -> Vec<String> {
    let lines = corefile.lines().filter_map(|line| line.trim().strip_prefix("kubernetes "));
    let words = lines.flat_map(|line| line.split_whitespace().take_while(|word| *word != "{"));
    let zones: BTreeSet<_> = words
        .filter(|word| !word.ends_with(".arpa") && !word.contains('/'))
        .map(str::to_owned)
        .collect();
    zones.into_iter().collect()
}

fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
