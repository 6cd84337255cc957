//! What a cluster's controllers would make.

use super::{Directory, facts, facts_of};
use crate::{
    model::Selector,
    source::manifests::{Manifests, ManifestsUpdate},
};

#[track_caller]
fn check(yaml: &str, expected: &[&str]) {
    assert_eq!(facts(yaml), expected, "{yaml}");
}

fn service(name: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}, labels: {{team: a}}}}, spec: {{{spec}}}}}\n"
    )
}

/// A ready Pod with the label `app=web`.
fn pod(name: &str, ip: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: web}}}}, spec: {{{spec}}}, \
         status: {{podIP: {ip}, conditions: [{{type: Ready, status: 'True'}}]}}}}\n"
    )
}

/// The words of one fact's line after its key.
fn words(yaml: &str, key: &str) -> Vec<String> {
    let lines = facts(yaml);
    let line = lines
        .iter()
        .find(|line| line.starts_with(&format!("{key} ")))
        .unwrap_or_else(|| panic!("{key} in {lines:?}"));
    line[key.len() + 1..].split(' ').map(str::to_owned).collect()
}

#[test]
fn every_cluster_has_an_api_server_and_four_namespaces() {
    let update = Directory::of(&[("a.yaml", "")]).read();
    let label = |name: &str| format!("+ Namespace {name} kubernetes.io/metadata.name={name}");
    let mut expected = vec!["relist Namespace".to_owned()];
    expected.extend(["default", "kube-node-lease", "kube-public", "kube-system"].map(label));
    expected.extend(
        [
            "synced Namespace",
            "relist Service",
            "+ Service default/kubernetes 10.96.0.1 https:443/tcp",
        ]
        .map(Into::into),
    );
    expected
        .extend(["synced Service", "relist EndpointSlice", "synced EndpointSlice"].map(Into::into));
    let others = [
        "Pod",
        "Node",
        "Ingress",
        "Gateway",
        "HTTPRoute",
        "TLSRoute",
        "GRPCRoute",
        "ServiceImport",
    ];
    expected.extend(
        others.iter().flat_map(|kind| [format!("relist {kind}"), format!("synced {kind}")]),
    );
    assert_eq!(super::lines(&update.changes), expected);
}

#[test]
fn the_api_server_and_dns_have_known_addresses() {
    check(&service("kubernetes", "ports: [{port: 6443}]"), &[]);
    let listed = "{apiVersion: v1, kind: Service, metadata: {name: kubernetes}, spec: {clusterIP: 10.43.0.1}}";
    check(listed, &["Service default/kubernetes 10.43.0.1"]);
    let dns = "{apiVersion: v1, kind: Service, metadata: {name: kube-dns, namespace: kube-system}, spec: {ports: [{port: 53}]}}";
    check(dns, &["Service kube-system/kube-dns 10.96.0.10 :53/tcp"]);
}

#[test]
fn addresses_are_of_the_families_that_a_service_wants() {
    let check = |spec: &str, expected: &[bool]| {
        let words = words(&service("web", spec), "Service default/web");
        let addresses: Vec<std::net::IpAddr> =
            words.iter().filter_map(|word| word.parse().ok()).collect();
        let families: Vec<_> = addresses.iter().map(std::net::IpAddr::is_ipv6).collect();
        assert_eq!(families, expected, "{spec}: {addresses:?}");
        assert!(addresses.iter().all(|ip| ip.to_string().starts_with(if ip.is_ipv6() {
            "fd00:10:96::"
        } else {
            "10.96."
        })));
    };
    check("", &[false]);
    check("ipFamilies: [IPv6]", &[true]);
    check("ipFamilies: [IPv4, IPv6]", &[false, true]);
    check("ipFamilies: [IPv6], ipFamilyPolicy: RequireDualStack", &[true, false]);
    check("ipFamilyPolicy: PreferDualStack", &[false, true]);
    check("ipFamilyPolicy: SingleStack", &[false]);
    // The manifest names one address of the two that the Service wants.
    check("clusterIP: 'fd00:10:96::5', ipFamilyPolicy: PreferDualStack", &[true, false]);
    check("clusterIP: 'fd00:10:96::5'", &[true]);
    // `clusterIPs` comes from a cluster, and is complete.
    check(
        "clusterIP: 10.96.3.3, clusterIPs: [10.96.3.3], ipFamilies: [IPv4], ipFamilyPolicy: PreferDualStack",
        &[false],
    );
}

