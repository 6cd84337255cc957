//! Answers from zones that are known completely: from files, or from other servers.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use crate::{
    chain::{
        Ask, Back, Cx, Flow, From, Level, Nested, Notified, Plugin, QueryError, Reply, ReplySource,
    },
    wire::{Class, Ede, Name, Query, Question, Rcode, Response, Spelled, Transfer, Type},
    zonefile::{Answer, End, Members, Zone, ZoneSlot},
};

use super::Fallthrough;

/// The zones of one directive in a block.
pub(super) struct Authoritative {
    pub(super) name: &'static str,
    pub(super) zones: HashMap<Name, Arc<ZoneSlot>>,
    /// The primary servers of secondary zones.
    pub(super) primaries: HashMap<Name, Vec<IpAddr>>,
    /// The zones that catalogs add to `zones`.
    pub(super) members: Option<Arc<Members>>,
    /// Names outside of these zones are not answered.
    pub(super) within: Vec<Name>,
    pub(super) fallthrough: Fallthrough,
}

/// What the plugin has for a question.
enum Lookup {
    Answer(Response),
    /// Another plugin may have records of the name.
    PassOn,
    OutsideZones,
    /// Aliases that lead to a name outside of the zone.
    Alias {
        zone: Arc<Zone>,
        aliases: Response,
        target: Name,
    },
}

impl Authoritative {
    fn look_up(&self, cx: &mut Cx, query: &Query) -> Lookup {
        let question = &query.question;
        let is_within = self.within.iter().any(|zone| question.name.is_within(zone));
        if question.class != Class::IN || !is_within {
            return Lookup::OutsideZones;
        }
        let Some(zone) = self.zone_for(question) else { return Lookup::OutsideZones };
        let Some(zone) = zone else { return Lookup::Answer(without_records()) };
        let Answer { response, end, wildcard } = zone.answer(question, query.dnssec_ok());
        if let Some(wildcard) = wildcard {
            cx.metadata.set_with("zone/wildcard", || {
                let name = Spelled::from_wire(&wildcard.to_ascii_lowercase());
                name.map_or_else(String::new, |name| name.to_string())
            });
        }
        match end {
            End::NoName if self.fallthrough.includes(&question.name) => Lookup::PassOn,
            End::NoName | End::Complete => Lookup::Answer(response),
            End::Outside(target) => Lookup::Alias { zone, aliases: response, target },
        }
    }

    /// The zone with the longest name that contains the question's name. DS records belong to the
    /// zone above (RFC 4035 §3.1.4.1). The inner `None`: its records are not known yet.
    fn zone_for(&self, question: &Question) -> Option<Option<Arc<Zone>>> {
        let members = self.members.as_ref().map(|members| members.all());
        let slot = |zone: &[u8]| {
            let member = || members.as_ref()?.get(zone).map(|member| &member.slot);
            self.zones.get(zone).or_else(member)
        };
        let wire = question.name.wire();
        let offsets = question.name.offsets();
        let mut matches = offsets.filter_map(|at| Some((at, slot(&wire[at..])?)));
        let (at, zone) = matches.next()?;
        let above = if question.qtype == Type::DS && at == 0 { matches.next() } else { None };
        Some(above.map_or(zone, |(_, zone)| zone).get())
    }

    /// The place of a zone that comes from other servers, and whether this client is one of them.
    fn transferred(&self, zone: &Name, client: IpAddr) -> Option<(Arc<ZoneSlot>, bool)> {
        if let Some(primaries) = self.primaries.get(zone) {
            return Some((Arc::clone(self.zones.get(zone)?), primaries.contains(&client)));
        }
        let members = self.members.as_ref()?.all();
        let member = members.get(zone)?;
        Some((Arc::clone(&member.slot), member.comes_from(client)))
    }
}

impl Plugin for Authoritative {
    fn name(&self) -> &'static str {
        self.name
    }

    fn query(&self, cx: &mut Cx, query: &Query) -> Flow {
        match self.look_up(cx, query) {
            Lookup::Answer(response) => Flow::Answer(response),
            Lookup::PassOn => Flow::Next,
            Lookup::OutsideZones => Flow::OutsideZones,
            Lookup::Alias { target, .. } => Flow::Ask(ask_target(target, query.question.qtype)),
        }
    }

    fn nested_reply(&self, cx: &mut Cx, query: &Query, nested: Nested<'_>, reply: Reply) -> Back {
        // The alias is in this zone, so no cache may keep the reply.
        cx.set_answered(self.name, ReplySource::Local);
        let question = &query.question;
        match self.look_up(cx, query) {
            Lookup::Alias { zone, aliases, target } if target == nested.question.name => {
                let reply = for_target(reply);
                let target = (&target, reply);
                Back::Up(Ok(zone.complete(question, query.dnssec_ok(), aliases, target)))
            }
            // The zone has changed since the query for the target was sent.
            Lookup::Alias { target, .. } => Back::Ask(ask_target(target, question.qtype)),
            Lookup::Answer(response) => Back::Up(Ok(response)),
            Lookup::PassOn | Lookup::OutsideZones => Back::PassOn,
        }
    }

    fn notified(&self, cx: &mut Cx, notify: &Query) -> Option<Notified> {
        let (zone, client) = (&notify.question.name, cx.peer.ip().to_canonical());
        let (slot, is_primary) = self.transferred(zone, client)?;
        if !is_primary {
            cx.log(Level::Info, self.name, format!("Dropping notify from {client} for {zone}"));
            return Some(Notified::Ignored);
        }
        slot.request_check();
        let line = format!("Notify from {client} for {zone}: checking transfer");
        cx.log(Level::Info, self.name, line);
        Some(Notified::Accepted)
    }

    fn transfer(&self, question: &Question) -> Option<Result<Transfer, Response>> {
        let zone = match self.zones.get(&question.name) {
            Some(slot) => slot.get(),
            None => self.members.as_ref()?.all().get(&question.name)?.slot.get(),
        };
        Some(zone.as_ref().map(Zone::transfer).ok_or_else(without_records))
    }
}

fn ask_target(target: Name, qtype: Type) -> Ask {
    Ask { question: Question::new(target, qtype), from: From::Top, step: 0 }
}

/// The reply for a target. `None` if no block serves it: the client may resolve it elsewhere.
fn for_target(reply: Reply) -> Option<Response> {
    match reply {
        Ok(reply) => Some(reply),
        Err(QueryError::NotRouted) => None,
        Err(error) => Some(Response { ede: error.ede(), ..Response::of(Rcode::SERVFAIL) }),
    }
}

fn without_records() -> Response {
    Response { ede: Some(Ede::NO_ZONE), ..Response::of(Rcode::SERVFAIL) }
}
