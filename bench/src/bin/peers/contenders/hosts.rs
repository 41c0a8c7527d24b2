//! Two network namespaces, joined in every way that there is: by Valecast's TAP, AF_XDP and packet ports, by the
//! kernel's bridge, and by a bare pump between two TAP interfaces, which no switch on TAPs can do with less than.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::unistd::Pid;

use super::Places;
use crate::child::{self, Process};
use crate::job::{Job, Setup};
use crate::peer::{Hosts, Peer, Running, Trouble, Wire};
use crate::wires::{Endpoint, retry};

/// How they are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Valecast with a TAP port in each.
    Tap,
    /// Valecast with xdp ports on veth pairs.
    Xdp,
    /// Valecast with packet ports on veth pairs.
    Packet,
    /// The kernel's bridge with veth pairs.
    Bridge,
    /// A TAP in each, and a loop that reads and writes.
    Pump,
}

/// The contender.
pub struct Joined {
    way: Way,
    work: PathBuf,
    release: PathBuf,
    command: RefCell<String>,
}

impl Joined {
    /// With the programs in cargo's release folder.
    pub fn new(places: &Places, way: Way) -> Self {
        let (work, release) = (places.work.clone(), places.release.clone());
        Self { way, work, release, command: RefCell::default() }
    }

    fn program(&self) -> Option<PathBuf> {
        let name = match self.way {
            Way::Bridge => return None,
            Way::Pump => "tappump",
            _ => "valecast",
        };
        Some(self.release.join(name))
    }
}

impl Peer for Joined {
    fn name(&self) -> &'static str {
        match self.way {
            Way::Tap => "valecast-tap",
            Way::Xdp => "valecast-xdp",
            Way::Packet => "valecast-packet",
            Way::Bridge => "bridge-hosts",
            Way::Pump => "tap-pump",
        }
    }

    fn version(&self) -> Result<String, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("making network namespaces needs root".to_owned());
        }
        for need in ["ip", "iperf3"] {
            child::run(need, &["-V"]).or_else(|_| child::run(need, &["-v"])).map_err(|e| e.to_string())?;
        }
        let programs = self.program().into_iter().chain([self.release.join("udpload")]);
        for program in programs {
            if !program.exists() {
                return Err(format!("no {}: build it with `cargo build --release`", program.display()));
            }
        }
        Ok(env!("CARGO_PKG_VERSION").to_owned())
    }

    fn about(&self) -> &'static str {
        match self.way {
            Way::Tap => "`valecast run` with a TAP port in either namespace, at its defaults",
            Way::Xdp => "`valecast run` with xdp ports on two veth pairs, at its defaults",
            Way::Packet => "`valecast run` with packet ports on two veth pairs, at its defaults",
            Way::Bridge => "the kernel's bridge between two veth pairs; it forwards in the sender's context",
            Way::Pump => {
                "reads from one TAP, writes to the other, a thread for each direction; offload headers as they are"
            }
        }
    }

    fn joins_namespaces(&self) -> bool {
        true
    }

    fn can(&self, _: &Job) -> Result<(), String> {
        Ok(())
    }

    fn start(&self, _: &Setup) -> Result<Box<dyn Running>, Trouble> {
        let folder = super::fresh(&self.work, self.name())?;
        let mut joined = JoinedRunning { spaces: Spaces::new()?, process: None };
        let spaces = &joined.spaces;
        match self.way {
            Way::Tap | Way::Pump => {}
            _ => spaces.veths(self.way == Way::Bridge)?,
        }
        if let Some(program) = self.program() {
            let mut command = Command::new(program);
            if self.way == Way::Pump {
                command.args([0, 1].map(|i| format!("{}/eth0", spaces.hosts[i])));
            } else {
                let config = folder.join("valecast.toml");
                fs::write(&config, toml(self.way, spaces, &folder.join("run")))?;
                command.arg("run").arg(&config);
            }
            *self.command.borrow_mut() = child::shown(&command);
            let mut process = Process::spawn(command, &folder.join("log"))?;
            if self.way == Way::Pump {
                process.wait_for("ready", Duration::from_secs(10))?;
            } else {
                let socket = folder.join("run/hosts.sock");
                retry("valecast's socket", Duration::from_secs(10), || {
                    process.alive().map_err(|e| e.to_string())?;
                    if socket.exists() { Ok(()) } else { Err(format!("no {}", socket.display())) }
                })?;
            }
            joined.process = Some(process);
        } else {
            *self.command.borrow_mut() = "ip link add br0 type bridge".to_owned();
        }
        joined.spaces.configure()?;
        Ok(Box::new(joined))
    }

    fn command(&self) -> String {
        self.command.borrow().clone()
    }
}

