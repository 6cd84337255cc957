//! Any UPDATE message and any database: an update that is made is in the database.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::fuzzing::zone_update(data));
