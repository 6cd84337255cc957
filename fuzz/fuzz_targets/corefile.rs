//! Any Corefile reads, prints and reads again as the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::fuzzing::corefile(data));
