//! Reads this machine if it is a node: the rules of kube-proxy, the bridge, and kube-proxy's
//! health. The commands that it runs change nothing.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;

use crate::{
    explain::{Objects, Rules, evidence::Unread, objects, rules::BridgePort},
    limits,
    net::http,
};

use super::Request;

/// The addresses of this machine without loopback.
pub(super) fn addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.into_iter().filter(|it| !it.is_loopback()).map(|it| it.ip()).collect()
}

/// The name of the node that this machine is. A Node object shows it or, since fewer accounts may
/// read those, a Pod that runs here.
pub(super) fn named(all: &Objects, here: &[IpAddr]) -> Option<String> {
    let is_here = |text: &str| text.parse().is_ok_and(|ip| here.contains(&ip));
    let node = all
        .nodes()
        .iter()
        .find(|node| objects::node_addresses(node).into_iter().any(is_here))
        .map(|node| objects::name(node).to_owned());
    let host_of = |pod: &Pod| {
        pod.status
            .as_ref()?
            .host_ip
            .as_deref()
            .filter(|text| is_here(text))
            .and(pod.spec.as_ref()?.node_name.clone())
    };
    node.or_else(|| all.pods().iter().find_map(host_of))
}

/// Whether this machine is a node or runs in a Pod, so that it should reach Services.
pub(super) fn is_inside(all: &Objects, here: &[IpAddr]) -> bool {
    let of_pod = || {
        all.pods()
            .iter()
            .filter_map(|pod| pod.status.as_ref()?.pod_ip.as_deref()?.parse::<IpAddr>().ok())
            .any(|ip| here.contains(&ip))
    };
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() || named(all, here).is_some() || of_pod()
}

/// The rules from the files, or from this machine if there are no files and it is the node.
///
/// # Errors
/// If a file cannot be read, or has no output of a known command.
pub(super) async fn rules(
    request: &Request,
    node: Option<&str>,
    is_here: bool,
    unread: &mut Vec<Unread>,
) -> anyhow::Result<Rules> {
    let mut rules = Rules::default();
    for file in &request.rules {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        rules.add(&file.display().to_string(), &text).map_err(|reason| anyhow::anyhow!(reason))?;
    }
    if !request.rules.is_empty() {
        return Ok(rules);
    }
    match node {
        Some(_) if is_here => live(&mut rules, unread).await,
        Some(node) => {
            rules.absent = Some(format!(
                "the rules of {node} cannot be read from here: run iptables-save there (or nft list ruleset, ipvsadm -Sn), and give --rules FILE"
            ));
        }
        None => rules.absent = Some(
            "not checked: run this on a node, or give --rules FILE with the output of iptables-save or nft list ruleset of a node"
                .to_owned(),
        ),
    }
    Ok(rules)
}

/// The rules of this machine.
async fn live(rules: &mut Rules, unread: &mut Vec<Unread>) {
    let mut failures = Vec::new();
    for (program, arguments) in
        [("iptables-save", &[][..]), ("ip6tables-save", &[]), ("nft", &["list", "ruleset"])]
    {
        read(program, arguments, rules, &mut failures);
    }
    // A node of an IPv4 cluster can lack the program for IPv6.
    if !failures.iter().any(|(program, _)| *program == "iptables-save") {
        failures.retain(|(program, _)| *program != "ip6tables-save");
    }
    if !rules.beside_ipvs.is_empty() {
        failures.clear();
        read("ipvsadm", &["-Sn"], rules, &mut failures);
    }
    let is_known = !rules.proxies.is_empty() || rules.replacement.is_some();
    if !is_known && !failures.is_empty() {
        unreadable(rules, &failures, unread);
        return;
    }
    if rules.from.is_empty() {
        rules.from.push("iptables-save and nft list ruleset here".to_owned());
    }
    rules.bridge = bridge(Path::new("/sys/class/net"));
    match health().await {
        Ok(text) => drop(rules.add("http://127.0.0.1:10256/healthz", &text)),
        Err(error) => {
            rules.silent = Some(format!("127.0.0.1:10256: {error}"));
        }
    }
}

/// Adds the output of a program.
fn read(
    program: &'static str,
    arguments: &[&str],
    rules: &mut Rules,
    failures: &mut Vec<(&'static str, io::Error)>,
) {
    match run(program, arguments) {
        // Empty output is not a fault yet, because kube-proxy may use another mode.
        Ok(text) => drop(rules.add(&format!("{program} here"), &text)),
        Err(error) => failures.push((program, error)),
    }
}

/// Reports that the rules of this machine cannot be read.
fn unreadable(rules: &mut Rules, failures: &[(&str, io::Error)], unread: &mut Vec<Unread>) {
    let programs: Vec<&str> = failures.iter().map(|(program, _)| *program).collect();
    let can_root = failures.iter().any(|(_, error)| error.kind() != io::ErrorKind::NotFound);
    let cure = if can_root {
        "root can".to_owned()
    } else {
        format!("install {}, or give --rules FILE", programs.join(" and "))
    };
    let reasons = failures.iter().map(|(program, error)| format!("{program}: {error}"));
    let why = reasons.collect::<Vec<_>>().join("; ");
    rules.absent = Some(format!("the rules of this node cannot be read: {why}; {cure}"));
    rules.is_unreadable = true;
    rules.from.clear();
    unread.push(Unread {
        resource: "kube-proxy's rules".to_owned(),
        verb: "list",
        namespace: String::new(),
        why,
        ..Unread::default()
    });
}

/// # Errors
/// If the program cannot be started, or fails; then the error has the first line that it wrote.
fn run(program: &str, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr)
            .trim()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        Err(io::Error::other(if said.is_empty() { output.status.to_string() } else { said }))
    }
}

/// The bridge ports in `/sys/class/net`.
fn bridge(root: &Path) -> Vec<BridgePort> {
    let flag = |path: PathBuf| fs::read_to_string(path).is_ok_and(|text| text.trim() == "1");
    let promiscuous = |port: &Path| {
        const IFF_PROMISC: u32 = 0x100;
        let flags = fs::read_to_string(port.join("master/flags")).unwrap_or_default();
        u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16)
            .is_ok_and(|flags| flags & IFF_PROMISC != 0)
    };
    let ports = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("brport").exists());
    let mut ports: Vec<_> = ports
        .map(|path| BridgePort {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bridge: fs::read_link(path.join("brport/bridge"))
                .ok()
                .and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()))
                .unwrap_or_default(),
            hairpin: flag(path.join("brport/hairpin_mode")),
            promiscuous: promiscuous(&path),
        })
        .collect();
    ports.sort_by(|a, b| a.name.cmp(&b.name));
    ports
}

/// Requests kube-proxy's `/healthz` on this machine.
async fn health() -> io::Result<String> {
    let to = [([127, 0, 0, 1], 10_256).into()];
    let page = http::get(&to, "/healthz", limits::API_STATUS_OCTETS as u64);
    tokio::time::timeout(limits::EXPLAIN_ASK_TIME, page).await?
}
