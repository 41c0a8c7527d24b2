//! End-to-end tests: the programs as users run them, with programs that we did not write. One program holds them all,
//! since linking costs more than most of them; a file's name before a test's runs that file alone
//! (`cargo test --release -p valecast --test e2e offload::`). They run one at a time: `-- --test-threads=1`.
//!
//! In the order of what they build on: the switch and its ports, the tools, virtual machines, QuickCast.

mod harness;

mod access;
mod load;
mod namespaces;
mod netmap;
mod offload;
mod packet;
mod ports;
mod reload;
mod vxlan;
mod xdp;

mod examples;
mod output;
mod tools;

mod guests_e1000;
mod guests_host;
mod guests_life;
mod guests_mixed;
mod guests_module;
mod guests_self;
mod guests_virtio;
mod vm_bare;

mod qc_cli;
mod qc_clock;
mod qc_controller;
mod qc_demo;
mod qc_faults;
mod qc_forged;
mod qc_hosts;
mod qc_parallel;
mod qc_plan;
mod qc_sim;
mod qc_site;
mod qc_slow;
mod qc_wan;
