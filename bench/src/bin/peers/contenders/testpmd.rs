//! DPDK's testpmd, forwarding between two memifs. It looks nothing up: what comes in at one port leaves at the other.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::Pid;

use super::Places;
use crate::child::{self, Process};
use crate::job::{Job, Kind, Pattern, Setup, Waiting};
use crate::memif::link::{Introduced, Listener};
use crate::peer::{Peer, Running, Trouble, Wire};
use crate::wires::memif::MemifWire;
use crate::wires::{Endpoint, retry};

/// The contender.
pub struct Testpmd {
    name: &'static str,
    work: PathBuf,
    /// The folder of a Debian 13 that the program and its libraries are in; none: this system's own.
    root: Option<PathBuf>,
    zero_copy: bool,
    command: RefCell<String>,
}

impl Testpmd {
    /// DPDK 22.11 of this system.
    pub fn debian12(places: &Places, zero_copy: bool) -> Self {
        let name = if zero_copy { "testpmd-22.11-zc" } else { "testpmd-22.11" };
        Self { name, work: places.work.clone(), root: None, zero_copy, command: RefCell::default() }
    }

    /// DPDK 24.11 in a folder.
    pub fn debian13(places: &Places, zero_copy: bool) -> Self {
        let name = if zero_copy { "testpmd-24.11-zc" } else { "testpmd-24.11" };
        let root = Some(places.trixie.clone());
        Self { name, work: places.work.clone(), root, zero_copy, command: RefCell::default() }
    }

    fn program(&self) -> Result<(Command, PathBuf), String> {
        program(self.root.as_deref(), "usr/bin/dpdk-testpmd")
    }
}

/// A program of this system or of a Debian in a folder, started by that Debian's own loader, and the folder of its
/// DPDK drivers.
pub fn program(root: Option<&Path>, path: &str) -> Result<(Command, PathBuf), String> {
    let base = root.unwrap_or(Path::new("/"));
    let binary = base.join(path);
    if !binary.exists() {
        return Err(format!("no {}", binary.display()));
    }
    let lib = base.join("usr/lib/x86_64-linux-gnu");
    let pmds = std::fs::read_dir(lib.join("dpdk"))
        .ok()
        .and_then(|mut d| {
            d.find_map(|e| e.ok().map(|e| e.path()).filter(|p| p.join("librte_net_memif.so").exists()))
        })
        .ok_or_else(|| format!("no memif driver under {}", lib.join("dpdk").display()))?;
    let mut command = Command::new(&binary);
    if root.is_some() {
        command = Command::new(base.join("usr/lib64/ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&lib).arg(&binary);
    }
    Ok((command, pmds))
}

impl Peer for Testpmd {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> Result<String, String> {
        let (mut command, _) = self.program()?;
        let out = command.args(["--version"]).output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        let version = text
            .lines()
            .find_map(|l| l.split("DPDK ").nth(1))
            .map(|v| v.trim_matches(['\'', ' ']).to_owned());
        Ok(version.unwrap_or_else(|| self.name.trim_start_matches("testpmd-").to_owned()))
    }

    fn about(&self) -> &'static str {
        if self.zero_copy {
            "testpmd, io forward (no look-up, no learning) on core 1 between two memifs that lend out its own buffers \
             (`zero-copy=yes`), so that the generator copies each frame in; `--burst` as the job's but at least 32, hugepages"
        } else {
            "testpmd, io forward (no look-up, no learning) on core 1 between two memifs (1024 slots); it copies each frame \
             out of the generator's and into the receiver's buffers; `--burst` as the job's but at least 32, hugepages"
        }
    }

    fn can(&self, job: &Job) -> Result<(), String> {
        let Setup { ports, idle_ports, workers, waiting, .. } = job.setup;
        match (job.kind, job.pattern) {
            (Kind::Split { .. }, _) if self.zero_copy => {
                Err("it connects to its peers only when it starts, so they cannot come later".to_owned())
            }
            (Kind::Attach | Kind::Memory, _) => Err("its ports are fixed when it starts".to_owned()),
            _ if waiting == Waiting::Sleeping => Err("it never sleeps".to_owned()),
            (_, Pattern::Replicate) => Err("it cannot replicate".to_owned()),
            (_, Pattern::Broadcast) if ports > 2 => Err("it forwards from port to port only".to_owned()),
            _ if ports > 2 || idle_ports > 0 || workers > 1 => {
                Err("it forwards between two ports only".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn start(&self, setup: &Setup) -> Result<Box<dyn Running>, Trouble> {
        let folder = super::fresh(&self.work, self.name)?;
        let (mut command, pmds) = self.program()?;
        let sockets: Vec<PathBuf> = (0..2).map(|i| folder.join(format!("m{i}"))).collect();
        // Both run on core 1 (the main thread only sleeps) unless the scheduler is to place all.
        if setup.pinned {
            command.args(["--lcores", "0@0,1@1"]);
        } else {
            command.args(["--lcores", "0@(0-1),1@(0-1)"]);
        }
        command.args(["--in-memory", "--no-pci", "--no-telemetry", "--single-file-segments", "-m", "192"]);
        command.arg("-d").arg(pmds);
        let mut listeners = Vec::new();
        for (i, socket) in sockets.iter().enumerate() {
            let role = if self.zero_copy { "role=client,zero-copy=yes" } else { "role=server" };
            let path = socket.display();
            command.arg(format!(
                "--vdev=net_memif{i},{role},id=0,socket={path},socket-abstract=no,rsize=10,bsize=2048"
            ));
            if self.zero_copy {
                listeners.push(Listener::new(socket)?);
            }
        }
        let burst = setup.most().min(512);
        command.args([
            "--",
            "--forward-mode=io",
            "--auto-start",
            "--no-lsc-interrupt",
            "--disable-link-check",
        ]);
        command.args([format!("--burst={burst}"), "--total-num-mbufs=16384".to_owned()]);
        *self.command.borrow_mut() = child::shown(&command);
        let process = Process::spawn(command, &folder.join("log"))?;
        Ok(Box::new(TestpmdRunning { process, sockets, listeners }))
    }

    fn command(&self) -> String {
        self.command.borrow().clone()
    }
}

struct TestpmdRunning {
    process: Process,
    sockets: Vec<PathBuf>,
    /// Where it connects to us.
    listeners: Vec<Listener>,
}

impl Running for TestpmdRunning {
    fn wires(&mut self) -> Result<Vec<Box<dyn Wire>>, Trouble> {
        let mut wires: Vec<Box<dyn Wire>> = Vec::new();
        // Once connected, DPDK closes the file of the memory that it lends out, which is the same one for both
        // memifs: the first must not hear that it is connected before the second has sent that file.
        let accepted: Result<Vec<Introduced>, _> = self.listeners.iter().map(Listener::accept).collect();
        for switch in accepted.map_err(|e| format!("{e}; it said:\n{}", self.process.said()))? {
            wires.push(Box::new(MemifWire::welcome(switch)?));
        }
        for end in self.endpoints() {
            let open = || {
                self.process.alive()?;
                end.open()
            };
            wires.push(retry("memif", Duration::from_secs(10), open)?);
        }
        Ok(wires)
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        if !self.listeners.is_empty() {
            return Vec::new();
        }
        self.sockets.iter().map(|s| Endpoint::Memif { socket: s.clone(), id: 0, queue: 0 }).collect()
    }

    fn pids(&self) -> Vec<Pid> {
        vec![self.process.pid()]
    }
}
