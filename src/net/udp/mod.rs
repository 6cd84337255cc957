//! UDP: one thread a socket, packets in batches. What can be answered here and now is; the rest goes to the tasks.

#[cfg(not(target_os = "linux"))]
#[path = "fallback.rs"]
mod batch;
#[cfg(target_os = "linux")]
#[path = "mmsg.rs"]
mod batch;

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    chain::Transport,
    limits,
    server::{Listen, Outcome},
};

use super::shell::{Job, Send, Shell, new_cx};

use batch::{Batch, Origin};

/// Opens `count` sockets at one address, among which the kernel spreads datagrams; all have the port of the first.
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
    let _ = socket.set_recv_buffer_size(limits::UDP_BUFFER);
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    batch::prepare(&socket, address.is_ipv6());
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Answers what comes in at a socket until `stop` says otherwise.
pub(super) fn serve(shell: &Arc<Shell>, listen: Listen, socket: &Arc<UdpSocket>, stop: &AtomicBool) {
    let mut batch = Batch::new();
    let mut replies: Vec<(Vec<u8>, Origin)> = Vec::new();
    let mut spare: Vec<Vec<u8>> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok(count) = batch.receive(socket) else { continue };
        let server = shell.server.load_full();
        for index in 0..count {
            let (packet, origin) = batch.get(index);
            // Port 0 cannot be answered.
            if origin.peer.port() == 0 {
                continue;
            }
            let mut cx = new_cx(origin.peer, origin.local(listen.address), Transport::Udp);
            let mut out = spare.pop().unwrap_or_default();
            out.clear();
            let replied = match shell.receive(&server, listen, packet, &mut cx, &mut out) {
                Outcome::Reply => true,
                Outcome::Silence => false,
                Outcome::Exchange(pending, exchange) => {
                    let socket = Arc::clone(socket);
                    let send = move |reply: &[u8]| batch::send_one(&socket, reply, origin);
                    let send: Send = Box::new(send);
                    let empty = new_cx(origin.peer, cx.local, Transport::Udp);
                    let cx = std::mem::replace(&mut cx, empty);
                    let job = Job { server: Arc::clone(&server), listen, pending, exchange, cx, send: Some(send) };
                    shell.hand_over(job, &mut out)
                }
            };
            shell.after(&server, listen, &mut cx);
            if replied {
                replies.push((out, origin));
            } else {
                spare.push(out);
            }
        }
        batch.send(socket, &replies);
        spare.extend(replies.drain(..).map(|(out, _)| out));
    }
}

#[cfg(test)]
mod tests;
