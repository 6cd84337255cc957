//! Updates of the records of a zone (RFC 2136 §3.2 to §3.4).

use crate::wire::{Class, Name, Rcode, Type, Update, UpdateRecord, ZoneRecord, soa_serial};

/// How many records a zone may have, and how many octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneLimits {
    pub records: usize,
    pub octets: usize,
}

/// Why the records cannot be those of a zone that is updated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    #[error("the zone has more than {0} records; raise `max_records`")]
    TooMany(usize),
    #[error("the records of the zone have more than {0} octets; raise `max_bytes`")]
    TooLarge(usize),
    #[error("{0} {1}: updates would make records of this type invalid; remove them")]
    Unsupported(Name, Type),
    #[error("{0}: the name has a CNAME record and other records; remove one of them")]
    BesideAlias(Name),
    #[error("{0} {1}: the record is not in the zone")]
    OutOfZone(Name, Type),
    #[error("the zone needs one SOA record at its apex, and it has {0}")]
    Soa(usize),
    #[error("the serial of the SOA record is 0; write another number")]
    NoSerial,
}

impl ZoneLimits {
    /// # Errors
    /// There are too many records.
    pub(super) fn check(self, records: &[ZoneRecord]) -> Result<(), RecordsError> {
        if records.len() > self.records {
            return Err(RecordsError::TooMany(self.records));
        }
        if records.iter().map(octets).sum::<usize>() > self.octets {
            return Err(RecordsError::TooLarge(self.octets));
        }
        Ok(())
    }
}

/// Octets of a record in a message without compression.
fn octets(record: &ZoneRecord) -> usize {
    record.owner.wire().len() + 10 + record.rdata.len()
}

/// # Errors
/// See [`RecordsError`]; the limits are checked elsewhere.
pub(super) fn check(origin: &Name, records: &[ZoneRecord]) -> Result<(), RecordsError> {
    for record in records {
        let ZoneRecord { owner, rtype, .. } = record;
        if !owner.is_within(origin) {
            return Err(RecordsError::OutOfZone(owner.clone(), *rtype));
        }
        if !can_be_updated(*rtype) {
            return Err(RecordsError::Unsupported(owner.clone(), *rtype));
        }
    }
    let mut types: Vec<_> = records.iter().map(|it| (&it.owner, it.rtype)).collect();
    types.sort_unstable();
    for of_name in types.chunk_by(|one, other| one.0 == other.0) {
        if of_name.len() > 1 && of_name.iter().any(|(_, rtype)| *rtype == Type::CNAME) {
            return Err(RecordsError::BesideAlias(of_name[0].0.clone()));
        }
    }
    let soas: Vec<_> = records.iter().filter(|it| it.rtype == Type::SOA).collect();
    match soas[..] {
        [soa] if soa.owner != *origin => Err(RecordsError::Soa(0)),
        [soa] if soa_serial(&soa.rdata) == Some(0) => Err(RecordsError::NoSerial),
        [_] => Ok(()),
        _ => Err(RecordsError::Soa(soas.len())),
    }
}

/// Whether an update may name this type: one that zones can have, or ANY for all types.
pub fn may_be_updated(rtype: Type) -> bool {
    (rtype.is_for_zones() || rtype == Type::ANY) && can_be_updated(rtype)
}

/// Whether other updates leave such records valid. Those of DNSSEC and ZONEMD would have to be made
/// again.
fn can_be_updated(rtype: Type) -> bool {
    const TALINK: Type = Type(58);
    const TA: Type = Type(32_768);
    const DLV: Type = Type(32_769);
    ![
        Type::SIG,
        Type::KEY,
        Type::NXT,
        Type::DS,
        Type::RRSIG,
        Type::NSEC,
        Type::DNSKEY,
        Type::NSEC3,
        Type::NSEC3PARAM,
        TALINK,
        Type::CDS,
        Type::CDNSKEY,
        Type::ZONEMD,
        TA,
        DLV,
    ]
    .contains(&rtype)
}

