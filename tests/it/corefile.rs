//! Corefiles as users write them. Broken ones have their diagnostics in `NAME.err`; those in
//! `good/` have their printed form in `NAME.out`. `plugins/` has mistakes that plugins report,
//! `ten/` common mistakes, and `old/` defaults of old releases. `UPDATE_EXPECT=1` rewrites the
//! expected files and the pages in `docs/plugins`.

use crate::support::requirements::require_lab_program;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use ndots::{
    corefile::{self, Diagnostics, Reader},
    plugin::{self, Need},
    server,
};
use serde_json::Value;

/// Reads files below a directory, and simulates one secret file outside.
struct Fixtures(PathBuf);

impl Reader for Fixtures {
    fn read(&self, path: &str) -> Result<String, String> {
        if path.ends_with("/etc/shadow") {
            return Ok("root:hunter2:0:\n} extra:hunter2 {\n\"hunter2\n".to_owned());
        }
        let file = self.0.join(path.trim_start_matches('/'));
        if file.is_dir() {
            return Err("it is a directory".to_owned());
        }
        fs::read_to_string(file).map_err(|_| "no such file".to_owned())
    }

    fn list(&self, directory: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.0.join(directory.trim_start_matches('/'))) else {
            return Vec::new();
        };
        let name = |entry: fs::DirEntry| {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            format!("{}{slash}", entry.file_name().to_string_lossy())
        };
        entries.flatten().map(name).collect()
    }

    fn env(&self, name: &str) -> Option<String> {
        match name {
            "LONG" => Some("x".repeat(64)),
            "UPSTREAM" => Some("10.0.0.2".to_owned()),
            _ => None,
        }
    }
}

/// The Corefiles of a directory, sorted by name.
fn corefiles(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let mut paths: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "corefile"))
        .collect();
    paths.sort();
    paths
}

fn parse(path: &Path) -> (corefile::Corefile, Diagnostics) {
    let mut diagnostics = Diagnostics::default();
    let reader = Fixtures(path.parent().unwrap().to_owned());
    let name = path.file_name().unwrap().to_string_lossy();
    let corefile =
        corefile::parse(&name, &fs::read_to_string(path).unwrap(), &reader, &mut diagnostics);
    (corefile, diagnostics)
}

/// Compares the text with the file, or rewrites the file.
fn expect(found: &str, path: &Path, faults: &mut Vec<String>) {
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(path, found).unwrap();
    } else if fs::read_to_string(path).unwrap_or_default() != found {
        faults.push(format!("{} is not:\n{found}", path.display()));
    }
}

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// All diagnostics of a Corefile, including those of plugins.
fn checked(path: &Path) -> Diagnostics {
    let (corefile, mut diagnostics) = parse(path);
    server::check(&corefile, 53, &mut diagnostics);
    diagnostics
}

