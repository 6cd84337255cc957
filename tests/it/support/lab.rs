//! A real control plane for tests: etcd, kube-apiserver and kube-controller-manager in a network
//! namespace that acts as a node.
//!
//! ```ignore
//! let turn = turn::alone();                                   // at most one control plane runs at a time
//! let lab = Lab::start(&turn, &LabOptions::default());
//! lab.apply("apiVersion: v1\nkind: Namespace\n…");          // kubectl apply
//! let service = lab.get("/api/v1/namespaces/default/services/kubernetes");   // JSON
//! lab.running("monitoring", "grafana-0", &["10.244.0.7"], true);             // the Pod is bound, Running and Ready
//!
//! lab.node.kube_proxy("iptables");                            // in the node's network namespace
//! let pod = lab.node.pod(&["10.244.0.7"]);                    // a network namespace with that address
//! pod.resolv_conf(&lab::resolv_conf("monitoring", "10.96.0.10"));            // as kubelet writes it
//! assert_eq!(pod.text("dig +short +search kubernetes.default"), "10.96.0.1");
//!
//! let guest = lab.guest();                                    // a machine on the nodes' network, outside the cluster
//! let world = lab.world(&["--address=/www.example.org/192.0.2.80"]);         // dnsmasq on one more; `world.address`
//! let ndots = lab.server(&guest, Program::Ndots, COREFILE);   // in-cluster, as the ServiceAccount kube-system/coredns
//! ndots.wait_until_ready();
//! ```
//!
//! `Cluster` is a lab with kubeadm's manifests, ndots in two Pods behind 10.96.0.10, kube-proxy,
//! and an upstream server.
//!
//! Each lab has its own namespaces, addresses, ports and temporary directory. The test's namespace
//! reaches guests and nodes (`address`), but not Pods. A shell removes everything when the test
//! ends, even if it is killed.
//!
//! A lab needs root, iproute2, and the programs that `make lab` builds. It takes some seconds to
//! start, so the tests of a module share one (`turn::shared`).

mod api;
mod container;
mod control_plane;
mod keys;
mod kubeadm;
mod netns;
mod node;
mod process;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

pub(crate) use api::Api;
pub(crate) use container::{Container, Program};
pub(crate) use kubeadm::{Cluster, DNS, manifests};
pub(crate) use netns::{Lan, Netns, Sweeper};
pub(crate) use node::{Node, resolv_conf};
pub(crate) use process::{Process, until};
use serde_json::{Value, json};

use super::{DNSMASQ, requirements::require_lab, turn::Turn};

/// The longest time for a program to start on a busy machine.
const START: Duration = Duration::from_secs(60);
/// The administrator's token.
const ADMIN: &str = "lab-admin";
/// The API server's port. Each lab has its own network namespace, so it can be the same.
pub(crate) const API_PORT: u16 = 6443;
/// The API server logs the requests of the ServiceAccounts in kube-system.
const AUDIT: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- { level: Metadata, userGroups: ['system:serviceaccounts:kube-system'] }
- { level: None }
";

#[derive(Clone)]
pub(crate) struct LabOptions {
    pub(crate) service_range: &'static str,
    /// Additional flags of the API server.
    pub(crate) apiserver: &'static [&'static str],
    /// The etcd data directory to start with, which is moved into the lab. `None` for an empty
    /// cluster.
    pub(crate) etcd: Option<PathBuf>,
    pub(crate) controllers: bool,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self { service_range: "10.96.0.0/16", apiserver: &[], etcd: None, controllers: true }
    }
}

impl LabOptions {
    /// IPv4 and IPv6, with IPv4 as the first family.
    pub(crate) fn dual_stack() -> Self {
        Self { service_range: "10.96.0.0/16,fd00:10:96::/112", ..Self::default() }
    }
}

pub(crate) struct Lab {
    // The fields are dropped in this order, so clients of the API server end before it.
    controllers: Option<Process>,
    apiserver: Option<Process>,
    etcd: Option<Process>,
    /// The node that the control plane runs on.
    pub(crate) node: Node,
    pub(crate) lan: Lan,
    options: LabOptions,
    directory: tempfile::TempDir,
    named: AtomicU32,
    sweeper: Arc<Sweeper>,
}

/// The path of a program that `make lab` builds.
pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/lab/bin").join(name)
}

