//! Reading any page of a list does not panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::source::fuzzing::api_page(data));