/// Compares the diagnostics of every Corefile in a directory with the file beside it.
fn expect_diagnostics(name: &str, least: usize, read: impl Fn(&Path) -> Diagnostics) {
    let mut faults = Vec::new();
    let paths = corefiles(&directory(name));
    assert!(paths.len() >= least, "{name} has shrunk to {}", paths.len());
    for path in paths {
        let diagnostics = read(&path);
        let lines: String = diagnostics.lines().map(|(_, line)| line + "\n").collect();
        let said = format!("{}{lines}", diagnostics.render(false));
        assert!(!said.contains("hunter2"), "{}: {said}", path.display());
        expect(&said, &path.with_extension("err"), &mut faults);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn mistakes_are_reported() {
    expect_diagnostics("tests/corefile", 40, |path| parse(path).1);
}

#[test]
fn mistakes_in_plugins_are_reported() {
    expect_diagnostics("tests/corefile/plugins", 40, checked);
}

/// Mistakes that CoreDNS rejects, reports at the wrong place, or accepts.
#[test]
fn ten_common_mistakes_are_reported() {
    expect_diagnostics("tests/corefile/ten", 10, checked);
}

/// Defaults of clusters before CoreDNS 1.5, which CoreDNS itself rejects today.
#[test]
fn diagnostics_of_old_defaults_name_the_replacement() {
    expect_diagnostics("tests/corefile/old", 3, checked);
}

/// Defaults of clusters parse without diagnostics, except for plugins that ndots does not have yet.
#[test]
fn defaults_in_the_field_need_no_change() {
    let mut faults = Vec::new();
    for path in corefiles(&directory("tests/corefile/good")) {
        let name = path.file_stem().unwrap().to_string_lossy();
        let expected: &[&str] = match &*name {
            "aks-without-custom" => &[
                "No files matching import glob pattern: nothing/*.override",
                "No files matching import glob pattern: nothing/*.server",
            ],
            "deployment" => &[
                "`tls://` is not encrypted here: the block has no `tls`",
                "`https://` is not encrypted here: the block has no `tls`",
                "no plugin of this block answers queries: every query fails",
            ],
            // k3s imports files that it does not install.
            "k3s" => &[
                "No files matching import glob pattern: /etc/coredns/custom/*.override",
                "No files matching import glob pattern: /etc/coredns/custom/*.server",
            ],
            _ => &[],
        };
        let said: Vec<_> =
            checked(&path).iter().map(|diagnostic| diagnostic.message.to_string()).collect();
        if said != expected {
            faults.push(format!("{name}: {said:#?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What `lab corefiles` prints.
fn lab_corefiles(arguments: &[&Path]) -> String {
    require_lab_program("lab");
    let program = directory("target/lab/bin/lab");
    let output = Command::new(program).arg("corefiles").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Every default in corefile-migration's list. CoreDNS itself rejects parts of the oldest today.
#[test]
fn defaults_of_every_kubernetes_release_are_read() {
    let printed = lab_corefiles(&[]);
    let defaults: Vec<Value> = serde_json::from_str(&printed).unwrap();
    let (mut faults, mut clean) = (Vec::new(), 0);
    for default in &defaults {
        let (version, text) =
            (default["version"].as_str().unwrap(), default["corefile"].as_str().unwrap());
        let mut diagnostics = Diagnostics::default();
        let corefile =
            corefile::parse("Corefile", text, &Fixtures(PathBuf::new()), &mut diagnostics);
        server::check(&corefile, 53, &mut diagnostics);
        let minor: u32 = version.split('.').nth(1).unwrap().parse().unwrap();
        let removed = |message: &str| {
            minor < 5 && message == "Unknown directive 'proxy'"
                || minor < 7 && message == "plugin/kubernetes: unknown property 'upstream'"
        };
        let said: Vec<_> =
            diagnostics.iter().map(|diagnostic| diagnostic.message.to_string()).collect();
        clean += u32::from(said.is_empty());
        if !said.iter().all(|message| removed(message)) {
            faults.push(format!("{version}: {said:#?}\n{text}"));
        }
    }
    println!("{} defaults, {clean} without a word", defaults.len());
    assert!(defaults.len() >= 8 && clean >= 4, "the list has shrunk");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A Corefile of this project does not block an upgrade.
#[test]
fn kubeadm_upgrades_with_our_corefile() {
    let file = directory("tests/corefile/good/kubeadm.corefile");
    assert_eq!(lab_corefiles(&[&file]), "");
}

#[test]
fn corefiles_in_the_field_are_read_and_printed() {
    let mut faults = Vec::new();
    for path in corefiles(&directory("tests/corefile/good")) {
        let (corefile, diagnostics) = parse(&path);
        assert!(!diagnostics.has_errors(), "{}:\n{}", path.display(), diagnostics.render(false));
        let printed = corefile.to_string();
        let again = corefile::parse(
            "Corefile",
            &printed,
            &Fixtures(PathBuf::new()),
            &mut Diagnostics::default(),
        );
        assert_eq!(again, corefile, "{}", path.display());
        expect(&printed, &path.with_extension("out"), &mut faults);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The pages in `docs/plugins` come from the descriptors in `src/plugin`.
#[test]
fn plugin_pages_are_current() {
    let mut faults = Vec::new();
    let pages = directory("docs/plugins");
    let index = (plugin::markdown_index(), "README".to_owned());
    let all = plugin::available().map(|it| (plugin::markdown(it), it.name.to_owned()));
    let mut names = Vec::new();
    for (text, name) in all.chain([index]) {
        expect(&text, &pages.join(format!("{name}.md")), &mut faults);
        names.push(format!("{name}.md"));
    }
    for entry in fs::read_dir(&pages).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        if !names.contains(&file) {
            faults.push(format!("docs/plugins/{file} belongs to no plugin: delete it"));
        }
    }
    assert!(
        faults.is_empty(),
        "{}\nUPDATE_EXPECT=1 cargo test plugin_pages writes the pages",
        faults.join("\n")
    );
}

#[test]
fn plugin_examples_are_valid() {
    for directive in plugin::available() {
        let mut diagnostics = Diagnostics::default();
        let reader = Fixtures(PathBuf::new());
        let name = directive.name;
        let corefile = corefile::parse(name, directive.example, &reader, &mut diagnostics);
        server::check(&corefile, 53, &mut diagnostics);
        let reported = diagnostics.iter().count();
        // This plugin has no effect, and a warning says so.
        let expected = usize::from(name == "pprof");
        assert_eq!(reported, expected, "{name}:\n{}", diagnostics.render(false));
        let mut lines = corefile.blocks.iter().flat_map(|block| &block.directives);
        assert!(lines.any(|line| line.name.text == name), "the example of {name} does not use it");
    }
}

/// The checked blocks of a Corefile without errors.
fn blocks(text: &str) -> Vec<server::CheckedBlock> {
    let mut diagnostics = Diagnostics::default();
    let reader = Fixtures(PathBuf::new());
    let corefile = corefile::parse("Corefile", text, &reader, &mut diagnostics);
    let blocks = server::check(&corefile, 53, &mut diagnostics);
    assert!(!diagnostics.has_errors(), "{text}\n{}", diagnostics.render(false));
    blocks
}

#[test]
fn lines_of_an_option_add_up_or_the_last_one_counts() {
    for (directive, lines, equal) in [
        ("kubernetes cluster.local", ["namespaces a", "namespaces b c"], "namespaces a b c"),
        (
            "kubernetes cluster.local",
            ["namespace_labels a=b", "namespace_labels c=d"],
            "namespace_labels c=d",
        ),
        ("kubernetes cluster.local", ["fallthrough a", "fallthrough b"], "fallthrough b"),
        ("kubernetes a b", ["multicluster a", "multicluster b"], "multicluster b"),
        ("forward . 10.0.0.2", ["except a", "except b"], "except a b"),
        ("forward . dns.example", ["resolver 10.0.0.3", "resolver 10.0.0.4"], "resolver 10.0.0.4"),
        ("forward . 10.0.0.2", ["next NXDOMAIN", "next REFUSED"], "next NXDOMAIN REFUSED"),
        (
            "forward . 10.0.0.2",
            ["failover NXDOMAIN", "failover YXDOMAIN"],
            "failover NXDOMAIN YXDOMAIN",
        ),
        ("grpc . 10.0.0.2", ["except a", "except b"], "except a b"),
        ("grpc . 10.0.0.2", ["fallthrough a", "fallthrough b"], "fallthrough b"),
        (
            "etcd",
            ["endpoint http://10.0.0.3", "endpoint http://10.0.0.4"],
            "endpoint http://10.0.0.4",
        ),
        ("cache", ["disable success a", "disable success b"], "disable success a b"),
        ("tsig", ["require AXFR", "require IXFR"], "require IXFR"),
        (
            "secondary",
            ["transfer from 10.0.0.3", "transfer from 10.0.0.4"],
            "transfer from 10.0.0.3 10.0.0.4",
        ),
    ] {
        let settings = |options: &str| {
            let text = format!(".:53 {{\n {directive} {{\n{options}\n }}\n}}\n");
            format!("{:?}", blocks(&text)[0].checked)
        };
        assert_eq!(settings(&lines.join("\n")), settings(equal), "{directive} {lines:?}");
    }
}

/// The files that a directive names.
fn files(directives: &str) -> Vec<String> {
    let blocks = blocks(&format!("example.org:53 {{\n root /zones\n {directives}\n}}\n"));
    let needs = blocks[0].needs().filter_map(|need| match need {
        Need::File(path) | Need::Octets(path) | Need::ZoneFile { path, .. } => Some(path),
        Need::ZoneDirectory(directory) => Some(directory.path),
        _ => None,
    });
    needs.collect()
}

#[test]
fn root_is_the_directory_of_the_files_that_coredns_finds_there() {
    for (directive, expected) in [
        ("hosts hosts", &["/zones/hosts"][..]),
        ("loadbalance weighted weights", &["/zones/weights"]),
        ("file db", &["/zones/db"]),
        ("auto {\n directory more\n }", &["/zones/more"]),
        (
            "dnssec {\n key file Kexample.org.+013+45330\n }",
            &["/zones/Kexample.org.+013+45330.key", "/zones/Kexample.org.+013+45330.private"],
        ),
        ("tls cert key ca", &["/zones/cert", "/zones/key", "/zones/ca"]),
        ("forward . tls://9.9.9.9 {\n tls ca\n }", &["/zones/ca"]),
        ("grpc . 10.0.0.2 {\n tls ca\n }", &["/zones/ca"]),
        ("etcd {\n tls ca\n }", &["/zones/ca"]),
        ("forward . resolv/conf", &["resolv/conf"]),
        ("grpc . resolv/conf", &["resolv/conf"]),
        ("tsig {\n secrets keys\n }", &["keys"]),
        ("geoip db.mmdb", &["db.mmdb"]),
        ("dnstap listen tls://127.0.0.1:6000 {\n tls cert key\n }", &["cert", "key"]),
    ] {
        assert_eq!(files(directive), expected, "{directive}");
    }
}

/// A server with an expired certificate is rejected, so a new one is used without a restart.
#[test]
fn files_of_certificates_are_watched() {
    for directive in [
        "tls cert key",
        "forward . tls://9.9.9.9 {\n tls ca\n }",
        "grpc . 10.0.0.2 {\n tls ca\n }",
        "etcd {\n tls ca\n }",
        "dnstap listen tls://127.0.0.1:6000 {\n tls cert key\n }",
    ] {
        let blocks = blocks(&format!(".:53 {{\n {directive}\n}}\n"));
        let mut needs = blocks[0].needs();
        assert!(needs.any(|need| matches!(need, Need::WatchFiles)), "{directive}");
    }
}
