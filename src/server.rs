//! Selects the server block for a query and encodes the reply. Every transport uses this module.
//!
//! A [`Server`] is immutable; a reload builds a new one. A query that waits for an upstream ends on
//! the server where it began.

mod assemble;
mod blocks;
mod check;
mod lint;
mod outside;
mod transfer;

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    chain::{
        Cx, Exchanged, Notified, Plugin, QueryError, Refresh, Reply, Router, Run, Sent, Step,
        TapEvent,
    },
    limits,
    transport::{Encryption, Framing, Transport},
    wire::{Edns, Query, Rcode, RequestError, Response, Room, Type, empty_reply, notify, refusal},
};

pub use crate::{
    chain::{Exchange, Wait},
    plugin::BuildContext,
    transport::Scheme,
};
pub use assemble::{AssembleError, Assembled, BlockConfig, EnabledPlugin, assemble};
pub use blocks::{Block, Overlap, Server};
pub use check::{CheckedBlock, check};
pub use outside::NothingOutside;
pub use transfer::Outgoing;

/// The address and the protocol of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listen {
    pub scheme: Scheme,
    pub address: SocketAddr,
}

/// `dns://:53`, `tls://127.0.0.1:853`: the server's name in metrics.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, address) = (self.scheme.name(), self.address);
        if address.ip().is_unspecified() {
            write!(f, "{scheme}://:{}", address.port())
        } else {
            write!(f, "{scheme}://{address}")
        }
    }
}

/// What the transport must do next.
pub enum Outcome {
    /// Send the appended reply.
    Reply,
    /// Send nothing.
    Silence,
    /// Wait and call [`Server::resume`].
    Wait(Box<Pending>, Wait),
    /// Send the messages and call [`Server::transferred`]. Only clients over TCP or TLS get a
    /// transfer.
    Transfer(Box<Outgoing>),
}

/// A query that waits for an upstream.
pub struct Pending {
    run: Run,
    at: At,
}

/// The listener and the block of a query.
#[derive(Clone, Copy)]
struct At {
    /// Nested queries are routed among the blocks of this listener.
    listener: usize,
    block: usize,
    request_octets: usize,
}

impl Server {
    /// Handles a message that `listen` received. Appends the reply to `out`.
    pub fn receive(
        &self,
        listen: Listen,
        packet: &[u8],
        cx: &mut Cx,
        out: &mut Vec<u8>,
    ) -> Outcome {
        cx.request_octets = packet.len();
        let query = match Query::parse(packet) {
            Ok(query) => query,
            Err(RequestError::Ignore) => return Outcome::Silence,
            Err(RequestError::Answer(_))
                if cx.transport == Transport::Udp && ANSWERS_ANYTHING.contains(&cx.peer.port()) =>
            {
                return Outcome::Silence;
            }
            Err(RequestError::Answer(rcode)) => {
                refusal(packet, rcode, out);
                return Outcome::Reply;
            }
            Err(RequestError::Notify(notify)) => {
                return self.notified(listen, &notify, packet, cx, out);
            }
            Err(RequestError::Update(update)) => {
                return self.updated(listen, update, packet, cx, out);
            }
            Err(RequestError::NoQuestion(edns)) => {
                return self.answer_without_question(packet, edns, cx, out);
            }
            Err(RequestError::Refuse(query, rcode)) => {
                return self.refuse(&query, rcode, packet.len(), cx, out);
            }
        };
        let Some(listener) = self.listener(listen) else {
            return self.refuse(&query, Rcode::REFUSED, packet.len(), cx, out);
        };
        match self.block_for(listener, cx, &query) {
            Some(block) => {
                self.tap(block, cx, &query, TapEvent::Received(packet));
                self.start(At { listener, block, request_octets: packet.len() }, query, cx, out)
            }
            None => self.refuse(&query, Rcode::REFUSED, packet.len(), cx, out),
        }
    }

