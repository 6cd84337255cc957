//! The ports from which queries over UDP leave. The conntrack table of a node has an entry for each
//! port, and its size is limited. So ndots does not use a new port for every query.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::limits;

/// Decides whether a query leaves from a port of its own or shares one with others.
///
/// This is a token bucket. Every query takes a token, even if it then shares a port. So the bucket
/// stays empty while there are many queries.
#[derive(Debug, Default)]
pub struct PortBudget {
    /// The number of tokens that are missing from a full bucket. Above [`limits::OWN_PORTS`] the
    /// bucket is empty.
    spent: f64,
    updated: Option<Instant>,
}

impl PortBudget {
    /// Whether the next query may have a port of its own.
    pub fn take(&mut self, now: Instant) -> bool {
        let elapsed = self.updated.map_or(Duration::ZERO, |before| now.duration_since(before));
        self.updated = Some(now);
        let refilled = elapsed.as_secs_f64() * limits::OWN_PORTS_PER_SECOND;
        self.spent = ((self.spent - refilled).max(0.0) + 1.0).min(2.0 * limits::OWN_PORTS);
        self.spent <= limits::OWN_PORTS
    }
}

/// Ports of closed sockets that still have an entry in the conntrack table of the node. A new
/// socket with such a port adds no entry.
#[derive(Debug, Default)]
pub struct RestingPorts(VecDeque<(u16, Instant)>);

impl RestingPorts {
    pub fn add(&mut self, port: u16, now: Instant) {
        self.0.push_back((port, now));
    }

    /// How many of these ports still have an entry.
    pub fn count(&mut self, now: Instant) -> usize {
        let is_gone = |closed: Instant| now.duration_since(closed) > limits::PORT_ENTRY_TIME;
        while self.0.front().is_some_and(|(_, closed)| is_gone(*closed)) {
            self.0.pop_front();
        }
        self.0.len()
    }

    /// The port of the next socket; `None` if the system must choose a new port. `entries` is the
    /// number of entries of all ports. A port is not used again at once, because late replies to
    /// its old queries would count as forged.
    pub fn take(&mut self, entries: usize, now: Instant, random: u64) -> Option<u16> {
        if entries < limits::SHARED_PORTS || random.is_multiple_of(limits::NEW_PORT_ONE_IN) {
            return None;
        }
        let has_rested = |(_, closed): &(u16, Instant)| now - *closed >= limits::SHARED_SOCKET_TIME;
        let ready = self.0.partition_point(has_rested);
        // The ports that were closed first are not used again, so that their entries expire.
        let first = ready.saturating_sub(limits::SHARED_SOCKETS);
        let at = (random / limits::NEW_PORT_ONE_IN).checked_rem((ready - first) as u64)?;
        self.0.remove(first + at as usize).map(|(port, _)| port)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::random::SplitMix64;

    #[expect(clippy::disallowed_methods, reason = "any time will do as the start")]
    fn start() -> Instant {
        Instant::now()
    }

    /// Simulates queries at this rate for this time. Returns how many of them have their own port,
    /// in total and in the second half.
    fn own_ports(rate: u64, seconds: u64) -> [usize; 2] {
        let (start, mut budget) = (start(), PortBudget::default());
        let takes: Vec<_> = (0..rate * seconds)
            .map(|number| budget.take(start + Duration::from_micros(number * 1_000_000 / rate)))
            .collect();
        let count = |takes: &[bool]| takes.iter().filter(|own| **own).count();
        [count(&takes), count(&takes[takes.len() / 2..])]
    }

    #[test]
    fn few_queries_have_ports_of_their_own_and_many_share() {
        assert_eq!(own_ports(15, 60), [900, 450]);
        let [all, late] = own_ports(1000, 60);
        assert!((256..300).contains(&all), "{all}");
        assert_eq!(late, 0);
    }

    /// Simulates ten minutes in which all sockets of some upstreams are busy. Returns the largest
    /// number of entries in the table at one time, and how many different ports were used.
    fn entries(upstreams: usize) -> (usize, usize) {
        let (start, mut random) = (start(), SplitMix64::new(7));
        let mut resting: Vec<_> = (0..upstreams).map(|_| RestingPorts::default()).collect();
        let mut open = vec![None; upstreams * limits::SHARED_SOCKETS];
        let (mut expiry, mut most, mut next_port) = (HashMap::new(), 0, 0_u16);
        let step = limits::SHARED_SOCKET_TIME / limits::SHARED_SOCKETS as u32;
        for turn in 0..60 * limits::SHARED_SOCKETS {
            let now = start + step * turn as u32;
            for upstream in 0..upstreams {
                let slot = upstream * limits::SHARED_SOCKETS + turn % limits::SHARED_SOCKETS;
                if let Some(port) = open[slot].take() {
                    expiry.insert(port, now + limits::PORT_ENTRY_TIME);
                    resting[upstream].add(port, now);
                }
                let waiting: usize = resting.iter_mut().map(|ports| ports.count(now)).sum();
                let port = resting[upstream].take(open.len() + waiting, now, random.next_u64());
                let port = port.unwrap_or_else(|| {
                    next_port += 1;
                    next_port
                });
                assert!(!open.contains(&Some(port)));
                open[slot] = Some(port);
                expiry.insert(port, now + limits::SHARED_SOCKET_TIME + limits::PORT_ENTRY_TIME);
            }
            expiry.retain(|_, until| *until > now);
            most = most.max(expiry.len());
        }
        (most, next_port.into())
    }

    #[test]
    fn shared_ports_keep_the_table_of_connections_small() {
        for (upstreams, bound) in [(1, 2000), (2, 2600), (3, 4000)] {
            let (most, ports) = entries(upstreams);
            println!("{upstreams} upstreams: {most} entries at most, {ports} ports in ten minutes");
            assert!(most <= bound, "{upstreams} upstreams: {most} entries");
            assert!(ports > 2000, "the ports in use change slowly: {ports}");
        }
    }
}
