#![no_main]
//! See `valecast_ring_fuzz::attach_request`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| valecast_ring_fuzz::attach_request(data));