#[test]
fn addresses_stay_where_they_are_when_others_come() {
    let many = |count: usize| {
        (0..count).map(|index| service(&format!("s{index}"), "")).collect::<String>()
    };
    let (some, more) = (facts(&many(200)), facts(&many(400)));
    assert_eq!(some, facts(&many(200)), "the same files give the same addresses");
    let moved = some.iter().filter(|line| !more.contains(line)).count();
    assert!(moved <= 2, "{moved} of 200 moved");
    let mut addresses: Vec<_> = more.iter().filter_map(|line| line.split(' ').nth(2)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 400, "no address is given twice");
    for address in addresses {
        let octets = address.parse::<std::net::Ipv4Addr>().unwrap().octets();
        assert!(octets[2] != 0 && octets[3] != 0 && octets[3] != 255, "{address}");
    }
}

#[test]
fn addresses_in_manifests_are_not_allocated() {
    let free = words(&service("web", ""), "Service default/web");
    let both = service("web", "") + &service("other", &format!("clusterIP: {}", free[0]));
    let (web, other) = (words(&both, "Service default/web"), words(&both, "Service default/other"));
    assert_eq!(other, free);
    assert_ne!(web, free);
}

#[test]
fn a_node_port_is_allocated_once_for_each_protocol() {
    let ports = "type: NodePort, ports: [{name: a, port: 80}, {name: b, port: 81, nodePort: 30007}, {name: c, port: 81, protocol: UDP}]";
    let words = words(&service("web", ports), "Service default/web");
    let numbers: Vec<u16> =
        words[1..4].iter().map(|word| word.split_once('@').unwrap().1.parse().unwrap()).collect();
    assert!(numbers.iter().all(|number| (30_000..=32_767).contains(number)), "{numbers:?}");
    assert_eq!(numbers[1], 30007);
    assert_ne!(numbers[0], 30007);
    let off = "type: LoadBalancer, clusterIP: 10.96.3.3, allocateLoadBalancerNodePorts: false, ports: [{port: 80}]";
    check(&service("web", off), &["Service default/web 10.96.3.3 :80/tcp outside"]);
    check(
        &service("web", "clusterIP: 10.96.3.3, ports: [{port: 80}]"),
        &["Service default/web 10.96.3.3 :80/tcp"],
    );
    // All of the range is used. The last Service gets no port.
    let one = |index: usize| service(&format!("s{index}"), "type: NodePort, ports: [{port: 80}]");
    let lines = facts(&(0..2769).map(one).collect::<String>());
    assert_eq!(lines.iter().filter(|line| line.contains('@')).count(), 2768);
}

#[test]
fn slices_are_made_of_ready_pods_of_the_namespace() {
    let web = service(
        "web",
        "clusterIP: 10.96.1.2, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]",
    );
    let unready = pod("c", "10.0.0.3", "").replace("'True'", "'False'");
    let other_namespace = pod("d", "10.0.0.4", "").replace("{name: d", "{name: d, namespace: shop");
    let other = pod("e", "10.0.0.5", "").replace("app: web", "app: db");
    let gone = pod("f", "10.0.0.6", "").replace("{podIP", "{phase: Succeeded, podIP");
    let all = [
        web.clone(),
        pod("b", "10.0.0.2", ""),
        pod("a", "10.0.0.1", ""),
        unready,
        other_namespace,
        other,
        gone,
    ]
    .concat();
    let slice = |yaml: &str| {
        facts(yaml).into_iter().filter(|line| line.starts_with("EndpointSlice")).collect::<Vec<_>>()
    };
    assert_eq!(
        slice(&all),
        ["EndpointSlice default/web-ipv4-000 of web 10.0.0.1(a) 10.0.0.2(b) http:8080/tcp"]
    );
    let all_of_them = all.replace("selector:", "publishNotReadyAddresses: true, selector:");
    assert_eq!(
        slice(&all_of_them),
        [
            "EndpointSlice default/web-ipv4-000 of web 10.0.0.1(a) 10.0.0.2(b) 10.0.0.3(c) http:8080/tcp"
        ]
    );
    // Services without a selector, or with listed endpoints, get no slices.
    assert_eq!(slice(&all.replace("selector: {app: web}", "selector: {}")), [""; 0]);
    let endpoints = "---\n{apiVersion: v1, kind: Endpoints, metadata: {name: web}, subsets: [{addresses: [{ip: 10.9.9.9}]}]}\n";
    assert_eq!(slice(&(all + endpoints)), ["EndpointSlice default/web-mirrored-0 of web 10.9.9.9"]);
}

#[test]
fn headless_services_name_their_pods() {
    let named = |name: &str, ip: &str| pod(name, ip, &format!("hostname: {name}, subdomain: db"));
    let yaml = service("db", "clusterIP: None, selector: {app: web}")
        + &named("db-0", "10.0.0.1")
        + &named("db-1", "10.0.0.2");
    let slice = "EndpointSlice default/db-ipv4-000 of db 10.0.0.1=db-0(db-0) 10.0.0.2=db-1(db-1)";
    let pods = ["Pod default/db-0 10.0.0.1", "Pod default/db-1 10.0.0.2"];
    check(&yaml, &["Service default/db headless", slice, pods[0], pods[1]]);
    // Another Service over the same Pods gives them no names.
    let other = yaml.replace("{name: db,", "{name: db2,");
    assert!(facts(&other).contains(
        &"EndpointSlice default/db2-ipv4-000 of db2 10.0.0.1(db-0) 10.0.0.2(db-1)".to_owned()
    ));
}

