#![no_main]
//! See `valecast_hypervisor_glue_fuzz::virtio_net_driver`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    valecast_hypervisor_glue_fuzz::virtio_net_driver(data);
});
