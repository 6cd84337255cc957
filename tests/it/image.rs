//! Runs the image as kubelet does: kubeadm's arguments and security context, a read-only root, the
//! default system call filter, its own network.
//!
//! `make image` runs this test as root. `NDOTS_IMAGE` is the path of the image's OCI archive.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    DNSMASQ,
    child::OwnedChild,
    lab::{Netns, Sweeper},
};

/// The bound of the packed image, so that it is pulled quickly.
const MAX_BYTES: u64 = 15_000_000;
/// The bound of the binary. The goal is 15 MB; this bound makes further growth visible.
const MAX_UNPACKED_BYTES: u64 = 22_000_000;
const COREFILE: &str = ".:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       manifests /manifests
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
";

const POD: &str = "192.0.2.2";
const WORLD: &str = "192.0.2.1";

/// An image that buildah unpacks like a container engine, the network namespace of a Pod, and a
/// namespace for everything outside at the other end of its cable.
struct Node {
    directory: tempfile::TempDir,
    image: PathBuf,
    dnsmasq: Option<OwnedChild>,
    pod: Netns,
    world: Netns,
    _sweeper: Sweeper,
}

impl Node {
    fn new(image: PathBuf) -> Self {
        let sweeper = Sweeper::start();
        let [pod, world] = [("pod", POD), ("world", WORLD)].map(|(side, address)| {
            let name = format!("ndots-{side}-{}", std::process::id());
            Netns::new(&name, address.parse().unwrap(), &sweeper)
        });
        pod.ip(&format!("link add eth0 type veth peer name eth0 netns {}", world.name));
        for side in [&pod, &world] {
            side.ip(&format!("address add {}/24 dev eth0", side.address));
            side.ip("link set eth0 up");
        }
        let directory = tempfile::tempdir().unwrap();
        let node = Self { directory, image, dnsmasq: None, pod, world, _sweeper: sweeper };
        fs::write(node.path("Corefile"), COREFILE).unwrap();
        fs::write(node.path("resolv.conf"), format!("nameserver {WORLD}\n")).unwrap();
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn buildah(&self, arguments: &[&str]) -> String {
        let mut buildah = Command::new("buildah");
        buildah
            .arg("--root")
            .arg(self.path("store"))
            .arg("--runroot")
            .arg(self.path("run"))
            .args(["--storage-driver", "vfs"]);
        succeed(buildah.args(arguments)).trim().to_owned()
    }

    fn http(&self, page: &str) -> String {
        self.world.text(&format!("curl --silent --fail --max-time 5 http://{POD}:{page}"))
    }

    /// Starts dnsmasq, which knows one name.
    fn start_world(&mut self) {
        let mut dnsmasq = self.world.command("dnsmasq");
        dnsmasq.args(DNSMASQ).args(["--local=//", "--address=/www.example.org/192.0.2.80"]);
        dnsmasq.stdout(Stdio::null()).stderr(Stdio::null());
        self.dnsmasq = Some(OwnedChild::spawn(&mut dnsmasq));
    }

    /// Unpacks the image, and returns the runtime configuration for it and for kubeadm's
    /// Deployment.
    fn unpack(&self) -> Value {
        let container =
            self.buildah(&["from", "--quiet", &format!("oci-archive:{}", self.image.display())]);
        let root = self.buildah(&["mount", &container]);
        let image: Value = serde_json::from_str(&self.buildah(&["inspect", &container])).unwrap();
        let image = &image["OCIv1"]["config"];
        assert_eq!(image["User"], "65532:65532");
        let mut arguments = image["Entrypoint"].as_array().unwrap().clone();
        arguments.extend(["-conf", "/etc/coredns/Corefile"].map(Value::from));
        // As kubelet sets `drop: [ALL]`, `add: [NET_BIND_SERVICE]`: no inheritable and no ambient
        // capabilities.
        let capability = json!(["CAP_NET_BIND_SERVICE"]);
        let bind = |from: PathBuf, to: &str| json!({ "destination": to, "type": "bind", "source": from, "options": ["bind", "ro"] });
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "args": arguments, "cwd": "/", "env": ["PATH=/"], "user": { "uid": 65532, "gid": 65532 },
                "capabilities": { "bounding": capability, "effective": capability, "permitted": capability },
                "noNewPrivileges": true,
            },
            "root": { "path": root, "readonly": true },
            "hostname": "coredns-0",
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
                bind(self.path("Corefile"), "/etc/coredns/Corefile"),
                bind(self.path("resolv.conf"), "/etc/resolv.conf"),
                bind(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cafe"), "/manifests"),
            ],
            "linux": {
                "namespaces": [
                    { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
                    { "type": "network", "path": format!("/run/netns/{}", self.pod.name) },
                ],
                "seccomp": default_filter(),
            },
        })
    }

    /// crun uses no cgroup here, but does not start if both cgroup versions are mounted. So the
    /// second is unmounted in its mount namespace.
    fn crun(&self) -> Command {
        let mut crun = Command::new("unshare");
        crun.args([
            "--mount",
            "sh",
            "-c",
            "umount /sys/fs/cgroup/unified 2>/dev/null; exec crun \"$@\"",
            "crun",
        ]);
        crun.arg("--root").arg(self.path("crun")).args(["--cgroup-manager", "disabled"]);
        crun
    }

    fn run(&self, configuration: &Value) -> Container<'_> {
        fs::create_dir_all(self.path("bundle")).unwrap();
        fs::write(self.path("bundle/config.json"), configuration.to_string()).unwrap();
        let log = fs::File::create(self.path("log")).unwrap();
        let mut crun = self.crun();
        crun.args(["run", "--bundle"]).arg(self.path("bundle")).arg(&self.pod.name);
        let child =
            crun.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Container { node: self, child }
    }
}

