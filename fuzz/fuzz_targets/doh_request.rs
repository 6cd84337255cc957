//! Reading any request over HTTPS or gRPC gives the message that was sent, or an error for the
//! client.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndots::net::fuzzing::doh_request(data));
