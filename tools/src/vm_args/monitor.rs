//! What each VM monitor wants to be told.

use std::fmt;

use serde_json::json;
use valecast_config::{PortKind, VhostUserPort};

use super::Monitor;
use super::find::VmPort;

/// A guest's memory, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory(u64);

impl Memory {
    /// From text like `512M`, `2G` or a number of MiB, as QEMU's `-m` takes it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size of memory, such as 512M or 2G (1M to 4T)");
        let (digits, unit) = match text.char_indices().last() {
            Some((at, c)) if c.is_ascii_alphabetic() => (&text[..at], c.to_ascii_uppercase()),
            _ => (text, 'M'),
        };
        let mib = match unit {
            'M' => 1,
            'G' => 1 << 10,
            'T' => 1 << 20,
            _ => return Err(wrong()),
        };
        let n = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(mib));
        n.filter(|n| (1..=4 << 20).contains(n)).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1024) { write!(f, "{}G", self.0 / 1024) } else { write!(f, "{}M", self.0) }
    }
}

impl Monitor {
    /// The program's name.
    pub fn program(self) -> &'static str {
        match self {
            Self::Qemu => "qemu-system-x86_64",
            Self::CloudHypervisor => "cloud-hypervisor",
            Self::Uml => "linux.uml",
        }
    }

    /// Its arguments for a guest with these ports, or why it cannot have them.
    pub fn arguments(self, memory: Memory, ports: &[VmPort]) -> Result<Vec<String>, String> {
        for p in ports {
            // Where a path ends in their arguments.
            let ends = if self == Self::Uml { ":" } else { "," };
            let bad = |c: &char| ends.contains(*c) || *c == char::REPLACEMENT_CHARACTER;
            if let Some(bad) = p.socket.to_string_lossy().chars().find(bad) {
                return Err(format!(
                    "{}: no monitor takes a path with {bad:?}: set `socket`",
                    p.socket.display()
                ));
            }
        }
        let mut words = match self {
            Self::Qemu => vec![
                "-machine".to_owned(),
                "q35,memory-backend=m0".to_owned(),
                "-object".to_owned(),
                format!("memory-backend-memfd,id=m0,size={memory},share=on"),
                "-m".to_owned(),
                memory.to_string(),
            ],
            Self::CloudHypervisor => vec!["--memory".to_owned(), format!("size={memory},shared=on")],
            Self::Uml => vec![format!("mem={memory}")],
        };
        for (number, p) in ports.iter().enumerate() {
            words.extend(self.port(number, p)?);
        }
        Ok(words)
    }

    fn port(self, number: usize, p: &VmPort) -> Result<Vec<String>, String> {
        let socket = p.socket.display();
        let words = match (self, &p.port.kind) {
            (Self::Qemu, PortKind::VhostUser(v)) => qemu_virtio(number, p, v),
            (Self::CloudHypervisor, PortKind::VhostUser(v)) => {
                let mtu = v.mtu.map_or_else(String::new, |m| format!(",mtu={m}"));
                vec![
                    "--net".to_owned(),
                    format!(
                        "vhost_user=true,socket={socket},mac={},num_queues={}{mtu}",
                        p.mac(),
                        2 * v.queues
                    ),
                ]
            }
            (Self::Uml, PortKind::VhostUser(_)) => vec![format!("virtio_uml.device={socket}:1")],
            (Self::Uml, _) => {
                return Err(format!("{}: User-Mode Linux has no PCI bus: use kind vhost-user", p.name()));
            }
            (Self::Qemu, _) => {
                let device =
                    json!({ "driver": "vfio-user-pci", "socket": { "path": p.socket, "type": "unix" } });
                vec!["-device".to_owned(), device.to_string()]
            }
            (Self::CloudHypervisor, _) => vec!["--user-device".to_owned(), format!("socket={socket}")],
        };
        Ok(words)
    }
}

fn qemu_virtio(number: usize, p: &VmPort, v: &VhostUserPort) -> Vec<String> {
    let socket = p.socket.to_string_lossy();
    let queues = v.queues;
    let many = if queues > 1 { format!(",mq=on,vectors={}", 2 * queues + 2) } else { String::new() };
    let mtu = v.mtu.map_or_else(String::new, |m| format!(",host_mtu={m}"));
    vec![
        "-chardev".to_owned(),
        format!("socket,id=c{number},path={socket}"),
        "-netdev".to_owned(),
        format!("vhost-user,id=n{number},chardev=c{number},queues={queues}"),
        "-device".to_owned(),
        format!("virtio-net-pci,netdev=n{number},mac={},romfile={many}{mtu}", p.mac()),
    ]
}
