//! Runs dnsperf on the core that the servers do not use.

use std::{path::Path, process::Command};

use crate::server::{LOAD_CORE, Server};

const SECONDS: &str = "3";

/// Sends the queries of `file` for some seconds, and returns the server's CPU time for a query in
/// microseconds.
pub(crate) fn cost(server: &Server, file: &Path) -> f64 {
    let before = server.cpu();
    let port = server.address.port().to_string();
    let mut dnsperf = Command::new("taskset");
    dnsperf.args([
        "-c",
        LOAD_CORE,
        "dnsperf",
        "-s",
        "127.0.0.1",
        "-p",
        &port,
        "-l",
        SECONDS,
        "-c",
        "8",
        "-q",
        "64",
        "-d",
    ]);
    let output = dnsperf.arg(file).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    let completed: u64 = report
        .lines()
        .find_map(|line| {
            line.trim().strip_prefix("Queries completed:")?.split_whitespace().next()?.parse().ok()
        })
        .filter(|completed| *completed > 0)
        .unwrap_or_else(|| panic!("dnsperf: {report}{}", String::from_utf8_lossy(&output.stderr)));
    (server.cpu() - before).as_secs_f64() * 1e6 / completed as f64
}
