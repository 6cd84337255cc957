//! Reading any kubeconfig does not panic, and errors do not quote it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::source::fuzzing::kubeconfig(data));
