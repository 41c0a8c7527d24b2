#![no_main]
//! See `valecast_hypervisor_glue_fuzz::e1000_guest`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    valecast_hypervisor_glue_fuzz::e1000_guest(data);
});
