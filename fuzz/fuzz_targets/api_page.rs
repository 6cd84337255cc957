//! Any page of a list can be read.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::source::fuzzing::api_page(data));
