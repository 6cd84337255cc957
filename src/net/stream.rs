//! TCP: questions of one connection are answered as they are ready, in any order (RFC 7766 §6.2.1.1), within bounds of time
//! and number that a slow or greedy client cannot pass.
#![expect(clippy::disallowed_methods, reason = "here is the clock")]

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    chain::Transport,
    limits,
    server::{Listen, Outcome},
};

use super::shell::{Shell, new_cx};

/// Takes connections until `stop` turns true, then answers what has been asked and ends.
pub(super) async fn serve(
    shell: Arc<Shell>,
    listen: Listen,
    listener: TcpListener,
    clients: Arc<Clients>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = clients.enter(peer.ip()) else { continue };
                let connection = Connection { shell: Arc::clone(&shell), listen, stream, peer, place, stop: stop.clone() };
                connections.spawn(connection.run());
            }
            // The client has left already: the next one has not.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
            // No descriptors or memory: it passes, and asking at once would only burn time.
            Err(_) => sleep(limits::ACCEPT_PAUSE).await,
        }
    }
    while connections.join_next().await.is_some() {}
}

/// The connections there are. A newcomer for whom there is no room takes the place of the one that is idle the longest.
#[derive(Default)]
pub(super) struct Clients(Mutex<Places>);

#[derive(Default)]
struct Places {
    next: u64,
    places: HashMap<u64, Occupant>,
}

struct Occupant {
    address: IpAddr,
    /// `None` while a question is being answered.
    idle_since: Option<Instant>,
    leave: Arc<Notify>,
}

/// A connection's place, given back when it is dropped.
struct Place {
    clients: Arc<Clients>,
    id: u64,
    leave: Arc<Notify>,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut places = self.lock();
        let of_client = places.places.values().filter(|occupant| occupant.address == address).count();
        let full = places.places.len() >= limits::TCP_CONNECTIONS;
        if full || of_client >= limits::TCP_CONNECTIONS_CLIENT {
            let candidates = places.places.iter().filter(|(_, occupant)| full || occupant.address == address);
            let (&id, _) = candidates.filter_map(|(id, occupant)| Some((id, occupant.idle_since?))).min_by_key(|(_, since)| *since)?;
            places.places.remove(&id)?.leave.notify_one();
        }
        let (id, leave) = (places.next, Arc::new(Notify::new()));
        places.next += 1;
        places.places.insert(id, Occupant { address, idle_since: Some(Instant::now()), leave: Arc::clone(&leave) });
        Some(Place { clients: Arc::clone(self), id, leave })
    }
}

impl Place {
    fn set_idle(&self, idle: bool) {
        if let Some(occupant) = self.clients.lock().places.get_mut(&self.id) {
            occupant.idle_since = idle.then(Instant::now);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.lock().places.remove(&self.id);
    }
}

/// What a connection's task wakes up for.
enum Event {
    Read(io::Result<usize>),
    Answered(Option<Vec<u8>>),
    Stop,
    Leave,
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Who could say stop is gone: that is one, too.
    let _ = stop.wait_for(|stop| *stop).await;
}

struct Connection {
    shell: Arc<Shell>,
    listen: Listen,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    stop: watch::Receiver<bool>,
}

impl Connection {
    async fn run(mut self) {
        let _ = self.stream.set_nodelay(true);
        let local = self.stream.local_addr().unwrap_or(self.listen.address);
        let mut input = BytesMut::with_capacity(512);
        let mut waiting: JoinSet<Option<Vec<u8>>> = JoinSet::new();
        let mut deadline = Instant::now() + limits::TCP_MESSAGE_TIME;
        let mut reading = true;
        let mut stop = self.stop.clone();
        while reading || !waiting.is_empty() {
            let may_read = reading && waiting.len() < limits::TCP_QUESTIONS;
            let between = input.is_empty();
            let event = tokio::select! {
                read = self.stream.read_buf(&mut input), if may_read => Event::Read(read),
                Some(done) = waiting.join_next(), if !waiting.is_empty() => Event::Answered(done.ok().flatten()),
                () = tokio::time::sleep_until(deadline.into()), if waiting.is_empty() || !input.is_empty() => Event::Leave,
                () = self.place.leave.notified() => Event::Leave,
                () = stopped(&mut stop), if reading => Event::Stop,
            };
            match event {
                Event::Read(Ok(1..)) | Event::Answered(None) => {}
                // A client may close its half and still wait for replies.
                Event::Read(Ok(0) | Err(_)) | Event::Stop => reading = false,
                Event::Answered(Some(reply)) if self.write(&reply).await.is_ok() => {}
                Event::Answered(Some(_)) | Event::Leave => return,
            }
            let Ok(answered) = self.answer(&mut input, local, &mut waiting).await else { return };
            if answered || input.is_empty() {
                let time = if input.is_empty() { limits::TCP_IDLE_TIME } else { limits::TCP_MESSAGE_TIME };
                deadline = Instant::now() + time;
            } else if between {
                // A message has begun: from now on it has its time.
                deadline = deadline.min(Instant::now() + limits::TCP_MESSAGE_TIME);
            }
            self.place.set_idle(waiting.is_empty());
        }
    }

    /// Answers the whole messages in `input`; true where there was one.
    async fn answer(&mut self, input: &mut BytesMut, local: SocketAddr, waiting: &mut JoinSet<Option<Vec<u8>>>) -> io::Result<bool> {
        let mut out = Vec::new();
        let mut any = false;
        while waiting.len() < limits::TCP_QUESTIONS {
            let Some(length) = input.first_chunk::<2>().map(|length| usize::from(u16::from_be_bytes(*length))) else { break };
            if input.len() < 2 + length {
                break;
            }
            input.advance(2);
            let packet = input.split_to(length);
            any = true;
            self.answer_one(&packet, local, waiting, &mut out);
        }
        if !out.is_empty() {
            self.write(&out).await?;
        }
        Ok(any)
    }

    fn answer_one(&self, packet: &[u8], local: SocketAddr, waiting: &mut JoinSet<Option<Vec<u8>>>, out: &mut Vec<u8>) {
        let server = self.shell.server.load_full();
        let mut cx = new_cx(self.peer, local, Transport::Tcp);
        let start = begin_frame(out);
        let outcome = self.shell.receive(&server, self.listen, packet, &mut cx, out);
        let (shell, listen) = (Arc::clone(&self.shell), self.listen);
        match outcome {
            Outcome::Reply => {
                end_frame(out, start);
                shell.after(&server, listen, &mut cx);
            }
            Outcome::Silence => out.truncate(start),
            exchange @ Outcome::Exchange(..) => {
                out.truncate(start);
                waiting.spawn(async move {
                    let mut out = Vec::new();
                    let start = begin_frame(&mut out);
                    let replied = shell.drive(&server, exchange, &mut cx, &mut out).await;
                    end_frame(&mut out, start);
                    shell.after(&server, listen, &mut cx);
                    replied.then_some(out)
                });
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(limits::TCP_WRITE_TIME, self.stream.write_all(bytes)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Leaves room for a message's length.
fn begin_frame(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0, 0]);
    out.len() - 2
}

fn end_frame(out: &mut [u8], start: usize) {
    let length = (out.len() - start - 2) as u16;
    out[start..start + 2].copy_from_slice(&length.to_be_bytes());
}

/// How long a stopping listener's connections may take.
pub(super) const GRACE: Duration = limits::QUERY_TIME;

#[cfg(test)]
mod tests;
