#![no_main]
//! See `valecast_ring_fuzz::ring_view`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| valecast_ring_fuzz::ring_view(data));
