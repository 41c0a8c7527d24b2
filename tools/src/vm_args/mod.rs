//! `valecast vm-args`: what to start a VM monitor with, so that its guest has these ports.
//!
//! [`find`] looks the ports up, in a running daemon or a file; [`monitor`] knows each monitor's words.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::ctl::client::{At, Failure};
use crate::ctl::show;

mod find;
mod monitor;

use find::VmPort;
use monitor::Memory;

/// More on `valecast vm-args`.
pub const HELP: &str = "\
Examples:
  valecast vm-args vale0:vm1
  valecast vm-args vale0:vm1 vale0:vm2 --memory 4G
  valecast vm-args vale0:vm1 --config vale.toml --monitor cloud-hypervisor
  eval \"qemu-system-x86_64 $(valecast vm-args vale0:vm1) -accel kvm -drive file=disk.qcow2\"

Ports of kind e1000 need QEMU 10.1 or later, or cloud-hypervisor; those of kind vhost-user any QEMU,
cloud-hypervisor, or User-Mode Linux. The guest's memory is shared with the daemon, which reads and writes packets
there: that is what the arguments about memory are for.

Exit status: 0 printed, 1 no such port, 2 the command or the file is wrong, 3 no daemon answers.";

/// What `valecast vm-args` takes.
#[derive(Debug, Args)]
pub struct VmArgs {
    /// Ports of kind e1000 or vhost-user, all for one guest.
    #[arg(value_name = "SWITCH:PORT", required = true)]
    ports: Vec<String>,
    #[command(flatten)]
    at: At,
    /// Look the ports up in this configuration, not in a running daemon.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["socket", "run_dir"])]
    config: Option<std::path::PathBuf>,
    /// Which monitor is to be started.
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Monitor::Qemu)]
    monitor: Monitor,
    /// The guest's memory.
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = Memory::parse)]
    memory: Memory,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The VM monitors that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Monitor {
    /// qemu-system-x86_64.
    Qemu,
    /// cloud-hypervisor.
    CloudHypervisor,
    /// User-Mode Linux: a kernel that is a process.
    Uml,
}

/// Prints.
pub fn run(args: &VmArgs) -> ExitCode {
    match text(args) {
        Ok(text) => {
            out!("{text}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            errln!("valecast vm-args: {failure}");
            failure.code()
        }
    }
}

fn text(args: &VmArgs) -> Result<String, Failure> {
    let found = |name: &String| find::find(name, &args.at, args.config.as_deref());
    let ports: Vec<VmPort> = args.ports.iter().map(found).collect::<Result<_, _>>()?;
    if let Some((_, twice)) = ports.iter().enumerate().find(|(at, p)| ports[..*at].contains(p)) {
        return Err(Failure::Usage(format!("port {} is named twice", twice.name())));
    }
    let words = args.monitor.arguments(args.memory, &ports).map_err(Failure::Usage)?;
    if !args.json {
        let words: Vec<String> = words.iter().map(|w| quoted(w)).collect();
        return Ok(words.join(" ") + "\n");
    }
    let ports: Vec<_> = ports.iter().map(VmPort::show).collect();
    let program = args.monitor.program();
    Ok(show::json(
        &json!({ "monitor": program, "memory": args.memory.to_string(), "ports": ports, "args": words }),
    ))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,.:/@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
