//! Starts and reloads that take long, and what a failed reload leaves behind.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::A;
use crate::{
    hostile::api,
    support::{Ndots, question, rcode},
};

const LONG: Duration = Duration::from_secs(20);

fn write(file: &Path, text: &str) {
    // A reload must never see half of the text.
    let draft = file.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, file).unwrap();
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

fn logged(ndots: &Ndots, text: &str) -> String {
    let ends = Instant::now() + LONG;
    while let Ok(line) = ndots.log.recv_timeout(ends.saturating_duration_since(Instant::now())) {
        if line.contains(text) {
            return line;
        }
    }
    panic!("the log has no {text}");
}

/// Four upstreams whose names this resolver does not resolve within its 2 s.
fn unresolved(silent: SocketAddr) -> String {
    let names = "one.example two.example three.example four.example";
    format!(
        ".:0 {{\n bind 127.0.0.1\n health 127.0.0.1:0 {{\n lameduck 1s\n }}\n \
         forward . 127.0.0.1 {names} {{\n resolver {silent}\n }}\n}}\n"
    )
}

#[test]
fn the_names_of_upstreams_are_resolved_at_the_same_time() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let text = unresolved(silent.local_addr().unwrap());
    let begun = Instant::now();
    let ndots = Ndots::corefile(&text, &["dns"], &[]);
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(7), "{took:?}");
    drop(ndots);
}

#[test]
fn a_signal_ends_a_start_and_a_reload_that_wait() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let text = unresolved(silent.local_addr().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("Corefile");
    write(&file, &text);
    let mut command = Command::new(crate::support::program());
    command.arg("-conf").arg(&file);
    let mut starting = command.spawn().unwrap();
    // It begins to resolve after some milliseconds.
    let mut query = [0; 512];
    silent.recv(&mut query).unwrap();
    let begun = Instant::now();
    signal("TERM", starting.id());
    assert_eq!(starting.wait().unwrap().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());

    let simple = ".:0 {\n bind 127.0.0.1\n health 127.0.0.1:0 {\n lameduck 1s\n }\n whoami\n}\n";
    write(&file, simple);
    let mut ndots = Ndots::with_banner(command, &["dns"]);
    write(&file, &text);
    silent.set_nonblocking(true).unwrap();
    while silent.recv(&mut query).is_ok() {}
    silent.set_nonblocking(false).unwrap();
    signal("USR1", ndots.child.id());
    silent.recv(&mut query).unwrap();
    let begun = Instant::now();
    signal("TERM", ndots.child.id());
    logged(&ndots, "Going into lameduck mode");
    assert!(ndots.udp(&question(1, "www.example", A)).is_some(), "it answers until its end");
    assert_eq!(ndots.child.wait().unwrap().code(), Some(0));
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_millis(2500), "{took:?}");
}

/// The lists of a cluster with a headless Service, whose endpoint is named after its Pod.
fn lists(path: &str) -> Option<String> {
    let kind = match path.rsplit('/').next()? {
        "services" => "Service",
        "endpointslices" => "EndpointSlice",
        "namespaces" => "Namespace",
        _ => return None,
    };
    let item = match kind {
        "Service" => json!({
            "metadata": { "name": "web", "namespace": "shop" },
            "spec": { "clusterIP": "None", "ports": [{ "port": 80 }] },
        }),
        "EndpointSlice" => json!({
            "metadata": {
                "name": "web-1",
                "namespace": "shop",
                "labels": { "kubernetes.io/service-name": "web" },
            },
            "addressType": "IPv4",
            "endpoints": [{
                "addresses": ["10.244.0.9"],
                "conditions": { "ready": true },
                "targetRef": { "kind": "Pod", "name": "tea-0", "namespace": "shop" },
            }],
            "ports": [{ "name": "", "port": 80 }],
        }),
        _ => json!({ "metadata": { "name": "shop" } }),
    };
    let metadata = json!({ "resourceVersion": "7" });
    Some(
        json!({ "kind": format!("{kind}List"), "metadata": metadata, "items": [item] }).to_string(),
    )
}

