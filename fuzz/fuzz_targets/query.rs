//! Any datagram gets a reply that others can read, or none.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::fuzzing::query(data, std::time::Instant::now()));
