//! The option `top` of `prometheus`: frequent clients, names and namespaces. The command `ndots
//! top`.

use std::{net::SocketAddr, process::Command, thread, time::Duration};

use serde_json::json;

use crate::support::{
    Ndots,
    end::end,
    free_address,
    lab::{Lab, LabOptions, Program, until},
    page, program,
    prometheus::read,
    question, turn, udp,
};

const A: u16 = 1;

/// The body of a page; empty if there is no such page.
fn body(monitor: SocketAddr, path: &str) -> String {
    let page = page(monitor, path).unwrap();
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    if head.starts_with("HTTP/1.1 200") { body.to_owned() } else { String::new() }
}

fn corefile(monitor: &str, top: &str) -> String {
    let cafe = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cafe");
    format!(
        ".:0 {{
    bind 127.0.0.1
    kubernetes cluster.local {{
        manifests {cafe}
    }}
    prometheus {monitor} {{
        {top}
    }}
}}
"
    )
}

#[test]
fn the_page_has_frequent_clients_and_names_and_the_metrics_have_namespaces() {
    let monitor = free_address();
    let server = Ndots::corefile(&corefile(&monitor.to_string(), "top 3"), &["dns"], &[]);
    let ask = |name: &str| server.udp(&question(1, name, A)).expect("a reply");
    until("the manifests", Duration::from_secs(20), || {
        (ask("kubernetes.default.svc.cluster.local")[3] & 15 == 0).then_some(())
    });
    for number in 0..20 {
        ask("tea-svc.default.svc.cluster.local");
        ask("TEA-svc.default.svc.cluster.local");
        ask(&format!("{number}.rare.example.org"));
        // There is no such namespace, so no series must appear.
        ask(&format!("web.made-up-{number}.svc.cluster.local"));
    }
    let text = body(monitor, "/top");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let of = |kind: &str| lines.iter().filter(|line| line[0] == kind).collect::<Vec<_>>();
    assert_eq!(of("client").len(), 1, "{text}");
    assert_eq!(of("client")[0][1], "127.0.0.1");
    let names = of("name");
    assert_eq!((names.len(), names[0][1]), (3, "tea-svc.default.svc.cluster.local."), "{text}");
    assert!(names[0][2].parse::<u32>().unwrap() >= 40, "{text}");

    let series = read(&body(monitor, "/metrics"));
    let namespaces: Vec<_> = series
        .iter()
        .filter(|((name, _), _)| name == "coredns_dns_namespace_responses_total")
        .map(|((_, labels), count)| (labels["namespace"].as_str(), *count))
        .collect();
    assert!(matches!(namespaces[..], [("default", count)] if count >= 40.), "{namespaces:?}");
}

#[test]
fn without_the_option_clients_are_not_shown() {
    let monitor = free_address();
    let server = Ndots::corefile(&corefile(&monitor.to_string(), ""), &["dns"], &[]);
    server.udp(&question(1, "kubernetes.default.svc.cluster.local", A)).expect("a reply");
    assert!(!body(monitor, "/metrics").contains("namespace_responses"));
    assert_eq!(body(monitor, "/top"), "");
}

/// The text that `ndots top` prints without a terminal.
fn top(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(program());
    let output = command.arg("top").args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn the_command_shows_what_a_server_does() {
    let monitor = free_address();
    let server = Ndots::corefile(&corefile(&monitor.to_string(), "top"), &["dns"], &[]);
    let asked = thread::scope(|scope| {
        let (end, ended) = end();
        let address = server.address;
        let asker = scope.spawn(move || {
            let mut asked = 0;
            while !ended.is_true() {
                udp(address, &question(1, "tea-svc.default.svc.cluster.local", A))
                    .expect("a reply");
                asked += 1;
                thread::sleep(Duration::from_millis(2));
            }
            asked
        });
        until("the page", Duration::from_secs(10), || {
            let (_, text) = top(&[&monitor.to_string(), "--interval", "500ms"]);
            // The manifests may not have been read at once.
            (text.contains("NOERROR 100 %")
                && text.contains("tea-svc.default.svc.cluster.local.")
                && text.contains("127.0.0.1"))
            .then_some(())
        });
        drop(end);
        asker.join().unwrap()
    });
    assert!(asked > 0);
}

#[test]
fn a_server_that_cannot_be_read_is_named() {
    let (done, text) = top(&[&free_address().to_string(), "--interval", "200ms"]);
    assert!(!done && text.contains("no server can be read") && text.contains("refused"), "{text}");
}

#[test]
fn pods_are_read_through_the_api_server() {
    let turn = turn::alone();
    let lab = Lab::start(&turn, &LabOptions::default());
    let corefile = ".:53 {\n    ready\n    kubernetes cluster.local\n    prometheus :9153\n}\n";
    let kubeconfig = lab.kubeconfig().display().to_string();
    let arguments = ["--kubeconfig", &kubeconfig, "--interval", "500ms", "-l", "app=watched"];
    let (done, text) = top(&arguments);
    assert!(
        !done && text.contains("no running Pod in kube-system has the labels app=watched"),
        "{text}"
    );
    for (name, program) in [("one", Program::Ndots), ("two", Program::CoreDns)] {
        let mut server = lab.server(&lab.guest(), program, corefile);
        server.wait_until_ready();
        let address = server.netns.address.to_string();
        lab.post(
            "/api/v1/namespaces/kube-system/pods",
            &json!({
                "metadata": { "name": name, "labels": { "app": "watched" } },
                "spec": { "containers": [{ "name": "dns", "image": "example" }] },
            }),
        );
        lab.running("kube-system", name, &[&address], true);
        let (done, text) = top(&arguments);
        assert!(
            done && text.contains("MiB of memory") && !text.contains("cannot be read"),
            "{text}"
        );
        lab.delete(&format!("/api/v1/namespaces/kube-system/pods/{name}?gracePeriodSeconds=0"));
    }
}
