#![no_main]
//! See `valecast_switch_fuzz::frame_parser`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| valecast_switch_fuzz::frame_parser(data));
