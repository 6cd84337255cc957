//! What ndots reads of each kind, and how files are split into objects.

use super::{Directory, facts, facts_of};

#[track_caller]
fn check(yaml: &str, expected: &[&str]) {
    assert_eq!(facts(yaml), expected, "{yaml}");
}

#[test]
fn services() {
    let service = |name: &str, rest: &str| {
        format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n{rest}")
    };
    let check = |rest: &str, expected: &str| {
        check(&service("web", rest), &[&format!("Service default/web{expected}")]);
    };
    check("spec: {clusterIP: 10.96.1.2, ports: [{port: 80}]}", " 10.96.1.2 :80/tcp");
    check(
        "spec: {clusterIPs: [10.96.1.2, 'fd00::1'], ports: [{name: d, port: 53, protocol: UDP}]}",
        " 10.96.1.2 fd00::1 d:53/udp",
    );
    check(
        "spec: {clusterIP: None, ports: [{port: 65535, protocol: SCTP, appProtocol: http}]}",
        " headless :65535/sctp",
    );
    check("spec: {clusterIP: '', clusterIPs: [None], ports: null, selector: null}", " headless");
    check("spec: {type: ExternalName, externalName: DB.example.com.}", " = DB.example.com");
    // A `LoadBalancer` as `kubectl` prints it. An empty string counts as absent.
    check(
        "spec: {type: LoadBalancer, clusterIP: 10.96.1.2, externalIPs: [80.11.12.10], externalTrafficPolicy: Local, \
         ports: [{port: 80, nodePort: 30007, targetPort: 8080}]}\n\
         status: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {hostname: lb.example.com, ip: ''}, {}]}}",
        " 10.96.1.2 :80/tcp@30007 outside local 80.11.12.10 192.0.2.1 lb.example.com",
    );
    check("spec: {type: '', clusterIP: 10.96.1.2}\nstatus: null", " 10.96.1.2");
}

#[test]
fn endpoint_slices_have_ready_addresses_only() {
    let slice = |rest: &str| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: web-x, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n{rest}"
        )
    };
    let check = |rest: &str, expected: &str| {
        let labelled = "Namespace shop kubernetes.io/metadata.name=shop";
        check(&slice(rest), &[labelled, &format!("EndpointSlice shop/web-x of web{expected}")]);
    };
    check(
        "addressType: IPv4\nendpoints:\n- {addresses: [10.0.0.1], hostname: a, targetRef: {kind: Pod, name: web-1}}\n\
         - {addresses: [10.0.0.2], conditions: {ready: false, serving: true}}\n\
         - {addresses: [10.0.0.3], conditions: {ready: null}, targetRef: {kind: Node, name: n}}\n\
         ports: [{name: http, port: 8080, protocol: TCP}, {name: any, port: null}]",
        " 10.0.0.1=a(web-1) 10.0.0.3(n) http:8080/tcp any:0/tcp",
    );
    check("addressType: IPv6\nendpoints: null\nports: null", "");
}

#[test]
fn slices_that_dns_does_not_show() {
    let slice = |labels: &str, rest: &str| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: x, labels: {labels}}}\n{rest}"
        )
    };
    let of_web = "{kubernetes.io/service-name: web}";
    check(&slice(of_web, "addressType: FQDN\nendpoints: [{addresses: [a.example.com]}]"), &[]);
    check(&slice("{}", "endpoints: [{addresses: [10.0.0.1]}]"), &[]);
    check(&slice("null", "endpoints: [{addresses: [10.0.0.1]}]"), &[]);
}

