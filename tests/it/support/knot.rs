//! Knot, a real name server.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use super::lab::Process;

/// Starts Knot at an address. The directory is the one of its files. `more` are the sections of its
/// configuration after `log`.
pub(crate) fn knot(directory: &Path, address: SocketAddr, more: &str) -> Process {
    let (home, file) = (directory.display(), directory.join("knot.conf"));
    let config = format!(
        "server:\n    rundir: {home}\n    listen: 127.0.0.1@{}\ndatabase:\n    storage: {home}\n\
         log:\n  - target: stderr\n    any: info\n{more}",
        address.port()
    );
    fs::write(&file, config).unwrap();
    let mut command = Command::new("knotd");
    command.arg("-c").arg(&file);
    Process::start("knotd", command, directory.join("knot.log"))
}
