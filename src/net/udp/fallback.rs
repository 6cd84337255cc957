//! One datagram a system call, for systems without recvmmsg. Replies leave from the address that
//! the routes choose.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use crate::limits;

#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) peer: SocketAddr,
}

impl Origin {
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

    pub(super) fn get(&self, _index: usize) -> (&[u8], Origin) {
        (&self.packet[..self.length], Origin { peer: self.peer })
    }

    pub(super) fn send(&mut self, socket: &UdpSocket, replies: &[(Vec<u8>, Origin)]) {
        for (reply, origin) in replies {
            send_one(socket, reply, *origin);
        }
    }
}

pub(super) fn send_one(socket: &UdpSocket, reply: &[u8], origin: Origin) {
    // A client that cannot be reached asks again.
    let _ = socket.send_to(reply, origin.peer);
}

pub(super) fn prepare(_socket: &socket2::Socket, _v6: bool) {}

pub(super) fn spread(_first: &UdpSocket, _count: usize) {}
