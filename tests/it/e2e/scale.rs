//! Many Services (dns_scale_records.go).

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;

use super::cluster;
use crate::support::lab::program;

/// "Should answer DNS query for maximum number of services per cluster": the Services are in two
/// namespaces, and every twentieth is queried. The original has 10,000 Services, and this test has
/// 1,000. `NDOTS_E2E_SERVICES=10000` creates 10,000, too, which takes minutes.
#[test]
fn many_services() {
    let cluster = &*cluster::shared();
    let count: usize = std::env::var("NDOTS_E2E_SERVICES")
        .map_or(1000, |count| count.parse().expect("NDOTS_E2E_SERVICES is a number"));
    let mut generate = Command::new(program("lab"));
    generate.args([
        "generate",
        "--namespaces=2",
        "--endpoints=0",
        "--headless=0",
        &format!("--services={count}"),
    ]);
    let output = generate.arg("--kubeconfig").arg(cluster.lab.kubeconfig()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    cluster.namespace("performancedns");
    let client = cluster.client("performancedns", "e2e-dns-scale-records", &json!({}));
    let mut api = cluster.lab.api();
    let (names, addresses): (Vec<_>, Vec<_>) = (0..count)
        .step_by(20)
        .map(|number| {
            let namespace = number % 2;
            let service = api.json(
                "GET",
                &format!("/api/v1/namespaces/ns-{namespace}/services/svc-{number}"),
                None,
            );
            (
                format!("svc-{number}.ns-{namespace}.svc.cluster.local"),
                service["spec"]["clusterIP"].as_str().unwrap().to_owned(),
            )
        })
        .unzip();
    client.until(&format!("4 {}.", names[names.len() - 1]), |text| {
        text.ends_with(&addresses[addresses.len() - 1])
    });

    let file = cluster.lab.path("questions");
    fs::write(&file, names.join("\n")).unwrap();
    for transport in ["+notcp", "+tcp"] {
        let text =
            client.netns.run(&format!("dig {transport} +tries=1 +short -f {}", file.display()));
        assert_eq!(text.lines().collect::<Vec<_>>(), addresses, "dig {transport}");
        client.count(names.len());
    }
    let text = client.netns.run(&format!("getent ahostsv4 {}", names.join(" ")));
    let found: Vec<_> = text
        .lines()
        .filter(|line| line.contains("STREAM"))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(found, addresses, "getent");
    client.count(names.len());

    let mut took = Vec::new();
    for (name, address) in names.iter().zip(&addresses) {
        let begun = Instant::now();
        let text = client.musl(&format!("4 {name}"));
        took.push(begun.elapsed());
        assert_eq!(text, format!("{name} {address}"));
    }
    took.sort_unstable();
    let at = |percent: usize| -> Duration { took[(took.len() - 1) * percent / 100] };
    println!(
        "{count} Services: {} by musl, four questions each: half within {:.1?}, 99% within {:.1?}",
        took.len(),
        at(50),
        at(99)
    );
    println!("{count} Services: {}", String::from_utf8_lossy(&output.stdout).trim());
    client.tell("many Services");
}