fn toml(way: Way, spaces: &Spaces, run_dir: &Path) -> String {
    let mut s = format!("run_dir = {run_dir:?}\n[[switch]]\nname = \"hosts\"\n");
    for (i, host) in spaces.hosts.iter().enumerate() {
        s += &match way {
            Way::Tap => format!(
                "[[switch.port]]\nname = \"p{i}\"\nkind = \"tap\"\nnetns = \"{host}\"\nifname = \"eth0\"\n"
            ),
            _ => format!(
                "[[switch.port]]\nname = \"p{i}\"\nkind = \"{}\"\nnetns = \"{}\"\ninterface = \"sw{i}\"\n",
                if way == Way::Xdp { "xdp" } else { "packet" },
                spaces.middle
            ),
        };
    }
    s
}

/// Two hosts and what is between them; gone with this value.
struct Spaces {
    hosts: [String; 2],
    middle: String,
}

const ADDRESSES: [&str; 2] = ["10.91.0.1", "10.91.0.2"];

impl Spaces {
    fn new() -> Result<Self, Trouble> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("vcpeers-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let spaces = Self { hosts: [format!("{id}-a"), format!("{id}-b")], middle: format!("{id}-m") };
        for ns in spaces.all() {
            child::run("ip", &["netns", "add", ns])?;
            let quiet = "net.ipv6.conf.default.disable_ipv6=1";
            child::run("ip", &["netns", "exec", ns, "sysctl", "-qw", quiet])?;
        }
        Ok(spaces)
    }

    fn all(&self) -> [&str; 3] {
        [&self.hosts[0], &self.hosts[1], &self.middle]
    }

    /// A cable from either host into the middle, and a bridge there if wanted.
    fn veths(&self, bridge: bool) -> Result<(), Trouble> {
        let middle = |words: &[&str]| child::run("ip", &[&["-n", self.middle.as_str()], words].concat());
        if bridge {
            middle(&["link", "add", "br0", "type", "bridge"])?;
            middle(&["link", "set", "br0", "up"])?;
        }
        for (i, host) in self.hosts.iter().enumerate() {
            let end = format!("sw{i}");
            middle(&["link", "add", &end, "type", "veth", "peer", "name", "eth0", "netns", host])?;
            if bridge {
                middle(&["link", "set", &end, "master", "br0"])?;
            }
            middle(&["link", "set", &end, "up"])?;
        }
        Ok(())
    }

    /// The hosts' addresses; returns once one reaches the other.
    fn configure(&self) -> Result<(), Trouble> {
        for (host, address) in self.hosts.iter().zip(ADDRESSES) {
            let ip = |words: &[&str]| child::run("ip", &[&["-n", host.as_str()], words].concat());
            ip(&["addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
            ip(&["link", "set", "eth0", "up"])?;
        }
        let ping = ["netns", "exec", &self.hosts[0], "ping", "-c", "1", "-W", "1", ADDRESSES[1]];
        retry("the other host", Duration::from_secs(10), || {
            child::run("ip", &ping).map(drop).map_err(|e| e.to_string())
        })
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for ns in self.all() {
            let _ = child::run("ip", &["netns", "del", ns]);
        }
    }
}

struct JoinedRunning {
    // Before the namespaces: its interfaces are in them.
    process: Option<Process>,
    spaces: Spaces,
}

impl Running for JoinedRunning {
    fn wires(&mut self) -> Result<Vec<Box<dyn Wire>>, Trouble> {
        Ok(Vec::new())
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        Vec::new()
    }

    fn hosts(&self) -> Option<Hosts> {
        let [from, to] = self.spaces.hosts.clone();
        Some(Hosts { from, to, address: ADDRESSES[1] })
    }

    fn pids(&self) -> Vec<Pid> {
        self.process.iter().map(Process::pid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_a_valid_configuration() {
        let hosts = ["x-a".to_owned(), "x-b".to_owned()];
        let spaces = std::mem::ManuallyDrop::new(Spaces { hosts, middle: "x-m".to_owned() });
        for way in [Way::Tap, Way::Xdp, Way::Packet] {
            let text = toml(way, &spaces, "/tmp/x".as_ref());
            if let Err(wrong) = valecast_config::Config::parse("hosts", &text) {
                panic!("{way:?}: {wrong}\n{text}");
            }
        }
    }
}
