//! Runs every command of docs/switch.md on a cluster with kubeadm's manifests, from CoreDNS to ndots
//! and back. After each command both a cluster name and an external name resolve through the Service.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use serde_json::Value;

use crate::support::{
    self,
    lab::{Cluster, Container, LabOptions, Netns, Program, program, until},
    turn,
};

const PODS: &str = "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/kube-system/deployments";
/// The image that the guide names.
const NDOTS: &str = "ndots/coredns:v1.14.2";
/// The longest wait for the controllers and servers of a command, on a busy machine.
const SETTLED: Duration = Duration::from_secs(60);

/// The lines of all code blocks, in order.
fn commands() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/switch.md");
    let text = fs::read_to_string(page).unwrap();
    let blocks = text.split("```\n").skip(1).step_by(2);
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// Does the work of scheduler, kubelet and container runtime for the Pods of the DNS server.
struct Kubelet {
    cluster: Cluster,
    containers: BTreeMap<String, (Container, Program)>,
    /// The containers of deleted Pods.
    leaving: Vec<(Container, Program)>,
    next_address: u8,
}

impl Kubelet {
    /// One look at the Pods: starts the new ones, and ends those that are deleted. Returns whether
    /// there was nothing to do, and every Deployment has the Pods that it wants.
    fn look(&mut self) -> bool {
        let mut quiet = true;
        let lab = &self.cluster.lab;
        let deployments = lab.get(DEPLOYMENTS);
        let mut deployments = deployments["items"].as_array().unwrap().iter();
        let has_canary = deployments.any(|it| it["metadata"]["name"] == "coredns-canary");
        for pod in lab.get(PODS)["items"].as_array().unwrap() {
            let name = pod["metadata"]["name"].as_str().unwrap();
            if !pod["metadata"]["deletionTimestamp"].is_null() {
                quiet = false;
                let delete =
                    "delete pod --namespace kube-system --force --grace-period=0 --wait=false";
                let ended = lab.try_kubectl(&format!("{delete} {name}"), "");
                assert!(ended.is_ok(), "{ended:?}");
                // The server runs until the end of the test, as with a very long `lameduck`.
                self.leaving.extend(self.containers.remove(name));
            } else if pod["metadata"]["labels"]["track"] == "canary" && !has_canary {
                // The lab has no garbage collector.
                quiet = false;
                for kind in ["replicasets", "pods"] {
                    let delete = format!("delete {kind} --namespace kube-system --wait=false");
                    lab.try_kubectl(&format!("{delete} --selector track=canary"), "").unwrap();
                }
            } else if !self.containers.contains_key(name) {
                quiet = false;
                let address = format!("10.244.0.{}", self.next_address);
                self.next_address += 1;
                lab.running("kube-system", name, &[&address], false);
                let image = pod["spec"]["containers"][0]["image"].as_str().unwrap();
                let program = if image == NDOTS { Program::Ndots } else { Program::CoreDns };
                let mut container = self.cluster.run(pod, &address, program);
                container.wait_until_ready();
                lab.running("kube-system", name, &[&address], true);
                self.containers.insert(name.to_owned(), (container, program));
            }
        }
        quiet && self.is_complete()
    }

    fn is_complete(&self) -> bool {
        let deployments = self.cluster.lab.get(DEPLOYMENTS);
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        deployments["items"].as_array().unwrap().iter().all(|it| {
            let (spec, status) = (&it["spec"], &it["status"]);
            let wanted = number(&spec["replicas"]);
            ["replicas", "updatedReplicas", "readyReplicas"]
                .iter()
                .all(|field| number(&status[*field]) == wanted)
                && status["observedGeneration"] == it["metadata"]["generation"]
        })
    }

    fn settle(&mut self) {
        until("the Pods of the Deployments", SETTLED, || self.look().then_some(()));
    }

    /// How many servers of each program run.
    fn count(&self) -> (usize, usize) {
        let of = |wanted: Program| self.containers.values().filter(|(_, it)| *it == wanted).count();
        (of(Program::CoreDns), of(Program::Ndots))
    }
}

/// Runs a line of the guide in a shell on the node.
fn run(cluster: &Cluster, line: &str) {
    let directory = |file: &Path| file.parent().unwrap().display().to_string();
    let path = [
        directory(&support::program()),
        directory(&program("kubectl")),
        "/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
    ];
    let mut shell = cluster.lab.node.netns.command("timeout");
    shell
        .args(["120", "sh", "-c", line])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATH", path.join(":"))
        .env("KUBECONFIG", cluster.lab.kubeconfig())
        .env("HOME", cluster.lab.path(""));
    let output = shell.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&said));
}

/// Both kinds of names resolve through the Service.
fn assert_answers(client: &Netns, after: &str) {
    for (name, expected) in
        [("kubernetes.default.svc.cluster.local", "10.96.0.1"), ("www.example.org", "192.0.2.80")]
    {
        until(&format!("{name} after {after}"), SETTLED, || {
            let line = format!("dig @10.96.0.10 +short +tries=1 +timeout=2 {name}");
            (client.text(&line) == expected).then_some(())
        });
    }
}

#[test]
fn every_command_of_the_guide_works_in_this_order() {
    let turn = turn::alone();
    let world = ["--address=/www.example.org/192.0.2.80"];
    let cluster = Cluster::without_pods(&turn, &LabOptions::dual_stack(), "iptables", &world);
    let client = cluster.client("default", "10.244.0.200");
    let mut kubelet =
        Kubelet { cluster, containers: BTreeMap::new(), leaving: Vec::new(), next_address: 201 };
    kubelet.settle();
    assert_eq!(kubelet.count(), (2, 0));
    assert_answers(&client, "the start");

    let mut seen = vec![kubelet.count()];
    let commands = commands();
    assert!(commands.len() > 10, "{commands:?}");
    for command in &commands {
        // The guide says to wait for the new Pods.
        run(&kubelet.cluster, command);
        kubelet.settle();
        assert_answers(&client, command);
        if seen.last() != Some(&kubelet.count()) {
            seen.push(kubelet.count());
        }
    }
    // The numbers of servers of CoreDNS and of ndots: at the start, with a canary, with half of the
    // queries, after the switch, and back.
    assert_eq!(seen, [(2, 0), (2, 1), (1, 1), (0, 2), (0, 3), (0, 2), (2, 0)]);
}