#[test]
fn slices_are_of_the_families_of_the_service() {
    let two = "{podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]";
    let check = |spec: &str, expected: &[&str]| {
        let yaml = service("web", &format!("selector: {{app: web}}, {spec}"))
            + &pod("a", "x", "").replace("{podIP: x", &two[..two.len()]);
        let slices: Vec<_> = facts(&yaml)
            .into_iter()
            .filter_map(|line| Some(line.strip_prefix("EndpointSlice default/")?.to_owned()))
            .collect();
        assert_eq!(slices, expected, "{spec}");
    };
    check("clusterIP: None", &["web-ipv4-000 of web 10.0.0.1(a)"]);
    check("clusterIP: None, ipFamilies: [IPv6]", &["web-ipv6-000 of web fd00::1(a)"]);
    check(
        "clusterIP: None, ipFamilyPolicy: PreferDualStack",
        &["web-ipv4-000 of web 10.0.0.1(a)", "web-ipv6-000 of web fd00::1(a)"],
    );
    check("clusterIP: 'fd00:10:96::5'", &["web-ipv6-000 of web fd00::1(a)"]);
    check(
        "ipFamilies: [IPv4, IPv6]",
        &["web-ipv4-000 of web 10.0.0.1(a)", "web-ipv6-000 of web fd00::1(a)"],
    );
}

#[test]
fn named_ports_are_looked_up_in_each_pod() {
    let ports = "ports: [{name: web, port: 80, targetPort: http}, {name: dns, port: 53, protocol: UDP, targetPort: dns}, {name: same, port: 99}]";
    let container = |key: &str, http: u16| {
        format!(
            "{key}: [{{restartPolicy: Always, ports: [{{name: http, containerPort: {http}}}, {{name: dns, containerPort: 5353}}]}}]"
        )
    };
    let yaml = service("web", &format!("clusterIP: None, selector: {{app: web}}, {ports}"))
        + &pod("a", "10.0.0.1", &container("containers", 8080))
        + &pod("b", "10.0.0.2", &container("containers", 9090))
        + &pod("c", "10.0.0.3", &container("initContainers", 8080))
        + &pod("d", "10.0.0.4", "");
    let slices: Vec<_> =
        facts(&yaml).into_iter().filter(|line| line.starts_with("EndpointSlice")).collect();
    // `dns` is a TCP port of the Pods, so the Service's UDP port has no target. The last Pod has no
    // ports of these names.
    let expected = [
        "EndpointSlice default/web-ipv4-000 of web 10.0.0.4(d) same:99/tcp",
        "EndpointSlice default/web-ipv4-001 of web 10.0.0.1(a) 10.0.0.3(c) web:8080/tcp same:99/tcp",
        "EndpointSlice default/web-ipv4-002 of web 10.0.0.2(b) web:9090/tcp same:99/tcp",
    ];
    assert_eq!(slices, expected);
}

#[test]
fn a_slice_has_a_hundred_endpoints() {
    let pods: String = (0..101)
        .map(|index| pod(&format!("p{index:03}"), &format!("10.0.0.{index}"), ""))
        .collect();
    let lines = facts(&(service("web", "clusterIP: None, selector: {app: web}") + &pods));
    let counts: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("EndpointSlice"))
        .map(|line| line.matches("(p").count())
        .collect();
    assert_eq!(counts, [100, 1]);
}

#[test]
fn a_namespace_that_an_object_names_exists() {
    let pending = "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: later}}";
    check(pending, &["Namespace later kubernetes.io/metadata.name=later"]);
}

#[test]
fn a_selector_applies_to_slices_as_to_their_service() {
    let yaml = service("web", "clusterIP: 10.96.1.2, selector: {app: web}")
        + &service("other", "clusterIP: 10.96.1.3").replace("team: a", "team: b")
        + &pod("a", "10.0.0.1", "");
    let directory = Directory::of(&[("a.yaml", &yaml)]);
    let read = |selector: &str| -> ManifestsUpdate {
        Manifests::open(&directory.0, Some(Selector::parse(selector).unwrap())).unwrap().read()
    };
    let web =
        ["Service default/web 10.96.1.2", "EndpointSlice default/web-ipv4-000 of web 10.0.0.1(a)"];
    assert_eq!(facts_of(&read("team=a")), web);
    assert_eq!(facts_of(&read("app=web")), ["Pod default/a 10.0.0.1"]);
}
