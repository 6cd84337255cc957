//! Resolves the host names of upstreams when a server is built.

use std::net::IpAddr;

use tokio::time::timeout;

use crate::{
    limits,
    net::client::{self, RetryPolicy},
    plugin::Host,
    wire::Name,
};

/// The addresses of a host, from the first of its resolvers that has some. A host without resolvers
/// is resolved by the system.
///
/// # Errors
/// The reason of the last resolver or of the system, or that the host is not a DNS name.
pub(super) async fn addresses(host: &Host) -> Result<Vec<IpAddr>, String> {
    if host.resolvers.is_empty() {
        let lookup = client::system_lookup(&host.name);
        return match timeout(limits::SYSTEM_RESOLVE_TIME, lookup).await {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(_) => Err("the system's resolver does not answer".to_owned()),
        };
    }
    let name: Name = host.name.parse().map_err(|reason| format!("{}: {reason}", host.name))?;
    let policy = RetryPolicy::retransmit_once(limits::RESOLVE_TIME);
    let mut failure = "no addresses found".to_owned();
    for resolver in &host.resolvers {
        match client::lookup(&(*resolver).into(), &name, policy).await {
            Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
            Ok(_) => failure = format!("{resolver} has no address for {}", host.name),
            Err(error) => failure = format!("{resolver}: {error}"),
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, UdpSocket},
        thread,
    };

    use super::*;

    #[tokio::test]
    async fn a_host_without_resolvers_is_resolved_by_the_system() {
        let host = Host { name: "localhost".to_owned(), resolvers: Vec::new() };
        let found = addresses(&host).await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty(), "{found:?}");
    }

    #[tokio::test]
    async fn resolvers_are_asked_in_their_order() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (known, silent) = (server.local_addr().unwrap(), SocketAddr::from(([127, 0, 0, 1], 1)));
        let serving = thread::Builder::new().spawn(move || {
            for turn in 0..2 {
                let mut packet = [0; 512];
                let (length, from) = server.recv_from(&mut packet).unwrap();
                // The query's question with QR set and without OPT; for A, one record.
                let question_end =
                    12 + packet[12..length].windows(5).position(|tail| tail[0] == 0).unwrap() + 5;
                let mut reply = packet[..question_end].to_vec();
                (reply[2], reply[7], reply[11]) = (0x81, 1 - turn, 0);
                if turn == 0 {
                    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
                }
                server.send_to(&reply, from).unwrap();
            }
        });
        let host = Host { name: "dns.example.".to_owned(), resolvers: vec![silent, known] };
        assert_eq!(addresses(&host).await, Ok(vec![IpAddr::from([192, 0, 2, 7])]));
        serving.unwrap().join().unwrap();
        let unreachable = Host { resolvers: vec![silent], ..host };
        assert!(addresses(&unreachable).await.unwrap_err().starts_with("127.0.0.1:1: "));
    }
}
