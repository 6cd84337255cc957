//! Messages about files with secrets.

use std::{fs, process::Command};

#[test]
fn a_kubeconfig_that_does_not_parse_is_not_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    for text in [
        "users:\n- name: u\n  user: {token: SECRET\n",
        "users:\n- name: u\n  user: {token: [SECRET]}\n",
        "users: SECRET\n",
        "\"SECRET\n",
    ] {
        fs::write(&file, text).unwrap();
        for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["explain", "web"]] {
            let ran = Command::new(env!("CARGO_BIN_EXE_ndots"))
                .args(arguments)
                .arg("--kubeconfig")
                .arg(&file)
                .output()
                .unwrap();
            let said = [ran.stdout, ran.stderr].concat();
            let said = String::from_utf8(said).unwrap();
            assert!(!ran.status.success() && !said.contains("SECRET"), "{text}: {said}");
            assert!(said.contains("kubeconfig"), "{text}: {said}");
        }
    }
}
