//! Any request over HTTPS or gRPC gives the message that was sent, or an error of the client.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::net::fuzzing::doh_request(data));
