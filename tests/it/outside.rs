//! Clients outside the cluster resolve names with ndots, and connect to Pods through real
//! kube-proxy rules.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    time::{Duration, Instant},
};

use crate::support::{
    lab::{Container, Lab, LabOptions, Netns, Node, Process, Program, until},
    question, turn,
};
use serde_json::json;

const COREFILE: &str = "
.:53 {
    errors
    ready
    prometheus 0.0.0.0:9153
    k8s_gateway example.org example.com {
        resources HTTPRoute Ingress Service
        nodeAddressType ExternalIP InternalIP
        ttl 1
    }
    forward . WORLD
}
";

/// The permissions for names outside the cluster, which kubeadm's account lacks.
const ROLE: &str = include_str!("../../deploy/outside/rbac.yaml");

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: { name: my-nginx }
spec: { type: NodePort, selector: { run: my-nginx }, ports: [{ name: http, port: 80, targetPort: 8080, nodePort: 30007 }] }
---
apiVersion: v1
kind: Service
metadata: { name: local }
spec: { type: NodePort, externalTrafficPolicy: Local, selector: { run: local }, ports: [{ name: http, port: 80, targetPort: 8080, nodePort: 30008 }] }
---
apiVersion: v1
kind: Service
metadata: { name: my-external-ips }
spec: { selector: { run: my-nginx }, externalIPs: [80.11.12.10], ports: [{ name: http, port: 81, targetPort: 8080 }] }
---
apiVersion: v1
kind: Service
metadata: { name: my-load-balancer, annotations: { coredns.io/hostname: shop.example.com } }
spec: { type: LoadBalancer, selector: { run: my-nginx }, ports: [{ name: http, port: 82, targetPort: 8080 }] }
---
apiVersion: v1
kind: Service
metadata: { name: my-service }
spec: { type: ExternalName, externalName: my.database.example.net }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: cafe-ingress }
spec: { rules: [{ host: cafe.example.com, http: { paths: [{ path: /tea, pathType: Prefix, backend: { service: { name: my-nginx, port: { number: 80 } } } }] } }] }
";

/// Minimal CustomResourceDefinitions of the Gateway API, so that an API server stores its objects.
pub(crate) fn definition(kind: &str, plural: &str) -> String {
    let schema = "{ type: object, x-kubernetes-preserve-unknown-fields: true }";
    format!(
        "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{ name: {plural}.gateway.networking.k8s.io, annotations: {{ api-approved.kubernetes.io: unapproved }} }}
spec:
  group: gateway.networking.k8s.io
  scope: Namespaced
  names: {{ kind: {kind}, plural: {plural}, singular: {} }}
  versions: [{{ name: v1, served: true, storage: true, schema: {{ openAPIV3Schema: {schema} }} }}]
",
        kind.to_lowercase()
    )
}

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: front }
spec: { gatewayClassName: public }
status: { addresses: [{ type: IPAddress, value: 203.0.113.20 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: route }
spec: { hostnames: [route.example.com], parentRefs: [{ name: front }] }
";

/// The longest wait on a busy machine for a change that usually shows at once.
const SOON: Duration = Duration::from_secs(30);
/// An address that is routed to a node, as a cloud's load balancer does.
const BALANCER: &str = "203.0.113.20";

/// Not a test but the program of a Pod: the test starts this binary again in the Pod's namespace.
/// It replies with the Pod's name and the client's address.
#[test]
#[ignore = "a program for the Pods of another test, not a test"]
fn listens_in_a_pod() {
    let Ok(name) = std::env::var("OUTSIDE_POD") else { return };
    let listener = TcpListener::bind("0.0.0.0:8080").unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let peer = stream.peer_addr().unwrap().ip();
        let _ = stream.read(&mut [0; 1024]);
        let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{name} {peer}");
    }
}

/// A Pod on a node, with a listening program.
struct Pod {
    _process: Process,
}

impl Pod {
    fn start(lab: &Lab, node: &Node, name: &str, run: &str, last: u8) -> Self {
        lab.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, labels: {{ run: {run} }} }}\nspec: {{ containers: [{{ name: web, image: web }}] }}\n"
        ));
        let address = node.pod_address(last);
        let netns = node.pod(&[&address]);
        let mut command = netns.command(std::env::current_exe().unwrap().to_str().unwrap());
        command
            .args(["--exact", "outside::listens_in_a_pod", "--ignored", "--nocapture"])
            .env("OUTSIDE_POD", name);
        let process = Process::start(name, command, lab.path(&format!("{name}.log")));
        until("a Pod that listens", SOON, || {
            netns
                .text(&format!("curl --silent --max-time 1 http://{address}:8080/"))
                .starts_with(name)
                .then_some(())
        });
        lab.running_on(node, "default", name, &[&address], true);
        Self { _process: process }
    }
}