impl Lab {
    /// Starts a control plane, and waits until it is ready.
    pub(crate) fn start(_: &Turn, options: &LabOptions) -> Self {
        require_lab();
        let directory = tempfile::tempdir().unwrap();
        let sweeper = Arc::new(Sweeper::start());
        sweeper.later(&format!("rm -rf {}", directory.path().display()));
        let lan = Lan::new(&sweeper);
        let node = Node::control(&lan, directory.path(), &sweeper);
        let named = AtomicU32::new(0);
        let mut lab = Self {
            controllers: None,
            apiserver: None,
            etcd: None,
            node,
            lan,
            options: options.clone(),
            directory,
            named,
            sweeper,
        };
        lab.write_keys();
        if let Some(data) = &lab.options.etcd {
            fs::rename(data, lab.path("etcd")).unwrap();
        }
        lab.start_etcd();
        lab.start_apiserver();
        lab.wait_until_ready();
        if lab.options.controllers {
            lab.start_controllers();
            until("the default ServiceAccount", START, || {
                let (code, _) = lab.api().request(
                    "GET",
                    "/api/v1/namespaces/default/serviceaccounts/default",
                    None,
                );
                (code == 200).then_some(())
            });
        }
        lab.node.register(&lab);
        lab
    }

    /// A path in the lab's temporary directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write_keys(&self) {
        fs::create_dir(self.path("pki")).unwrap();
        keys::accounts(&self.path("pki"));
        self.renew_authority();
        fs::write(self.path("tokens.csv"), format!("{ADMIN},admin,admin,system:masters\n"))
            .unwrap();
        fs::write(self.path("admin.conf"), self.kubeconfig_text(ADMIN)).unwrap();
        fs::write(self.path("audit.yaml"), AUDIT).unwrap();
    }

    /// Creates a new certificate authority and a server certificate. The API server reads them when
    /// it starts.
    pub(crate) fn renew_authority(&self) {
        let node = self.node.address.to_string();
        keys::authority(
            &self.path("pki"),
            &[
                "kubernetes.default.svc",
                "localhost",
                "127.0.0.1",
                "10.96.0.1",
                "fd00:10:96::1",
                &node,
            ],
        );
    }

    fn kubeconfig_text(&self, token: &str) -> String {
        self.kubeconfig_of(&json!({ "token": token }))
    }

    /// The text of a kubeconfig with these credentials.
    pub(crate) fn kubeconfig_of(&self, user: &Value) -> String {
        let cluster = json!({ "server": self.url(), "certificate-authority": self.ca() });
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{ "name": "lab", "cluster": cluster }],
            "users": [{ "name": "lab", "user": user }],
            "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "lab" } }],
        })
        .to_string()
    }

    /// `https://ADDRESS:PORT`, as the nodes' network and the test reach it.
    pub(crate) fn url(&self) -> String {
        format!("https://{}:{API_PORT}", self.node.address)
    }

    /// The path of the certificate authority's certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.path("pki/ca.crt")
    }

    /// The administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.path("admin.conf")
    }

    /// A kubeconfig for a ServiceAccount.
    pub(crate) fn account_kubeconfig(&self, namespace: &str, account: &str) -> PathBuf {
        let file = self.path(&format!("{namespace}-{account}.conf"));
        fs::write(&file, self.kubeconfig_text(&self.token(namespace, account))).unwrap();
        file
    }

    /// Requests a ServiceAccount token, as kubelet does.
    pub(crate) fn token(&self, namespace: &str, account: &str) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let request =
            json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} });
        self.post(&path, &request)["status"]["token"].as_str().unwrap().to_owned()
    }

    /// A new connection to the API server as the administrator.
    pub(crate) fn api(&self) -> Api {
        self.api_as(ADMIN)
    }

    pub(crate) fn api_as(&self, token: &str) -> Api {
        Api::try_new(self.node.address, &self.ca(), token)
            .expect("the API server accepts a connection")
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.api().json("GET", path, None)
    }

    pub(crate) fn post(&self, path: &str, object: &Value) -> Value {
        self.api().json("POST", path, Some(object))
    }

    /// Sends a merge patch.
    pub(crate) fn patch(&self, path: &str, patch: &Value) -> Value {
        self.api().json("PATCH", path, Some(patch))
    }

    pub(crate) fn delete(&self, path: &str) -> Value {
        self.api().json("DELETE", path, None)
    }

    /// All requests of a ServiceAccount of kube-system so far, such as `list /api/v1/services 200`.
    pub(crate) fn asked_by(&self, account: &str) -> Vec<String> {
        let user = format!("system:serviceaccount:kube-system:{account}");
        let log = fs::read_to_string(self.path("audit.log")).unwrap_or_default();
        let events = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event["user"]["username"] == *user);
        let asked = |event: Value| {
            let uri = event["requestURI"].as_str()?;
            let path = uri.split('?').next()?;
            Some(format!("{} {path} {}", event["verb"].as_str()?, event["responseStatus"]["code"]))
        };
        events.filter_map(asked).collect()
    }

    /// A call of etcd's JSON gateway, such as `kv/put`.
    pub(crate) fn etcd(&self, call: &str, request: &Value) -> Value {
        let mut curl = self.node.netns.command("curl");
        curl.args([
            "--silent",
            "--fail",
            "--data",
            &request.to_string(),
            &format!("http://127.0.0.1:2379/v3/{call}"),
        ]);
        serde_json::from_slice(&curl.output().unwrap().stdout).unwrap()
    }

    /// kubectl with the administrator's kubeconfig.
    pub(crate) fn kubectl(&self) -> Command {
        let mut kubectl = Command::new(program("kubectl"));
        kubectl.arg("--kubeconfig").arg(self.kubeconfig()).env("HOME", self.directory.path());
        kubectl
    }

    /// Runs kubectl with these arguments and this standard input; `Err` has its error output.
    pub(crate) fn try_kubectl(&self, line: &str, input: &str) -> Result<String, String> {
        let mut kubectl = self.kubectl();
        kubectl
            .args(line.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = kubectl.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Applies objects from YAML.
    pub(crate) fn apply(&self, yaml: &str) {
        if let Err(said) = self.try_kubectl("apply -f -", yaml) {
            panic!("kubectl apply: {said}\n{yaml}");
        }
    }

    /// Does the work of scheduler and kubelet for a Pod: binds it to the lab's node, and sets its
    /// status to Running with these addresses.
    pub(crate) fn running(&self, namespace: &str, pod: &str, addresses: &[&str], ready: bool) {
        self.running_on(&self.node, namespace, pod, addresses, ready);
    }

    pub(crate) fn running_on(
        &self,
        node: &Node,
        namespace: &str,
        pod: &str,
        addresses: &[&str],
        ready: bool,
    ) {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}");
        let mut api = self.api();
        if api.json("GET", &path, None)["spec"]["nodeName"].is_null() {
            let target = json!({ "apiVersion": "v1", "kind": "Node", "name": node.name });
            let binding = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": pod }, "target": target });
            api.json("POST", &format!("{path}/binding"), Some(&binding));
        }
        let addresses: Vec<_> = addresses.iter().map(|address| json!({ "ip": address })).collect();
        let ready = json!({ "type": "Ready", "status": if ready { "True" } else { "False" } });
        let status = json!({
            "phase": "Running", "podIP": addresses.first().map(|first| first["ip"].clone()), "podIPs": addresses, "hostIP": node.address,
            "hostIPs": [{ "ip": node.address }], "conditions": [ready],
        });
        api.json("PATCH", &format!("{path}/status"), Some(&json!({ "status": status })));
    }

    /// Adds a node with its Node object and its own Pod network.
    pub(crate) fn add_node(&self, name: &str) -> Node {
        let node = Node::worker(name, self.number(), self.guest(), &self.node);
        node.register(self);
        node
    }

    /// Adds a machine to the nodes' network that is not a node.
    pub(crate) fn guest(&self) -> Netns {
        let guest = self.lan.guest(&self.sweeper);
        guest.ip(&format!("route add default via {}", self.node.address));
        guest
    }

    /// Starts dnsmasq on a guest as the upstream of the cluster. It knows only the names in these
    /// arguments.
    pub(crate) fn world(&self, arguments: &[&str]) -> World {
        let netns = self.guest();
        let mut dnsmasq = netns.command("dnsmasq");
        dnsmasq
            .args(DNSMASQ)
            .args(["--local=/#/", "--log-facility=-", "--log-queries"])
            .args(arguments);
        let dnsmasq = Process::start(
            "dnsmasq",
            dnsmasq,
            self.path(&format!("dnsmasq-{}.log", self.number())),
        );
        World { dnsmasq, netns }
    }

    /// Runs a server in a container with the ServiceAccount that kubeadm creates for CoreDNS. Its
    /// resolv.conf is empty.
    pub(crate) fn server(&self, netns: &Netns, program: Program, corefile: &str) -> Container {
        self.account();
        let mut container = self.prepared(netns, program, corefile, "coredns");
        container.serve();
        container
    }

    /// Prepares a server with a ServiceAccount of the namespace `kube-system`, without starting it.
    pub(crate) fn prepared(
        &self,
        netns: &Netns,
        program: Program,
        corefile: &str,
        account: &str,
    ) -> Container {
        let container = self.container(netns, program);
        container.file("/etc/coredns/Corefile", corefile);
        container.service_account(self, "kube-system", account);
        container
    }

    /// Creates the ServiceAccount that kubeadm creates for CoreDNS.
    pub(crate) fn account(&self) {
        self.apply(container::ACCOUNT);
    }

    /// A container in this namespace. Write files into it, then call `run`.
    pub(crate) fn container(&self, netns: &Netns, program: Program) -> Container {
        let api = (self.node.address.to_string(), API_PORT);
        Container::new(self.path(&format!("container-{}", self.number())), netns, program, api)
    }

    fn number(&self) -> u32 {
        self.named.fetch_add(1, Ordering::Relaxed) + 1
    }
}

pub(crate) struct World {
    pub(crate) dnsmasq: Process,
    pub(crate) netns: Netns,
}
