//! Any body of `template` that is accepted gives replies that can be read.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::fuzzing::template(data, std::time::Instant::now()));
