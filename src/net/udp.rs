//! UDP: one thread a socket, packets in batches. What can be answered here and now is; the rest
//! goes to the tasks.

#[cfg(not(target_os = "linux"))]
#[path = "udp/fallback.rs"]
mod batch;
#[cfg(target_os = "linux")]
#[path = "udp/mmsg.rs"]
mod batch;

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    chain::Transport,
    limits,
    server::{Listen, Outcome, Server},
};

use super::dispatch::{Asked, Dispatcher, Job, header_of, new_cx};

use batch::{Batch, Origin};

/// Opens `count` sockets at one address, among which the kernel spreads datagrams; all have the
/// port of the first.
pub(super) fn open(address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let first = socket(address)?;
    let bound = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(socket(bound)?);
    }
    batch::spread(&sockets[0], sockets.len());
    Ok(sockets)
}

fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // As much as the system allows: a burst waits there while a batch is answered.
    let _ = socket.set_recv_buffer_size(limits::UDP_BUFFER_OCTETS);
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    batch::prepare(&socket, address.is_ipv6());
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Answers what comes in at a socket until `stop` says otherwise, and then what has come in
/// already.
pub(super) fn serve(
    dispatcher: &Arc<Dispatcher>,
    listen: Listen,
    socket: &Arc<UdpSocket>,
    stop: &AtomicBool,
) {
    let bound = socket.local_addr().unwrap_or(listen.address);
    let (server, batch) = (dispatcher.server.load_full(), Batch::new());
    let mut worker = Worker {
        dispatcher,
        listen,
        socket,
        bound,
        server,
        batch,
        replies: Vec::new(),
        spare: Vec::new(),
    };
    while !stop.load(Ordering::Relaxed) {
        if let Err(error) = worker.turn()
            && !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
            )
        {
            // No memory: it passes, and asking at once would only burn time.
            thread::sleep(limits::ACCEPT_PAUSE);
        }
    }
    let _ = socket.set_nonblocking(true);
    for _ in 0..limits::UDP_DRAIN_BATCHES {
        if worker.turn().is_err() {
            break;
        }
    }
}

/// What one thread works with.
struct Worker<'w> {
    dispatcher: &'w Arc<Dispatcher>,
    listen: Listen,
    socket: &'w Arc<UdpSocket>,
    bound: SocketAddr,
    server: Arc<Server>,
    batch: Batch,
    replies: Vec<(Vec<u8>, Origin)>,
    /// Buffers of replies that are sent.
    spare: Vec<Vec<u8>>,
}

impl Worker<'_> {
    /// One batch: in, answered, out.
    fn turn(&mut self) -> io::Result<()> {
        let count = self.batch.receive(self.socket);
        self.dispatcher.renew(&mut self.server, self.listen);
        for index in 0..count? {
            self.answer(index);
        }
        self.batch.send(self.socket, &self.replies);
        self.spare.extend(self.replies.drain(..).map(|(out, _)| out));
        Ok(())
    }

    fn answer(&mut self, index: usize) {
        let (packet, origin) = self.batch.get(index);
        // Port 0 cannot be answered.
        if origin.peer.port() == 0 {
            return;
        }
        let mut cx = new_cx(origin.peer, origin.local(self.bound), Transport::Udp);
        let mut out = self.spare.pop().unwrap_or_default();
        out.clear();
        let replied =
            match self.dispatcher.receive(&self.server, self.listen, packet, &mut cx, &mut out) {
                Outcome::Exchange(pending, exchange) => {
                    let asked = Asked {
                        server: Arc::clone(&self.server),
                        listen: self.listen,
                        header: header_of(packet),
                        cx,
                    };
                    let socket = Arc::clone(self.socket);
                    let send =
                        Box::new(move |reply: &[u8]| batch::send_one(&socket, reply, origin));
                    self.dispatcher.hand_over(Job { asked, pending, exchange }, send, &mut out)
                }
                outcome => {
                    self.dispatcher.after(&self.server, self.listen, &mut cx);
                    matches!(outcome, Outcome::Reply)
                }
            };
        if replied {
            self.replies.push((out, origin));
        } else {
            self.spare.push(out);
        }
    }
}

#[cfg(test)]
mod tests;
