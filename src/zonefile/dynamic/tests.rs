use std::sync::Mutex;

use crate::wire::{Class, UpdateRecord};

use super::*;

const LIMITS: ZoneLimits = ZoneLimits { records: 10, octets: 1000 };

/// A file in memory, which may be full.
#[derive(Default)]
struct MemoryFile {
    content: Mutex<Option<Vec<u8>>>,
    full: AtomicBool,
}

impl DatabaseFile for MemoryFile {
    fn read(&self) -> Result<Option<Vec<u8>>, String> {
        Ok(self.content.lock().unwrap().clone())
    }

    fn create(&self, octets: &[u8]) -> Result<(), String> {
        *self.content.lock().unwrap() = Some(octets.to_vec());
        Ok(())
    }

    fn write(&self, writes: &[FileWrite]) -> Result<(), String> {
        if self.full.load(Ordering::Relaxed) {
            return Err("the disk is full".to_owned());
        }
        let mut content = self.content.lock().unwrap();
        let file = content.as_mut().unwrap();
        for FileWrite { at, octets } in writes {
            let (at, end) = (*at as usize, *at as usize + octets.len());
            file.resize(file.len().max(end), 0);
            file[at..end].copy_from_slice(octets);
        }
        Ok(())
    }
}

fn origin() -> Name {
    "example.org".parse().unwrap()
}

fn seed() -> Result<Arc<Zone>, DynamicError> {
    let text = "@ 60 IN SOA ns hostmaster 7 60 60 60 60\n@ 60 IN NS ns\nns 60 IN A 192.0.2.53\n";
    let read = |_: &str| Err("no such file".to_owned());
    Ok(Arc::new(crate::zonefile::parse("db", text, &origin(), &read).unwrap().zone))
}

fn no_seed() -> Result<Arc<Zone>, DynamicError> {
    panic!("the database has the records")
}

fn addition(number: u8) -> Update {
    let owner = format!("h{number}.example.org").parse().unwrap();
    let record = ZoneRecord { owner, rtype: Type::A, ttl: 60, rdata: vec![192, 0, 2, number] };
    Update { prerequisites: Vec::new(), changes: vec![UpdateRecord { class: Class::IN, record }] }
}

fn add(zone: &DynamicZone, number: u8) -> Result<(), UpdateFailure> {
    zone.update(&addition(number), LIMITS, &|_, _| true)
}

fn state(zone: &DynamicZone) -> (u32, usize) {
    let served = zone.slot().get().unwrap();
    (served.serial(), served.len())
}

#[test]
fn the_database_has_each_change_and_the_seed_does_not_replace_it() {
    let file = Arc::new(MemoryFile::default());
    let database = || Some(Arc::clone(&file) as Arc<dyn DatabaseFile>);
    let zone = DynamicZone::open(&origin(), database(), LIMITS, seed).unwrap();
    assert_eq!((state(&zone), file.read()), ((7, 3), Ok(None)));
    assert!(!zone.take_change());
    add(&zone, 1).unwrap();
    add(&zone, 2).unwrap();
    // The same record again.
    add(&zone, 2).unwrap();
    assert_eq!((state(&zone), zone.take_change(), zone.take_change()), ((9, 5), true, false));
    let again = DynamicZone::open(&origin(), database(), LIMITS, no_seed).unwrap();
    assert_eq!(state(&again), (9, 5));

    // A change that cannot be saved is not served.
    file.full.store(true, Ordering::Relaxed);
    let reason = Some("the disk is full".to_owned());
    let failure = UpdateFailure { rcode: Rcode::SERVFAIL, reason };
    assert_eq!((add(&again, 3), state(&again)), (Err(failure), (9, 5)));
    file.full.store(false, Ordering::Relaxed);
    add(&again, 3).unwrap();
    let again = DynamicZone::open(&origin(), database(), LIMITS, no_seed).unwrap();
    assert_eq!(state(&again), (10, 6));

    let other = "example.net".parse().unwrap();
    let error = DynamicZone::open(&other, database(), LIMITS, no_seed).err();
    assert_eq!(error, Some(DynamicError::OtherZone("example.org.".to_owned())));
    let few = ZoneLimits { records: 5, ..LIMITS };
    let error = DynamicZone::open(&origin(), database(), few, no_seed).err();
    assert_eq!(error, Some(DynamicError::Records(RecordsError::TooMany(5))));
    assert_eq!(again.check(few), Err(RecordsError::TooMany(5)));
}

#[test]
fn a_zone_that_grows_too_large_refuses() {
    let zone = DynamicZone::open(&origin(), None, LIMITS, seed).unwrap();
    for number in 1..=7 {
        add(&zone, number).unwrap();
    }
    let reason = Some("the zone has more than 10 records; raise `max_records`".to_owned());
    assert_eq!(add(&zone, 8), Err(UpdateFailure { rcode: Rcode::REFUSED, reason }));
    assert_eq!(state(&zone), (14, 10));
}

/// CoreDNS keeps a small zone in another form than a large one.
#[test]
fn a_database_of_coredns_is_read() {
    let input = include_bytes!("../../../fuzz/corpora/zone_update/database-of-coredns");
    // A message comes before the database.
    let message = usize::from(u16::from_be_bytes([input[0], input[1]]));
    let file = Arc::new(MemoryFile::default());
    file.create(&input[2 + message..]).unwrap();
    let database = || Some(Arc::clone(&file) as Arc<dyn DatabaseFile>);
    let zone = DynamicZone::open(&origin(), database(), LIMITS, no_seed).unwrap();
    assert_eq!(state(&zone), (12, 7));
    add(&zone, 1).unwrap();
    let again = DynamicZone::open(&origin(), database(), LIMITS, no_seed).unwrap();
    assert_eq!(state(&again), (13, 8));
}