/// A client on a network outside the cluster.
struct Client(Netns);

impl Client {
    /// The sorted output lines of `dig +short`; the order of addresses is random.
    fn dig(&self, question: &str) -> Vec<String> {
        let mut lines: Vec<_> = self
            .0
            .text(&format!("dig +short +tries=1 {question}"))
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }

    /// The addresses from the C library.
    fn getent(&self, name: &str) -> BTreeSet<String> {
        let found = self.0.text(&format!("getent ahostsv4 {name}"));
        found.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }

    fn until(&self, question: &str, patience: Duration, expected: &[&str]) {
        until(question, patience, || (self.dig(question) == expected).then_some(()));
    }

    /// The reply of the program at this address.
    fn connect(&self, address: &str, port: &str) -> String {
        self.0.text(&format!("curl --silent --max-time 3 http://{address}:{port}/"))
    }

    /// Connects to each address of the SRV record's target. Returns the Pod that answered, and the
    /// client address that it saw.
    fn connect_by_srv(&self, name: &str) -> Vec<(String, String)> {
        let srv = self.dig(&format!("_http._tcp.{name} SRV"));
        let [record] = &srv[..] else { panic!("{name}: {srv:?}") };
        let [_, _, port, target] = record.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{record}")
        };
        let addresses = self.getent(target);
        assert_eq!(
            addresses,
            self.dig(&format!("{target} A")).into_iter().collect(),
            "dig and getent"
        );
        assert!(!addresses.is_empty(), "{target}");
        let answered = |address: &String| {
            let said = self.connect(address, port);
            let (pod, peer) = said
                .split_once(' ')
                .unwrap_or_else(|| panic!("{name}: nobody answers at {address}:{port}"));
            (pod.to_owned(), peer.to_owned())
        };
        addresses.iter().map(answered).collect()
    }
}

#[test]
fn clients_outside_resolve_only_what_they_can_reach() {
    let turn = turn::alone();
    let lab = Lab::start(&turn, &LabOptions::default());
    let other = lab.add_node("node-1");
    lab.apply(SERVICES);
    let status = |ip: &str| json!({ "status": { "loadBalancer": { "ingress": [{ "ip": ip }] } } });
    lab.patch("/api/v1/namespaces/default/services/my-load-balancer/status", &status(BALANCER));
    lab.patch(
        "/apis/networking.k8s.io/v1/namespaces/default/ingresses/cafe-ingress/status",
        &status(BALANCER),
    );
    let _pods = [
        Pod::start(&lab, &lab.node, "my-nginx-0", "my-nginx", 10),
        Pod::start(&lab, &other, "my-nginx-1", "my-nginx", 11),
        Pod::start(&lab, &other, "local-1", "local", 12),
    ];
    let world = lab.world(&["--address=/my.database.example.net/192.0.2.77"]);
    let mut server = lab.server(
        &lab.guest(),
        Program::Ndots,
        &COREFILE.replace("WORLD", &world.netns.address.to_string()),
    );
    let client = Client(lab.guest());
    client.0.resolv_conf(&format!("nameserver {}\n", server.netns.address));

    missing_permissions_hold_nothing_up(&lab, &mut server, &client);
    definitions_may_come_later(&lab, &server);

    let nodes = [lab.node.address.to_string(), other.address.to_string()];
    let mut nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    nodes.sort_unstable();
    names(&client, &nodes, &other);
    for mode in ["iptables", "nftables"] {
        let _proxies = [lab.node.kube_proxy(mode), other.kube_proxy(mode)];
        connections(&client, mode, &nodes, &other);
    }
    nodes_come_and_go(&lab, &client, &nodes, &other);
    client.until("route.example.com A", 2 * SOON, &[BALANCER]);
    changes_show_at_once(&lab, &server);
}

