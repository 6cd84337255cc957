//! The cluster that all tests of this directory share.

use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    process::Command,
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use super::clients::Client;
use crate::support::lab::{
    Container, DNS, Lab, LabOptions, Netns, Process, Program, World, manifests, resolv_conf, until,
};
use crate::support::requirements::require_programs;
use crate::support::turn::{self, Shared, Turn};

pub(crate) const DNS6: &str = "fd00:10:96::a";
/// The time for a controller's work on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const WORLD: &[&str] = &[
    "--host-record=dns.google,8.8.8.8,2001:4860:4860::8888",
    "--host-record=foo.example.com,192.0.2.11,2001:db8::11",
    "--host-record=bar.example.com,192.0.2.12,2001:db8::12",
    "--host-record=last.00000000000000000000000000000000000006.k8s.io,192.0.2.13",
    "--host-record=last._sip._tcp.abc_d.example.com,192.0.2.14",
];

pub(crate) struct Cluster {
    pub(crate) lab: Lab,
    pub(crate) world: World,
    /// The program `resolve.c`, linked with musl.
    pub(crate) musl: PathBuf,
    coredns: Container,
    /// kubeadm's Corefile.
    pub(crate) usual: String,
    corefile: RwLock<()>,
    revision: AtomicU32,
    pods: AtomicU32,
    _proxy: Process,
}

pub(crate) fn shared() -> Shared<Cluster> {
    turn::shared(module_path!(), Cluster::start)
}

impl Cluster {
    fn start(turn: &Turn) -> Self {
        require_programs(&["musl-gcc"]);
        let lab = Lab::start(turn, &LabOptions::dual_stack());
        let musl = lab.path("resolve-musl");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/e2e/resolve.c");
        let compiled = Command::new("musl-gcc")
            .args(["-static", "-Wall", "-Werror", "-O1", source, "-o"])
            .arg(&musl)
            .status()
            .unwrap();
        assert!(compiled.success(), "musl-gcc compiles {source}");

        // Nodes have a default route. Without one the kernel does not apply kube-proxy's rules.
        lab.node.netns.ip("route add 10.96.0.0/16 dev lan0");
        let proxy = lab.node.kube_proxy("iptables");
        let world = lab.world(WORLD);
        let (coredns, usual) = coredns(&lab, &world);
        let pods = AtomicU32::new(16);
        let (corefile, revision) = (RwLock::new(()), AtomicU32::new(0));
        let cluster =
            Self { lab, world, musl, coredns, usual, corefile, revision, pods, _proxy: proxy };
        cluster.until_reachable();
        cluster
    }

    /// Waits until kube-proxy forwards to kube-dns.
    fn until_reachable(&self) {
        self.namespace("ready");
        let client = self.client("ready", "ready", &json!({}));
        for server in [DNS, DNS6] {
            let line = format!(
                "dig @{server} +tries=1 +timeout=1 +short kubernetes.default.svc.cluster.local"
            );
            until("10.96.0.10", PATIENCE, || {
                (client.netns.text(&line) == "10.96.0.1").then_some(())
            });
        }
    }

