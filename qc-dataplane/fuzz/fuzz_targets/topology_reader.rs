#![no_main]
//! See `valecast_qc_dataplane_fuzz::topology_reader`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| valecast_qc_dataplane_fuzz::topology_reader(data));
