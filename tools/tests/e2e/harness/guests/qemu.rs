//! QEMU with an emulated processor, and what can be plugged into it.

use std::path::Path;
use std::process::Command;

use super::Monitor;

/// A machine of QEMU's.
#[derive(Clone)]
pub struct Qemu {
    name: String,
    modules: String,
    devices: Vec<String>,
    shared: bool,
}

impl Qemu {
    /// A machine whose kernel loads these modules: names separated by commas, with parameters as `name:a=1:b=2`.
    pub fn new(name: &str, modules: &str) -> Self {
        Self { name: name.to_owned(), modules: modules.to_owned(), devices: Vec::new(), shared: true }
    }

    /// Arguments more.
    pub fn with(mut self, args: &[&str]) -> Self {
        self.devices.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// A card that a port of kind `e1000` serves on this socket.
    pub fn vfio_user(self, socket: &Path) -> Self {
        let socket = socket.display();
        let device = format!(r#"{{"driver":"vfio-user-pci","socket":{{"path":"{socket}","type":"unix"}}}}"#);
        self.with(&["-device", &device])
    }

    /// A card that a port of kind `vhost-user` serves on this socket.
    pub fn vhost_user(self, socket: &Path, queues: u16) -> Self {
        let n = self.devices.len();
        let chardev = format!("socket,id=c{n},path={}", socket.display());
        let netdev = format!("vhost-user,id=n{n},chardev=c{n},queues={queues}");
        let multi = if queues > 1 { format!(",mq=on,vectors={}", 2 * queues + 2) } else { String::new() };
        // QEMU gives each machine's first card the same address.
        let mac = self.name.bytes().fold(n as u32, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
        let [a, b, c, d] = mac.to_be_bytes();
        let mac = format!("52:54:{a:02x}:{b:02x}:{c:02x}:{d:02x}");
        let device = format!("virtio-net-pci,netdev=n{n},mac={mac},romfile={multi}");
        self.with(&["-chardev", &chardev, "-netdev", &netdev, "-device", &device])
    }

    /// Its memory is its own, which no port can work with.
    pub fn unshared(mut self) -> Self {
        self.shared = false;
        self
    }
}

impl Monitor for Qemu {
    fn name(&self) -> &str {
        &self.name
    }

    fn command(&self, _: &Path, console: &Path) -> Command {
        let folder = super::folder();
        let mut command = emulator(self.shared);
        command.arg("-kernel").arg(folder.join("kernel")).arg("-initrd").arg(folder.join("initrd"));
        command.arg("-append").arg(format!(
            "console=ttyS0 quiet panic=-1 mitigations=off vc_tty=ttyS1 vc_modules={}",
            self.modules
        ));
        command.arg("-serial").arg(format!("file:{}", console.display()));
        command.args(["-chardev", "stdio,id=shell,signal=off", "-serial", "chardev:shell"]);
        command.args(&self.devices);
        command
    }
}

/// The emulator, for a machine without devices; its memory can be shared, or cannot.
fn emulator(shared: bool) -> Command {
    let root = super::folder().join("qemu/root/usr");
    let libraries = root.join("lib/x86_64-linux-gnu");
    let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(format!("{0}:{0}/pulseaudio", libraries.display()));
    command.arg(root.join("bin/qemu-system-x86_64"));
    command.arg("-L").arg(root.join("share/qemu")).arg("-L").arg(root.join("share/seabios"));
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", "-cpu", "max"]);
    command.args(["-m", "256", "-machine"]);
    if shared {
        command.args(["q35,memory-backend=m0", "-object"]);
        command.arg("memory-backend-memfd,id=m0,size=256M,share=on");
    } else {
        command.arg("q35");
    }
    command
}

/// A machine without an operating system, which runs `kernel` until that ends it by port 0xf4 (its status is one more
/// than twice what was written there); what it says goes to standard output.
pub fn bare(kernel: &Path, socket: &Path) -> Command {
    let mut command = emulator(true);
    command.arg("-kernel").arg(kernel).args(["-serial", "stdio", "-no-reboot"]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    command.args(Qemu::new("bare", "").vfio_user(socket).devices);
    command
}
