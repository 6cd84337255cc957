//! UDP: one thread for each socket, which reads and answers datagrams in batches. A query that
//! needs an upstream is left to a task.
#![expect(clippy::disallowed_methods, reason = "the clock is read while a socket closes")]

#[cfg(not(target_os = "linux"))]
#[path = "udp/fallback.rs"]
mod batch;
#[cfg(target_os = "linux")]
#[path = "udp/mmsg.rs"]
mod batch;

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    chain::{QueryError, Transport},
    limits,
    plugin::{Beginning, ProxiedClient},
    server::{Listen, Outcome, Server},
};

use super::dispatch::{Appended, Dispatcher, ReceivedQuery, WaitingQuery, new_cx};

use batch::{Batch, DatagramAddresses};

/// Opens `count` sockets at one address. The kernel distributes datagrams among them. With port 0
/// all get the port of the first.
///
/// # Errors
/// If a socket cannot be created or bound, for example because the address is in use.
pub(super) fn open(address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let first = socket(address)?;
    let bound = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(socket(bound)?);
    }
    batch::distribute(&sockets[0], sockets.len());
    Ok(sockets)
}

fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A burst waits in this buffer while a batch is answered. The system may allow less.
    let _ = socket.set_recv_buffer_size(limits::UDP_BUFFER_OCTETS);
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    batch::prepare(&socket, address.is_ipv6());
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Answers the queries of a socket until `stop` is set. Then it ends as [`Worker::finish`] says,
/// and drops the socket.
#[expect(clippy::needless_pass_by_value, reason = "the last owner of a socket closes it")]
pub(super) fn serve(
    dispatcher: &Arc<Dispatcher>,
    listen: Listen,
    socket: Arc<UdpSocket>,
    stop: &AtomicBool,
) {
    let bound = socket.local_addr().unwrap_or(listen.address);
    let (server, batch) = (dispatcher.server.load_full(), Batch::new());
    let mut worker = Worker {
        dispatcher,
        listen,
        socket: &socket,
        bound,
        server,
        batch,
        exchanges: Exchanges::Allowed,
        replies: Vec::new(),
        spare: Vec::new(),
    };
    while !stop.load(Ordering::Relaxed) {
        worker.serve_or_pause();
    }
    worker.finish();
}

/// Whether a query may be left to a task that sends it to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchanges {
    Allowed,
    /// The query fails at once, because the socket is about to close.
    Refused,
}

struct Worker<'w> {
    dispatcher: &'w Arc<Dispatcher>,
    listen: Listen,
    socket: &'w Arc<UdpSocket>,
    bound: SocketAddr,
    server: Arc<Server>,
    batch: Batch,
    exchanges: Exchanges,
    replies: Vec<(Vec<u8>, DatagramAddresses)>,
    /// Buffers of sent replies, for reuse.
    spare: Vec<Vec<u8>>,
}

impl Worker<'_> {
    fn serve_or_pause(&mut self) {
        if let Err(error) = self.serve_batch()
            && !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
            )
        {
            // The error may last, for example if the system is out of memory. The pause keeps this
            // loop from using a whole core.
            thread::sleep(limits::ACCEPT_PAUSE);
        }
    }

    /// Answers queries until none of this socket waits for an upstream, at most 10 s. Then it
    /// answers what is left in the socket's buffer. It reads until the socket is closed. Otherwise
    /// the kernel would accept queries that are never answered, while a closed port gives clients
    /// an error at once.
    fn finish(&mut self) {
        let begun = Instant::now();
        let _ = self.socket.set_read_timeout(Some(limits::FINISH_POLL));
        // Each query that waits holds the socket for its reply.
        while Arc::strong_count(self.socket) > 1
            && begun.elapsed() < limits::CLOSING_EXCHANGES + limits::QUERY_TIME
        {
            if begun.elapsed() >= limits::CLOSING_EXCHANGES {
                self.exchanges = Exchanges::Refused;
            }
            self.serve_or_pause();
        }
        self.exchanges = Exchanges::Refused;
        let _ = self.socket.set_nonblocking(true);
        self.close_to_clients();
        for _ in 0..limits::UDP_DRAIN_BATCHES {
            if self.serve_batch().is_err() {
                break;
            }
        }
    }

    /// Connects the socket to itself. From now on the kernel reports a closed port to clients, so
    /// no query can arrive between the last read and the close. Queries in the buffer can still be
    /// read, and replies can still be sent.
    fn close_to_clients(&self) {
        let mut own = self.bound;
        if own.ip().is_unspecified() {
            own.set_ip(match own {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        // If this fails, queries of the last few microseconds before the close may be lost.
        let _ = self.socket.connect(own);
    }

    /// Receives one batch, answers it, and sends the replies.
    fn serve_batch(&mut self) -> io::Result<()> {
        let count = self.batch.receive(self.socket);
        self.dispatcher.update_server(&mut self.server, self.listen);
        for index in 0..count? {
            self.answer(index);
        }
        self.batch.send(self.socket, &self.replies);
        self.spare.extend(self.replies.drain(..).map(|(out, _)| out));
        Ok(())
    }

    fn answer(&mut self, index: usize) {
        let (packet, addresses) = self.batch.get(index);
        // A datagram cannot be sent to port 0.
        if addresses.peer.port() == 0 {
            return;
        }
        let (client, header, tlvs) = match self.server.proxy(self.listen) {
            None => (addresses.peer, 0, None),
            Some(proxy) => match proxy.of_datagram(addresses.peer, packet, Instant::now()) {
                Beginning::Client(ProxiedClient { address, header, tlvs }) => {
                    (address, header, tlvs)
                }
                Beginning::Incomplete | Beginning::Rejected => return,
            },
        };
        let packet = packet.get(header..).unwrap_or_default();
        let mut cx = new_cx(client, addresses.local(self.bound), Transport::Udp);
        cx.proxy_tlvs = tlvs;
        let mut out = self.spare.pop().unwrap_or_default();
        out.clear();
        let appended =
            match self.dispatcher.receive(&self.server, self.listen, packet, &mut cx, &mut out) {
                Outcome::Wait(pending, wait) => {
                    let received = ReceivedQuery::new(&self.server, self.listen, packet, cx);
                    let socket = Arc::clone(self.socket);
                    let send =
                        Box::new(move |reply: &[u8]| batch::send_one(&socket, reply, addresses));
                    let query = WaitingQuery { received, pending, wait };
                    match self.exchanges {
                        Exchanges::Allowed => self.dispatcher.enqueue(query, send, &mut out),
                        Exchanges::Refused => {
                            self.dispatcher.fail(query, QueryError::Closing, &mut out)
                        }
                    }
                }
                outcome => {
                    self.dispatcher.finish_query(&self.server, self.listen, &mut cx);
                    match outcome {
                        Outcome::Reply => Appended::Reply,
                        _ => Appended::Nothing,
                    }
                }
            };
        match appended {
            Appended::Reply => self.replies.push((out, addresses)),
            Appended::Nothing => self.spare.push(out),
        }
    }
}

#[cfg(test)]
mod tests;