/// The records after an update; `None` if it changes nothing.
///
/// # Errors
/// The code of the reply. `allows` says whether the client may change records of this name and
/// type.
pub(super) fn updated(
    origin: &Name,
    records: &[ZoneRecord],
    update: &Update,
    allows: &dyn Fn(&Name, Type) -> bool,
) -> Result<Option<Vec<ZoneRecord>>, Rcode> {
    check_prerequisites(origin, records, &update.prerequisites)?;
    if !update.changes.iter().all(|it| allows(&it.record.owner, it.record.rtype)) {
        return Err(Rcode::REFUSED);
    }
    for change in &update.changes {
        check_change(origin, change)?;
    }
    let draft = Draft { origin, records: records.to_vec(), changed: false, new_soa: false };
    Ok(draft.apply(&update.changes))
}

fn check_prerequisites(
    origin: &Name,
    records: &[ZoneRecord],
    prerequisites: &[UpdateRecord],
) -> Result<(), Rcode> {
    let mut wanted: Vec<&ZoneRecord> = Vec::new();
    for UpdateRecord { class, record } in prerequisites {
        let ZoneRecord { owner, rtype, ttl, rdata } = record;
        let (here, is_any) = (records.iter().filter(|it| it.owner == *owner), *rtype == Type::ANY);
        let valid = *ttl == 0 && (rtype.is_for_zones() || is_any && *class != Class::IN);
        if !valid || *class != Class::IN && !rdata.is_empty() {
            return Err(Rcode::FORMERR);
        }
        if !owner.is_within(origin) {
            return Err(Rcode::NOTZONE);
        }
        if !can_be_updated(*rtype) {
            return Err(Rcode::NOTIMP);
        }
        let exists = here.into_iter().any(|it| is_any || it.rtype == *rtype);
        match (*class, exists) {
            (Class::ANY, false) if is_any => return Err(Rcode::NXDOMAIN),
            (Class::ANY, false) => return Err(Rcode::NXRRSET),
            (Class::NONE, true) if is_any => return Err(Rcode::YXDOMAIN),
            (Class::NONE, true) => return Err(Rcode::YXRRSET),
            (Class::ANY | Class::NONE, _) => {}
            (Class::IN, _) => wanted.push(record),
            _ => return Err(Rcode::FORMERR),
        }
    }
    // The records of a type must be exactly those of the message (RFC 2136 §3.2.3).
    for record in &wanted {
        let same_set = |it: &&ZoneRecord| (&it.owner, it.rtype) == (&record.owner, record.rtype);
        let set: Vec<_> = records.iter().filter(same_set).collect();
        let asked: Vec<_> = wanted.iter().copied().filter(same_set).collect();
        let contains = |all: &[&ZoneRecord], one: &ZoneRecord| all.iter().any(|it| same(it, one));
        let equal =
            set.iter().all(|it| contains(&asked, it)) && asked.iter().all(|it| contains(&set, it));
        if !equal {
            return Err(Rcode::NXRRSET);
        }
    }
    Ok(())
}

/// RFC 2136 §3.4.1.
fn check_change(origin: &Name, change: &UpdateRecord) -> Result<(), Rcode> {
    let ZoneRecord { owner, rtype, ttl, rdata } = &change.record;
    if !owner.is_within(origin) {
        return Err(Rcode::NOTZONE);
    }
    let valid = match change.class {
        Class::IN if *rtype == Type::SOA => owner == origin && soa_serial(rdata) != Some(0),
        Class::IN => rtype.is_for_zones(),
        Class::ANY => {
            *ttl == 0 && rdata.is_empty() && (rtype.is_for_zones() || *rtype == Type::ANY)
        }
        Class::NONE => *ttl == 0 && rtype.is_for_zones(),
        _ => false,
    };
    if !valid {
        return Err(Rcode::FORMERR);
    }
    if can_be_updated(*rtype) { Ok(()) } else { Err(Rcode::NOTIMP) }
}

/// Whether both are the same record. Names in the data are compared without case.
fn same(one: &ZoneRecord, other: &ZoneRecord) -> bool {
    (&one.owner, one.rtype) == (&other.owner, other.rtype)
        && (one.rdata == other.rdata
            || one.rtype.canonical(&one.rdata) == other.rtype.canonical(&other.rdata))
}

