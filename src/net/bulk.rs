//! Sends many queries to one server, at a limited rate, and collects the replies.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout, timeout_at},
};

use super::client::stream;
use crate::limits;

/// A message to send, with any id.
pub struct Packet {
    pub octets: Vec<u8>,
    pub tcp: bool,
}

/// The largest number of queries a second. With `None` the rate depends only on the server's
/// replies.
#[derive(Clone, Copy, Debug)]
pub struct Rate(pub Option<u32>);

impl Rate {
    fn interval(self) -> Duration {
        self.0.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.max(1))
    }
}

/// Returns the replies in the order of the packets. A packet without a reply after
/// [`limits::BULK_TRIES`] queries has `None`. The id of a reply is the position of its packet.
pub async fn exchange(server: SocketAddr, packets: &[Packet], rate: Rate) -> Vec<Option<Vec<u8>>> {
    let mut replies = vec![None; packets.len()];
    for tcp in [false, true] {
        let of_kind = packets.iter().enumerate().filter(|(_, packet)| packet.tcp == tcp);
        let mut open: Vec<usize> = of_kind.map(|(at, _)| at).collect();
        for _ in 0..limits::BULK_TRIES {
            // The id of a query is its position in the batch.
            for batch in open.chunks(usize::from(u16::MAX)) {
                let mut round = Round::new(packets, batch, rate);
                // After an error, the next round sends the remaining queries.
                let _ = if tcp {
                    round.over_tcp(server, &mut replies).await
                } else {
                    round.over_udp(server, &mut replies).await
                };
            }
            open.retain(|at| replies.get(*at).is_none_or(Option::is_none));
        }
    }
    replies
}

/// One attempt at each packet of a batch.
struct Round<'p> {
    packets: &'p [Packet],
    batch: &'p [usize],
    next: usize,
    waiting: BTreeMap<u16, usize>,
    /// Octets of the replies.
    octets: usize,
    interval: Duration,
    due: Instant,
}

impl<'p> Round<'p> {
    fn new(packets: &'p [Packet], batch: &'p [usize], rate: Rate) -> Self {
        let (interval, due) = (rate.interval(), Instant::now());
        Self { packets, batch, next: 0, waiting: BTreeMap::new(), octets: 0, interval, due }
    }

    fn is_done(&self) -> bool {
        let sends_no_more = self.next >= self.batch.len() || self.octets >= limits::BULK_OCTETS;
        sends_no_more && self.waiting.is_empty()
    }

    fn may_send(&self) -> bool {
        self.next < self.batch.len()
            && self.waiting.len() < limits::BULK_WINDOW
            && self.octets < limits::BULK_OCTETS
    }

    /// The next message if one may be sent now.
    fn take(&mut self) -> Option<Vec<u8>> {
        if !self.may_send() || Instant::now() < self.due {
            return None;
        }
        let at = *self.batch.get(self.next)?;
        let id = self.next as u16;
        self.next += 1;
        let mut octets = self.packets.get(at)?.octets.clone();
        // Octets without an id are no message, and get no reply.
        octets.first_chunk_mut::<2>()?.copy_from_slice(&id.to_be_bytes());
        self.waiting.insert(id, at);
        // After a pause, the queries that were not sent during it do not leave in one burst.
        self.due = self.due.max(Instant::now() - limits::BULK_BURST) + self.interval;
        Some(octets)
    }

    fn received(&mut self, packet: &[u8], replies: &mut [Option<Vec<u8>>]) {
        let Some(id) = packet.first_chunk::<2>() else { return };
        let Some(at) = self.waiting.remove(&u16::from_be_bytes(*id)) else { return };
        if let Some(reply) = replies.get_mut(at) {
            *reply = Some(packet.to_vec());
            self.octets += packet.len();
        }
    }

    /// When the wait for a reply ends. The second value is true if it ends because the next query
    /// must be sent then.
    fn until(&self, silence: Duration) -> (Instant, bool) {
        let silent = Instant::now() + silence;
        if self.may_send() && self.due < silent { (self.due, true) } else { (silent, false) }
    }