    /// Handles a NOTIFY message about the zone of the question.
    fn notified(
        &self,
        listen: Listen,
        notify: &Query,
        packet: &[u8],
        cx: &mut Cx,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let start = out.len();
        self.tell_time(notify, cx);
        let block = self.listener(listen).and_then(|at| self.block_for(at, cx, notify));
        let mut plugins = block.into_iter().flat_map(|block| &self.blocks()[block].plugins);
        match plugins.find_map(|plugin| plugin.notified(cx, notify)) {
            Some(Notified::Accepted) => notify::accept(packet, out),
            Some(Notified::Ignored) => return Outcome::Silence,
            Some(Notified::Refused(rcode)) => refusal(packet, rcode, out),
            None => refusal(packet, Rcode::NOTIMP, out),
        }
        sign(cx, start, out);
        Outcome::Reply
    }

    /// Handles an UPDATE message about the zone of the question. `None`: the message is malformed.
    fn updated(
        &self,
        listen: Listen,
        update: Option<Box<Query>>,
        packet: &[u8],
        cx: &mut Cx,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let takes_updates = self.blocks().iter().any(|block| block.updates);
        let Some(update) = update.filter(|_| takes_updates) else {
            let rcode = if takes_updates { Rcode::FORMERR } else { Rcode::NOTIMP };
            refusal(packet, rcode, out);
            return Outcome::Reply;
        };
        let listener = self.listener(listen);
        let place = listener.and_then(|at| Some((at, self.block_for(at, cx, &update)?)));
        match place {
            Some((listener, block)) if self.blocks()[block].updates => {
                self.tap(block, cx, &update, TapEvent::Received(packet));
                self.start(At { listener, block, request_octets: packet.len() }, *update, cx, out)
            }
            Some(_) => self.refuse(&update, Rcode::NOTIMP, packet.len(), cx, out),
            None => self.refuse(&update, Rcode::REFUSED, packet.len(), cx, out),
        }
    }

    /// Sets the time of day, which signatures need. Other queries do not wait for the clock.
    fn tell_time(&self, query: &Query, cx: &mut Cx) {
        if query.dnssec_ok() || query.signature.is_some() {
            cx.unix = (self.clock.0)(cx.now);
        }
    }

    /// Answers a request for a cookie, or with FORMERR if the server has no cookies.
    fn answer_without_question(
        &self,
        packet: &[u8],
        edns: Edns,
        cx: &Cx,
        out: &mut Vec<u8>,
    ) -> Outcome {
        if self.cookies.is_some() {
            empty_reply(packet, edns, self.room(Some(edns), limits::UDP_OCTETS, cx), out);
        } else {
            refusal(packet, Rcode::FORMERR, out);
        }
        Outcome::Reply
    }

    /// Continues with the result of an exchange.
    pub fn resume(
        &self,
        mut pending: Box<Pending>,
        exchanged: Exchanged,
        cx: &mut Cx,
        out: &mut Vec<u8>,
    ) -> Outcome {
        // A cache looks whether the signatures of the reply are valid now.
        cx.unix = (self.clock.0)(cx.now);
        cx.upstream = exchanged.upstream();
        if let Some((block, query)) = pending.run.waiting() {
            self.tap(block, cx, query, TapEvent::Exchanged(&exchanged));
        }
        let router = Routes { server: self, listener: pending.at.listener };
        let step = pending.run.resume(&router, cx, exchanged.reply);
        self.step(*pending, step, cx, out)
    }

    /// Runs a query of the server itself as if `listen` had received it. The reply goes to the
    /// caches only.
    pub fn refresh(&self, listen: Listen, refresh: Refresh, cx: &mut Cx) -> Outcome {
        cx.refresh = true;
        let Refresh { query, block } = refresh;
        match self.listener(listen) {
            Some(listener) if block < self.blocks().len() => {
                self.start(At { listener, block, request_octets: 0 }, query, cx, &mut Vec::new())
            }
            _ => Outcome::Silence,
        }
    }

