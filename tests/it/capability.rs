//! The file capability of the image's binary, as `scripts/image-root` sets it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use crate::support::{
    self, Ndots, own_host, question, rcode,
    requirements::{require_programs, require_root},
};

const API: &str = "kubernetes.default.svc.cluster.local";

/// A copy of the program with the file capability, which the user of the image may run.
fn program(directory: &tempfile::TempDir) -> PathBuf {
    require_programs(&["setcap", "setpriv"]);
    require_root();
    let script = fs::read_to_string("scripts/image-root").unwrap();
    let capability = script
        .lines()
        .find_map(|line| line.strip_prefix("setcap ")?.split(' ').next())
        .expect("the script sets a file capability");
    let program = directory.path().join("coredns");
    fs::copy(support::program(), &program).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let cafe = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cafe");
    let status = Command::new("cp").args(["-r", cafe]).arg(directory.path()).status().unwrap();
    assert!(status.success());
    let status = Command::new("setcap").arg(capability).arg(&program).status().unwrap();
    assert!(status.success());
    program
}

/// Runs it as the user of the image, with these arguments of setpriv(1). The directory has its
/// manifests.
fn serve(arguments: &[&str], listen: &str) -> (Ndots, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let program = program(&directory);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65532", "--regid", "65532", "--clear-groups"]).args(arguments);
    command.arg("--").arg(program).args(["serve", "--listen", listen, "--manifests"]);
    command.arg(directory.path().join("cafe")).current_dir("/");
    (Ndots::start(command), directory)
}

#[test]
fn a_user_without_root_binds_port_53() {
    let capabilities = ["--no-new-privs", "--bounding-set", "-all,+net_bind_service"];
    let (server, _directory) = serve(&capabilities, &format!("{}:53", own_host()));
    assert_eq!(server.address.port(), 53);
    assert_eq!(rcode(&server.udp(&question(1, API, 1)).unwrap()), 0);
}

#[test]
fn without_any_capability_it_starts_on_a_port_above_1023() {
    let (server, _directory) = serve(&["--bounding-set", "-all"], "127.0.0.1:0");
    assert_eq!(rcode(&server.udp(&question(1, API, 1)).unwrap()), 0);
}
