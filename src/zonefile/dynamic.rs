//! A zone whose records clients change with UPDATE messages, and the database that keeps them.

use std::{
    iter,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use thiserror::Error;

use crate::wire::{Name, Owner, Rcode, Transfer, Type, Update, ZoneRecord, reply};

use super::{
    Zone, ZoneBuilder, ZoneSlot,
    bolt::{DatabaseError, FileWrite, Layout, Stored},
    update::{self, RecordsError, ZoneLimits},
};

/// A file that only this process writes. This layer opens no file.
pub trait DatabaseFile: Send + Sync {
    /// The content; `None` if there is no file yet.
    ///
    /// # Errors
    /// The reason why it cannot be read, such as another process that uses it.
    fn read(&self) -> Result<Option<Vec<u8>>, String>;

    /// Creates the file with this content, which is on the disk when the call returns.
    ///
    /// # Errors
    /// The reason why it cannot be created.
    fn create(&self, octets: &[u8]) -> Result<(), String>;

    /// Writes to the file. Each write is on the disk before the next one begins.
    ///
    /// # Errors
    /// The reason why it cannot be written.
    fn write(&self, writes: &[FileWrite]) -> Result<(), String>;
}

/// For a server that keeps nothing: each update fails.
pub struct NoDatabase;

impl DatabaseFile for NoDatabase {
    fn read(&self) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }

    fn create(&self, _: &[u8]) -> Result<(), String> {
        Err("this server keeps no files".to_owned())
    }

    fn write(&self, _: &[FileWrite]) -> Result<(), String> {
        Err("this server keeps no files".to_owned())
    }
}

/// Why there is no zone.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DynamicError {
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("the database belongs to the zone {0}")]
    OtherZone(String),
    #[error("a record in the database is malformed")]
    Malformed,
    #[error("{0}")]
    File(String),
}

/// The zone, its records and its database.
pub struct DynamicZone {
    origin: Name,
    slot: Arc<ZoneSlot>,
    state: Mutex<State>,
    /// Whether the zone has changed since [`Self::take_change`].
    changed: AtomicBool,
}

struct State {
    records: Vec<ZoneRecord>,
    database: Option<Database>,
}

struct Database {
    file: Arc<dyn DatabaseFile>,
    /// `None` until the file exists.
    layout: Option<Layout>,
}

/// An update that was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateFailure {
    /// The code of the reply.
    pub rcode: Rcode,
    /// A reason for the operator.
    pub reason: Option<String>,
}

impl DynamicZone {
    /// A zone that begins with the records of `seed`, or with those of the database if its file
    /// exists. `seed` is called only if its records are needed.
    ///
    /// # Errors
    /// The records are not accepted, the database cannot be used, or the error of `seed`.
    pub fn open<E: From<DynamicError>>(
        origin: &Name,
        file: Option<Arc<dyn DatabaseFile>>,
        limits: ZoneLimits,
        seed: impl FnOnce() -> Result<Arc<Zone>, E>,
    ) -> Result<Self, E> {
        let content = file.as_ref().map(|file| file.read()).transpose();
        let content = content.map_err(DynamicError::File)?.flatten();
        let (records, layout) = match content {
            Some(octets) => {
                let (records, layout) = stored(&octets, origin)?;
                (records, Some(layout))
            }
            None => (records_of(&seed()?), None),
        };
        limits.check(&records).map_err(DynamicError::from)?;
        update::check(origin, &records).map_err(DynamicError::from)?;
        let zone = build(origin, &records).map(Arc::new);
        let database = file.map(|file| Database { file, layout });
        Ok(Self {
            origin: origin.clone(),
            slot: Arc::new(ZoneSlot::new(zone)),
            state: Mutex::new(State { records, database }),
            changed: AtomicBool::new(false),
        })
    }

    pub fn origin(&self) -> &Name {
        &self.origin
    }

    pub fn slot(&self) -> &Arc<ZoneSlot> {
        &self.slot
    }

