//! The records of an answer, from the services of names.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::Instant,
};

use crate::{
    limits,
    skydns::{Found, KeyPath, LeaseBounds, LookupError, Scope, Service, SkydnsStore, domain},
    wire::{Name, Owner, Question, Rdatas, RecordSet, Spelled, Type},
};

/// Where a part of an answer belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Answer,
    Additional,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Record(Section, RecordSet),
    /// The records of a name in another zone.
    Outside {
        section: Section,
        /// The alias that leads to the name.
        alias: Option<RecordSet>,
        target: Spelled,
        qtype: Type,
    },
}

/// A zone whose names are keys of etcd, as it is at one moment.
pub(super) struct EtcdZone<'z> {
    pub(super) store: &'z SkydnsStore,
    pub(super) prefix: &'z str,
    pub(super) origin: &'z Name,
    pub(super) now: Instant,
    pub(super) bounds: LeaseBounds,
    /// Whether the zone's own name has all addresses of the zone if there are none below
    /// `apex.dns`.
    pub(super) apex_fallback: bool,
    /// The number of lookups so far. It is limited, because an alias can lead to many names, and
    /// each of them to many others.
    pub(super) lookups: Cell<usize>,
}

/// What the field `host` of a service contains.
enum Host {
    Address(IpAddr),
    Name(Spelled),
    /// Not a host: the service has a text.
    Text,
}

impl Host {
    /// `None` if it is neither an address nor a name.
    fn of(service: &Service) -> Option<Self> {
        match service.host.parse::<IpAddr>() {
            Ok(address) => Some(Self::Address(address.to_canonical())),
            Err(_) if !service.text.is_empty() => Some(Self::Text),
            Err(_) => service.host.parse().ok().map(Self::Name),
        }
    }
}

type Parts = Result<Vec<Part>, LookupError>;

