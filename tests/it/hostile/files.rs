//! Messages about files with secrets.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use crate::support::{
    child::{OwnedChild, START},
    encrypted::Authority,
    program,
};

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
            let ran = Command::new(program())
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

/// Kubernetes mounts the files of a ConfigMap as links to the directory `..data` beside them.
#[test]
fn a_link_that_leads_out_of_the_directory_is_not_quoted() {
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mounted, outside) = (directory.path().join("..data"), elsewhere.path().join("passwd"));
    fs::create_dir(&mounted).unwrap();
    fs::write(mounted.join("part"), "INSIDE:x:0:0\n").unwrap();
    fs::write(&outside, "SECRET:x:0:0\n").unwrap();
    let link = |to: &Path, name: &str| symlink(to, directory.path().join(name)).unwrap();
    link(Path::new("..data/part"), "part");
    link(&outside, "passwd");
    for (import, quoted) in [("part", true), ("passwd", false)] {
        let file = directory.path().join("Corefile");
        fs::write(&file, format!(".:53 {{\n whoami\n import {import}\n}}\n")).unwrap();
        let ran = Command::new(program()).arg("check").arg(&file).output().unwrap();
        let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
        assert!(!ran.status.success() && !said.contains("SECRET"), "{said}");
        assert_eq!(said.contains("INSIDE"), quoted, "{said}");
    }
}

#[test]
fn the_value_of_a_variable_is_not_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("Corefile");
    let lines = [
        "forward . {$TOKEN}",
        "forward . tls://{$TOKEN}:1",
        "cache {$TOKEN}",
        "cache 1 {$TOKEN}",
        "{$TOKEN}",
        "kubernetes {\n ttl {$TOKEN}\n }",
        "kubernetes {\n {$TOKEN} x\n }",
        "kubernetes {\n labels {$TOKEN}\n }",
        "etcd {\n endpoint {$TOKEN}\n credentials u {$TOKEN}\n }",
        "hosts {$TOKEN} {\n 192.0.2.1 {$TOKEN}..x\n }",
        "rewrite name regex ({$TOKEN} x",
        "template IN A {\n answer \"{{ {$TOKEN} }}\"\n }",
        "tls {$TOKEN} {$TOKEN}",
        "acl {\n allow net {$TOKEN}\n }",
        "import {$TOKEN}",
        "log . \"{$TOKEN}\" {\n class {$TOKEN}\n }",
    ];
    for token in ["s3cr3t)-VALUE", "S3CR3T.VALUE[", "host:s3cr3t@value", "s3cr3t value"] {
        for line in lines {
            fs::write(&file, format!(".:53 {{\n whoami\n {line}\n}}\n")).unwrap();
            let ran = Command::new(program())
                .arg("check")
                .arg(&file)
                .env("TOKEN", token)
                .output()
                .unwrap();
            let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
            assert!(!said.to_lowercase().contains("s3cr3t"), "{line}: {said}");
            assert!(said.contains("{$TOKEN}") || ran.status.success(), "{line}: {said}");
        }
    }
}

/// Kubernetes lets every user read the files of a Secret, but only the Pod sees the mount.
#[test]
fn a_tls_key_that_every_user_can_read_causes_a_warning() {
    let authority = Authority::new();
    let key = authority.path("key.pem");
    let mounted = authority.path("mounted");
    fs::create_dir_all(mounted.join("..data")).unwrap();
    for file in ["cert.pem", "key.pem"] {
        fs::copy(authority.path(file), mounted.join("..data").join(file)).unwrap();
        symlink(Path::new("..data").join(file), mounted.join(file)).unwrap();
    }
    let beside = authority.directive();
    let secret = format!("tls {0}/cert.pem {0}/key.pem", mounted.display());
    for (mode, tls, is_warned) in [
        (0o644, &beside, true),
        (0o600, &beside, false),
        (0o640, &beside, false),
        (0o644, &secret, false),
    ] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let file = authority.path("Corefile");
        fs::write(&file, format!("tls://.:0 {{\n bind 127.0.0.1\n {tls}\n whoami\n}}\n")).unwrap();
        let mut command = Command::new(program());
        let (mut child, lines) = OwnedChild::with_lines(command.arg("-conf").arg(&file));
        let line = || lines.recv_timeout(START).expect("the server logs where it listens");
        let mut seen: Vec<_> =
            std::iter::repeat_with(line).take_while(|line| !line.contains(" is 127")).collect();
        // The banner is not in order with the log, which is complete at the end.
        child.signal("TERM");
        seen.extend(&lines);
        child.wait().unwrap();
        let warning = format!(
            "[WARNING] plugin/tls: every user of this machine can read the key {0}; only ndots \
             should: chmod o-r {0}",
            key.display()
        );
        assert_eq!(seen.contains(&warning), is_warned, "{mode:o} {tls}: {seen:#?}");
    }
}