struct Container<'a> {
    node: &'a Node,
    child: Child,
}

impl Container<'_> {
    fn log(&self) -> String {
        fs::read_to_string(self.node.path("log")).unwrap()
    }

    fn wait_until_ready(&mut self) {
        let start = Instant::now();
        while self.node.http("8181/ready") != "OK" {
            assert!(
                self.child.try_wait().unwrap().is_none()
                    && start.elapsed() < Duration::from_secs(10),
                "not ready: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self.node.crun().args(["delete", "--force", &self.node.pod.name]).output();
        let _ = self.child.wait();
    }
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The filter of `seccompProfile: RuntimeDefault` in Debian's container engines, for a process with
/// only the capability `NET_BIND_SERVICE`.
fn default_filter() -> Value {
    let file: Value =
        serde_json::from_str(&fs::read_to_string("/usr/share/containers/seccomp.json").unwrap())
            .unwrap();
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let holds = |rule: &Value| {
        let arches = rule["includes"]["arches"].as_array();
        rule["includes"]["caps"].is_null()
            && arches.is_none_or(|arches| arches.contains(&json!(machine)))
    };
    let plain = |rule: &Value| {
        let mut rule = rule.clone();
        let fields = rule.as_object_mut().unwrap();
        fields.retain(|name, value| {
            ["names", "action", "args", "errnoRet"].contains(&name.as_str()) && !value.is_null()
        });
        rule
    };
    let rules: Vec<Value> =
        file["syscalls"].as_array().unwrap().iter().filter(|rule| holds(rule)).map(plain).collect();
    json!({ "defaultAction": file["defaultAction"], "defaultErrnoRet": file["defaultErrnoRet"], "syscalls": rules })
}

#[test]
#[ignore = "needs an image: `make image` builds one and runs this test"]
fn the_image_runs_as_kubeadm_runs_coredns() {
    let image = std::env::var_os("NDOTS_IMAGE").expect("NDOTS_IMAGE names the image's OCI archive");
    let mut node = Node::new(image.into());
    node.start_world();
    let configuration = node.unpack();
    let root = PathBuf::from(configuration["root"]["path"].as_str().unwrap());
    let bytes = fs::metadata(root.join("coredns")).unwrap().len();
    let packed = fs::metadata(&node.image).unwrap().len();
    println!("the image: {:.1} MB, {:.1} MB packed", bytes as f64 / 1e6, packed as f64 / 1e6);
    assert!(bytes <= MAX_UNPACKED_BYTES, "{bytes} octets");
    assert!(packed <= MAX_BYTES, "{packed} octets");
    assert_eq!(fs::read_link(root.join("ndots")).unwrap(), Path::new("coredns"));

    let mut container = node.run(&configuration);
    container.wait_until_ready();
    for transport in ["+notcp", "+tcp"] {
        let dig = |question: &str| {
            node.world.text(&format!("dig @{POD} {transport} +short +time=2 +tries=2 {question}"))
        };
        assert_eq!(dig("kubernetes.default.svc.cluster.local"), "10.96.0.1", "{}", container.log());
        assert_eq!(dig("-x 10.96.0.1"), "kubernetes.default.svc.cluster.local.");
        assert_eq!(dig("www.example.org"), "192.0.2.80");
    }
    assert_eq!(node.http("8080/health"), "OK");
    let metrics = node.http("9153/metrics");
    assert!(metrics.contains("\ncoredns_dns_requests_total{"), "{metrics}");

    let check = succeed(node.crun().args([
        "exec",
        &node.pod.name,
        "/ndots",
        "check",
        "/etc/coredns/Corefile",
    ]));
    assert!(check.trim().ends_with("no mistakes"), "{check}");
    let state: Value =
        serde_json::from_str(&succeed(node.crun().args(["state", &node.pod.name]))).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", state["pid"])).unwrap();
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    };
    assert_eq!(
        (field("CapEff:"), field("CapBnd:")),
        ("0000000000000400".into(), "0000000000000400".into()),
        "NET_BIND_SERVICE only"
    );
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".into(), "2".into()));
    assert_eq!(field("Uid:"), "65532\t65532\t65532\t65532");

    succeed(node.crun().args(["kill", &node.pod.name, "TERM"]));
    assert!(container.child.wait().unwrap().success(), "{}", container.log());
}

#[test]
fn the_dockerfile_builds_with_the_toolchain_of_the_repository() {
    let read =
        |name: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let (toolchain, dockerfile) = (read("rust-toolchain.toml"), read("Dockerfile"));
    let channel = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .unwrap()
        .trim_matches('"');
    assert!(
        dockerfile.contains(&format!("\nARG RUST={channel}\n")),
        "rust-toolchain.toml has {channel}"
    );
}
