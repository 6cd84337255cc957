//! The messages of dnstap: copies of DNS messages with the addresses of both ends and the times, as
//! protocol buffers.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use crate::{
    protobuf::Message,
    send_queue::{SendQueue, WallClock},
};

/// Which message was copied. The numbers are those of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    ClientQuery = 5,
    ClientResponse = 6,
    ForwarderQuery = 7,
    ForwarderResponse = 8,
}

/// The transport of the message. The numbers are those of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketProtocol {
    Udp = 1,
    Tcp = 2,
    Tls = 3,
    Https = 4,
    Quic = 7,
}

/// A copy of a DNS message.
#[derive(Clone, Debug)]
pub struct TapMessage {
    pub message_type: MessageType,
    pub protocol: SocketProtocol,
    /// The end that sends the query.
    pub asks: Option<SocketAddr>,
    /// The end that sends the response.
    pub answers: Option<SocketAddr>,
    pub asked: Instant,
    /// `None` for a query.
    pub answered: Option<Instant>,
    /// The message in wire form, if the receiver wants it.
    pub octets: Option<Box<[u8]>>,
    pub extra: Option<String>,
}

/// What all messages to a receiver have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub identity: String,
    pub version: String,
}

impl TapMessage {
    /// The message `Dnstap` of the schema.
    pub fn encode(&self, sender: &Sender, clock: WallClock) -> Vec<u8> {
        /// The type of a `Dnstap` that has a DNS message.
        const MESSAGE: u64 = 1;
        let mut dnstap = Message::default();
        for (field, text) in [(1, &sender.identity), (2, &sender.version)] {
            if !text.is_empty() {
                dnstap = dnstap.octets(field, text.as_bytes());
            }
        }
        if let Some(extra) = &self.extra {
            dnstap = dnstap.octets(3, extra.as_bytes());
        }
        dnstap.octets(14, &self.message(clock)).number(15, MESSAGE).finish()
    }

    /// The message `Message` of the schema.
    fn message(&self, clock: WallClock) -> Vec<u8> {
        let mut message = Message::default().number(1, self.message_type as u64);
        if let Some(end) = self.asks.or(self.answers) {
            let family = if end.ip().to_canonical().is_ipv4() { 1 } else { 2 };
            message = message.number(2, family);
        }
        message = message.number(3, self.protocol as u64);
        for (field, end) in [(4, self.asks), (5, self.answers)] {
            if let Some(end) = end {
                message = match end.ip().to_canonical() {
                    IpAddr::V4(v4) => message.octets(field, &v4.octets()),
                    IpAddr::V6(v6) => message.octets(field, &v6.octets()),
                };
                message = message.number(field + 2, end.port().into());
            }
        }
        let asked = clock.time(self.asked);
        message = message.number(8, asked.as_secs()).fixed(9, asked.subsec_nanos());
        if let Some(answered) = self.answered {
            let answered = clock.time(answered);
            message = message.number(12, answered.as_secs()).fixed(13, answered.subsec_nanos());
        }
        if let Some(octets) = &self.octets {
            message = message.octets(if self.answered.is_some() { 14 } else { 10 }, octets);
        }
        message.finish()
    }

    /// Roughly the memory that the message takes, in octets.
    fn size(&self) -> usize {
        let octets = self.octets.as_ref().map_or(0, |octets| octets.len());
        size_of::<Self>() + octets + self.extra.as_ref().map_or(0, String::len)
    }
}

/// The messages that wait for a receiver.
pub type TapQueue = SendQueue<TapMessage>;

impl TapQueue {
    pub fn push(&self, message: TapMessage) {
        let size = message.size();
        self.add([message], size);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any time will do")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        limits,
        metrics::{CounterFamily, Family, Metrics},
        protobuf::{Value, fields},
    };

    static DROPPED: CounterFamily<0> = Family::new("dropped_total", "Dropped.", []);

    fn message(octets: usize) -> TapMessage {
        TapMessage {
            message_type: MessageType::ClientQuery,
            protocol: SocketProtocol::Udp,
            asks: Some("[::ffff:192.0.2.1]:5353".parse().unwrap()),
            answers: None,
            asked: Instant::now(),
            answered: None,
            octets: Some(vec![7; octets].into()),
            extra: None,
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let dropped = DROPPED.with(&Metrics::default(), []);
        let queue = TapQueue::new(3, limits::DNSTAP_OCTETS, dropped.clone());
        (0..5).for_each(|_| queue.push(message(1)));
        assert_eq!((queue.take().len(), dropped.get(), queue.take_dropped()), (3, 2, 2));
        // Large messages are bounded by their octets.
        let queue = TapQueue::new(1 << 30, limits::DNSTAP_OCTETS, dropped);
        let large = limits::STREAM_OCTETS;
        let count = limits::DNSTAP_OCTETS / large + 10;
        (0..count).for_each(|_| queue.push(message(large)));
        assert!(queue.take().len() < count);
        queue.push(message(large));
        assert_eq!(queue.take().len(), 1);
    }

    #[test]
    fn a_message_has_the_fields_of_the_schema() {
        let now = Instant::now();
        let clock = WallClock { now, since_1970: Duration::new(1_700_000_000, 5) };
        let sender = Sender { identity: "me".to_owned(), version: String::new() };
        let response = TapMessage {
            message_type: MessageType::ForwarderResponse,
            protocol: SocketProtocol::Tls,
            answers: Some("[2001:db8::1]:853".parse().unwrap()),
            asked: now.checked_sub(Duration::from_secs(2)).unwrap(),
            answered: Some(now + Duration::from_millis(1)),
            extra: Some("more".to_owned()),
            ..message(2)
        };
        let encoded = TapMessage { asks: None, ..response }.encode(&sender, clock);
        let read = fields(&encoded).unwrap();
        assert_eq!(read[0], (1, Value::Octets(b"me")));
        assert_eq!(read[1], (3, Value::Octets(b"more")));
        assert_eq!(read[3], (15, Value::Number(1)));
        let inner = fields(read[2].1.octets()).unwrap();
        let numbers: Vec<_> = inner.iter().map(|(field, _)| *field).collect();
        assert_eq!(numbers, [1, 2, 3, 5, 7, 8, 9, 12, 13, 14]);
        assert_eq!(inner[1].1.number(), 2);
        assert_eq!(inner[3].1.octets().len(), 16);
        assert_eq!(inner[5].1.number(), 1_699_999_998);
        assert_eq!(inner[7].1.number(), 1_700_000_000);
        // An IPv4 address in an IPv6 socket is IPv4.
        let encoded = message(0).encode(&sender, clock);
        let read = fields(&encoded).unwrap();
        let inner = fields(read[1].1.octets()).unwrap();
        assert_eq!(inner[1].1.number(), 1);
        assert_eq!(inner[3].1.octets(), [192, 0, 2, 1]);
    }
}