/// An API server, and how many requests for EndpointSlices it got.
fn api_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let server = api::serve_lists("410 Gone", move |path| {
        counted.fetch_add(usize::from(path.ends_with("/endpointslices")), Ordering::Relaxed);
        lists(path)
    });
    (server, asked)
}

#[test]
fn a_failed_reload_leaves_the_sources_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let (server, asked) = api_server();
    let (other, of_other) = api_server();
    for (name, server) in [("one", server), ("other", other)] {
        fs::write(directory.path().join(name), api::kubeconfig(server)).unwrap();
    }
    let block = |bind: &str, zone: &str, kubeconfig: &str, option: &str| {
        let file = directory.path().join(kubeconfig);
        format!(
            "{zone}:0 {{\n bind {bind}\n kubernetes {zone} {{\n kubeconfig {}\n {option}\n }}\n}}\n",
            file.display()
        )
    };
    let file = directory.path().join("Corefile");
    write(&file, &block("127.0.0.1", "cluster.local", "one", "endpoint_pod_names"));
    let mut command = Command::new(crate::support::program());
    command.arg("-conf").arg(&file);
    let ndots = Ndots::with_banner(command, &["dns"]);
    let answer = || ndots.udp(&question(1, "tea-0.web.shop.svc.cluster.local", A));
    let begun = Instant::now();
    while answer().is_none_or(|reply| rcode(&reply) != 0) {
        assert!(begun.elapsed() < LONG, "the cluster is not read");
        thread::sleep(Duration::from_millis(50));
    }
    let without = block("127.0.0.1", "cluster.local", "one", "");
    write(&file, &(without + &block("no-interface", "other.local", "other", "")));
    signal("USR1", ndots.child.id());
    logged(&ndots, "reload failed");
    let before = asked.load(Ordering::Relaxed);
    let begun = Instant::now();
    while asked.load(Ordering::Relaxed) < before + 4 {
        assert!(begun.elapsed() < LONG, "the slices are not listed again");
        thread::sleep(Duration::from_millis(50));
    }
    thread::sleep(Duration::from_millis(500));
    assert_eq!(answer().map(|reply| rcode(&reply)), Some(0), "the Pod's name is lost");
    let of_closed = of_other.load(Ordering::Relaxed);
    thread::sleep(Duration::from_secs(5));
    assert_eq!(of_other.load(Ordering::Relaxed), of_closed, "the other source still runs");
}

#[test]
fn a_change_during_a_slow_start_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let (server, _) = api_server();
    let mut kubeconfig: serde_json::Value = serde_json::from_str(&api::kubeconfig(server)).unwrap();
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": { "token": "t" },
    });
    let started = directory.path().join("started");
    kubeconfig["users"][0]["user"] = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "sh",
        "args": ["-c", format!("touch {}; sleep 2; echo '{credential}'", started.display())],
        "interactiveMode": "Never",
    } });
    let path = |name: &str| directory.path().join(name);
    fs::write(path("config"), kubeconfig.to_string()).unwrap();
    let hosts = |last: u8| format!("hosts none {{\n 192.0.2.{last} v.example\n fallthrough\n}}\n");
    write(&path("extra"), &hosts(1));
    write(
        &path("Corefile"),
        &format!(
            ".:0 {{\n bind 127.0.0.1\n reload\n import extra\n kubernetes cluster.local {{\n kubeconfig {}\n }}\n}}\n",
            path("config").display()
        ),
    );
    let (extra, changed) = (path("extra"), hosts(2));
    let change = thread::spawn(move || {
        while !started.exists() {
            thread::sleep(Duration::from_millis(20));
        }
        write(&extra, &changed);
    });
    let mut command = Command::new(crate::support::program());
    command.arg("-conf").arg(path("Corefile"));
    let ndots = Ndots::with_banner(command, &["dns"]);
    change.join().unwrap();
    logged(&ndots, "Reloading complete");
    let reply = ndots.udp(&question(1, "v.example", A)).unwrap();
    assert!(reply.ends_with(&[192, 0, 2, 2]), "{reply:?}");
}
