//! Changes that are applied one by one give the same zone as the final facts.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::fuzzing::index_equals_rebuild(data));
