//! A real secondary server, Knot, transfers the zone for clients outside the cluster. It gives the
//! same answers, and follows changes.

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use crate::support::{Ndots, free_address, knot::knot, lab::until, requirements::require_programs};

const MORE: &str = r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: apps }
spec: { rules: [{ host: "*.apps.example.com" }, { host: deep.down.apps.example.com }, { host: example.com }] }
status: { loadBalancer: { ingress: [{ ip: 192.0.2.130 }, { ip: "2001:db8::130" }] } }
---
apiVersion: v1
kind: Service
metadata: { name: named, annotations: { coredns.io/hostname: shop.example.com } }
spec: { type: LoadBalancer, ports: [{ name: https, port: 443 }] }
status: { loadBalancer: { ingress: [{ hostname: lb.example.net }] } }
"#;

const QUESTIONS: [&str; 24] = [
    "example.com SOA",
    "example.com NS",
    "example.com A",
    "example.com MX",
    "cafe.example.com A",
    "cafe.example.com AAAA",
    "any.apps.example.com A",
    "one.more.apps.example.com AAAA",
    "any.apps.example.com TXT",
    "deep.down.apps.example.com A",
    "down.apps.example.com A",
    "other.down.apps.example.com A",
    "apps.example.com A",
    "shop.example.com A",
    "shop.example.com SRV",
    "_https._tcp.shop.example.com SRV",
    "my-service.default.example.com CNAME",
    "my-node-port.default.example.com A",
    "_http._tcp.my-node-port.default.example.com SRV",
    "_tcp.my-node-port.default.example.com A",
    "my-external-ips.default.example.com A",
    "default.example.com A",
    "missing.default.example.com A",
    "kube-system.example.com A",
];

/// The response code, and the sorted answer section.
fn ask(server: SocketAddr, question: &str) -> Vec<String> {
    let (address, port) = (server.ip(), server.port());
    let line = format!(
        "@{address} -p {port} +tries=1 +norecurse +noauthority +noadditional +nostats {question}"
    );
    let output = Command::new("dig").args(line.split(' ')).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let code = text
        .split("status: ")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .unwrap_or("no reply")
        .to_owned();
    let records = text.lines().filter(|line| !line.is_empty() && !line.starts_with(';'));
    let mut answer: Vec<_> =
        records.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    answer.sort();
    answer.insert(0, code);
    answer
}

#[test]
fn a_secondary_server_gives_the_same_answers_and_follows_changes() {
    require_programs(&["knotd", "dig"]);
    let directory = tempfile::tempdir().unwrap();
    let manifests = directory.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    for example in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cafe")).unwrap() {
        let path = example.unwrap().path();
        fs::copy(&path, manifests.join(path.file_name().unwrap())).unwrap();
    }
    fs::write(manifests.join("more.yaml"), MORE).unwrap();
    let corefile = format!(
        ".:0 {{\n bind 127.0.0.1\n transfer {{\n to *\n }}\n kubernetes cluster.local {{\n manifests {}\n }}\n \
         k8s_gateway example.com {{\n nodeAddressType InternalIP\n }}\n}}\n",
        manifests.display()
    );
    let ndots = Ndots::corefile(&corefile, &["dns"], &[]);
    let secondary = free_address();
    let config = format!(
        "remote:\n  - id: primary\n    address: 127.0.0.1@{}\n\
         zone:\n  - domain: example.com\n    master: primary\n    storage: {}\n    refresh-max-interval: 2\n",
        ndots.address.port(),
        directory.path().display()
    );
    // It checks for a new version of the zone every 2 s.
    let mut knot = knot(directory.path(), secondary, &config);
    let patience = Duration::from_secs(30);
    until("the zone on the secondary server", patience, || {
        knot.assert_running();
        (ask(secondary, "example.com SOA")[0] == "NOERROR").then_some(())
    });
    for question in QUESTIONS {
        assert_eq!(
            ask(secondary, question),
            ask(ndots.address, question),
            "{question}\n{}",
            knot.log()
        );
    }

    fs::write(manifests.join("more.yaml"), MORE.replace("192.0.2.130", "192.0.2.131")).unwrap();
    until("the change on the secondary server", patience, || {
        (ask(secondary, "any.apps.example.com A")
            == ["NOERROR", "any.apps.example.com. 60 IN A 192.0.2.131"])
        .then_some(())
    });
    assert_eq!(ask(secondary, "example.com SOA"), ask(ndots.address, "example.com SOA"));
}
