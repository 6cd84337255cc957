//! A cluster as kubeadm creates it, with ndots instead of CoreDNS: kubeadm's own manifests with
//! another image.

use std::{fs, process::Command, time::Duration};

use serde_json::Value;

use super::{
    Container, Lab, LabOptions, Netns, Process, Program, World, program, resolv_conf, until,
};
use crate::support::turn::Turn;

/// The only settings that an operator changes.
const CONFIGURATION: &str = "
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.36.0
networking: { serviceSubnet: 10.96.0.0/16, dnsDomain: cluster.local }
dns: { imageRepository: registry.example/ndots, imageTag: v1.14.2 }
";

/// The cluster IP of the DNS Service.
pub(crate) const DNS: &str = "10.96.0.10";

pub(crate) struct Cluster {
    /// The Pods of the Deployment `coredns`.
    pub(crate) replicas: Vec<Container>,
    pub(crate) proxy: Process,
    pub(crate) world: World,
    pub(crate) lab: Lab,
}

impl Cluster {
    /// Starts a lab with kube-proxy in this mode, and a dnsmasq with these arguments as the
    /// upstream.
    pub(crate) fn start(turn: &Turn, options: &LabOptions, mode: &str, world: &[&str]) -> Self {
        let mut cluster = Self::without_pods(turn, options, mode, world);
        cluster.roll_out();
        cluster
    }

    /// Like `start`, but the Pods of the Deployment `coredns` are not run.
    pub(crate) fn without_pods(
        turn: &Turn,
        options: &LabOptions,
        mode: &str,
        world: &[&str],
    ) -> Self {
        let lab = Lab::start(turn, options);
        let proxy = lab.node.kube_proxy(mode);
        let world = lab.world(world);
        lab.apply(&manifests(&lab));
        Self { replicas: Vec::new(), proxy, world, lab }
    }

    /// Does the work of scheduler, kubelet and container runtime for the Deployment `coredns`.
    fn roll_out(&mut self) {
        let addresses = ["10.244.0.201", "10.244.0.202"];
        self.replicas = self.deployed("kube-system", "k8s-app=kube-dns", &addresses);
        until("kube-proxy's rules for kube-dns", Duration::from_secs(30), || {
            let node = &self.lab.node.netns;
            let rules = node.text("iptables-save -t nat") + &node.text("nft list ruleset");
            // One rule for UDP and one for TCP to each replica, in the notation of either mode.
            let ways = |address: &str| {
                rules.matches(&format!("{address}:53")).count()
                    + rules.matches(&format!("{address} . 53")).count()
            };
            addresses.iter().all(|address| ways(address) >= 2).then_some(())
        });
    }

    /// Runs the Pods of an applied Deployment on the node with these addresses, until they are
    /// ready.
    pub(crate) fn deployed(
        &self,
        namespace: &str,
        label: &str,
        addresses: &[&str],
    ) -> Vec<Container> {
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods?labelSelector={}",
            label.replace('=', "%3D")
        );
        let pods = until("the Deployment's Pods", Duration::from_secs(30), || {
            let pods = self.lab.get(&path)["items"].as_array().unwrap().clone();
            (pods.len() == addresses.len()).then_some(pods)
        });
        let named = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
        let start = |(pod, address): (&Value, &&str)| {
            self.lab.running(namespace, &named(pod), &[address], false);
            self.run(pod, address, Program::Ndots)
        };
        let mut containers: Vec<_> = pods.iter().zip(addresses).map(start).collect();
        for ((pod, container), address) in pods.iter().zip(&mut containers).zip(addresses) {
            container.wait_until_ready();
            self.lab.running(namespace, &named(pod), &[address], true);
        }
        containers
    }

    /// Runs a Pod's container as kubelet does: with the files it mounts, the resolv.conf of
    /// `dnsPolicy: Default`, and the arguments.
    pub(crate) fn run(&self, pod: &Value, address: &str, program: Program) -> Container {
        let (spec, netns) = (&pod["spec"], self.lab.node.pod(&[address]));
        let namespace = pod["metadata"]["namespace"].as_str().unwrap();
        let mut container = self.lab.container(&netns, program);
        container.api = ("10.96.0.1".to_owned(), 443);
        assert_eq!(spec["dnsPolicy"], "Default");
        container.file("/etc/resolv.conf", &format!("nameserver {}\n", self.world.netns.address));
        let configuration = spec["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .find_map(|volume| volume["configMap"]["name"].as_str())
            .unwrap();
        let configured =
            self.lab.get(&format!("/api/v1/namespaces/{namespace}/configmaps/{configuration}"));
        container.file("/etc/coredns/Corefile", configured["data"]["Corefile"].as_str().unwrap());
        container.service_account(
            &self.lab,
            namespace,
            spec["serviceAccountName"].as_str().unwrap(),
        );
        let arguments = spec["containers"][0]["args"].as_array().unwrap();
        container.run(&arguments.iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>());
        container
    }

    /// A Pod's network namespace, with the resolv.conf that kubelet writes.
    pub(crate) fn client(&self, namespace: &str, address: &str) -> Netns {
        let pod = self.lab.node.pod(&[address]);
        pod.resolv_conf(&resolv_conf(namespace, DNS));
        pod
    }

    /// The logs of all replicas.
    pub(crate) fn logs(&self) -> String {
        self.replicas.iter().map(Container::log).collect()
    }
}

/// The DNS manifests that `kubeadm init` applies.
pub(crate) fn manifests(lab: &Lab) -> String {
    let file = lab.path("kubeadm.yaml");
    fs::write(&file, CONFIGURATION).unwrap();
    let mut kubeadm = Command::new(program("kubeadm"));
    let output = kubeadm
        .args(["init", "phase", "addon", "coredns", "--print-manifest", "--config"])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
