//! vde_switch.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::unistd::Pid;

use super::Places;
use crate::child::{self, Process};
use crate::job::{Job, Pattern, Setup};
use crate::peer::{Peer, Running, Trouble, Wire};
use crate::wires::{Endpoint, retry};

/// The contender.
pub struct VdeSwitch {
    work: PathBuf,
    command: RefCell<String>,
}

impl VdeSwitch {
    /// The system's.
    pub fn new(places: &Places) -> Self {
        Self { work: places.work.clone(), command: RefCell::default() }
    }
}

impl Peer for VdeSwitch {
    fn name(&self) -> &'static str {
        "vde"
    }

    fn version(&self) -> Result<String, String> {
        let said = child::run("vde_switch", &["--version"]).map_err(|e| e.to_string())?;
        Ok(said.lines().next().unwrap_or("").trim_start_matches("VDE ").to_owned())
    }

    fn about(&self) -> &'static str {
        "vde_switch on core 1; the process sends and receives up to 64 frames per system call over Unix datagram sockets"
    }

    fn can(&self, job: &Job) -> Result<(), String> {
        match job.pattern {
            Pattern::Replicate => Err("it has no groups; see broadcast".to_owned()),
            _ if job.setup.idle_ports > 0 => Err("not measured with idle ports".to_owned()),
            _ if job.setup.workers > 1 => Err("it has one thread".to_owned()),
            _ => Ok(()),
        }
    }

    fn start(&self, setup: &Setup) -> Result<Box<dyn Running>, Trouble> {
        let folder = super::fresh(&self.work, "vde")?;
        let socket = folder.join("s");
        let mut command = if setup.pinned {
            let mut c = Command::new("taskset");
            c.args(["-c", "1", "vde_switch"]);
            c
        } else {
            Command::new("vde_switch")
        };
        command.args(["-n", &(setup.ports + 4).to_string(), "-hashsize", "65536", "-s"]).arg(&socket);
        *self.command.borrow_mut() = child::shown(&command);
        let mut process = Process::spawn(command, &folder.join("log"))?;
        retry("vde_switch's socket", Duration::from_secs(5), || {
            process.alive().map_err(|e| e.to_string())?;
            if socket.join("ctl").exists() { Ok(()) } else { Err("no control socket".to_owned()) }
        })?;
        Ok(Box::new(VdeRunning { process, socket, ports: setup.ports }))
    }

    fn command(&self) -> String {
        self.command.borrow().clone()
    }
}

struct VdeRunning {
    process: Process,
    socket: PathBuf,
    ports: usize,
}

impl Running for VdeRunning {
    fn wires(&mut self) -> Result<Vec<Box<dyn Wire>>, Trouble> {
        self.endpoints().iter().map(Endpoint::open).collect()
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        vec![Endpoint::Vde { folder: self.socket.clone() }; self.ports]
    }

    fn pids(&self) -> Vec<Pid> {
        vec![self.process.pid()]
    }
}
