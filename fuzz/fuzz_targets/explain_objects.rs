//! Any manifests can be explained, and their text cannot control a terminal.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::explain::fuzzing::explain_objects(data));
