//! ndots on a real control plane.
//!
//! Needs what `make tools lab` gets. Without it the tests say what they left out; with `CI=true` that is a failure.

mod support;

use support::lab::{Lab, LabOptions, Program};

const COREFILE: &str = "
.:53 {
    errors
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa
}
";

#[test]
fn a_pod_finds_the_api_server_and_ndots_what_it_holds() {
    let Some(lab) = Lab::or_left_out("a real cluster", &LabOptions::default()) else { return };
    let _proxy = lab.node.kube_proxy("iptables");
    let pod = lab.node.pod(&["10.244.0.7"]);
    let guest = lab.guest();
    let mut ndots = lab.server(&guest, Program::Ndots, COREFILE);
    ndots.wait_until_ready();
    assert_eq!(pod.text(&format!("dig @{} +short kubernetes.default.svc.cluster.local", guest.address)), "10.96.0.1");
    assert_eq!(pod.text("curl --silent --cacert /dev/null --insecure https://10.96.0.1/readyz"), "ok");
}
