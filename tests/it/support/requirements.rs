//! What a test needs on the machine. A test without it fails and says how to get it, so that no
//! test is left out unseen. To leave tests out on purpose, name them:
//! `cargo test --test it -- --skip netns::`.

use std::process::{Command, Stdio};

use super::lab;

/// Panics unless these programs are on the PATH.
pub(crate) fn require_programs(programs: &[&str]) {
    let missing: Vec<_> = programs.iter().filter(|program| !has(program)).copied().collect();
    assert!(missing.is_empty(), "this test needs {}: run `make setup`", missing.join(", "));
}

fn has(program: &str) -> bool {
    let status = Command::new("which").arg(program).stdout(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Panics unless the test runs as root.
pub(crate) fn require_root() {
    let id = Command::new("id").arg("-u").output().unwrap();
    assert!(
        id.stdout.starts_with(b"0\n"),
        "this test needs root, for network namespaces and privileged ports: run it as root, or leave \
         it out with `--skip`"
    );
}

/// Panics unless `make lab` has built this program.
pub(crate) fn require_lab_program(name: &str) {
    let path = lab::program(name);
    assert!(path.exists(), "this test needs {}: run `make lab`", path.display());
}

/// Panics unless a control plane can run here.
pub(crate) fn require_lab() {
    require_programs(&["ip", "iptables", "dig", "dnsmasq", "curl"]);
    require_lab_program("lab");
    require_lab_program("coredns");
    require_root();
}
