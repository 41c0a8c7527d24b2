#![no_main]
//! See `valecast_qc_dataplane_fuzz::transport_frames` and `manifest`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    valecast_qc_dataplane_fuzz::manifest(data);
    let dir = tempfile::tempdir().expect("a directory");
    valecast_qc_dataplane_fuzz::transport_frames(data, dir.path());
});