/// The records of the next version of a zone.
struct Draft<'z> {
    origin: &'z Name,
    records: Vec<ZoneRecord>,
    changed: bool,
    /// Whether the client has set the serial.
    new_soa: bool,
}

impl Draft<'_> {
    fn apply(mut self, changes: &[UpdateRecord]) -> Option<Vec<ZoneRecord>> {
        for UpdateRecord { class, record } in changes {
            match *class {
                Class::IN => self.add(record),
                Class::ANY => self.remove_all(record),
                _ => self.remove(record),
            }
        }
        if self.changed && !self.new_soa {
            self.raise_serial();
        }
        self.changed.then_some(self.records)
    }

    /// RFC 2136 §3.4.2.2.
    fn add(&mut self, new: &ZoneRecord) {
        let mut here = self.records.iter().filter(|it| it.owner == new.owner);
        match new.rtype {
            Type::SOA => {
                if self.is_newer(new) {
                    self.replace(new);
                    self.new_soa = true;
                }
            }
            // An alias excludes other records, and a name has one alias.
            Type::CNAME if here.any(|it| it.rtype != Type::CNAME) => {}
            Type::CNAME => {
                if !self.records.iter().any(|it| same(it, new) && it.ttl == new.ttl) {
                    self.replace(new);
                }
            }
            _ if here.any(|it| it.rtype == Type::CNAME) => {}
            _ => match self.records.iter_mut().find(|it| same(it, new)) {
                Some(known) if known.ttl == new.ttl => {}
                Some(known) => (*known, self.changed) = (new.clone(), true),
                None => {
                    self.records.push(new.clone());
                    self.changed = true;
                }
            },
        }
    }

    /// Takes the place of the records with the same name and type.
    fn replace(&mut self, new: &ZoneRecord) {
        self.records.retain(|it| (&it.owner, it.rtype) != (&new.owner, new.rtype));
        self.records.push(new.clone());
        self.changed = true;
    }

    /// Whether the serial is greater than that of the zone (RFC 1982 §3.2).
    fn is_newer(&self, new: &ZoneRecord) -> bool {
        let known = self.records.iter().find(|it| it.rtype == Type::SOA);
        let serials = soa_serial(&new.rdata).zip(known.and_then(|it| soa_serial(&it.rdata)));
        serials.is_some_and(|(new, known)| (1..1 << 31).contains(&new.wrapping_sub(known)))
    }

    /// RFC 2136 §3.4.2.3: all records of a name, or those of one type. The apex keeps its SOA and
    /// NS records.
    fn remove_all(&mut self, which: &ZoneRecord) {
        let (before, at_apex) = (self.records.len(), which.owner == *self.origin);
        self.records.retain(|it| {
            let stays = at_apex && [Type::SOA, Type::NS].contains(&it.rtype);
            let named =
                it.owner == which.owner && (which.rtype == Type::ANY || it.rtype == which.rtype);
            stays || !named
        });
        self.changed |= self.records.len() < before;
    }

    /// RFC 2136 §3.4.2.4: one record. The apex keeps its SOA record and its last NS record.
    fn remove(&mut self, which: &ZoneRecord) {
        let at_apex = which.owner == *self.origin;
        let set =
            self.records.iter().filter(|it| (&it.owner, it.rtype) == (&which.owner, which.rtype));
        let stays = match which.rtype {
            Type::SOA => at_apex,
            Type::NS => at_apex && set.count() <= 1,
            _ => false,
        };
        if let Some(at) = self.records.iter().position(|it| !stays && same(it, which)) {
            self.records.remove(at);
            self.changed = true;
        }
    }

    /// Zero is left out, because some servers give it another meaning (RFC 2136 §7.11).
    fn raise_serial(&mut self) {
        let soa = self.records.iter_mut().find(|it| it.rtype == Type::SOA);
        let numbers = soa.and_then(|soa| soa.rdata.last_chunk_mut::<20>());
        if let Some(serial) = numbers.and_then(|numbers| numbers.first_chunk_mut::<4>()) {
            *serial = u32::from_be_bytes(*serial).wrapping_add(1).max(1).to_be_bytes();
        }
    }
}

#[cfg(test)]
mod tests;
