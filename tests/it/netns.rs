//! dig and getent in a network namespace with a Pod's resolv.conf: ndots listens on 10.96.0.10, and
//! dnsmasq is its upstream.

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::support::{
    DNSMASQ, Ndots,
    child::OwnedChild,
    lab::{Netns, Sweeper, until},
    program,
    requirements::{require_programs, require_root},
};

/// A network namespace with the search list that kubelet writes for a Pod in `monitoring`.
struct Namespace {
    // The fields are dropped in this order, so the process ends before the namespace.
    upstream: Option<OwnedChild>,
    netns: Netns,
    _sweeper: Sweeper,
}

impl Namespace {
    fn new(purpose: &str) -> Self {
        let sweeper = Sweeper::start();
        let name = format!("ndots-{purpose}-{}", std::process::id());
        let netns = Netns::new(&name, Ipv4Addr::new(10, 96, 0, 10), &sweeper);
        netns.ip("address add 10.96.0.10/32 dev lo");
        netns.resolv_conf("nameserver 10.96.0.10\nsearch monitoring.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n");
        Self { upstream: None, netns, _sweeper: sweeper }
    }

    /// Starts dnsmasq, which knows only two names.
    fn start_upstream(&mut self) {
        let mut dnsmasq = self.netns.command("dnsmasq");
        dnsmasq.args(DNSMASQ).args([
            "--bind-interfaces",
            "--listen-address=127.0.0.53",
            "--local=//",
        ]);
        dnsmasq.args([
            "--address=/my.database.example.com/192.0.2.77",
            "--address=/www.example.org/192.0.2.80",
        ]);
        dnsmasq.stdout(Stdio::null()).stderr(Stdio::null());
        self.upstream = Some(OwnedChild::spawn(&mut dnsmasq));
    }

    fn ndots(&self) -> Command {
        self.netns.command(&program().display().to_string())
    }

    fn start_server(&self) -> Ndots {
        let cafe = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cafe");
        let mut ndots = self.ndots();
        ndots
            .arg("serve")
            .args(["--listen", "10.96.0.10:53", "--upstream", "127.0.0.53", "--manifests"])
            .arg(cafe);
        Ndots::start(ndots)
    }
}

#[test]
fn a_pod_resolves_short_names_other_namespaces_and_external_names() {
    require_programs(&["ip", "dig", "getent", "dnsmasq"]);
    require_root();
    let mut namespace = Namespace::new("pod");
    namespace.start_upstream();
    let _server = namespace.start_server();
    let address = |name: &str| namespace.netns.text(&format!("dig +short {name} A"));
    let grafana = address("grafana.monitoring.svc.cluster.local");
    let nginx = address("my-nginx.default.svc.cluster.local");
    assert!(grafana.starts_with("10.96.") && nginx.starts_with("10.96."), "{grafana} {nginx}");

    let dig = |question: &str, expected: &str| {
        for transport in ["+notcp", "+tcp"] {
            let line = format!("dig {transport} +search +ndots=5 +short {question}");
            assert_eq!(namespace.netns.text(&line), expected, "{line}");
        }
    };
    dig("grafana", &grafana);
    dig("grafana.monitoring", &grafana);
    dig("grafana.monitoring.svc", &grafana);
    dig("my-nginx.default", &nginx);
    dig("kubernetes.default", "10.96.0.1");
    dig("www.example.org", "192.0.2.80");
    dig("my-service.default", "my.database.example.com.\n192.0.2.77");
    dig("prometheus-0.prometheus-operated", "10.244.1.20");
    dig("_web._tcp.prometheus SRV", "0 100 9090 prometheus.monitoring.svc.cluster.local.");
    dig("my-nginx", "");
    dig("-x 10.96.0.1", "kubernetes.default.svc.cluster.local.");

    let getent = |question: &str, address: &str, name: &str| {
        let output = namespace.netns.text(&format!("getent {question}"));
        let first = output.lines().next().unwrap_or_default();
        assert!(
            first.starts_with(address) && first.ends_with(name) && !first.is_empty(),
            "getent {question}: {output:?}"
        );
    };
    getent("ahostsv4 grafana", &grafana, "grafana.monitoring.svc.cluster.local");
    getent("hosts kubernetes.default", "10.96.0.1", "kubernetes.default.svc.cluster.local");
    getent("ahostsv4 my-nginx.default.svc", &nginx, "my-nginx.default.svc.cluster.local");
    getent("ahostsv4 www.example.org", "192.0.2.80", "www.example.org");
    getent("ahostsv4 my-service.default", "192.0.2.77", "my.database.example.com");
    getent("hosts 10.96.0.1", "10.96.0.1", "kubernetes.default.svc.cluster.local");
    assert_eq!(namespace.netns.text("getent ahostsv4 nothing.default"), "");
}

/// RFC 4007 §11.
#[test]
fn bind_takes_a_link_local_address_with_its_interface() {
    require_programs(&["ip", "dig"]);
    require_root();
    let namespace = Namespace::new("bind");
    namespace.netns.ip("address add fe80::53/64 dev lo nodad");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("Corefile");
    for (bind, expected) in [("fe80::53%lo", "fe80::53"), ("fe80::53%1", "fe80::53")] {
        fs::write(&file, format!(".:53 {{\n bind {bind}\n whoami\n}}\n")).unwrap();
        let mut ndots = namespace.ndots();
        ndots.arg("-conf").arg(&file);
        let _server = Ndots::with_banner(ndots, &[]);
        for transport in ["+notcp", "+tcp"] {
            let line =
                format!("dig {transport} +time=1 @fe80::53%lo +noall +additional who.example AAAA");
            until("a reply with the address", Duration::from_secs(20), || {
                namespace.netns.text(&line).contains(expected).then_some(())
            });
        }
    }
    for wrong in ["fe80::53%eth7", "fe80::x%lo"] {
        fs::write(&file, format!(".:53 {{\n bind {wrong}\n whoami\n}}\n")).unwrap();
        let mut ndots = namespace.ndots();
        let output = ndots.arg("-conf").arg(&file).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && message.contains(wrong), "{message}");
    }
}
