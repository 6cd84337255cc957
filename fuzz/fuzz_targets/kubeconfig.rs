//! Any kubeconfig can be read, and is not quoted in errors.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::source::fuzzing::kubeconfig(data));
