//! Catalog zones (RFC 9432) that Knot makes: ndots serves the zones that they name.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::support::{
    Ndots, coredns::CoreDns, free_address, lab::until, program, requirements::require_programs,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// What `whoami` replies.
const NEXT_PLUGIN: &str = "NOERROR";

/// Knot with a catalog zone and its members.
struct Knot {
    child: Child,
    at: SocketAddr,
    consumers: Vec<SocketAddr>,
    directory: tempfile::TempDir,
}

impl Knot {
    fn start(consumers: &[SocketAddr], members: &[&str]) -> Self {
        let (at, directory) = (free_address(), tempfile::tempdir().unwrap());
        let log = fs::File::create(directory.path().join("knot.log")).unwrap();
        let mut command = Command::new("knotd");
        let config = directory.path().join("knot.conf");
        write(&config, at, consumers, members);
        let child = command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(log).spawn();
        Self { child: child.unwrap(), at, consumers: consumers.to_vec(), directory }
    }

    /// The catalog names these zones from now on.
    fn name(&self, members: &[&str]) {
        write(&self.directory.path().join("knot.conf"), self.at, &self.consumers, members);
        let kill = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the configuration and the zones.
fn write(config: &Path, at: SocketAddr, consumers: &[SocketAddr], members: &[&str]) {
    let home = config.parent().unwrap();
    let remotes: String = consumers
        .iter()
        .enumerate()
        .map(|(number, to)| format!("  - id: c{number}\n    address: 127.0.0.1@{}\n", to.port()))
        .collect();
    let notified: Vec<_> = (0..consumers.len()).map(|number| format!("c{number}")).collect();
    let common = format!(
        "    storage: {}\n    acl: all\n    notify: [{}]\n",
        home.display(),
        notified.join(", ")
    );
    let mut text = format!(
        "server:\n    rundir: {home}\n    listen: 127.0.0.1@{}\ndatabase:\n    storage: {home}\nlog:\n  - target: stderr\n    any: info\n\
         remote:\n{remotes}acl:\n  - id: all\n    address: 127.0.0.1\n    action: [transfer, notify]\n\
         zone:\n  - domain: catalog.example\n    catalog-role: generate\n{common}",
        at.port(),
        home = home.display(),
    );
    for member in members {
        let zone = "$TTL 60\n@ SOA ns hostmaster 1 60 60 600 60\n@ NS ns\nns A 192.0.2.53\nwww A 192.0.2.1\n";
        fs::write(home.join(format!("{member}.zone")), zone).unwrap();
        text += &format!(
            "  - domain: {member}\n    catalog-role: member\n    catalog-zone: catalog.example\n{common}"
        );
    }
    fs::write(config, text).unwrap();
}

fn corefile(port: u16, from: SocketAddr, options: &str) -> String {
    format!(
        ".:{port} {{\n bind 127.0.0.1\n secondary catalog.example {{\n  transfer from {from}\n  {options}\n }}\n whoami\n errors\n}}\n"
    )
}

/// The address of `www` in a zone, or the code.
fn www(server: SocketAddr, zone: &str) -> String {
    let line =
        format!("@127.0.0.1 -p {} +tries=1 +norecurse +noadditional www.{zone} A", server.port());
    let output = Command::new("dig").args(line.split(' ')).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answer = text.lines().find(|line| line.starts_with("www.") && line.contains("\tA\t"));
    let code = text.split("status: ").nth(1).and_then(|rest| rest.split(',').next());
    let last = answer.and_then(|line| line.split_whitespace().last()).or(code);
    last.unwrap_or("no reply").to_owned()
}

fn wait_for(server: SocketAddr, zone: &str, expected: &str) {
    until(&format!("{zone} {expected}"), PATIENCE, || {
        (www(server, zone) == expected).then_some(())
    });
}

#[test]
fn the_zones_of_a_catalog_come_and_go_as_in_coredns() {
    require_programs(&["knotd", "dig"]);
    let (ours_at, theirs_at) = (free_address(), free_address());
    let knot = Knot::start(&[ours_at, theirs_at], &["example.org", "example.com"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("Corefile");
    fs::write(&file, corefile(ours_at.port(), knot.at, "catalog")).unwrap();
    let mut command = Command::new(program());
    command.arg("-conf").arg(&file);
    let ours = Ndots::with_banner(command, &[]);
    let _theirs = CoreDns::start_at(theirs_at, &corefile(theirs_at.port(), knot.at, "catalog"));
    let both = |zone: &str, expected: &str| {
        for server in [ours_at, theirs_at] {
            wait_for(server, zone, expected);
        }
    };
    both("example.org", "192.0.2.1");
    both("example.com", "192.0.2.1");
    // A zone that no catalog names belongs to the next plugin.
    both("example.net", NEXT_PLUGIN);
    knot.name(&["example.org", "example.net"]);
    both("example.net", "192.0.2.1");
    both("example.com", NEXT_PLUGIN);
    both("example.org", "192.0.2.1");

    // The zones stay through a reload, and the catalog still changes them.
    let text = corefile(ours_at.port(), knot.at, "catalog").replace("errors", "errors\n log");
    fs::write(&file, text).unwrap();
    let pid = ours.child.id().to_string();
    assert!(Command::new("kill").args(["-s", "USR1", &pid]).status().unwrap().success());
    until("a reload", PATIENCE, || {
        ours.log.try_iter().any(|line| line.contains("Reloading complete")).then_some(())
    });
    assert_eq!(www(ours_at, "example.org"), "192.0.2.1");
    knot.name(&["example.com"]);
    wait_for(ours_at, "example.com", "192.0.2.1");
    wait_for(ours_at, "example.org", NEXT_PLUGIN);
}

#[test]
fn a_catalog_names_only_the_zones_that_it_may_name() {
    require_programs(&["knotd", "dig"]);
    let at = free_address();
    let members = ["example.org", "sub.example.com", "example.net"];
    let knot = Knot::start(&[at], &members);
    let text = corefile(at.port(), knot.at, "catalog example.org example.com");
    let _ours = Ndots::corefile(&text, &[], &[]);
    wait_for(at, "example.org", "192.0.2.1");
    wait_for(at, "sub.example.com", "192.0.2.1");
    assert_eq!(www(at, "example.net"), NEXT_PLUGIN);
}
