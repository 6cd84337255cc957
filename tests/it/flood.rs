//! A server with few file descriptors and a flood of connections.

use std::{
    io::ErrorKind,
    net::{TcpStream, UdpSocket},
    process::Command,
    thread,
    time::Duration,
};

use crate::support::{Ndots, question, rcode, turn};

const A: u16 = 1;
const API: &str = "kubernetes.default.svc.cluster.local";

/// Starts an upstream that replies NOERROR to every query.
fn upstream() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut packet = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            packet[2] |= 0x80;
            socket.send_to(&packet[..length], from).unwrap();
        }
    });
    address
}

/// In the same test CoreDNS, with 80 descriptors and 200 idle connections, fails five of six
/// queries.
#[test]
fn datagrams_and_new_connections_are_answered_during_a_flood() {
    let _turn = turn::alone();
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -n 80 && exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_ndots"),
        "serve",
        "--listen",
        "127.0.0.1:0",
    ]);
    command.args([
        "--upstream",
        &upstream(),
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