impl EtcdZone<'_> {
    /// The parts of the answer in their order; none if the name has no such records.
    pub(super) fn parts(&self, question: &Question) -> Parts {
        let (name, owner) = (&question.name, Owner::Question);
        match question.qtype {
            Type::A | Type::AAAA | Type::TXT => self.records(name, &owner, question.qtype, &[]),
            Type::SRV => self.servers(name),
            Type::MX => self.mail_servers(name),
            Type::CNAME => self.alias_record(name),
            Type::PTR => self.pointers(name),
            Type::NS if name == self.origin => self.name_servers(),
            // For other types, the lookup only finds out whether the name exists.
            _ => self.records(name, &owner, Type::A, &[]).map(|_| Vec::new()),
        }
    }

    fn services(
        &self,
        name: &Name,
        scope: Scope,
        with_text: bool,
    ) -> Result<Vec<Found>, LookupError> {
        self.lookups.set(self.lookups.get() + 1);
        let path = KeyPath::new(self.prefix, name).ok_or(LookupError::NoName)?;
        self.store.services(&path, scope, with_text, (self.now, self.bounds))
    }

    /// The services from which the name gets its addresses. For the zone's own name, they are below
    /// `apex.dns`.
    fn hosts(&self, name: &Name) -> Result<Vec<Found>, LookupError> {
        if name != self.origin {
            return self.services(name, Scope::Below, false);
        }
        match self.below_origin(b"apex") {
            Err(LookupError::NoName) if self.apex_fallback => {
                self.services(name, Scope::Below, false)
            }
            found => found,
        }
    }

    fn below_origin(&self, first: &[u8]) -> Result<Vec<Found>, LookupError> {
        let name = Name::join([first, b"dns"], self.origin).ok_or(LookupError::NoName)?;
        self.services(&name, Scope::Below, false)
    }

    /// A, AAAA or TXT records. If a host is a name, they follow a CNAME record. `chain` has the
    /// targets of the aliases that led to `name`.
    fn records(&self, name: &Name, owner: &Owner, qtype: Type, chain: &[Name]) -> Parts {
        let services = match qtype {
            Type::TXT => self.services(name, Scope::Below, true),
            _ => self.hosts(name),
        }?;
        let (mut parts, mut seen) = (Vec::new(), HashSet::new());
        for Found { service, .. } in services {
            let rdata = match (Host::of(&service), qtype) {
                (Some(Host::Address(IpAddr::V4(address))), Type::A) => address.octets().to_vec(),
                (Some(Host::Address(IpAddr::V6(address))), Type::AAAA) => address.octets().to_vec(),
                (Some(Host::Text), Type::TXT) => character_strings(&service.text),
                (Some(Host::Name(target)), _) => {
                    let alias = alias(owner, service.ttl, &target);
                    parts.extend(self.behind((name, alias), target, qtype, chain));
                    continue;
                }
                _ => continue,
            };
            if seen.insert(rdata.clone()) {
                let set = RecordSet::new(owner.clone(), qtype, service.ttl, Rdatas::one(&rdata));
                parts.push(Part::Record(Section::Answer, set));
            }
        }
        Ok(parts)
    }

    /// The alias and the records of its target. An alias without such records, or in a loop, is
    /// left out.
    fn behind(
        &self,
        (name, alias): (&Name, RecordSet),
        target: Spelled,
        qtype: Type,
        chain: &[Name],
    ) -> Vec<Part> {
        let Some(next) = name_of(&target) else { return Vec::new() };
        if next == *name || chain.contains(&next) || chain.len() >= limits::CNAME_HOPS {
            return Vec::new();
        }
        if !next.is_within(self.origin) {
            return vec![Part::Outside {
                section: Section::Answer,
                alias: Some(alias),
                target,
                qtype,
            }];
        }
        if self.lookups.get() > limits::ETCD_LOOKUPS {
            return Vec::new();
        }
        let chain: Vec<_> = chain.iter().cloned().chain([next.clone()]).collect();
        let records = self.records(&next, &Owner::from(&target), qtype, &chain).unwrap_or_default();
        if records.is_empty() {
            return records;
        }
        [Part::Record(Section::Answer, alias)].into_iter().chain(records).collect()
    }

    fn servers(&self, name: &Name) -> Parts {
        let services = self.services(name, Scope::Below, false)?;
        let weight = |service: &Service| if service.weight == 0 { 100 } else { service.weight };
        let mut sums: HashMap<i64, i64> = HashMap::new();
        for Found { service, .. } in &services {
            let sum = sums.entry(service.priority).or_default();
            *sum = sum.saturating_add(weight(service));
        }
        let mut named = Named::new(Type::SRV);
        for found in services.iter().filter(|found| found.service.port != -1) {
            let service = &found.service;
            let sum = sums.get(&service.priority).copied().unwrap_or_default().max(1);
            // The weight of a record is its share of all weights of the priority, in percent.
            let weight = (weight(service).saturating_mul(100) / sum).clamp(1, 65_535);
            let fields = [service.priority, weight, service.port];
            let fields: Vec<u8> =
                fields.iter().flat_map(|field| (*field as u16).to_be_bytes()).collect();
            self.add_named(&mut named, found, &fields);
        }
        Ok(named.finish())
    }

    fn mail_servers(&self, name: &Name) -> Parts {
        let mut named = Named::new(Type::MX);
        for found in self.services(name, Scope::Below, false)? {
            if found.service.mail {
                self.add_named(&mut named, &found, &(found.service.priority as u16).to_be_bytes());
            }
        }
        Ok(named.finish())
    }

    /// The addresses of the zone's name servers are below `ns.dns`.
    fn name_servers(&self) -> Parts {
        let mut named = Named::new(Type::NS);
        for found in self.below_origin(b"ns")? {
            if matches!(Host::of(&found.service), Some(Host::Address(_))) {
                self.add_named(&mut named, &found, &[]);
            }
        }
        Ok(named.finish())
    }

    /// Adds a record whose target is the service's host. A service with an address gets a name from
    /// its key.
    fn add_named(&self, named: &mut Named, found: &Found, fields: &[u8]) {
        let Found { key, service } = found;
        match Host::of(service) {
            Some(Host::Address(address)) => {
                let Some(target) = domain(self.prefix, key) else { return };
                let target = stripped(target, service.target_strip);
                named.add_record(service.ttl, fields, &target, Repeated::Once);
                named.add_address(service.ttl, &target, address);
            }
            Some(Host::Name(target)) => {
                let target = stripped(target, service.target_strip);
                named.add_record(service.ttl, fields, &target, Repeated::Always);
                let is_new = named.targets.insert(target.wire().to_ascii_lowercase());
                if let Some(next) = name_of(&target).filter(|_| is_new) {
                    named.additional.extend(self.glue(&next, &target));
                }
            }
            Some(Host::Text) | None => {}
        }
    }

    fn glue(&self, next: &Name, target: &Spelled) -> Vec<Part> {
        let of_type = |qtype| {
            if !next.is_within(self.origin) {
                let target = target.clone();
                return vec![Part::Outside {
                    section: Section::Additional,
                    alias: None,
                    target,
                    qtype,
                }];
            }
            if self.lookups.get() > limits::ETCD_LOOKUPS {
                return Vec::new();
            }
            let parts = self.records(next, &Owner::from(target), qtype, &[]).unwrap_or_default();
            parts.into_iter().map(Part::into_additional).collect()
        };
        [Type::A, Type::AAAA].into_iter().flat_map(of_type).collect()
    }

    fn alias_record(&self, name: &Name) -> Parts {
        let services = self.services(name, Scope::Exact, false)?;
        let first = services.first().map(|found| &found.service);
        let target = first.filter(|service| service.host.parse::<IpAddr>().is_err());
        let set = target.and_then(|service| {
            Some(alias(&Owner::Question, service.ttl, &service.host.parse().ok()?))
        });
        Ok(set.into_iter().map(|set| Part::Record(Section::Answer, set)).collect())
    }

    fn pointers(&self, name: &Name) -> Parts {
        let (mut parts, mut seen) = (Vec::new(), HashSet::new());
        for Found { service, .. } in self.services(name, Scope::Exact, false)? {
            let is_address = service.host.parse::<IpAddr>().is_ok();
            let Ok(target) = service.host.parse::<Spelled>() else { continue };
            if !is_address && seen.insert(service.host) {
                let rdatas = Rdatas::one(target.wire());
                let set = RecordSet::new(Owner::Question, Type::PTR, service.ttl, rdatas);
                parts.push(Part::Record(Section::Answer, set));
            }
        }
        Ok(parts)
    }
}

