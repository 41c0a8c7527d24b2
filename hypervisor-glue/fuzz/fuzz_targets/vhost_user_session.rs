#![no_main]
//! See `valecast_hypervisor_glue_fuzz::vhost_user_session`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    valecast_hypervisor_glue_fuzz::vhost_user_session(data);
});
