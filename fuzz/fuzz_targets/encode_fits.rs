//! Any reply fits into any size limit, and no record is missing unless TC is set.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::fuzzing::encode_fits(data));
