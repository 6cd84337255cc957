//! Any reply at any limit fits, and loses no record unless TC says so.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::fuzzing::encode_fits(data));
