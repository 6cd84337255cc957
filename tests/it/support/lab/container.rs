//! Programs with their own root directory in a network namespace, as kubelet runs them.

use std::{fs, path::PathBuf, time::Duration};

use super::{Lab, Netns, Process, program, until};

/// The DNS server under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Ndots,
    CoreDns,
}

impl Program {
    pub(crate) fn path(self) -> PathBuf {
        match self {
            Self::Ndots => super::super::program(),
            Self::CoreDns => program("coredns"),
        }
    }
}

/// kubeadm's ServiceAccount and its permissions.
pub(crate) const ACCOUNT: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: { name: coredns, namespace: kube-system }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: system:coredns }
rules:
- { apiGroups: [""], resources: [endpoints, services, pods, namespaces], verbs: [list, watch] }
- { apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: system:coredns }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:coredns }
subjects: [{ kind: ServiceAccount, name: coredns, namespace: kube-system }]
"#;

/// The arguments in kubeadm's Deployment.
pub(crate) const ARGUMENTS: &[&str] = &["-conf", "/etc/coredns/Corefile"];

/// The directory where kubelet mounts a ServiceAccount.
const SECRETS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

pub(crate) struct Container {
    pub(crate) netns: Netns,
    /// The container's root directory, as a path on the host.
    pub(crate) root: PathBuf,
    program: Program,
    /// Address and port of the API server in the container's environment.
    pub(crate) api: (String, u16),
    process: Option<Process>,
}

impl Container {
    pub(super) fn new(root: PathBuf, netns: &Netns, program: Program, api: (String, u16)) -> Self {
        for directory in ["usr", "dev", "proc", "tmp", "etc"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        let container = Self { netns: netns.clone(), root, program, api, process: None };
        container.file("/coredns", "");
        container.file("/etc/resolv.conf", "");
        container
    }

    /// Writes a file of the container atomically, so that this is safe while it runs.
    pub(crate) fn file(&self, path: &str, text: &str) {
        let path = self.root.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let fresh = path.with_extension("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, path).unwrap();
    }

    /// Mounts a ServiceAccount: its token, the certificate authority, the namespace. A second call
    /// renews the token.
    pub(crate) fn service_account(&self, lab: &Lab, namespace: &str, account: &str) {
        self.file(&format!("{SECRETS}/token"), &lab.token(namespace, account));
        self.file(&format!("{SECRETS}/ca.crt"), &fs::read_to_string(lab.ca()).unwrap());
        self.file(&format!("{SECRETS}/namespace"), namespace);
    }

    /// Runs the program with these arguments, in `/`.
    pub(crate) fn run(&mut self, arguments: &[&str]) {
        let root = self.root.display();
        let mut script = String::from("set -e\n");
        for directory in ["bin", "lib", "lib64"] {
            // On hosts where these are links into /usr, the container has the same links.
            let (from, to) = (format!("/{directory}"), format!("{root}/{directory}"));
            script += &format!(
                "if [ -L {from} ]; then ln -sfn \"$(readlink {from})\" {to}; else mkdir -p {to}; mount --bind {from} {to}; fi\n"
            );
        }
        for directory in ["usr", "dev", "proc"] {
            script += &format!("mount --rbind /{directory} {root}/{directory}\n");
        }
        script += &format!(
            "mount --bind {} {root}/coredns\nexec chroot {root} /coredns \"$@\"\n",
            self.program.path().display()
        );
        let mut command = self.netns.command("sh");
        command.args(["-c", &script, "container"]).args(arguments).current_dir("/");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
            .env("KUBERNETES_SERVICE_HOST", &self.api.0)
            .env("KUBERNETES_SERVICE_PORT", self.api.1.to_string());
        let name = format!("{:?}", self.program).to_lowercase();
        self.process = Some(Process::start(&name, command, self.root.with_extension("log")));
    }

    /// Runs the program with kubeadm's arguments.
    pub(crate) fn serve(&mut self) {
        self.run(ARGUMENTS);
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the container runs")
    }

    pub(crate) fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// The HTTP status and body of a page on one of the ports.
    pub(crate) fn page(&self, port: u16, path: &str) -> (String, String) {
        let url = format!("http://{}:{port}{path}", self.netns.address);
        let text = self
            .netns
            .text(&format!("curl --silent --max-time 5 --write-out \\n%{{http_code}} {url}"));
        let (text, code) = text.rsplit_once('\n').unwrap_or(("", &text));
        (code.to_owned(), text.to_owned())
    }

    /// Waits for `/ready` of port 8181.
    pub(crate) fn wait_until_ready(&mut self) {
        until("a ready server", Duration::from_secs(30), || {
            self.process().assert_running();
            (self.page(8181, "/ready").0 == "200").then_some(())
        });
    }

    /// Sends SIGTERM, and returns the exit code.
    pub(crate) fn terminate(&mut self) -> i32 {
        self.process.take().expect("the container runs").terminate()
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }
}
