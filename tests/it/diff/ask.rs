//! Sends many queries at once and collects the replies.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use hickory_proto::{op::Message, rr::RecordType};

use super::questions::Asked;

/// How many queries are in flight at once. The socket's buffer must hold that many replies of 64
/// KB.
const WINDOW: usize = 48;
const PATIENCE: Duration = Duration::from_millis(700);
/// How often a query without a reply is sent. A server that drops it drops it each time.
const TRIES: usize = 3;

/// The replies in the order of the questions; `None` where no reply came.
pub(crate) fn ask(server: SocketAddr, questions: &[Asked]) -> Vec<Option<Vec<u8>>> {
    let mut replies = vec![None; questions.len()];
    for tcp in [false, true] {
        let mut open: Vec<usize> =
            (0..questions.len()).filter(|at| questions[*at].how.tcp == tcp).collect();
        for _ in 0..TRIES {
            let asked = if tcp { over_tcp } else { over_udp };
            // The id of a query is its index in the batch.
            open.chunks(50_000).for_each(|batch| asked(server, questions, batch, &mut replies));
            open.retain(|at| replies[*at].is_none());
        }
    }
    replies
}

fn over_udp(
    server: SocketAddr,
    questions: &[Asked],
    batch: &[usize],
    replies: &mut [Option<Vec<u8>>],
) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut packet = vec![0; 65_535];
    let (mut waiting, mut next) = (BTreeMap::new(), 0);
    while next < batch.len() || !waiting.is_empty() {
        while waiting.len() < WINDOW && next < batch.len() {
            // A query that cannot be sent now is sent in the next round.
            let _ = socket.send(&questions[batch[next]].packet(next as u16));
            waiting.insert(next as u16, batch[next]);
            next += 1;
        }
        match socket.recv(&mut packet) {
            Ok(length) if length >= 2 => {
                if let Some(at) = waiting.remove(&u16::from_be_bytes([packet[0], packet[1]])) {
                    replies[at] = Some(packet[..length].to_vec());
                }
            }
            _ => waiting.clear(),
        }
    }
}

/// Sends the queries over one connection, and over another one when a server closes it.
fn over_tcp(
    server: SocketAddr,
    questions: &[Asked],
    batch: &[usize],
    replies: &mut [Option<Vec<u8>>],
) {
    let mut next = 0;
    while next < batch.len() {
        let Ok(mut stream) = TcpStream::connect(server) else { return };
        stream.set_read_timeout(Some(PATIENCE * 4)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut waiting = BTreeMap::new();
        while next < batch.len() || !waiting.is_empty() {
            while waiting.len() < WINDOW && next < batch.len() {
                let packet = questions[batch[next]].packet(next as u16);
                let _ =
                    stream.write_all(&[&(packet.len() as u16).to_be_bytes(), &*packet].concat());
                waiting.insert(next as u16, batch[next]);
                next += 1;
            }
            let Some(packet) = receive(&mut stream) else { break };
            if let Some(at) = waiting.remove(&u16::from_be_bytes([packet[0], packet[1]])) {
                replies[at] = Some(packet);
            }
        }
    }
}

/// The messages of a zone transfer: all until the second SOA record, or the one message that
/// refuses it.
pub(crate) fn transfer(server: SocketAddr, asked: &Asked) -> Option<Vec<Vec<u8>>> {
    let mut stream = TcpStream::connect(server).ok()?;
    stream.set_read_timeout(Some(PATIENCE * 4)).unwrap();
    let packet = asked.packet(7);
    stream.write_all(&[&(packet.len() as u16).to_be_bytes(), &*packet].concat()).ok()?;
    let (mut messages, mut seen) = (Vec::new(), 0);
    while seen < 2 {
        let packet = receive(&mut stream)?;
        let message = Message::from_vec(&packet).ok()?;
        seen +=
            message.answers.iter().filter(|record| record.record_type() == RecordType::SOA).count();
        seen += if message.answers.is_empty() { 2 } else { 0 };
        messages.push(packet);
    }
    Some(messages)
}

fn receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut packet = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut packet).ok()?;
    (packet.len() >= 2).then_some(packet)
}
