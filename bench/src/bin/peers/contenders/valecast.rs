//! Valecast itself: the daemon as a process of its own, as a user runs it.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::unistd::Pid;
use valecast_ring::client::{AttachOptions, Port};

use super::Places;
use crate::child::{self, Process};
use crate::job::{Job, Setup, Waiting};
use crate::peer::{Peer, Running, Trouble, Wire};
use crate::wires::{Endpoint, retry};

/// The contender.
pub struct Valecast {
    work: PathBuf,
    binary: PathBuf,
    command: RefCell<String>,
}

impl Valecast {
    /// The daemon that lies in cargo's release folder.
    pub fn new(places: &Places) -> Self {
        Self {
            work: places.work.clone(),
            binary: places.release.join("valecast"),
            command: RefCell::default(),
        }
    }
}

/// The switch's configuration for a setup, with so many inline ports.
pub fn toml(setup: &Setup, run_dir: &std::path::Path, inline: usize) -> String {
    let cpus = match (setup.pinned, setup.workers) {
        (false, _) => String::new(),
        (true, 1) => "cpus = [1]\n".to_owned(),
        (true, n) => format!("cpus = {:?}\n", (0..n).collect::<Vec<_>>()),
    };
    let spin = match setup.waiting {
        // Long enough that nothing under load ever sleeps; idle ports are left alone after that time.
        Waiting::Polling => "spin = \"10ms\"\n",
        Waiting::Sleeping => "spin = \"0\"\n",
        Waiting::Default => "",
    };
    let mut s = format!(
        "run_dir = {run_dir:?}\n[[switch]]\nname = \"peers\"\nworkers = {}\ninline = {inline}\n{cpus}{spin}burst = {}\n\
         memory_limit = \"16GiB\"\nmax_buckets = {}\n",
        setup.workers,
        setup.most(),
        setup.ports.max(32)
    );
    for i in 0..setup.ports {
        s += &format!("[[switch.port]]\nname = \"p{i}\"\nkind = \"ring\"\n");
    }
    for i in 0..setup.idle_ports {
        s += &format!("[[switch.port]]\nname = \"idle{i}\"\nkind = \"ring\"\nslots = 16\n");
    }
    if setup.group {
        let buckets: Vec<String> = (1..setup.ports).map(|i| format!("{{ port = \"p{i}\" }}")).collect();
        s += &format!(
            "[[switch.group]]\nname = \"all\"\naddress = \"01:00:5e:00:00:01\"\nbuckets = [{}]\n",
            buckets.join(", ")
        );
    }
    s
}

impl Peer for Valecast {
    fn name(&self) -> &'static str {
        "valecast"
    }

    fn version(&self) -> Result<String, String> {
        let said = child::run(&self.binary.to_string_lossy(), &["--version"]).map_err(|e| e.to_string())?;
        Ok(said.trim_start_matches("valecast ").to_owned())
    }

    fn about(&self) -> &'static str {
        "`valecast run` with ring ports of 1024 slots, a learning switch; worker on core 1, `burst` as the job's but at least 32, \
         `spin = \"10ms\"` where the job polls, otherwise the default"
    }

    fn can(&self, _: &Job) -> Result<(), String> {
        Ok(())
    }

    fn start(&self, setup: &Setup) -> Result<Box<dyn Running>, Trouble> {
        let folder = super::fresh(&self.work, "valecast")?;
        let (run_dir, config) = (folder.join("run"), folder.join("valecast.toml"));
        fs::write(&config, toml(setup, &run_dir, 0))?;
        let mut command = Command::new(&self.binary);
        command.arg("run").arg(&config);
        *self.command.borrow_mut() = child::shown(&command);
        let process = Process::spawn(command, &folder.join("log"))?;
        let mut running = ValecastRunning {
            process,
            socket: run_dir.join("peers.ring"),
            ports: setup.ports,
            idle: Vec::new(),
        };
        retry("valecast's socket", Duration::from_secs(10), || {
            running.process.alive().map_err(|e| e.to_string())?;
            if running.socket.exists() { Ok(()) } else { Err(format!("no {}", running.socket.display())) }
        })?;
        for i in 0..setup.idle_ports {
            running.idle.push(Port::attach(&running.socket, &format!("idle{i}"), &AttachOptions::default())?);
        }
        Ok(Box::new(running))
    }

    fn command(&self) -> String {
        self.command.borrow().clone()
    }
}

struct ValecastRunning {
    process: Process,
    socket: PathBuf,
    ports: usize,
    idle: Vec<Port>,
}

impl Running for ValecastRunning {
    fn wires(&mut self) -> Result<Vec<Box<dyn Wire>>, Trouble> {
        self.endpoints().iter().map(Endpoint::open).collect()
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let one = |i| Endpoint::Ring { socket: self.socket.clone(), port: format!("p{i}") };
        (0..self.ports).map(one).collect()
    }

    fn pids(&self) -> Vec<Pid> {
        vec![self.process.pid()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan;

    #[test]
    fn every_setup_is_a_valid_configuration() {
        for job in plan::full() {
            let text = toml(&job.setup, "/tmp/x".as_ref(), 2);
            if let Err(wrong) = valecast_config::Config::parse("peers", &text) {
                panic!("{job}: {wrong}\n{text}");
            }
        }
    }
}
