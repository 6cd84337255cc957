//! Any reply of an upstream is read without a panic, and is cached for its question only.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ndots::fuzzing::upstream_reply(data, std::time::Instant::now());
});