    /// Makes a namespace with the service account that Pods need.
    pub(crate) fn namespace(&self, name: &str) {
        self.lab.post(
            "/api/v1/namespaces",
            &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }),
        );
        until("the default ServiceAccount", PATIENCE, || {
            let path = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
            (self.lab.api().request("GET", &path, None).0 == 200).then_some(())
        });
    }

    /// Makes a dual-stack Service. Without ports in `spec` it has the port that the originals use.
    pub(crate) fn service(&self, namespace: &str, name: &str, spec: &Value) -> Value {
        let mut whole = json!({ "ipFamilyPolicy": "PreferDualStack", "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }] });
        if spec["type"] == "ExternalName" {
            whole = json!({});
        }
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": whole });
        self.lab.post(&format!("/api/v1/namespaces/{namespace}/services"), &service)
    }

    /// Makes a Pod that is running and ready, with the client programs in it. `pod` may have
    /// `labels` and fields of a Pod's spec.
    pub(crate) fn client(&self, namespace: &str, name: &str, pod: &Value) -> Client {
        let (netns, addresses) = self.pod(namespace, name, pod, true);
        netns.resolv_conf(&resolv_conf(namespace, DNS));
        Client::new(self, netns, addresses)
    }

    /// Like `client`, on the node's own network.
    pub(crate) fn client_on_node(&self, namespace: &str, name: &str, pod: &Value) -> Client {
        create_pod(&self.lab, namespace, name, pod);
        let address = self.lab.node.address.to_string();
        self.lab.running(namespace, name, &[&address], true);
        self.lab.node.netns.resolv_conf(&resolv_conf(namespace, DNS));
        Client::new(self, self.lab.node.netns.clone(), [address, String::new()])
    }

    /// A running Pod and its addresses.
    pub(crate) fn pod(
        &self,
        namespace: &str,
        name: &str,
        pod: &Value,
        ready: bool,
    ) -> (Netns, [String; 2]) {
        create_pod(&self.lab, namespace, name, pod);
        let number = self.pods.fetch_add(1, Ordering::Relaxed);
        let addresses = [format!("10.244.0.{number}"), format!("fd00:10:244::{number:x}")];
        let both: Vec<_> = addresses.iter().map(String::as_str).collect();
        let netns = self.lab.node.pod(&both);
        self.lab.running(namespace, name, &both, ready);
        (netns, addresses)
    }

    /// A Pod with a DNS server that reads this Corefile and needs no API server.
    pub(crate) fn server(&self, namespace: &str, name: &str, corefile: &str) -> Container {
        let (netns, _) = self.pod(namespace, name, &json!({ "dnsPolicy": "Default" }), true);
        self.run(&netns, corefile)
    }

    /// A Pod that answers HTTP on this port at `/health`.
    pub(crate) fn web(
        &self,
        namespace: &str,
        name: &str,
        pod: &Value,
        ready: bool,
        port: u16,
    ) -> (Container, [String; 2]) {
        let (netns, addresses) = self.pod(namespace, name, pod, ready);
        (self.run(&netns, &format!(".:53 {{\n    health :{port}\n}}\n")), addresses)
    }

    fn run(&self, netns: &Netns, corefile: &str) -> Container {
        let mut server = self.lab.container(netns, Program::Ndots);
        server.file("/etc/coredns/Corefile", corefile);
        server.run(&["-conf", "/etc/coredns/Corefile"]);
        until("a server", PATIENCE, || server.log().contains(".:53").then_some(()));
        server
    }

    /// Waits until the EndpointSlices of a Service have this many addresses of each family.
    pub(crate) fn until_endpoints(&self, namespace: &str, service: &str, count: usize) {
        let path = format!(
            "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector=kubernetes.io/service-name={service}"
        );
        until("endpoints", PATIENCE, || {
            let slices = self.lab.get(&path);
            let slices = slices["items"].as_array().unwrap();
            let endpoints =
                slices.iter().map(|slice| slice["endpoints"].as_array().map_or(0, Vec::len));
            (endpoints.sum::<usize>() == count).then_some(())
        });
    }

    /// kubeadm's Corefile stays in use while the guard is held.
    pub(crate) fn usual_corefile(&self) -> RwLockReadGuard<'_, ()> {
        self.corefile.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The holder of this guard may change the Corefile. No test that needs kubeadm's Corefile runs
    /// while the guard is held.
    pub(crate) fn own_corefile(&self) -> RwLockWriteGuard<'_, ()> {
        self.corefile.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what kubelet does when the ConfigMap has changed.
    pub(crate) fn write_corefile(&self, text: &str) {
        write_volume(&self.coredns, self.revision.fetch_add(1, Ordering::Relaxed) + 1, text);
    }
}

fn create_pod(lab: &Lab, namespace: &str, name: &str, pod: &Value) {
    let mut spec = json!({ "containers": [{ "name": "main", "image": "registry.example/main:1" }], "terminationGracePeriodSeconds": 100 });
    spec.as_object_mut().unwrap().extend(pod.as_object().unwrap().clone());
    let labels = spec.as_object_mut().unwrap().remove("labels");
    let object = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": labels }, "spec": spec });
    lab.post(&format!("/api/v1/namespaces/{namespace}/pods"), &object);
}

/// kubeadm's manifests with a dual-stack kube-dns, and one Pod of the Deployment. Two Pods would
/// see a change at different times.
fn coredns(lab: &Lab, world: &World) -> (Container, String) {
    lab.apply(&manifests(lab));
    let families = json!({ "ipFamilyPolicy": "RequireDualStack", "clusterIPs": [DNS, DNS6] });
    lab.patch("/api/v1/namespaces/kube-system/services/kube-dns", &json!({ "spec": families }));
    let pod = until("a Pod of the Deployment's", PATIENCE, || {
        let pods = lab.get("/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns");
        Some(pods["items"][0]["metadata"]["name"].as_str()?.to_owned())
    });
    let corefile = lab.get("/api/v1/namespaces/kube-system/configmaps/coredns")["data"]["Corefile"]
        .as_str()
        .unwrap()
        .to_owned();
    let addresses = ["10.244.0.10", "fd00:10:244::a"];
    let mut container = lab.container(&lab.node.pod(&addresses), Program::Ndots);
    container.service_account(lab, "kube-system", "coredns");
    container.file("/etc/resolv.conf", &format!("nameserver {}\n", world.netns.address));
    write_volume(&container, 0, &corefile);
    symlink("..data/Corefile", container.root.join("etc/coredns/Corefile")).unwrap();
    container.api = ("10.96.0.1".to_owned(), 443);
    container.run(&["-conf", "/etc/coredns/Corefile"]);
    container.wait_until_ready();
    lab.running("kube-system", &pod, &addresses, true);
    (container, corefile)
}

/// Writes a ConfigMap volume: each revision is a directory, and a link is moved to it.
fn write_volume(container: &Container, revision: u32, text: &str) {
    container.file(&format!("/etc/coredns/..{revision}/Corefile"), text);
    let volume = container.root.join("etc/coredns");
    symlink(format!("..{revision}"), volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
}