impl Part {
    fn into_additional(self) -> Self {
        let section = Section::Additional;
        match self {
            Self::Record(_, set) => Self::Record(section, set),
            Self::Outside { alias, target, qtype, .. } => {
                Self::Outside { section, alias, target, qtype }
            }
        }
    }
}

/// Records of one type whose data end with a name, and the addresses of these names.
struct Named {
    rtype: Type,
    records: Vec<Part>,
    additional: Vec<Part>,
    seen: HashSet<Vec<u8>>,
    /// The targets whose addresses are known.
    targets: HashSet<Vec<u8>>,
}

/// Whether equal records are left out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeated {
    Always,
    Once,
}

impl Named {
    fn new(rtype: Type) -> Self {
        let (seen, targets) = (HashSet::new(), HashSet::new());
        Self { rtype, records: Vec::new(), additional: Vec::new(), seen, targets }
    }

    fn add_record(&mut self, ttl: u32, fields: &[u8], target: &Spelled, repeated: Repeated) {
        let rdata = [fields, target.wire()].concat();
        // Services that differ only in priority and weight count as equal.
        let last = fields.len().saturating_sub(2);
        let identity = [&fields[last..], target.wire()].concat();
        if self.seen.insert(identity) || repeated == Repeated::Always {
            let set = RecordSet::new(Owner::Question, self.rtype, ttl, Rdatas::one(&rdata));
            self.records.push(Part::Record(Section::Answer, set));
        }
    }

    fn add_address(&mut self, ttl: u32, target: &Spelled, address: IpAddr) {
        let (rtype, octets) = match address {
            IpAddr::V4(address) => (Type::A, address.octets().to_vec()),
            IpAddr::V6(address) => (Type::AAAA, address.octets().to_vec()),
        };
        // No record has an identity with this beginning: its first or its third octet is the length
        // of a label, which is at most 63, and all these letters are greater.
        if self.seen.insert([b"address", target.wire(), &octets].concat()) {
            let set = RecordSet::new(Owner::from(target), rtype, ttl, Rdatas::one(&octets));
            self.additional.push(Part::Record(Section::Additional, set));
        }
    }

    fn finish(self) -> Vec<Part> {
        self.records.into_iter().chain(self.additional).collect()
    }
}

fn alias(owner: &Owner, ttl: u32, target: &Spelled) -> RecordSet {
    RecordSet::new(owner.clone(), Type::CNAME, ttl, Rdatas::one(target.wire()))
}

fn name_of(spelled: &Spelled) -> Option<Name> {
    Name::from_wire(&spelled.wire().to_ascii_lowercase())
}

/// The name without its first labels. If none would be left, all of them stay.
fn stripped(target: Spelled, labels: usize) -> Spelled {
    let mut rest = target.wire();
    for _ in 0..labels {
        rest =
            rest.get(1 + usize::from(rest.first().copied().unwrap_or_default())..).unwrap_or(&[0]);
    }
    if rest.len() <= 1 { target } else { Spelled::from_wire(rest).unwrap_or(target) }
}

/// A text in pieces of at most 255 octets.
fn character_strings(text: &str) -> Vec<u8> {
    let pieces = text.as_bytes().chunks(limits::CHARACTER_STRING_OCTETS);
    pieces.flat_map(|piece| [&[piece.len() as u8], piece].concat()).collect()
}
