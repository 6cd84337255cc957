//! Upstreams with the faults that upstreams in the field have: one [`Mode`] for each fault.

mod draft;
mod modes;

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use super::free_address;
use draft::Asked;
pub(crate) use modes::{MODES, MORE};

/// One fault.
pub(crate) struct Mode {
    pub(crate) name: &'static str,
    /// The public report that describes it.
    pub(crate) seen: &'static str,
    sockets: Sockets,
    reply: fn(&Asked) -> Vec<Step>,
}

/// What the upstream does with one query, in order.
pub(crate) enum Step {
    Reply(Vec<u8>),
    /// A datagram from another port than the query was sent to.
    FromElsewhere(Vec<u8>),
    Wait(Duration),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sockets {
    UdpAndTcp(Conversation),
    Udp,
    Tcp,
    /// Nothing listens: the host answers with ICMP "port unreachable" and TCP resets.
    None,
}

/// How a TCP connection goes on after the first reply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Conversation {
    Open,
    CloseAfterReply,
    /// Later queries get no reply, and the connection stays open.
    MuteAfterReply,
    /// Every reply leaves in pieces of a few octets, with a pause after each.
    InPieces,
    /// The connection is closed before anything is read.
    CloseAtOnce,
}

/// For each name, type and transport: the number of queries, and the time of the first one.
type Seen = HashMap<(String, u16, bool), (usize, Instant)>;

struct Upstream {
    reply: fn(&Asked) -> Vec<Step>,
    seen: Mutex<Seen>,
}

impl Mode {
    /// Answers on a loopback port until the process ends.
    pub(crate) fn start(&self) -> SocketAddr {
        // A port that is closed on purpose must not be given to another server.
        let address = free_address();
        let (tcp, udp) = (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap());
        let upstream = Arc::new(Upstream { reply: self.reply, seen: Mutex::default() });
        match self.sockets {
            Sockets::UdpAndTcp(conversation) => {
                upstream.datagrams(udp);
                upstream.connections(tcp, conversation);
            }
            Sockets::Udp => upstream.datagrams(udp),
            Sockets::Tcp => upstream.connections(tcp, Conversation::Open),
            Sockets::None => {}
        }
        address
    }
}

impl Upstream {
    fn datagrams(self: &Arc<Self>, socket: UdpSocket) {
        let (upstream, socket) = (Arc::clone(self), Arc::new(socket));
        thread::spawn(move || {
            let mut packet = [0; 4096];
            loop {
                // An earlier reply may have met a closed port, which `recv_from` reports here.
                let Ok((length, peer)) = socket.recv_from(&mut packet) else { continue };
                let steps = upstream.steps(&packet[..length], false);
                let socket = Arc::clone(&socket);
                let send = move || {
                    for step in steps {
                        let _ = match step {
                            Step::Reply(reply) => socket.send_to(&reply, peer),
                            Step::FromElsewhere(reply) => {
                                let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                                other.send_to(&reply, peer)
                            }
                            Step::Wait(time) => {
                                thread::sleep(time);
                                Ok(0)
                            }
                        };
                    }
                };
                thread::spawn(send);
            }
        });
    }

    fn connections(self: &Arc<Self>, listener: TcpListener, conversation: Conversation) {
        let upstream = Arc::clone(self);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let upstream = Arc::clone(&upstream);
                thread::spawn(move || upstream.converse(stream, conversation));
            }
        });
    }

    fn converse(&self, mut stream: TcpStream, conversation: Conversation) -> Option<()> {
        if conversation == Conversation::CloseAtOnce {
            return None;
        }
        let _ = stream.set_nodelay(true);
        let mut replied = false;
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length).ok()?;
            let mut packet = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut packet).ok()?;
            if replied && conversation == Conversation::MuteAfterReply {
                continue;
            }
            for step in self.steps(&packet, true) {
                match step {
                    Step::Wait(time) => thread::sleep(time),
                    Step::FromElsewhere(_) => {}
                    Step::Reply(reply) => {
                        replied = true;
                        let frame = [&(reply.len() as u16).to_be_bytes(), &*reply].concat();
                        let piece = if conversation == Conversation::InPieces { 7 } else { 65_537 };
                        for piece in frame.chunks(piece) {
                            stream.write_all(piece).ok()?;
                            if conversation == Conversation::InPieces {
                                thread::sleep(Duration::from_millis(1));
                            }
                        }
                    }
                }
            }
            if replied && conversation == Conversation::CloseAfterReply {
                return None;
            }
        }
    }

    fn steps(&self, packet: &[u8], tcp: bool) -> Vec<Step> {
        let mut asked = Asked::read(packet, tcp);
        let key = (asked.name.to_ascii_lowercase(), asked.qtype, tcp);
        let mut seen = self.seen.lock().unwrap();
        let (before, first) = seen.entry(key).or_insert((0, Instant::now()));
        (asked.before, asked.age) = (*before, first.elapsed());
        *before += 1;
        drop(seen);
        (self.reply)(&asked)
    }
}
