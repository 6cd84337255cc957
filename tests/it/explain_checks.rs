//! The table of checks and all cases: each finding belongs to a check of the table, each check has
//! a finding in some case and none in another, and `docs/explain.md` has the examples of the cases.
//!
//! `UPDATE_EXPECT=1 cargo test --test it -- explain_checks` rewrites the examples and the page.

use std::{
    collections::BTreeMap, fs, net::UdpSocket, path::Path, process::Command, time::Duration,
};

use serde_json::Value;

use crate::{
    explain, explain_field, explain_forward, explain_probe,
    support::{Ndots, program},
};

/// The findings of a report.
fn findings(report: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let steps = report["steps"].as_array().into_iter().flatten();
    steps.flat_map(|step| {
        let title = step["title"].as_str().unwrap_or_default();
        step["findings"].as_array().into_iter().flatten().map(move |it| (title, it))
    })
}

/// The report about a server that answers over UDP only. It is a relay in front of a server of the
/// test.
fn over_udp_only() -> Value {
    let manifests = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cafe");
    let corefile = format!(
        ".:0 {{\n    bind 127.0.0.1\n    kubernetes cluster.local {{\n        manifests {manifests}\n    }}\n}}\n"
    );
    let server = Ndots::corefile(&corefile, &["dns"], &[]);
    let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
    relay.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let address = relay.local_addr().unwrap();
    let upstream = server.address;
    std::thread::spawn(move || {
        let mut message = [0; 2048];
        while let Ok((length, client)) = relay.recv_from(&mut message) {
            let own = UdpSocket::bind("127.0.0.1:0").unwrap();
            own.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            own.send_to(&message[..length], upstream).unwrap();
            if let Ok(length) = own.recv(&mut message) {
                relay.send_to(&message[..length], client).unwrap();
            }
        }
    });
    let output = Command::new(program())
        .args(["explain", "my-nginx", "-o", "json", "--manifests", manifests])
        .args(["--server", &address.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&text.replace(&address.to_string(), "SERVER")).unwrap()
}

/// The ids of the table, each with whether it can find something wrong.
fn table() -> Vec<(String, bool)> {
    let text = ndots::explain::checks_table();
    let ids = text.lines().filter(|line| line.starts_with("  "));
    ids.map(|line| line.split_whitespace().next().unwrap().to_owned())
        .map(|id| {
            let is_fault = ndots::explain::check_text(&id).unwrap().contains("\ncause\n");
            (id, is_fault)
        })
        .collect()
}

#[test]
fn each_check_speaks_in_a_case_and_is_silent_in_another() {
    let table = table();
    assert!(table.len() > 150, "{} checks", table.len());
    let over_udp = over_udp_only();
    let cases = explain::reports()
        .chain(explain_field::reports())
        .chain(explain_probe::reports())
        .chain(explain_forward::reports());
    let mut reports: Vec<&Value> = cases.collect();
    reports.push(&over_udp);
    let is_known = |id: &str| table.iter().any(|(known, _)| known == id);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut examples: BTreeMap<String, (u8, String)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for report in &reports {
        let mut ids: Vec<&str> = Vec::new();
        for (_, finding) in findings(report) {
            let id = finding["id"].as_str().unwrap();
            if !is_known(id) {
                wrong.push(format!("{id} is not in the table"));
            }
            let is_fault = table.iter().any(|(known, is_fault)| known == id && *is_fault);
            let rank = match finding["level"].as_str().unwrap() {
                "broken" => 3,
                "unknown" | "warning" => 2,
                _ if is_fault => continue,
                _ => 1,
            };
            ids.push(id);
            let words = |key: &str| finding[key].as_str().unwrap_or_default().replace('`', "'");
            let text = format!("{id}\t{}\t{}", without_port(&words("saw")), words("want"));
            match examples.get(id) {
                Some((best, _)) if *best >= rank => {}
                _ => drop(examples.insert(id.to_owned(), (rank, text))),
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().for_each(|id| *counts.entry(id).or_default() += 1);
    }
    for (id, _) in &table {
        match counts.get(id.as_str()) {
            None => wrong.push(format!("no case has a finding of {id}")),
            Some(count) if *count == reports.len() => {
                wrong.push(format!("every case has a finding of {id}"));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let lines = table.iter().map(|(id, _)| examples[id].1.trim_end().to_owned() + "\n");
    is_current("src/explain/checks/examples.tsv", &lines.collect::<String>());
}

#[test]
fn the_page_of_the_checks_is_current() {
    is_current("docs/explain.md", &ndots::explain::checks_page());
}

/// The text with port 8080 after a loopback address, because the system chooses the real port.
fn without_port(text: &str) -> String {
    let Some((before, after)) = text.split_once("127.0.0.") else { return text.to_owned() };
    let Some((host, rest)) = after.split_once(':') else { return text.to_owned() };
    let rest = rest.trim_start_matches(|character: char| character.is_ascii_digit());
    format!("{before}127.0.0.{host}:8080{rest}")
}

/// Compares a generated file, or writes it.
fn is_current(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let old = fs::read_to_string(&path).unwrap_or_default();
    if old == text {
        return;
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(path, text).unwrap();
        println!("{file} is written");
        return;
    }
    let line = old.lines().zip(text.lines()).find(|(old, new)| old != new);
    panic!(
        "{file} is not current: {line:?}\nUPDATE_EXPECT=1 cargo test --test it -- explain_checks writes it; run it again after that"
    );
}

#[test]
fn one_check_is_printed_with_its_cause_and_cure() {
    let run = |arguments: &[&str]| {
        let output =
            Command::new(program()).args(["explain", "--checks"]).args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text + &String::from_utf8_lossy(&output.stderr))
    };
    let (code, text) = run(&["endpoints.selector"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("cause\n") && text.contains("cure\n") && text.contains("example\n"));
    let (code, text) = run(&["endpoints.selectors"]);
    assert!(code == Some(2) && text.contains("did you mean endpoints.selector?"), "{text}");
}
