//! The kernel's bridge, in a namespace of its own, with ports of veth pairs or of TAP interfaces.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::unistd::Pid;

use super::Places;
use crate::child::run;
use crate::job::{Job, Kind, Pattern, Setup};
use crate::peer::{Peer, Running, Trouble, Wire};
use crate::wires::Endpoint;

/// The contender.
pub struct Bridge {
    tap: bool,
    command: RefCell<String>,
}

impl Bridge {
    /// Ports are veth pairs; the process has packet sockets on their other ends.
    pub fn veth(_: &Places) -> Self {
        Self { tap: false, command: RefCell::default() }
    }

    /// Ports are TAP interfaces; the process has their files.
    pub fn tap(_: &Places) -> Self {
        Self { tap: true, command: RefCell::default() }
    }
}

impl Peer for Bridge {
    fn name(&self) -> &'static str {
        if self.tap { "bridge-tap" } else { "bridge-veth" }
    }

    fn version(&self) -> Result<String, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("making bridges needs root".to_owned());
        }
        run("ip", &["-V"]).map_err(|e| e.to_string())?;
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(format!("Linux {}", release.trim()))
    }

    fn about(&self) -> &'static str {
        if self.tap {
            "the kernel's bridge between TAP interfaces; one system call per frame; it forwards on the sender's core"
        } else {
            "the kernel's bridge between veth pairs; packet sockets, up to 64 frames per system call; it forwards on the \
             sender's core"
        }
    }

    fn can(&self, job: &Job) -> Result<(), String> {
        match (job.kind, job.pattern) {
            (_, Pattern::Replicate) => Err("it has no groups; see broadcast".to_owned()),
            (Kind::Idle | Kind::Steady { .. } | Kind::Memory, _) => {
                Err("it is no process: its time and memory are the kernel's".to_owned())
            }
            _ if job.setup.idle_ports > 0 => Err("not measured with idle ports".to_owned()),
            (Kind::Scale { .. }, _) => Err("it has no workers".to_owned()),
            _ => Ok(()),
        }
    }

    fn start(&self, setup: &Setup) -> Result<Box<dyn Running>, Trouble> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("vcpeers-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let running = BridgeRunning {
            inner: format!("{id}-br"),
            outer: format!("{id}-ends"),
            tap: self.tap,
            ports: setup.ports,
        };
        running.build()?;
        *self.command.borrow_mut() = format!(
            "ip link add br0 type bridge; ip link add … type {}",
            if self.tap { "tap" } else { "veth" }
        );
        Ok(Box::new(running))
    }

    fn command(&self) -> String {
        self.command.borrow().clone()
    }
}

struct BridgeRunning {
    /// The namespace of the bridge.
    inner: String,
    /// The namespace of the veth pairs' other ends.
    outer: String,
    tap: bool,
    ports: usize,
}

impl BridgeRunning {
    fn build(&self) -> Result<(), Trouble> {
        let (inner, outer) = (self.inner.as_str(), self.outer.as_str());
        for ns in [inner, outer] {
            run("ip", &["netns", "add", ns])?;
            // No chatter of the ends' own.
            let quiet = "net.ipv6.conf.default.disable_ipv6=1";
            run("ip", &["netns", "exec", ns, "sysctl", "-qw", quiet])?;
        }
        let br = |words: &[&str]| run("ip", &[&["-n", inner], words].concat());
        // Without snooping: the group address of the jobs is an ordinary multicast address here.
        br(&["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"])?;
        br(&["link", "set", "br0", "up"])?;
        for i in 0..self.ports {
            let (b, e) = (format!("b{i}"), format!("e{i}"));
            if self.tap {
                br(&["tuntap", "add", "dev", &b, "mode", "tap"])?;
                br(&["link", "set", &b, "txqueuelen", "4096"])?;
            } else {
                br(&["link", "add", &b, "type", "veth", "peer", "name", &e, "netns", outer])?;
                run("ip", &["-n", outer, "link", "set", &e, "up"])?;
            }
            br(&["link", "set", &b, "master", "br0", "up"])?;
        }
        Ok(())
    }
}

impl Running for BridgeRunning {
    fn wires(&mut self) -> Result<Vec<Box<dyn Wire>>, Trouble> {
        let wires = self.endpoints().iter().map(Endpoint::open).collect();
        // A port forwards once its carrier has been seen.
        std::thread::sleep(std::time::Duration::from_millis(200));
        wires
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let one = |i| {
            if self.tap {
                Endpoint::Tap { netns: self.inner.clone(), ifname: format!("b{i}") }
            } else {
                Endpoint::Packet { netns: self.outer.clone(), ifname: format!("e{i}") }
            }
        };
        (0..self.ports).map(one).collect()
    }

    fn pids(&self) -> Vec<Pid> {
        Vec::new()
    }
}

impl Drop for BridgeRunning {
    fn drop(&mut self) {
        for ns in [&self.inner, &self.outer] {
            let _ = run("ip", &["netns", "del", ns]);
        }
    }
}
