//! One datagram for each system call, on systems without recvmmsg. The routing table chooses the
//! source address of replies.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use crate::limits;

/// The addresses of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct DatagramAddresses {
    pub(super) peer: SocketAddr,
}

impl DatagramAddresses {
    pub(super) fn local(&self, bound: SocketAddr) -> SocketAddr {
        bound
    }
}

pub(super) struct Batch {
    packet: Box<[u8; limits::REQUEST_OCTETS]>,
    length: usize,
    peer: SocketAddr,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self { packet: Box::new([0; limits::REQUEST_OCTETS]), length: 0, peer: ([0; 4], 0).into() }
    }

    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        (self.length, self.peer) = socket.recv_from(&mut self.packet[..])?;
        Ok(1)
    }

    pub(super) fn get(&self, _index: usize) -> (&[u8], DatagramAddresses) {
        (&self.packet[..self.length], DatagramAddresses { peer: self.peer })
    }

    pub(super) fn send(&mut self, socket: &UdpSocket, replies: &[(Vec<u8>, DatagramAddresses)]) {
        for (reply, addresses) in replies {
            send_one(socket, reply, *addresses);
        }
    }
}

pub(super) fn send_one(socket: &UdpSocket, reply: &[u8], addresses: DatagramAddresses) {
    // A client that gets no reply retransmits its query.
    let _ = socket.send_to(reply, addresses.peer);
}

pub(super) fn prepare(_socket: &socket2::Socket, _v6: bool) {}

pub(super) fn distribute(_first: &UdpSocket, _count: usize) {}
