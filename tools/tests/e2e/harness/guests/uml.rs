//! User-Mode Linux: a kernel that is a process, with virtio devices by vhost-user.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Monitor;

/// A machine of that kind, whose card a port of kind `vhost-user` serves on a socket.
pub struct Uml {
    name: String,
    socket: PathBuf,
}

impl Uml {
    /// A machine with one card.
    pub fn new(name: &str, socket: &Path) -> Self {
        Self { name: name.to_owned(), socket: socket.to_owned() }
    }
}

impl Monitor for Uml {
    fn name(&self) -> &str {
        &self.name
    }

    fn command(&self, dir: &Path, _: &Path) -> Command {
        let folder = super::folder();
        let mut command = Command::new(folder.join("debian/root/usr/bin/linux.uml"));
        command.arg("mem=128M").arg(format!("initrd={}", folder.join("initrd").display()));
        command.arg(format!("virtio_uml.device={}:1", self.socket.display()));
        // Kernel messages go where the monitor's own go; the shell is on the first serial line.
        command.args(["con0=null,fd:2", "con=null", "ssl=null", "ssl0=fd:0,fd:1"]);
        command.args(["quiet", "panic=-1", "vc_tty=ttyS0", "rdinit=/init"]);
        command.arg("vc_modules=llc,stp,mrp,garp,8021q,failover,net_failover,virtio_net");
        command.arg(format!("umid={}-{}", self.name, std::process::id()));
        command.arg(format!("uml_dir={}", dir.display()));
        // Its memory is a file there, shared with the port.
        command.env("TMPDIR", "/dev/shm").current_dir(dir);
        command
    }
}
