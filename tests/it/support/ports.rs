//! Addresses of the loopback interface that neither another test nor another run of the tests on
//! this machine uses.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    ops::Range,
    sync::{Mutex, PoisonError},
};

/// The kernel gives clients ports of a higher range, so no client has a port of these.
const PORTS: Range<u16> = 20_480..32_768;
/// The number of ports that a run reserves at a time.
const BLOCK: u16 = 256;
/// A run reserves a block with a socket at the first port of the block and this address.
const RESERVES: Ipv4Addr = Ipv4Addr::new(127, 0, 20, 48);

/// The ports that are left of the latest block, and the sockets of all blocks.
static OWN: Mutex<(Range<u16>, Vec<TcpListener>)> = Mutex::new((0..0, Vec::new()));

/// An address of 127.0.0.1 for a server that cannot say which port it got, or at which nothing
/// listens. It is given once.
pub(crate) fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, next_port()));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

fn next_port() -> u16 {
    // A failed test poisons the lock, but leaves the value valid.
    let (left, reserved) = &mut *OWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(port) = left.next() {
        return port;
    }
    let (first, socket) = (PORTS.start..PORTS.end)
        .step_by(BLOCK.into())
        .find_map(|first| Some((first, TcpListener::bind((RESERVES, first)).ok()?)))
        .expect("other runs of the tests leave a block of ports");
    reserved.push(socket);
    *left = first + 2..first + BLOCK;
    first + 1
}

/// An address of the loopback interface that only this run uses, for ports that a test cannot
/// choose.
pub(crate) fn own_host() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    // Process ids have at most 22 bits.
    Ipv4Addr::new(127, 0x40 | high, middle, low)
}
