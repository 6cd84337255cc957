//! Simulated upstreams.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex, mpsc::channel},
    thread,
    time::{Duration, Instant},
};

/// Replies over UDP at a free port of 127.0.0.1 until the process ends. `reply` makes the reply to a
/// query, or none.
pub(crate) fn datagrams(
    mut reply: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut packet = [0; 4096];
        loop {
            // An earlier reply may have met a closed port, which `recv_from` reports here.
            let Ok((length, from)) = socket.recv_from(&mut packet) else { continue };
            if let Some(reply) = reply(&packet[..length]) {
                let _ = socket.send_to(&reply, from);
            }
        }
    });
    address
}

/// As `datagrams`, but each reply leaves this long after its query has come.
pub(crate) fn slow_datagrams(
    delay: Duration,
    reply: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let replies = socket.try_clone().unwrap();
    let (send, waiting) = channel();
    thread::spawn(move || {
        let mut packet = [0; 4096];
        loop {
            let Ok((length, from)) = socket.recv_from(&mut packet) else { continue };
            if let Some(reply) = reply(&packet[..length]) {
                send.send((Instant::now() + delay, reply, from)).unwrap();
            }
        }
    });
    thread::spawn(move || {
        for (due, reply, from) in waiting {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let _ = replies.send_to(&reply, from);
        }
    });
    address
}

/// The reply NOERROR without records.
pub(crate) fn empty_reply(query: &[u8]) -> Vec<u8> {
    let mut reply = query.to_vec();
    reply[2] |= 0x80;
    reply
}

/// The reply with the address 192.0.2.80 and without the OPT record of the query; `None` for a
/// type other than A.
pub(crate) fn address_reply(query: &[u8], ttl: u16) -> Option<Vec<u8>> {
    let end = 12 + query.get(12..)?.iter().position(|octet| *octet == 0)? + 5;
    let mut reply = query.get(..end)?.to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0]);
    reply.extend_from_slice(&ttl.to_be_bytes());
    reply.extend_from_slice(&[0, 4, 192, 0, 2, 80]);
    (query[end - 4..end - 2] == [0, 1]).then_some(reply)
}

/// An upstream whose replies depend only on the first label of a name.
///
/// Answers over UDP and TCP until the process ends: `nx…` does not exist, `fail…` is SERVFAIL,
/// `none…` has no records, and every other name has the address 192.0.2.80 for an hour. HINFO, the
/// type that the plugin `loop` queries, gets NXDOMAIN.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    pub(crate) fn start(host: Ipv4Addr) -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind((host, 0)).unwrap();
            // The port may be taken for UDP.
            let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) else { continue };
            break (tcp, udp);
        };
        let upstream = Self { address: tcp.local_addr().unwrap(), asked: Arc::default() };
        let asked = Arc::clone(&upstream.asked);
        thread::spawn(move || {
            let mut packet = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut packet) {
                let _ = udp.send_to(&reply(&packet[..length], &asked), from);
            }
        });
        let asked = Arc::clone(&upstream.asked);
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let asked = Arc::clone(&asked);
                thread::spawn(move || converse(stream, &asked));
            }
        });
        upstream
    }

    /// Number of queries for names that match. Names are in lower case, with the final dot.
    pub(crate) fn asked(&self, wanted: impl Fn(&str) -> bool) -> usize {
        self.asked.lock().unwrap().iter().filter(|name| wanted(name)).count()
    }
}

fn converse(mut stream: TcpStream, asked: &Mutex<Vec<String>>) {
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut packet = vec![0; u16::from_be_bytes(length).into()];
        if stream.read_exact(&mut packet).is_err() {
            return;
        }
        let reply = reply(&packet, asked);
        let frame = [&(reply.len() as u16).to_be_bytes(), &reply[..]].concat();
        if stream.write_all(&frame).is_err() {
            return;
        }
    }
}

fn reply(packet: &[u8], asked: &Mutex<Vec<String>>) -> Vec<u8> {
    let (mut name, mut at) = (String::new(), 12);
    while packet[at] > 0 {
        let label = &packet[at + 1..at + 1 + usize::from(packet[at])];
        name += &format!("{}.", String::from_utf8_lossy(label).to_ascii_lowercase());
        at += 1 + label.len();
    }
    asked.lock().unwrap().push(name.clone());
    let (qtype, end) = (packet[at + 2], at + 5);
    let mut reply = packet[..end].to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    if name.starts_with("fail") {
        reply[3] |= 2;
    } else if qtype == 1 && !name.starts_with("nx") && !name.starts_with("none") {
        reply[7] = 1;
        reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 192, 0, 2, 80]);
    } else {
        // The SOA record of the root. All its times are 60 s.
        reply[3] |= if name.starts_with("nx") || qtype == 13 { 3 } else { 0 };
        reply[9] = 1;
        reply.extend_from_slice(&[0, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0]);
        reply.extend_from_slice(&[0, 0, 0, 60].repeat(5));
    }
    reply
}
