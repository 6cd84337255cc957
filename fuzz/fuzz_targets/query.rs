//! Any datagram gets either no reply or a reply that other parsers can read.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::fuzzing::query(data, std::time::Instant::now()));
