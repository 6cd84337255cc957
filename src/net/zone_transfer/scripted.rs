//! A primary server of `example.org` whose pace tests choose.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use crate::wire::{Name, Type};

/// What the server has, and how it sends a transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) serial: u32,
    pub(crate) records: u32,
    /// Octets that are sent at once, and the pause after them.
    pub(crate) piece: usize,
    pub(crate) pause: Duration,
}

impl Pace {
    /// Everything is sent at once.
    pub(crate) fn fast(serial: u32) -> Self {
        Self { serial, records: 10, piece: usize::MAX, pause: Duration::ZERO }
    }
}

/// A server whose zone is checked every second, and expires after four. Its tasks end when it is
/// dropped.
pub(crate) struct Primary {
    pub(crate) address: SocketAddr,
    pub(crate) pace: Arc<Mutex<Pace>>,
    _tasks: JoinSet<()>,
}

impl Primary {
    pub(crate) async fn start(pace: Pace) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, pace) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(pace)));
        let paces = Arc::clone(&pace);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let served = serve(stream, Arc::clone(&paces));
                connections.spawn(async move { drop(served.await) });
            }
        });
        Self { address, pace, _tasks: tasks }
    }
}

pub(crate) fn origin() -> Name {
    "example.org.".parse().unwrap()
}

async fn serve(mut stream: TcpStream, paces: Arc<Mutex<Pace>>) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut query = vec![0; length.into()];
        stream.read_exact(&mut query).await?;
        let pace = *paces.lock().unwrap();
        let question = &query[12..12 + origin().wire().len() + 4];
        let qtype = Type(u16::from_be_bytes([question[13], question[14]]));
        let header = [&query[..2], &[0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0], question].concat();
        if qtype == Type::SOA {
            stream.write_all(&frame(&[&*header, &soa(pace.serial)].concat())).await?;
            continue;
        }
        // One record in each message.
        let addresses = (0..pace.records).map(address);
        let records = [soa(pace.serial)].into_iter().chain(addresses).chain([soa(pace.serial)]);
        let octets: Vec<u8> =
            records.flat_map(|record| frame(&[&*header, &record].concat())).collect();
        for piece in octets.chunks(pace.piece) {
            stream.write_all(piece).await?;
            sleep(pace.pause).await;
        }
    }
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// A record of the name at this position of the message.
fn record(owner: &[u8], rtype: Type, rdata: &[u8]) -> Vec<u8> {
    let length = (rdata.len() as u16).to_be_bytes();
    [owner, &rtype.0.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &length, rdata].concat()
}

fn soa(serial: u32) -> Vec<u8> {
    let numbers = [serial, 1, 1, 4, 60].map(u32::to_be_bytes).concat();
    record(origin().wire(), Type::SOA, &[&[0, 0], &*numbers].concat())
}

fn address(number: u32) -> Vec<u8> {
    let name: Name = format!("h{number}.example.org.").parse().unwrap();
    record(name.wire(), Type::A, &number.to_be_bytes())
}
