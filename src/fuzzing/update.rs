//! Updates of zones, and the databases that keep them.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    wire::{Name, Update},
    zonefile::{DatabaseFile, DynamicError, DynamicZone, FileWrite, Zone, ZoneLimits, parse},
};

const LIMITS: ZoneLimits = ZoneLimits { records: 1000, octets: 100_000 };
const SEED: &str = "@ 60 SOA ns hostmaster 4294967295 60 60 60 60\n@ 60 NS ns\nns 60 A 192.0.2.53\n\
                    www 60 A 192.0.2.1\nalias 60 CNAME www\n";

/// A file in memory.
#[derive(Clone, Default)]
struct MemoryFile(Arc<Mutex<Option<Vec<u8>>>>);

impl DatabaseFile for MemoryFile {
    fn read(&self) -> Result<Option<Vec<u8>>, String> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn create(&self, octets: &[u8]) -> Result<(), String> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(octets.to_vec());
        Ok(())
    }

    fn write(&self, writes: &[FileWrite]) -> Result<(), String> {
        let mut content = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let file = content.get_or_insert_default();
        for FileWrite { at, octets } in writes {
            let at = usize::try_from(*at).map_err(|error| error.to_string())?;
            let end = at.checked_add(octets.len()).filter(|end| *end < 1 << 28);
            let end = end.ok_or("the file is too large")?;
            file.resize(file.len().max(end), 0);
            file[at..end].copy_from_slice(octets);
        }
        Ok(())
    }
}

/// An UPDATE message, whose length is in the first two octets, and then a database. If an update is
/// made, the database has it: the zone that is read from it is equal.
///
/// # Panics
/// If this does not hold.
pub fn zone_update(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk() else { return };
    let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
    let (message, database) = rest.split_at(length);
    let Ok(update) = Update::parse(message) else { return };
    let Ok(origin) = "example.org".parse::<Name>() else { return };
    for content in [None, Some(database.to_vec())] {
        let file = MemoryFile(Arc::new(Mutex::new(content)));
        let open =
            || DynamicZone::open(&origin, Some(Arc::new(file.clone())), LIMITS, || seed(&origin));
        let Ok(zone) = open() else { continue };
        if zone.update(&update, LIMITS, &|_, _| true).is_err() || !zone.take_change() {
            continue;
        }
        match open() {
            Ok(again) => assert_eq!(zone.slot().get(), again.slot().get(), "the zone has changed"),
            Err(error) => panic!("{error}"),
        }
    }
}

fn seed(origin: &Name) -> Result<Arc<Zone>, DynamicError> {
    let parsed = parse("db", SEED, origin, &|_| Err(String::new()));
    parsed
        .map(|parsed| Arc::new(parsed.zone))
        .map_err(|error| DynamicError::File(error.to_string()))
}
