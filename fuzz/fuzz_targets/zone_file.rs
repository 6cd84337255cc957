//! Any zone file that is accepted gives a zone whose names exist and whose answers can be read.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::fuzzing::zone_file(data));