    async fn over_udp(
        &mut self,
        server: SocketAddr,
        replies: &mut [Option<Vec<u8>>],
    ) -> io::Result<()> {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(server).await?;
        let mut packet = vec![0; 65_535];
        while !self.is_done() {
            if let Some(message) = self.take() {
                // `send` reports a closed port. The next round sends the query again.
                let _ = socket.send(&message).await;
                continue;
            }
            let (until, is_due) = self.until(limits::BULK_SILENCE);
            match timeout_at(until, socket.recv(&mut packet)).await {
                Ok(Ok(length)) => self.received(packet.get(..length).unwrap_or_default(), replies),
                Ok(Err(_)) => self.waiting.clear(),
                Err(_) if is_due => {}
                Err(_) => self.waiting.clear(),
            }
        }
        Ok(())
    }

    /// Sends over one connection, and over another one when the server closes it.
    async fn over_tcp(
        &mut self,
        server: SocketAddr,
        replies: &mut [Option<Vec<u8>>],
    ) -> io::Result<()> {
        while self.next < self.batch.len() && self.octets < limits::BULK_OCTETS {
            let mut tcp = connect(server).await?;
            self.waiting.clear();
            while !self.is_done() {
                if let Some(message) = self.take() {
                    if send(&mut tcp, &message).await.is_err() {
                        break;
                    }
                    continue;
                }
                if self.waiting.is_empty() {
                    tokio::time::sleep_until(self.due).await;
                    continue;
                }
                match receive(&mut tcp).await {
                    Ok(message) => self.received(&message, replies),
                    Err(_) => break,
                }
            }
        }
        Ok(())
    }
}

async fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    timeout(limits::BULK_SILENCE * 4, stream::connect(server, None)).await?
}

async fn send(tcp: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = (message.len() as u16).to_be_bytes();
    timeout(limits::BULK_SILENCE * 4, tcp.write_all(&[&length, message].concat())).await?
}

async fn receive(tcp: &mut TcpStream) -> io::Result<Vec<u8>> {
    let read = async {
        let length = tcp.read_u16().await?;
        let mut message = vec![0; length.into()];
        tcp.read_exact(&mut message).await?;
        Ok(message)
    };
    timeout(limits::BULK_SILENCE * 4, read).await?
}

/// The messages of a zone transfer, up to the first one for which `is_last` is true.
///
/// # Errors
/// If the server cannot be reached, or closes the connection before the last message, or if the
/// zone is larger than [`limits::TRANSFERRED_OCTETS`], or takes longer than
/// [`limits::TRANSFER_IN_WHOLE`].
pub async fn transfer(
    server: SocketAddr,
    query: &[u8],
    is_last: impl FnMut(&[u8]) -> bool,
) -> io::Result<Vec<Vec<u8>>> {
    timeout(limits::TRANSFER_IN_WHOLE, messages(server, query, is_last)).await?
}

async fn messages(
    server: SocketAddr,
    query: &[u8],
    mut is_last: impl FnMut(&[u8]) -> bool,
) -> io::Result<Vec<Vec<u8>>> {
    let mut tcp = connect(server).await?;
    send(&mut tcp, query).await?;
    let (mut messages, mut octets) = (Vec::new(), 0);
    loop {
        let message = receive(&mut tcp).await?;
        octets += message.len();
        if octets > limits::TRANSFERRED_OCTETS {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the zone is too large"));
        }
        let last = is_last(&message);
        messages.push(message);
        if last {
            return Ok(messages);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn octets_without_an_id_have_no_reply_and_do_not_hold_up_others() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut packet = [0; 100];
            loop {
                let (length, from) = server.recv_from(&mut packet).await.unwrap();
                server.send_to(&packet[..length], from).await.unwrap();
            }
        });
        let packets = [vec![], vec![7], vec![0, 0, 7], vec![8], vec![0, 0, 9]];
        let packets = packets.map(|octets| Packet { octets, tcp: false });
        let exchanged = exchange(address, &packets, Rate(None));
        let replies = timeout(Duration::from_secs(10), exchanged).await.expect("an end");
        let last = |reply: Option<Vec<u8>>| reply.and_then(|reply| reply.last().copied());
        assert_eq!(
            replies.into_iter().map(last).collect::<Vec<_>>(),
            [None, None, Some(7), None, Some(9)]
        );
    }
}