    fn start(&self, at: At, query: Query, cx: &mut Cx, out: &mut Vec<u8>) -> Outcome {
        self.tell_time(&query, cx);
        let router = Routes { server: self, listener: at.listener };
        let (run, step) = Run::start(&router, cx, at.block, query);
        self.step(Pending { run, at }, step, cx, out)
    }

    fn step(&self, pending: Pending, step: Step, cx: &mut Cx, out: &mut Vec<u8>) -> Outcome {
        match step {
            Step::Wait(wait) => Outcome::Wait(Box::new(pending), wait),
            Step::Done(reply) => self.finish(&pending, reply, cx, out),
            Step::Drop => Outcome::Silence,
            Step::Transfer(zone) => {
                let query = pending.run.query();
                let room = self.room(query.edns, self.blocks()[pending.at.block].udp_octets, cx);
                let signing = cx.signing.clone().map(|chain| (*chain, self.clock));
                let outgoing = Outgoing::new(query.clone(), pending.at, room, zone);
                Outcome::Transfer(Box::new(outgoing.signed(signing)))
            }
        }
    }

    fn finish(&self, pending: &Pending, reply: Reply, cx: &mut Cx, out: &mut Vec<u8>) -> Outcome {
        if cx.refresh {
            return Outcome::Silence;
        }
        let response = reply.unwrap_or_else(QueryError::response);
        let (query, start) = (pending.run.query(), out.len());
        let sent = self.write(
            &response,
            query,
            self.blocks()[pending.at.block].udp_octets,
            pending.at.request_octets,
            cx,
            out,
        );
        self.notify_sent(pending.at.block, cx, query, &sent);
        self.tap(pending.at.block, cx, query, TapEvent::Sent(&out[start..]));
        Outcome::Reply
    }

    fn tap(&self, block: usize, cx: &mut Cx, query: &Query, event: TapEvent<'_>) {
        for plugin in &self.blocks()[block].taps {
            if let Some(tap) = plugin.tap() {
                tap.tap(cx, query, event);
            }
        }
    }

    fn notify_sent(&self, block: usize, cx: &mut Cx, query: &Query, sent: &Sent) {
        for plugin in &self.blocks()[block].plugins {
            plugin.sent(cx, query, sent);
        }
    }

    /// Answers a query that belongs to no block.
    fn refuse(
        &self,
        query: &Query,
        rcode: Rcode,
        request_octets: usize,
        cx: &mut Cx,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let sent =
            self.write(&Response::of(rcode), query, limits::UDP_OCTETS, request_octets, cx, out);
        if let Some(observer) = &self.unrouted {
            observer.sent(cx, query, &sent);
        }
        Outcome::Reply
    }

    fn write(
        &self,
        response: &Response,
        query: &Query,
        udp_octets: u16,
        request_octets: usize,
        cx: &mut Cx,
        out: &mut Vec<u8>,
    ) -> Sent {
        let start = out.len();
        response.encode(query, self.room(query.edns, udp_octets, cx), out);
        sign(cx, start, out);
        let word = |at: usize| u16::from_be_bytes([out[start + at], out[start + at + 1]]);
        // A truncated reply may lack the authority section.
        let has = |rtype| word(8) > 0 && response.authority.iter().any(|it| it.rtype == rtype);
        Sent {
            rcode: response.rcode,
            flags: word(2),
            answers: word(6),
            has_soa: has(Type::SOA),
            has_name_servers: has(Type::NS),
            request_octets,
            reply_octets: out.len() - start,
        }
    }

    /// The value of the keepalive option, in units of 100 ms. A longer time than the option can
    /// hold is cut to its largest value. 0 asks the client to close the connection (RFC 7828 §3.4).
    fn keepalive(&self, cx: &Cx) -> u16 {
        if cx.closing {
            return 0;
        }
        u16::try_from(self.idle_time(cx).as_millis() / 100).unwrap_or(u16::MAX)
    }

