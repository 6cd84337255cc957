//! Sends many queries at once and collects the replies, with the code of `ndots diff`.

use std::net::SocketAddr;

use ndots::{
    diff::{Asked, is_last},
    net::bulk::{self, Packet, Rate},
};

/// The replies in the order of the questions; `None` where no reply came.
pub(crate) fn ask(server: SocketAddr, questions: &[Asked]) -> Vec<Option<Vec<u8>>> {
    let packets: Vec<Packet> = questions
        .iter()
        .map(|asked| Packet { octets: asked.packet(0), tcp: asked.how.tcp })
        .collect();
    block_on(bulk::exchange(server, &packets, Rate(None)))
}

/// The messages of a zone transfer: all until the second SOA record, or the one message that
/// refuses it.
pub(crate) fn transfer(server: SocketAddr, asked: &Asked) -> Option<Vec<Vec<u8>>> {
    block_on(bulk::transfer(server, &asked.packet(7), is_last())).ok()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work)
}