    /// Whether the zone has changed since the last call.
    pub fn take_change(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }

    /// # Errors
    /// The zone has more records than the limits allow.
    pub fn check(&self, limits: ZoneLimits) -> Result<(), RecordsError> {
        limits.check(&self.state().records)
    }

    /// Makes the changes of a message, all or none. They are on the disk when the call returns.
    /// `allows` says whether the client may change records of this name and type.
    ///
    /// # Errors
    /// See [`UpdateFailure`].
    pub fn update(
        &self,
        update: &Update,
        limits: ZoneLimits,
        allows: &dyn Fn(&Name, Type) -> bool,
    ) -> Result<(), UpdateFailure> {
        let mut state = self.state();
        let failure = |rcode| UpdateFailure { rcode, reason: None };
        let updated = update::updated(&self.origin, &state.records, update, allows);
        let Some(records) = updated.map_err(failure)? else { return Ok(()) };
        let because = |rcode, reason: &dyn ToString| UpdateFailure {
            rcode,
            reason: Some(reason.to_string()),
        };
        limits.check(&records).map_err(|error| because(Rcode::REFUSED, &error))?;
        let zone = build(&self.origin, &records)
            .ok_or_else(|| because(Rcode::SERVFAIL, &RecordsError::Soa(0)))?;
        if let Some(database) = &mut state.database {
            let saved = database.save(&self.origin, &records);
            saved.map_err(|reason| because(Rcode::SERVFAIL, &reason))?;
        }
        state.records = records;
        self.slot.set(Some(Arc::new(zone)));
        self.changed.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database {
    fn save(&mut self, origin: &Name, records: &[ZoneRecord]) -> Result<(), String> {
        let stored = Stored { origin: origin.to_string().into_bytes(), records: wire(records) };
        let layout = match &self.layout {
            Some(layout) => {
                let (writes, layout) = stored.replace(layout);
                self.file.write(&writes)?;
                layout
            }
            None => {
                let (octets, layout) = stored.create();
                self.file.create(&octets)?;
                layout
            }
        };
        self.layout = Some(layout);
        Ok(())
    }
}

fn build(origin: &Name, records: &[ZoneRecord]) -> Option<Zone> {
    let mut builder = ZoneBuilder::new(origin.clone());
    for ZoneRecord { owner, rtype, ttl, rdata } in records {
        // `update::check` has accepted the records before.
        let _ = builder.add(owner, *rtype, *ttl, rdata.clone());
    }
    builder.build()
}

fn records_of(zone: &Arc<Zone>) -> Vec<ZoneRecord> {
    let Transfer { soa, records, .. } = zone.transfer();
    let sets = iter::once(soa).chain(records);
    let records = sets.flat_map(|set| {
        let owner = match &set.owner {
            Owner::Name(wire) => Name::from_wire(wire),
            Owner::Question | Owner::QuestionFrom(_) => None,
        };
        let owner = owner.unwrap_or_else(|| zone.origin().clone());
        let record = |rdata: &[u8]| ZoneRecord {
            owner: owner.clone(),
            rtype: set.rtype,
            ttl: set.ttl,
            rdata: rdata.to_vec(),
        };
        set.rdatas.iter().map(record).collect::<Vec<_>>()
    });
    records.collect()
}

/// The records of a database.
fn stored(octets: &[u8], origin: &Name) -> Result<(Vec<ZoneRecord>, Layout), DynamicError> {
    let (Stored { origin: name, records }, layout) = Stored::read(octets)?;
    let name = String::from_utf8_lossy(&name);
    if name.parse().ok().as_ref() != Some(origin) {
        return Err(DynamicError::OtherZone(name.into_owned()));
    }
    let records = reply::zone_records(&records).ok_or(DynamicError::Malformed)?;
    Ok((records, layout))
}

fn wire(records: &[ZoneRecord]) -> Vec<u8> {
    let mut octets = Vec::new();
    records.iter().for_each(|record| record.write(&mut octets));
    octets
}

#[cfg(test)]
mod tests;