#[test]
fn endpoints_are_slices_unless_there_are_slices() {
    let endpoints = "apiVersion: v1\nkind: Endpoints\nmetadata: {name: db}\nsubsets:\n\
        - addresses: [{ip: 10.0.0.1, hostname: a, targetRef: {kind: Pod, name: db-0}}]\n\
        \x20 notReadyAddresses: [{ip: 10.0.0.2}]\n\
        \x20 ports: [{name: sql, port: 5432}]\n\
        - addresses: [{ip: 10.0.0.3}]\n";
    check(
        endpoints,
        &[
            "EndpointSlice default/db-mirrored-0 of db 10.0.0.1=a(db-0) sql:5432/tcp",
            "EndpointSlice default/db-mirrored-1 of db 10.0.0.3",
        ],
    );
    // `kubectl get endpoints,endpointslices -o yaml` has both.
    let slice = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
        metadata: {name: db-x, labels: {kubernetes.io/service-name: db}}\nendpoints: [{addresses: [10.0.0.1]}]\n";
    check(&format!("{endpoints}{slice}"), &["EndpointSlice default/db-x of db 10.0.0.1"]);
}

#[test]
fn service_imports_and_their_slices() {
    let import = |spec: &str| {
        format!(
            "apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceImport\nmetadata: {{name: web}}\nspec: {spec}"
        )
    };
    check(
        &import(
            "{type: ClusterSetIP, ips: [10.42.0.1, 'fd00::1'], ports: [{name: http, protocol: TCP, port: 80, appProtocol: h2}]}",
        ),
        &["ServiceImport default/web 10.42.0.1 fd00::1 http:80/tcp"],
    );
    check(&import("{type: Headless, ports: null}"), &["ServiceImport default/web headless"]);
    check(&import("{}"), &["ServiceImport default/web"]);
    check(&import("{}").replace("multicluster.x-k8s.io", "other.example"), &[]);
    let slice = |labels: &str| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-x, labels: {{{labels}}}}}\n\
             addressType: IPv4\nendpoints: [{{addresses: [10.0.0.1]}}]"
        )
    };
    let imported = "multicluster.kubernetes.io/service-name: web, multicluster.kubernetes.io/source-cluster: west";
    check(&slice(imported), &["EndpointSlice default/web-x of web in west 10.0.0.1"]);
    // The reference implementation of KEP-1645 also makes a Service for kube-proxy, and its slices
    // have the labels of both.
    let both = format!("kubernetes.io/service-name: derived-1, {imported}");
    check(&slice(&both), &["EndpointSlice default/web-x of derived-1 of web in west 10.0.0.1"]);
}

#[test]
fn pods_with_addresses_that_still_run() {
    let pod = |rest: &str| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p{rest}");
    check(&pod("}\nstatus: {phase: Running, podIP: 10.0.0.1}"), &["Pod default/p 10.0.0.1"]);
    check(
        &pod("}\nstatus: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}"),
        &["Pod default/p 10.0.0.1 fd00::1"],
    );
    check(&pod("}\nstatus: {phase: Succeeded, podIP: 10.0.0.1}"), &[]);
    check(&pod("}\nstatus: {phase: Failed, podIP: 10.0.0.1}"), &[]);
    check(&pod(", deletionTimestamp: 2026-01-01T00:00:00Z}\nstatus: {podIP: 10.0.0.1}"), &[]);
    check(&pod("}\nstatus: {phase: Pending, podIP: '', podIPs: null}"), &[]);
    check(&pod("}"), &[]);
}

#[test]
fn nodes_namespaces_ingresses() {
    check(
        "apiVersion: v1\nkind: Node\nmetadata: {name: n, namespace: nonsense}\nstatus:\n\
         \x20 addresses: [{type: InternalIP, address: 192.0.2.1}, {type: ExternalIP, address: 198.51.100.1}, {type: Hostname, address: n}]\n\
         \x20 conditions: [{type: Ready, status: 'True'}]",
        &["Node n ready 192.0.2.1 external 198.51.100.1"],
    );
    check("apiVersion: v1\nkind: Node\nmetadata: {name: n}", &["Node n unready"]);
    check(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a, empty: null}}",
        &["Namespace shop empty= kubernetes.io/metadata.name=shop team=a"],
    );
    for version in ["networking.k8s.io/v1", "networking.k8s.io/v1beta1", "extensions/v1beta1"] {
        check(
            &format!(
                "apiVersion: {version}\nkind: Ingress\nmetadata: {{name: i}}\n\
                 spec: {{rules: [{{host: Cafe.example.com}}, {{http: {{}}}}], tls: [{{hosts: [cafe.example.com, tea.example.com]}}, {{}}]}}\n\
                 status: {{loadBalancer: {{ingress: [{{ip: 192.0.2.1}}]}}}}"
            ),
            &["Ingress default/i cafe.example.com tea.example.com at 192.0.2.1"],
        );
    }
}

