//! Clients whose load balancer sends the header once, in a datagram of its own.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use super::{ProxiedClient, SessionSettings};

/// The clients by the address from which the load balancer sends.
pub(super) struct Sessions {
    settings: SessionSettings,
    generations: Mutex<Generations>,
}

/// A session that is used moves to the young ones. When these are half of all that may be kept, the
/// old ones are dropped, and the young ones become old. So no session needs to be searched for.
#[derive(Default)]
struct Generations {
    young: HashMap<SocketAddr, Session>,
    old: HashMap<SocketAddr, Session>,
}

struct Session {
    client: ProxiedClient,
    used: Instant,
}

impl Sessions {
    pub(super) fn new(settings: SessionSettings) -> Self {
        Self { settings, generations: Mutex::default() }
    }

    pub(super) fn keep(&self, from: SocketAddr, client: ProxiedClient, now: Instant) {
        let client = ProxiedClient { header: 0, ..client };
        self.with(|generations, most| generations.add(from, Session { client, used: now }, most));
    }

    /// The client behind this address. Its time begins again.
    pub(super) fn find(&self, from: SocketAddr, now: Instant) -> Option<ProxiedClient> {
        self.with(|generations, most| {
            let Generations { young, old } = generations;
            let session = young.remove(&from).or_else(|| old.remove(&from))?;
            if now.saturating_duration_since(session.used) >= self.settings.time {
                return None;
            }
            let client = session.client.clone();
            generations.add(from, Session { used: now, ..session }, most);
            Some(client)
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Generations, usize) -> T) -> T {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut generations, self.settings.most.div_ceil(2))
    }
}

impl Generations {
    fn add(&mut self, from: SocketAddr, session: Session, most: usize) {
        if self.young.len() >= most && !self.young.contains_key(&from) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&from);
        self.young.insert(from, session);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any time will do as the start")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn client(port: u16) -> ProxiedClient {
        ProxiedClient { address: ([198, 51, 100, 1], port).into(), header: 0, tlvs: None }
    }

    #[test]
    fn a_session_ends_some_time_after_its_last_datagram() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let sessions = Sessions::new(SessionSettings { time: 2 * second, most: 10 });
        sessions.keep(at(1), ProxiedClient { header: 28, ..client(1) }, begun);
        assert_eq!(sessions.find(at(2), begun), None);
        assert_eq!(sessions.find(at(1), begun + second), Some(client(1)));
        assert_eq!(sessions.find(at(1), begun + 2 * second), Some(client(1)));
        assert_eq!(sessions.find(at(1), begun + 4 * second), None);
        assert_eq!(sessions.find(at(1), begun + 2 * second), None, "it is gone");
        sessions.keep(at(1), client(1), begun);
        sessions.keep(at(1), client(9), begun);
        assert_eq!(sessions.find(at(1), begun), Some(client(9)));
    }

    #[test]
    fn sessions_are_bounded_and_those_in_use_stay() {
        let now = Instant::now();
        let settings = SessionSettings { time: Duration::from_secs(60), most: 10 };
        let sessions = Sessions::new(settings);
        sessions.keep(at(1), client(1), now);
        for port in 2..1000 {
            sessions.keep(at(port), client(port), now);
            assert_eq!(sessions.find(at(1), now), Some(client(1)), "{port}");
        }
        let kept = (1..1000).filter(|port| sessions.find(at(*port), now).is_some()).count();
        assert!((5..=10).contains(&kept), "{kept}");
    }
}
