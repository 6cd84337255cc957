//! The processes of the control plane: etcd, kube-apiserver and kube-controller-manager.

use super::{ADMIN, API_PORT, Api, Lab, Process, START, program, until};

/// The controllers that run. The scheduler does not run. The node lifecycle controller is left out,
/// because it would delete Pods that no kubelet runs.
const CONTROLLERS: &str = "serviceaccount-controller,serviceaccount-token-controller,root-ca-certificate-publisher-controller,\
                           endpointslice-controller,endpointslice-mirroring-controller,deployment-controller,replicaset-controller,\
                           statefulset-controller,namespace-controller,clusterrole-aggregation-controller";

impl Lab {
    /// Starts a program of the control plane in the node's namespace.
    fn control(&self, name: &str, arguments: &[&str]) -> Process {
        let mut command = self.node.netns.command(&program(name).display().to_string());
        // Less frequent garbage collection, because the machine may have only two processors.
        command.args(arguments).env("GOGC", "200").current_dir(self.directory.path());
        Process::start(name, command, self.path(&format!("{name}.log")))
    }

    /// Starts or restarts etcd.
    pub(crate) fn start_etcd(&mut self) {
        let client = "http://127.0.0.1:2379";
        let mut arguments =
            vec!["--name", "lab", "--data-dir", "etcd", "--unsafe-no-fsync", "--log-level", "warn"];
        arguments.extend(["--listen-client-urls", client, "--advertise-client-urls", client]);
        arguments.extend(["--quota-backend-bytes", "4294967296"]);
        self.etcd = Some(self.control("etcd", &arguments));
    }

    /// Starts the API server.
    pub(crate) fn start_apiserver(&mut self) {
        let (address, range) =
            (format!("--advertise-address={}", self.node.address), self.options.service_range);
        let range = format!("--service-cluster-ip-range={range}");
        let port = format!("--secure-port={API_PORT}");
        let mut arguments = vec![
            "--etcd-servers=http://127.0.0.1:2379",
            &*address,
            &*range,
            &*port,
            "--bind-address=0.0.0.0",
        ];
        arguments.extend([
            "--tls-cert-file=pki/server.crt",
            "--tls-private-key-file=pki/server.key",
            "--client-ca-file=pki/ca.crt",
        ]);
        arguments.extend([
            "--token-auth-file=tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
        ]);
        arguments.extend([
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--profiling=false",
        ]);
        arguments.extend([
            "--service-account-key-file=pki/sa.pub",
            "--service-account-signing-key-file=pki/sa.key",
        ]);
        arguments.extend(["--audit-policy-file=audit.yaml", "--audit-log-path=audit.log"]);
        arguments.extend(self.options.apiserver);
        self.apiserver = Some(self.control("kube-apiserver", &arguments));
    }

    pub(crate) fn start_controllers(&mut self) {
        let controllers = format!("--controllers={CONTROLLERS}");
        let mut arguments = vec![
            "--kubeconfig=admin.conf",
            "--leader-elect=false",
            "--secure-port=0",
            &*controllers,
        ];
        arguments
            .extend(["--root-ca-file=pki/ca.crt", "--service-account-private-key-file=pki/sa.key"]);
        arguments.extend(["--kube-api-qps=500", "--kube-api-burst=1000"]);
        self.controllers = Some(self.control("kube-controller-manager", &arguments));
    }

    /// Kills the API server.
    pub(crate) fn kill_apiserver(&mut self) {
        self.apiserver = None;
    }

    /// Kills the API server, starts it again, and waits until it is ready.
    pub(crate) fn restart_apiserver(&mut self) {
        self.kill_apiserver();
        self.start_apiserver();
        self.wait_until_ready();
    }

    pub(crate) fn wait_until_ready(&self) {
        until("a ready API server", START, || {
            let (code, _) = Api::try_new(self.node.address, &self.ca(), ADMIN)?
                .try_request("GET", "/readyz", None)?;
            (code == 200).then_some(())
        });
    }
}