#[test]
fn objects_of_other_kinds_are_counted() {
    let others = [
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 2}",
        "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: web}",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {1: one, script: |\n    ---\n    # }\n  }",
    ];
    let directory = Directory::of(&[
        ("a.yaml", &others[..2].join("\n---\n")),
        ("b.json", r#"{"kind": "Secret", "data": null}"#),
    ]);
    let update = directory.read();
    assert_eq!(directory.errors(&update), [""; 0]);
    assert_eq!(facts_of(&update), [""; 0]);
    assert_eq!(update.unused, 3);
}

#[test]
fn a_file_is_a_stream_of_documents_and_lists() {
    let pod = |name: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, status: {{podIP: 10.0.0.1}}}}"
        )
    };
    let found = &["Pod default/a 10.0.0.1", "Pod default/b 10.0.0.1"];
    let (a, b) = (pod("a"), pod("b"));
    check(&format!("{a}\n---\n{b}\n"), found);
    check(&format!("# words\n---\n---\n{a}\n--- # more\n{b}\n...\n---\n"), found);
    check(&format!("--- {a}\n--- {b}"), found);
    check(&format!("---\r\n{a}\r\n---\r\n{b}\r\n"), found);
    check(&format!("\u{feff}{a}\n---\n{b}"), found);
    check(&format!("%YAML 1.2\n---\n{a}\n---\n{b}"), found);
    check(&format!("apiVersion: v1\nkind: List\nitems:\n- {a}\n- {b}\n"), found);
    check(&format!("items:\n- {a}\n- {b}\nkind: List\nmetadata: {{resourceVersion: ''}}"), found);
    // The items of a typed list do not repeat their kind.
    check(
        "apiVersion: v1\nkind: PodList\nitems:\n- {metadata: {name: a}, status: {podIP: 10.0.0.1}}\n\
         - {metadata: {name: b}, status: {podIP: 10.0.0.1}}",
        found,
    );
    check("apiVersion: v1\nkind: List\nitems: []", &[]);
    check("apiVersion: v1\nkind: List\nitems: null", &[]);
    check("# nothing\n", &[]);
    check("", &[]);
    // JSON may be indented with tabs.
    check(
        "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Pod\",\n\t\"metadata\": {\"name\": \"a\"},\n\t\"status\": {\"podIP\": \"10.0.0.1\"}\n}",
        &found[..1],
    );
    // A `---` in a block of text does not begin a document, and `y` is a string.
    check("kind: ConfigMap\ndata:\n  a: |\n    ---\n    kind: [\n", &[]);
    check(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.96.1.2, ports: [{name: y, port: 80}]}",
        &["Service default/a 10.96.1.2 y:80/tcp"],
    );
}

#[test]
fn all_files_below_but_hidden_ones() {
    let pod = |name: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, status: {{podIP: 10.0.0.1}}}}"
        )
    };
    let directory = Directory::of(&[
        ("a.yaml", &pod("a")),
        ("deep/er/b.yml", &pod("b")),
        ("deep/c.json", &pod("c")),
        (".hidden.yaml", &pod("d")),
        (".git/e.yaml", &pod("e")),
        ("f.yaml~", &pod("f")),
        ("README.md", "# f"),
    ]);
    std::os::unix::fs::symlink(&directory.0, directory.0.join("deep/round")).unwrap();
    let expected = ["Pod default/a 10.0.0.1", "Pod default/b 10.0.0.1", "Pod default/c 10.0.0.1"];
    let update = directory.read();
    assert_eq!(facts_of(&update), expected);
    assert_eq!(directory.errors(&update), [""; 0]);
    let single = super::super::Manifests::open(&directory.0.join("a.yaml"), None).unwrap().read();
    assert_eq!(facts_of(&single), expected[..1]);
}
