//! The daemon of [`crate::common`], with VMs of [`crate::vm`].

use valecast_hypervisor_glue::e1000::guest::Options;

pub use crate::common::{Brimful, Client, DEADLINE, Rig, frame};
use crate::vm::Vm;

impl Rig {
    /// A VM at a port, with its driver up.
    pub fn vm(&self, port: &str, options: Options) -> Vm {
        let vm = Vm::start(&self.vm_socket(port), options);
        self.until("the port is up", port, |p| p.state == "up");
        vm
    }
}
