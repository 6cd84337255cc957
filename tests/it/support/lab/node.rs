//! Nodes: a network namespace that routes to the namespaces of its Pods, and kube-proxy.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use serde_json::json;

use super::{Lab, Lan, Netns, Process, Sweeper, program, until};

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) netns: Netns,
    slot: u32,
    /// The Pod networks are `10.244.NUMBER.0/24` and `fd00:10:244:NUMBER::/64`.
    number: u32,
    pods: AtomicU32,
    directory: PathBuf,
    sweeper: Arc<Sweeper>,
}

/// The resolv.conf that kubelet writes for a Pod in this namespace.
pub(crate) fn resolv_conf(namespace: &str, server: &str) -> String {
    format!(
        "search {namespace}.svc.cluster.local svc.cluster.local cluster.local\nnameserver {server}\noptions ndots:5\n"
    )
}

impl Node {
    pub(super) fn control(lan: &Lan, directory: &Path, sweeper: &Arc<Sweeper>) -> Self {
        Self::new("node-0", 0, lan.bridge(), lan.slot(), directory, sweeper)
    }

    /// A further node, with routes between its Pods and those of the first node.
    pub(super) fn worker(name: &str, number: u32, netns: Netns, first: &Self) -> Self {
        netns.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        first.netns.ip(&format!("route add 10.244.{number}.0/24 via {}", netns.address));
        Self::new(name, number, netns, first.slot, &first.directory, &first.sweeper)
    }

    fn new(
        name: &str,
        number: u32,
        netns: Netns,
        slot: u32,
        directory: &Path,
        sweeper: &Arc<Sweeper>,
    ) -> Self {
        let pods = AtomicU32::new(0);
        let (name, directory, sweeper) =
            (name.to_owned(), directory.to_owned(), Arc::clone(sweeper));
        Self { name, address: netns.address, netns, slot, number, pods, directory, sweeper }
    }

    /// Creates the Node object, with condition Ready.
    pub(crate) fn register(&self, lab: &Lab) {
        let cidrs =
            [format!("10.244.{}.0/24", self.number), format!("fd00:10:244:{}::/64", self.number)];
        let spec = json!({ "podCIDR": cidrs[0], "podCIDRs": cidrs });
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": self.name, "labels": { "kubernetes.io/hostname": self.name } }, "spec": spec });
        let mut api = lab.api();
        api.json("POST", "/api/v1/nodes", Some(&node));
        let addresses = json!([{ "type": "InternalIP", "address": self.address }, { "type": "Hostname", "address": self.name }]);
        let status = json!({ "addresses": addresses, "conditions": [{ "type": "Ready", "status": "True" }] });
        api.json(
            "PATCH",
            &format!("/api/v1/nodes/{}/status", self.name),
            Some(&json!({ "status": status })),
        );
    }

    /// The Pod address that ends with this octet.
    pub(crate) fn pod_address(&self, last: u8) -> String {
        format!("10.244.{}.{last}", self.number)
    }

    /// The network namespace of a Pod with these addresses. The node routes every packet, so its
    /// iptables rules apply.
    pub(crate) fn pod(&self, addresses: &[&str]) -> Netns {
        let number = self.pods.fetch_add(1, Ordering::Relaxed);
        let first =
            addresses.first().and_then(|first| first.parse().ok()).unwrap_or(Ipv4Addr::UNSPECIFIED);
        let pod = Netns::new(
            &format!("ndots-{}-pod-{}-{number}", self.slot, self.number),
            first,
            &self.sweeper,
        );
        let cable = format!("pod{number}");
        pod.ip(&format!("link add eth0 type veth peer name {cable} netns {}", self.netns.name));
        pod.ip("link set eth0 up");
        self.netns.ip(&format!("link set {cable} up"));
        self.netns.ip(&format!("address add 169.254.1.1/32 dev {cable}"));
        for address in addresses {
            let (length, gateway, family) = if address.contains(':') {
                (128, "fe80::1", "-6 ")
            } else {
                (32, "169.254.1.1", "")
            };
            if length == 128 {
                self.netns.ip(&format!("address add fe80::1/64 dev {cable} nodad"));
                pod.ip(&format!("address add {address}/{length} dev eth0 nodad"));
            } else {
                pod.ip(&format!("address add {address}/{length} dev eth0"));
            }
            pod.ip(&format!("{family}route add default via {gateway} dev eth0 onlink"));
            self.netns.ip(&format!("{family}route add {address}/{length} dev {cable}"));
        }
        pod
    }

    /// Starts kube-proxy in mode `iptables` or `nftables`, and waits until it has written its
    /// rules.
    pub(crate) fn kube_proxy(&self, mode: &str) -> Process {
        let mut command = self.netns.command(&program("kube-proxy").display().to_string());
        command.arg("--kubeconfig").arg(self.directory.join("admin.conf"));
        command.args([
            &format!("--proxy-mode={mode}"),
            &format!("--hostname-override={}", self.name),
            "--conntrack-max-per-core=0",
        ]);
        command.args([
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
            "--cluster-cidr=10.244.0.0/16",
        ]);
        command.args(["--iptables-min-sync-period=0s", "--metrics-bind-address=127.0.0.1:10249"]);
        let mut proxy = Process::start(
            "kube-proxy",
            command,
            self.directory.join(format!("kube-proxy-{}.log", self.name)),
        );
        until("kube-proxy's rules", super::START, || {
            proxy.assert_running();
            let rules = match mode {
                "nftables" => self.netns.text("nft list table ip kube-proxy"),
                _ => self.netns.text("iptables-save -t nat"),
            };
            rules.contains("10.96.0.1").then_some(())
        });
        proxy
    }
}