    fn idle_time(&self, cx: &Cx) -> Duration {
        let scheme = Scheme::all().find(|scheme| scheme.transport() == cx.transport);
        let listens = self.listens().filter(|listen| {
            Some(listen.scheme) == scheme && listen.address.port() == cx.local.port()
        });
        let times = listens.map(|listen| self.timeouts(listen).idle);
        times.min().unwrap_or(limits::TCP_IDLE_TIME)
    }

    fn room(&self, edns: Option<Edns>, udp_octets: u16, cx: &Cx) -> Room {
        let framing = cx.transport.framing();
        let room = match framing {
            Framing::Datagram => Room::datagram(edns, udp_octets),
            Framing::Length | Framing::Request => Room::stream(udp_octets),
        };
        let room = match &cx.signing {
            Some(chain) => room.beside(chain.octets()),
            None => room,
        };
        let Some(edns) = edns else { return room };
        let cookie = self
            .cookies
            .zip(edns.cookie)
            .map(|(secret, client)| secret.cookie(client, cx.peer.ip(), cx.now));
        // HTTP and QUIC have their own ways to keep a connection (RFC 9250 §5.5.2).
        let advertised = edns.keepalive && framing == Framing::Length;
        let keepalive = advertised.then(|| self.keepalive(cx));
        let hidden = edns.padding && cx.transport.scheme().encryption() != Encryption::Never;
        Room { cookie, keepalive, padding: hidden.then_some(limits::REPLY_PADDING), ..room }
    }
}

/// Signs the reply that begins at `start`, if its request was signed.
fn sign(cx: &mut Cx, start: usize, out: &mut Vec<u8>) {
    if let Some(chain) = &mut cx.signing {
        chain.sign(start, cx.unix.into(), out);
    }
}

/// The blocks of one listener, for nested queries.
struct Routes<'s> {
    server: &'s Server,
    listener: usize,
}

impl Router for Routes<'_> {
    fn route(&self, cx: &mut Cx, query: &Query) -> Option<usize> {
        // The metadata of the client's own query stay for the plugins that handle its reply.
        let metadata = std::mem::take(&mut cx.metadata);
        let block = self.server.block_for(self.listener, cx, query);
        cx.metadata = metadata;
        block
    }

    fn plugins(&self, block: usize) -> &[Arc<dyn Plugin>] {
        &self.server.blocks()[block].plugins
    }
}

/// Ports of services that answer every datagram (RFC 862 to 868). An error reply to one of them
/// would start an endless exchange.
const ANSWERS_ANYTHING: [u16; 5] = [7, 13, 17, 19, 37];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plugin::Timeouts, wire::Name};

    /// The value of the keepalive option of a reply over TCP.
    fn keepalive(idle: Duration) -> Option<u16> {
        let local: SocketAddr = ([127, 0, 0, 1], 53).into();
        let listen = Listen { scheme: Scheme::Dns, address: local };
        let mut block = Block::new(vec![(Name::root(), listen)]);
        block.timeouts = Some(Timeouts { idle, ..Timeouts::default() });
        let server = Server::new(vec![block]).unwrap();
        #[expect(clippy::disallowed_methods, reason = "any time will do")]
        let now = std::time::Instant::now();
        let cx = Cx::new(now, 1, local, local, Transport::Tcp);
        let edns = Edns { keepalive: true, ..Edns::default() };
        server.room(Some(edns), limits::UDP_OCTETS, &cx).keepalive
    }

    #[test]
    fn a_long_idle_time_is_advertised_as_the_longest_that_the_option_can_hold() {
        for (seconds, expected) in [(10, 100), (6553, 65_530), (6554, 65_535), (7200, 65_535)] {
            assert_eq!(keepalive(Duration::from_secs(seconds)), Some(expected), "{seconds} s");
        }
        // 65,536 units of 100 ms.
        assert_eq!(keepalive(Duration::from_millis(6_553_600)), Some(65_535));
    }
}
