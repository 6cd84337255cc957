use std::{
    net::Ipv6Addr,
    sync::atomic::{AtomicU16, Ordering},
};

use tokio::net::TcpStream;

use crate::plugin::ClientAuth;

use super::super::testing::{
    ReplySummary, Tcp, TestServer, Udp, eventually, here, listen, listen_configs,
};
use super::*;

async fn answers(address: SocketAddr) -> bool {
    let udp = Udp::to(address).await;
    udp.ask(1, "here.").await;
    let Ok(stream) = TcpStream::connect(address).await else { return false };
    let mut tcp = Tcp(stream);
    tcp.ask(2, "here.").await;
    (udp.receive().await, tcp.receive().await) == (here(1), Some(here(2)))
}

#[tokio::test]
async fn a_reload_keeps_the_sockets_of_addresses_that_stay() {
    let mut server = TestServer::start().await;
    let before = server.bound(0);
    let mut client = server.tcp().await;
    server.reload(&["127.0.0.1:0".to_owned(), "127.0.0.2:0".to_owned()]).unwrap();
    let new = server.bound(1);
    assert_eq!(server.bound(0), before);
    assert!(answers(before).await && answers(new).await);
    client.ask(1, "here.").await;
    assert_eq!(client.receive().await, Some(here(1)), "the connection lives on");
    server.reload(&["127.0.0.2:0".to_owned()]).unwrap();
    assert!(answers(new).await);
    assert_eq!(client.receive().await, None);
    eventually("the address is free", async || tcp(before, PortSharing::Exclusive).is_ok()).await;
}

#[tokio::test]
async fn a_reload_may_replace_the_wildcard_address_and_restore_it() {
    let port = free_port();
    let mut server = TestServer::at(&[&format!("0.0.0.0:{port}")], u64::MAX).await;
    for host in ["127.0.0.1", "0.0.0.0", "[::]", "127.0.0.1"] {
        let address = format!("{host}:{port}");
        server.reload(std::slice::from_ref(&address)).unwrap();
        // Queries to the old listener are lost while it closes.
        eventually(&address, async || answers(([127, 0, 0, 1], port).into()).await).await;
    }
}

#[tokio::test]
async fn a_listener_with_a_bad_certificate_does_not_hold_up_the_others() {
    let mut server = TestServer::at(&["127.0.0.1:0"], u64::MAX).await;
    let kept = server.bound(0);
    let mut configs = listen_configs(&[listen("127.0.0.1:0"), listen("127.0.0.2:0")]);
    server.listeners.open(&configs).unwrap();
    configs[0].identity = Some(Arc::new(Identity {
        certificates: "none".to_owned(),
        key: "none".to_owned(),
        authorities: None,
        client_auth: ClientAuth::None,
        versions: crate::net::tls::Versions::All,
        key_log: None,
    }));
    let missing = server.listeners.serve(&server.dispatcher, &configs);
    let missing: Vec<_> = missing.iter().map(|error| format!("{error:#}")).collect();
    let expected = "the certificate of dns://127.0.0.1:0 cannot be used: ";
    assert!(missing.len() == 1 && missing[0].starts_with(expected), "{missing:?}");
    let new = server.listeners.bound().map(|(_, bound)| bound).find(|bound| *bound != kept);
    // Its threads run. No block is for this listener.
    let udp = Udp::to(new.unwrap()).await;
    udp.ask(1, "here.").await;
    assert_eq!(udp.receive().await, ReplySummary::Failure(1, 5));
}

/// A port that is free at every address. Clients get ports of a higher range.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(15_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if tcp((Ipv6Addr::UNSPECIFIED, port).into(), PortSharing::Exclusive).is_ok() {
            return port;
        }
    }
}

/// Both listeners are opened, and each query is for the one with the most specific address.
async fn check_pair(first: &str, second: &str) {
    let port = free_port();
    let at = |host: &str| format!("{host}:{port}");
    let hosts = [at(first), at(second)];
    let server = TestServer::at(&[&hosts[0], &hosts[1]], u64::MAX).await;
    assert_eq!(server.listeners.bound().count(), 2);
    assert!(answers(([127, 0, 0, 1], port).into()).await, "{hosts:?}");
    let port = free_port();
    let third = format!("127.0.0.3:{port}");
    let mut server = TestServer::at(&[&third], u64::MAX).await;
    for host in [first, second] {
        let both = [third.clone(), format!("{host}:{port}")];
        server.reload(&both).unwrap();
        assert!(answers(([127, 0, 0, 3], port).into()).await, "{both:?}");
    }
}

#[tokio::test]
async fn one_port_may_be_open_at_overlapping_addresses() {
    for (first, second) in [
        ("127.0.0.1", "[::]"),
        ("[::]", "127.0.0.1"),
        ("[::1]", "[::]"),
        ("127.0.0.1", "0.0.0.0"),
        ("0.0.0.0", "127.0.0.1"),
        ("0.0.0.0", "[::]"),
    ] {
        check_pair(first, second).await;
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_opened_is_named_and_changes_nothing() {
    let mut listeners = Listeners::new(u64::MAX);
    let taken =
        tcp("127.0.0.1:0".parse().unwrap(), PortSharing::Exclusive).unwrap().local_addr().unwrap();
    let stranger = tcp(taken, PortSharing::Exclusive).unwrap();
    let check = |listeners: &mut Listeners, address: SocketAddr, expected: &str| {
        let error = listeners
            .open(&listen_configs(&[listen("127.0.0.1:0"), listen(&address.to_string())]))
            .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains(&format!("cannot listen on {address}")) && text.contains(expected),
            "{text}"
        );
        assert_eq!(listeners.bound().count(), 0);
    };
    check(&mut listeners, taken, "another program listens there");
    check(
        &mut listeners,
        ([192, 0, 2, 1], 0).into(),
        "no interface of this machine has the address",
    );
    drop(stranger);
    listeners.open(&listen_configs(&[listen(&taken.to_string())])).unwrap();
    // Another process of this program is another program.
    check(&mut Listeners::new(u64::MAX), taken, "another program listens there");
}
