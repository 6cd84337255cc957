//! Outages of the API server: it is killed, compacts its history, gets new certificates, or is down
//! when ndots starts.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{KEPT, OBJECTS, Steady, corefile, said, shows};
use crate::support::{
    lab::{Lab, LabOptions, Program, until},
    turn,
};

/// One API server has several outages, one after the other. Known names are answered throughout.
#[test]
fn an_api_server_stops_and_starts_again() {
    let options = LabOptions { controllers: false, ..LabOptions::default() };
    let turn = turn::alone();
    let mut lab = Lab::start(&turn, &options);
    lab.apply(OBJECTS);
    let world = lab.world(&["--address=/www.example.org/192.0.2.80"]);
    let mut server = lab.server(&lab.guest(), Program::Ndots, &corefile(world.netns.address));
    server.wait_until_ready();
    let steady = Steady::start(&server);
    // The bound is 5 s; a busy machine gets more.
    let soon = Duration::from_secs(8);

    lab.kill_apiserver();
    thread::sleep(Duration::from_secs(4));
    assert_eq!(server.page(8181, "/ready").0, "200", "known names are still served");
    lab.start_apiserver();
    lab.wait_until_ready();
    println!(
        "killed: shows {:?} after the return",
        shows(&server, &mut lab.api(), "after-kill", "10.96.7.21", soon)
    );

    // A Service is deleted while ndots is stopped, and etcd compacts the event away: no watch can
    // report it.
    steady.assert("an API server that was killed");
    server.process().child.signal("STOP");
    lab.restart_apiserver();
    lab.delete("/api/v1/namespaces/default/services/after-kill");
    let late = json!({ "metadata": { "name": "late" }, "spec": { "clusterIP": "10.96.7.22", "ports": [{ "port": 80 }] } });
    let made = lab.post("/api/v1/namespaces/default/services", &late);
    lab.etcd(
        "kv/compaction",
        &json!({ "revision": made["metadata"]["resourceVersion"], "physical": true }),
    );
    lab.restart_apiserver();
    server.process().child.signal("CONT");
    let steady = Steady::start(&server);
    let begun = Instant::now();
    until("the Service that was created meanwhile", soon, || {
        (said(&server, "late.default.svc.cluster.local") == "10.96.7.22").then_some(())
    });
    println!("410 Gone: listed again after {:?}", begun.elapsed());
    until("the end of the Service that was deleted meanwhile", soon, || {
        (said(&server, "after-kill.default.svc.cluster.local") == "NXDOMAIN").then_some(())
    });
    assert!(server.log().contains("too old resource version"), "{}", server.log());

    lab.renew_authority();
    lab.restart_apiserver();
    server.service_account(&lab, "kube-system", "coredns");
    println!(
        "a new certificate authority: shows {:?} after the return",
        shows(&server, &mut lab.api(), "after-authority", "10.96.7.23", soon)
    );
    steady.assert("a new list, and a new certificate authority");

    // ndots starts while the API server is down.
    lab.kill_apiserver();
    assert_eq!(server.terminate(), 0);
    let begun = Instant::now();
    server.serve();
    until("external names", Duration::from_secs(5), || {
        (said(&server, "www.example.org") == "192.0.2.80").then_some(())
    });
    println!(
        "without an API server: external names are answered {:?} after the start",
        begun.elapsed()
    );
    assert_eq!(said(&server, KEPT), "SERVFAIL ede=14");
    assert_eq!(said(&server, "nothing.nowhere.svc.cluster.local"), "SERVFAIL ede=14");
    thread::sleep(Duration::from_secs(3));
    assert_eq!(server.page(8181, "/ready").0, "503");
    lab.start_apiserver();
    lab.wait_until_ready();
    let begun = Instant::now();
    until("cluster names", soon, || (said(&server, KEPT) == "10.96.7.1").then_some(()));
    println!("cluster names are right {:?} after the API server is ready", begun.elapsed());
    server.wait_until_ready();
}