/// With kubeadm's permissions Services are answered. Names that need more are not, and one log line
/// names each missing kind.
fn missing_permissions_hold_nothing_up(lab: &Lab, server: &mut Container, client: &Client) {
    server.wait_until_ready();
    client.until("my-load-balancer.default.example.org A", SOON, &[BALANCER]);
    client.until("my-nginx.default.example.org A", SOON, &[]);
    // ndots tries each kind several times in this time.
    std::thread::sleep(Duration::from_secs(4));
    for kind in ["nodes", "ingresses.networking.k8s.io", "httproutes.gateway.networking.k8s.io"] {
        let lines = server
            .log()
            .lines()
            .filter(|line| line.contains(&format!("Failed to list {kind}: ")))
            .count();
        assert_eq!(lines, 1, "{kind}: {}", server.log());
        let (_, metrics) = server.page(9153, "/metrics");
        let refused = metrics.lines().find(|line| {
            line.starts_with("coredns_kubernetes_refused{") && line.contains(&format!("\"{kind}\""))
        });
        assert!(refused.is_some_and(|line| line.ends_with(" 1")), "{kind}: {refused:?}");
    }
    lab.apply(ROLE);
    until("nodes", SOON, || {
        (client.dig("my-nginx.default.example.org A").len() == 2).then_some(())
    });
    client.until("cafe.example.com A", SOON, &[BALANCER]);
}

/// A cluster without the Gateway API has no such objects. ndots finds them after the API was
/// installed.
fn definitions_may_come_later(lab: &Lab, server: &Container) {
    until("a kind that is not there", SOON, || {
        server
            .log()
            .contains("this cluster has no httproutes.gateway.networking.k8s.io")
            .then_some(())
    });
    lab.apply(
        &(definition("Gateway", "gateways") + "---" + &definition("HTTPRoute", "httproutes")),
    );
    until("the Gateway API", SOON, || lab.try_kubectl("apply -f -", ROUTE).ok());
}

/// Resolves every kind of name with dig and the C library.
fn names(client: &Client, nodes: &[&str], local: &Node) {
    let local = local.address.to_string();
    for (name, addresses) in [
        ("my-nginx.default.example.org", nodes),
        ("my-nginx.default.example.com", nodes),
        ("local.default.example.org", &[&*local]),
        ("my-external-ips.default.example.org", &["80.11.12.10"]),
        ("my-load-balancer.default.example.org", &[BALANCER]),
        ("shop.example.com", &[BALANCER]),
        ("cafe.example.com", &[BALANCER]),
        ("nothing.default.example.org", &[]),
    ] {
        assert_eq!(client.dig(&format!("{name} A")), addresses, "{name}");
        assert_eq!(
            client.getent(name),
            addresses.iter().map(|address| (*address).to_owned()).collect(),
            "{name}"
        );
    }
    assert_eq!(
        client.dig("my-service.default.example.org A"),
        ["192.0.2.77", "my.database.example.net."]
    );
    assert_eq!(client.getent("my-service.default.example.org"), ["192.0.2.77".to_owned()].into());
    assert_eq!(
        client.dig("_http._tcp.my-nginx.default.example.org SRV"),
        ["0 50 30007 my-nginx.default.example.org."]
    );
}

