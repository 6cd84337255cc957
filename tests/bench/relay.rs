//! Programs that show the cost of the system alone: a socket that echoes, and a forwarder.
//!
//! The forwarder makes only the system calls that a cache miss needs. It uses as many sockets, and batches of the same size, as ndots under load.
//!
//! It reads queries in batches, sends each one from one of many connected sockets, waits for replies
//! with epoll, and sends them to the clients in batches. It neither parses messages nor keeps them.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// As many messages as ndots reads with one system call.
const BATCH: usize = 16;
/// As many sockets as ndots has for one upstream.
const SOCKETS: usize = 256;
const PACKET: usize = 4096;

/// The id that the client used and the client's address, by the id of the query to the upstream.
type Clients = Vec<Option<([u8; 2], libc::sockaddr_in)>>;

struct Batch {
    packets: Vec<[u8; PACKET]>,
    peers: [libc::sockaddr_in; BATCH],
    buffers: [libc::iovec; BATCH],
    messages: [libc::mmsghdr; BATCH],
    /// How many messages there are.
    count: usize,
}

/// A socket that sends each query back as a reply, in batches as ndots does.
pub(crate) fn echo() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    println!("{}", socket.local_addr().unwrap());
    let mut batch = Batch::new();
    loop {
        batch.receive(socket.as_raw_fd(), libc::MSG_WAITFORONE as libc::c_int);
        batch.turn_into_replies();
        batch.send(socket.as_raw_fd());
    }
}

pub(crate) fn relay(upstream: SocketAddr) {
    let clients = UdpSocket::bind("127.0.0.1:0").unwrap();
    println!("{}", clients.local_addr().unwrap());
    let upstreams: Vec<_> = (0..SOCKETS).map(|_| connected(upstream)).collect();
    let poll = poll(clients.as_raw_fd(), &upstreams).unwrap();
    let (mut queries, mut replies) = (Batch::new(), Batch::new());
    let (mut waiting, mut next): (Clients, u16) = (vec![None; 1 << 16], 0);
    loop {
        for event in events(&poll) {
            if event as usize == SOCKETS {
                queries.receive(clients.as_raw_fd(), libc::MSG_DONTWAIT as libc::c_int);
                for (packet, peer) in queries.received() {
                    next = next.wrapping_add(1);
                    waiting[usize::from(next)] = Some(([packet[0], packet[1]], peer));
                    packet[..2].copy_from_slice(&next.to_be_bytes());
                    // Use the sockets in an irregular order, so that the kernel must look each one
                    // up.
                    let _ = upstreams[usize::from(next) * 97 % SOCKETS].send(packet);
                }
            } else if let Ok(length) = upstreams[event as usize].recv(replies.free()) {
                let id = replies.free().first_chunk().copied().unwrap_or_default();
                if let Some((id, peer)) = waiting[usize::from(u16::from_be_bytes(id))].take() {
                    replies.free()[..2].copy_from_slice(&id);
                    replies.add(length, peer);
                }
                if replies.count == BATCH {
                    replies.send(clients.as_raw_fd());
                }
            }
        }
        replies.send(clients.as_raw_fd());
    }
}

fn connected(upstream: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(upstream).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

impl Batch {
    #[expect(unsafe_code, reason = "these structures have no safe form")]
    fn new() -> Self {
        // SAFETY: a `sockaddr_in`, an `iovec` and an `mmsghdr` of zeros are valid.
        let (peers, buffers, messages) = unsafe { std::mem::zeroed() };
        Self { packets: vec![[0; PACKET]; BATCH], peers, buffers, messages, count: 0 }
    }

    /// The buffer of the next message.
    fn free(&mut self) -> &mut [u8; PACKET] {
        &mut self.packets[self.count]
    }

    /// Adds the message that was written to [`Batch::free`].
    fn add(&mut self, length: usize, peer: libc::sockaddr_in) {
        self.buffers[self.count].iov_len = length;
        self.peers[self.count] = peer;
        self.count += 1;
    }

    fn received(&mut self) -> impl Iterator<Item = (&mut [u8], libc::sockaddr_in)> {
        let messages = self.messages.iter().zip(&mut self.packets).zip(&self.peers);
        messages
            .take(self.count)
            .map(|((message, packet), peer)| (&mut packet[..message.msg_len as usize], *peer))
    }

    /// Each received message becomes a reply to its sender.
    fn turn_into_replies(&mut self) {
        let buffers = self.buffers.iter_mut().zip(&mut self.packets).zip(&self.messages);
        for ((buffer, packet), message) in buffers.take(self.count) {
            packet[2] |= 0x80;
            buffer.iov_len = message.msg_len as usize;
        }
    }

    fn point_to_buffers(&mut self) {
        for at in 0..BATCH {
            self.buffers[at].iov_base = self.packets[at].as_mut_ptr().cast();
            let header = &mut self.messages[at].msg_hdr;
            header.msg_name = (&raw mut self.peers[at]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_iov = &raw mut self.buffers[at];
            header.msg_iovlen = 1;
        }
    }

    #[expect(unsafe_code, reason = "recvmmsg has no safe form")]
    fn receive(&mut self, descriptor: i32, flags: libc::c_int) {
        self.buffers.iter_mut().for_each(|buffer| buffer.iov_len = PACKET);
        self.point_to_buffers();
        // SAFETY: every pointer in `messages` leads to memory of its length that lives longer.
        let count = unsafe {
            libc::recvmmsg(
                descriptor,
                self.messages.as_mut_ptr(),
                BATCH as libc::c_uint,
                flags as _,
                std::ptr::null_mut(),
            )
        };
        self.count = usize::try_from(count).unwrap_or(0);
    }

    #[expect(unsafe_code, reason = "sendmmsg has no safe form")]
    fn send(&mut self, descriptor: i32) {
        if self.count == 0 {
            return;
        }
        self.point_to_buffers();
        // SAFETY: as in `receive`.
        unsafe {
            libc::sendmmsg(descriptor, self.messages.as_mut_ptr(), self.count as libc::c_uint, 0);
        }
        self.count = 0;
    }
}

/// The number of the event is that of the upstream socket, or [`SOCKETS`] for queries of clients.
#[expect(unsafe_code, reason = "epoll has no safe form")]
fn poll(clients: i32, upstreams: &[UdpSocket]) -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let poll = unsafe { libc::epoll_create1(0) };
    for (number, descriptor) in
        upstreams.iter().map(AsRawFd::as_raw_fd).chain([clients]).enumerate()
    {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: number as u64 };
        // SAFETY: the kernel only reads the event, which outlives the call.
        if unsafe { libc::epoll_ctl(poll, libc::EPOLL_CTL_ADD, descriptor, &raw mut event) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: the descriptor is open, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(poll) })
}

#[expect(unsafe_code, reason = "epoll has no safe form")]
fn events(poll: &OwnedFd) -> impl Iterator<Item = u64> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
    // SAFETY: the kernel writes no more events than there is room for.
    let count =
        unsafe { libc::epoll_wait(poll.as_raw_fd(), events.as_mut_ptr(), events.len() as i32, -1) };
    events.into_iter().take(usize::try_from(count).unwrap_or(0)).map(|event| event.u64)
}
