//! Any Corefile can be read, printed, and read again with the same result.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::fuzzing::corefile(data));
