//! `ndots query` against a running ndots, over every transport and with a search list.

use std::process::Command;

use crate::support::{Ndots, encrypted::Authority, program};

/// The output, with the server's address replaced by SERVER, and the exit code.
fn query(server: &str, arguments: &str) -> (String, i32) {
    let mut command = Command::new(program());
    let output = command.arg("query").args(arguments.split_whitespace()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    (text.replace(server, "SERVER"), output.status.code().unwrap())
}

#[test]
fn every_query_of_the_search_path_is_shown() {
    let cafe = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cafe");
    let server = Ndots::serve(&["--manifests", cafe]);
    let address = server.address.to_string();
    let check = |arguments: &str, want: &str, code: i32| {
        let got = query(&address, &format!("{arguments} @{address}"));
        assert_eq!(got, (want.to_owned(), code), "{arguments}");
    };
    check(
        "prometheus-0.prometheus-operated A -n monitoring",
        "; server SERVER, search monitoring.svc.cluster.local svc.cluster.local cluster.local, ndots 5: up to 4 names\n\
         1 prometheus-0.prometheus-operated.monitoring.svc.cluster.local. A: NOERROR, authoritative\n    \
         prometheus-0.prometheus-operated.monitoring.svc.cluster.local. 5 A 10.244.1.20\n",
        0,
    );
    check(
        "kubernetes.default A --search x.svc.cluster.local,svc.cluster.local --ndots 2 --tcp",
        "; server tcp://SERVER, search x.svc.cluster.local svc.cluster.local, ndots 2: up to 3 names\n\
         1 kubernetes.default.x.svc.cluster.local. A: NXDOMAIN, authoritative\n\
         2 kubernetes.default.svc.cluster.local. A: NOERROR, authoritative\n    \
         kubernetes.default.svc.cluster.local. 5 A 10.96.0.1\n",
        0,
    );
    check("kubernetes.default.svc.cluster.local. --short", "10.96.0.1\n", 0);
    check(
        "_web._tcp.prometheus-operated.monitoring.svc.cluster.local. SRV --short",
        "0 50 9090 prometheus-0.prometheus-operated.monitoring.svc.cluster.local.\n0 50 9090 prometheus-1.prometheus-operated.monitoring.svc.cluster.local.\n",
        0,
    );
    check("nobody.default.svc.cluster.local. --short", "", 1);
    check("a..b --ndots 1", "ndots: a..b.: a label is empty or wrongly escaped\n", 2);
    check("x NOTATYPE", "ndots: `NOTATYPE` is not a record type, and not @SERVER\n", 2);
}

#[test]
fn every_transport_gives_the_same_answer() {
    let authority = Authority::new();
    let hosts = "hosts none {\n  192.0.2.1 host.example\n }";
    let block = |scheme: &str| {
        format!("{scheme}.:0 {{\n bind 127.0.0.1\n {}\n {hosts}\n}}\n", authority.directive())
    };
    let text = ["tls://", "https://", "quic://"].map(block).concat()
        + &format!(".:0 {{\n bind 127.0.0.1\n {hosts}\n}}\n");
    let server = Ndots::corefile(&text, &["dns", "tls", "https", "quic"], &[]);
    let trust = format!("--tls-ca {}", authority.path("ca.pem").display());
    for (scheme, transport, more) in [
        ("dns", "udp", ""),
        ("dns", "tcp", ""),
        ("tls", "tls", &*trust),
        ("https", "https", &*trust),
        ("quic", "quic", &*trust),
    ] {
        let address = server.bound[scheme].to_string();
        let got = query(
            &address,
            &format!("host.example. A --short --server {transport}://{address} {more}"),
        );
        assert_eq!(got, ("192.0.2.1\n".to_owned(), 0), "{transport}");
    }
    // A certificate of an unknown authority is an error, and so is one for another name.
    let address = server.bound["tls"].to_string();
    for (more, words) in [
        ("", "UnknownIssuer"),
        (&*format!("{trust} --tls-name other.example"), "not valid for name"),
    ] {
        let (text, code) =
            query(&address, &format!("host.example. A --server tls://{address} {more}"));
        assert!(code == 2 && text.contains(words), "{more}: {text}");
    }
    // Nothing listens on this port.
    assert_eq!(query("", "host.example. A --server 127.0.0.1:1").1, 2);
}
