//! A server with few file descriptors and a flood of connections.

use std::{io::ErrorKind, net::TcpStream, process::Command, time::Duration};

use crate::support::{
    Ndots, program, question, rcode, turn,
    upstream::{datagrams, empty_reply},
};

const A: u16 = 1;
const API: &str = "kubernetes.default.svc.cluster.local";

/// In the same test CoreDNS, with 80 descriptors and 200 idle connections, fails five of six
/// queries.
#[test]
fn datagrams_and_new_connections_are_answered_during_a_flood() {
    let _turn = turn::alone();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 80 && exec \"$@\"", "sh"]).arg(program());
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    command.args([
        "--upstream",
        &datagrams(|query| Some(empty_reply(query))).to_string(),
        "--manifests",
        concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cafe"),
    ]);
    let server = Ndots::start(command);
    let idle: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    for id in 0..20 {
        let forwarded = question(id, &format!("www{id}.example.org"), A);
        assert_eq!(server.udp(&forwarded).map(|reply| rcode(&reply)), Some(0), "question {id}");
        let mut newcomer = server.tcp();
        newcomer.send(&question(id, API, A));
        assert_eq!(newcomer.receive().map(|reply| rcode(&reply)), Some(0), "newcomer {id}");
    }
    // The server has closed the oldest connections.
    idle[0].set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let ended = idle[0].peek(&mut [0]).map_err(|error| error.kind());
    assert!(matches!(ended, Ok(0) | Err(ErrorKind::ConnectionReset)), "{ended:?}");
}
