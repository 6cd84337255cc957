//! Measures a large cluster: memory, the time from start to ready, and the cost of a query.
//!
//! `NDOTS_BENCH_SNAPSHOT` names an etcd snapshot, which may be compressed with zstd. Without it the
//! lab creates a smaller cluster.

use std::{path::Path, process::Command};

use crate::{
    Bench, facts, peers,
    support::{
        lab::{Lab, LabOptions, program},
        turn::Turn,
    },
};

/// The size of the cluster that is created if there is no snapshot.
const SERVICES: usize = 2000;
/// How many names of Services are queried.
const ASKED: usize = 1000;

pub(crate) fn large(bench: &Bench, turn: &Turn) {
    let options = LabOptions {
        controllers: false,
        service_range: "10.96.0.0/14,fd00:10:96::/112",
        ..LabOptions::default()
    };
    let lab = match std::env::var("NDOTS_BENCH_SNAPSHOT") {
        Ok(snapshot) => Lab::start(
            turn,
            &LabOptions {
                etcd: Some(restore(Path::new(&snapshot), bench.directory.path())),
                ..options
            },
        ),
        Err(_) => made(turn, &options),
    };
    println!("\na cluster of {}, read from its API server", size(&lab));
    println!("{:<30} {:>12} {:>12} {:>12}", "", "ready, s", "peak, MB", "settled, MB");
    for pods in ["insecure", "verified"] {
        for (peer, program) in peers() {
            let started = bench.start(&program, &facts(&lab, pods));
            let ready = started.server.until_ready(started.ready).as_secs_f64();
            // The allocator gives the memory of a list back some seconds later.
            std::thread::sleep(std::time::Duration::from_secs(10));
            let [peak, settled] = ["VmHWM", "VmRSS"].map(|field| started.server.memory(field));
            println!(
                "{:<30} {ready:>12.1} {peak:>12.1} {settled:>12.1}",
                format!("{peer}, pods {pods}")
            );
        }
    }
    let names = (0..ASKED).map(|k| format!("svc-{k}.ns-{}.svc.cluster.local", k % 50)).collect();
    bench.costs(&peers(), &facts(&lab, "insecure"), &[("names of its Services", names)]);
}

fn made(turn: &Turn, options: &LabOptions) -> Lab {
    let lab = Lab::start(turn, options);
    let mut generate = Command::new(program("lab"));
    generate
        .arg("generate")
        .arg("--kubeconfig")
        .arg(lab.kubeconfig())
        .arg(format!("--services={SERVICES}"));
    assert!(generate.status().unwrap().success());
    lab
}

/// The number of objects by kind, as the API server counts them.
fn size(lab: &Lab) -> String {
    let count = |path: &str| {
        let page = lab.get(&format!("{path}?limit=1"));
        let items = page["items"].as_array().map_or(0, Vec::len) as u64;
        items + page["metadata"]["remainingItemCount"].as_u64().unwrap_or(0)
    };
    let [services, slices, pods] =
        ["/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices", "/api/v1/pods"].map(count);
    format!("{services} Services, {slices} EndpointSlices, {pods} Pods")
}

/// Restores etcd's data directory from a snapshot.
fn restore(snapshot: &Path, directory: &Path) -> std::path::PathBuf {
    let (plain, data) = (directory.join("snapshot.db"), directory.join("etcd"));
    if snapshot.extension().is_some_and(|extension| extension == "zst") {
        run(Command::new("zstd").args(["-q", "-d", "-f"]).arg(snapshot).arg("-o").arg(&plain));
    } else {
        std::fs::copy(snapshot, &plain).unwrap();
    }
    run(Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["snapshot", "restore"])
        .arg(&plain)
        .arg("--data-dir")
        .arg(&data));
    data
}

fn run(command: &mut Command) {
    assert!(command.output().unwrap().status.success(), "{command:?}");
}
