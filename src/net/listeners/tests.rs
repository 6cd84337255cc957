use tokio::net::TcpStream;

use super::super::testing::{Tcp, Udp, World, eventually, here, listen, listen_configs};
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
    let mut world = World::start().await;
    let before = world.bound(0);
    let mut client = world.tcp().await;
    world.reload(&["127.0.0.1:0".to_owned(), "127.0.0.2:0".to_owned()]).unwrap();
    let new = world.bound(1);
    assert_eq!(world.bound(0), before);
    assert!(answers(before).await && answers(new).await);
    client.ask(1, "here.").await;
    assert_eq!(client.receive().await, Some(here(1)), "the connection lives on");
    world.reload(&["127.0.0.2:0".to_owned()]).unwrap();
    assert!(answers(new).await);
    assert_eq!(client.receive().await, None);
    eventually("the address is free", async || tcp(before, false).is_ok()).await;
}

#[tokio::test]
async fn an_address_may_take_the_place_of_all_and_give_it_back() {
    let mut world = World::at(&["0.0.0.0:0"], u64::MAX).await;
    let port = world.bound(0).port();
    for host in ["127.0.0.1", "0.0.0.0", "[::]", "127.0.0.1"] {
        let address = format!("{host}:{port}");
        world.reload(std::slice::from_ref(&address)).unwrap();
        // What comes to the listener of before while it closes is lost.
        eventually(&address, async || answers(([127, 0, 0, 1], port).into()).await).await;
    }
}

#[tokio::test]
async fn what_cannot_be_had_is_told_and_changes_nothing() {
    let mut listeners = Listeners::new(u64::MAX);
    let taken = tcp("127.0.0.1:0".parse().unwrap(), false).unwrap().local_addr().unwrap();
    let stranger = tcp(taken, false).unwrap();
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
    // Two of this program are two, too.
    check(&mut Listeners::new(u64::MAX), taken, "another program listens there");
}
