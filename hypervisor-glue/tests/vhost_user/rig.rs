//! The daemon of [`crate::common`], with VMs of [`crate::front`].

pub use crate::common::{Brimful, Client, DEADLINE, Rig, frame};
use crate::front::{Front, Options};

impl Rig {
    /// A VM at a port, with its driver up.
    pub fn vm(&self, port: &str, options: Options) -> Front {
        let vm = Front::start(&self.vm_socket(port), options);
        self.until("the port is up", port, |p| p.state == "up");
        vm
    }
}
