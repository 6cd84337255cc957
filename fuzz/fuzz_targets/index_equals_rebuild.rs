//! Changes one by one give the zone that the final facts give.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::fuzzing::index_equals_rebuild(data));