fn connections(client: &Client, mode: &str, nodes: &[&str], local: &Node) {
    let pods = ["my-nginx-0", "my-nginx-1"];
    for (name, addresses) in
        [("my-nginx", nodes.len()), ("my-external-ips", 1), ("my-load-balancer", 1)]
    {
        let name = format!("{name}.default.example.org");
        let answered = until("kube-proxy's rules", SOON, || {
            let first = client.dig(&format!("_http._tcp.{name} SRV"));
            let port = first.first()?.split(' ').nth(2)?.to_owned();
            let all = client
                .getent(&name)
                .iter()
                .all(|address| !client.connect(address, &port).is_empty());
            all.then(|| client.connect_by_srv(&name))
        });
        assert_eq!(answered.len(), addresses, "{mode} {name}");
        assert!(
            answered.iter().all(|(pod, _)| pods.contains(&&**pod)),
            "{mode} {name}: {answered:?}"
        );
    }
    for host in ["cafe.example.com", "shop.example.com"] {
        let said = client.connect(host, "82");
        assert!(said.starts_with("my-nginx-"), "{mode} {host}: {said:?}");
    }
    // The node with the endpoint keeps the client's address; the others drop the packet.
    let own = client.0.address.to_string();
    assert_eq!(
        client.connect_by_srv("local.default.example.org"),
        [("local-1".to_owned(), own)],
        "{mode}"
    );
    for node in nodes.iter().filter(|node| **node != local.address.to_string()) {
        assert_eq!(
            client.0.text(&format!("curl --silent --max-time 1 http://{node}:30008/")),
            "",
            "{mode} {node}"
        );
    }
}

/// A changed load balancer address appears in the next answers. The test prints the delay.
fn changes_show_at_once(lab: &Lab, server: &Container) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect((server.netns.address, 53)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let question = question(7, "shop.example.com", 1);
    let (mut api, mut times, mut reply) = (lab.api(), Vec::new(), [0; 512]);
    for last in 1..=50 {
        let status = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": format!("203.0.113.{last}") }] } } });
        api.json(
            "PATCH",
            "/api/v1/namespaces/default/services/my-load-balancer/status",
            Some(&status),
        );
        let changed = Instant::now();
        loop {
            socket.send(&question).unwrap();
            let length = socket.recv(&mut reply).unwrap();
            if reply[..length].ends_with(&[203, 0, 113, last]) {
                break;
            }
            assert!(changed.elapsed() < SOON, "{last}");
        }
        times.push(changed.elapsed());
    }
    times.sort();
    println!(
        "from the API server's reply to the first new answer: median {:?}, longest {:?}",
        times[25], times[49]
    );
}

/// Answers agree with the rules of kube-proxy: after a new endpoint, while a node is not ready, and
/// after an endpoint was removed.
fn nodes_come_and_go(lab: &Lab, client: &Client, nodes: &[&str], other: &Node) {
    let pod = Pod::start(lab, &lab.node, "local-0", "local", 13);
    client.until("local.default.example.org A", SOON, nodes);
    let _proxies = [lab.node.kube_proxy("iptables"), other.kube_proxy("iptables")];
    until("kube-proxy's rules", SOON, || {
        nodes.iter().all(|node| client.connect(node, "30008").starts_with("local-")).then_some(())
    });
    let ready = |status: &str| json!({ "status": { "conditions": [{ "type": "Ready", "status": status }] } });
    let path = format!("/api/v1/nodes/{}/status", other.name);
    lab.patch(&path, &ready("Unknown"));
    client.until("my-nginx.default.example.org A", SOON, &[&lab.node.address.to_string()]);
    client.until("local.default.example.org A", SOON, &[&lab.node.address.to_string()]);
    lab.patch(&path, &ready("True"));
    client.until("my-nginx.default.example.org A", SOON, nodes);
    lab.running_on(&lab.node, "default", "local-0", &[&lab.node.pod_address(13)], false);
    client.until("local.default.example.org A", SOON, &[&other.address.to_string()]);
    drop(pod);
}
