//! What every contender is to the harness: something that can be started in a setup and that has wires.

use std::time::Duration;

use nix::unistd::Pid;

use crate::frames::Frames;
use crate::job::{Job, Setup};
use crate::wires::Endpoint;

/// Anything that goes wrong with a contender, in words.
pub use valecast_bench::child::Trouble;

/// One end of a contender's port, held by the process that generates and sinks. Nothing but the `wait` functions blocks.
pub trait Wire {
    /// Prepares the frames that [`Self::send`] will send, in the buffers they are sent from where the interface has such.
    fn load(&mut self, frames: &Frames) -> Result<(), Trouble>;

    /// Sends up to `n` of the prepared frames as one burst; returns how many went.
    fn send(&mut self, n: u32) -> u32;

    /// Receives what is there, up to `max` frames; reads the first bytes of each.
    fn recv(&mut self, max: u32) -> u32;

    /// Sends one frame that carries `stamp` (not 0); `false` if there was no room.
    fn send_stamp(&mut self, stamp: u64) -> bool;

    /// As [`Self::recv`], and gives every stamp that is found.
    fn recv_stamps(&mut self, max: u32, found: &mut dyn FnMut(u64)) -> u32;

    /// From now on, or no longer, frames that carry a stamp are answered where they arrive, by a thread of the contender's
    /// own; `false`: whoever drives the wire answers them.
    fn answers_itself(&mut self, on: bool) -> bool {
        let _ = on;
        false
    }

    /// Sleeps until something can be received, by the contender's own means; a receiver that can wait for `many`
    /// frames at once, where the interface lets it say so, is woken for these or when no more come.
    fn wait_recv(&mut self, many: u32, timeout: Duration);

    /// Sleeps until something can be sent, by the contender's own means.
    fn wait_send(&mut self, timeout: Duration);
}

/// Two network namespaces, either with an interface that leads to the other.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// Where traffic comes from.
    pub from: String,
    /// Where it goes to.
    pub to: String,
    /// The receiver's address.
    pub address: &'static str,
}

/// A contender in a setup.
pub trait Running {
    /// Attaches to all ports, in order. Once, or again when all wires are gone and there are [`Self::endpoints`].
    fn wires(&mut self) -> Result<Vec<Box<dyn Wire>>, Trouble>;

    /// How a process of its own would attach to the ports; empty if none can.
    fn endpoints(&self) -> Vec<Endpoint>;

    /// The namespaces that it joins, for contenders that do only that.
    fn hosts(&self) -> Option<Hosts> {
        None
    }

    /// The processes of the switch.
    fn pids(&self) -> Vec<Pid>;

    /// Stops it from using any processor while others have their turn.
    fn freeze(&mut self) {
        signal(&self.pids(), nix::sys::signal::Signal::SIGSTOP);
    }

    /// Lets it go on.
    fn thaw(&mut self) {
        signal(&self.pids(), nix::sys::signal::Signal::SIGCONT);
    }
}

fn signal(pids: &[Pid], signal: nix::sys::signal::Signal) {
    for pid in pids {
        let _ = nix::sys::signal::kill(*pid, signal);
    }
}

/// A contender.
pub trait Peer {
    /// Its name in tables and in `--peers`.
    fn name(&self) -> &'static str;

    /// Its version, or why it cannot be measured here.
    fn version(&self) -> Result<String, String>;

    /// What it is configured as, in a sentence.
    fn about(&self) -> &'static str;

    /// Whether it joins network namespaces, and does nothing else.
    fn joins_namespaces(&self) -> bool {
        false
    }

    /// Whether it can do a job, or why not.
    fn can(&self, job: &Job) -> Result<(), String>;

    /// Starts it.
    fn start(&self, setup: &Setup) -> Result<Box<dyn Running>, Trouble>;

    /// The command of its last start, for the record.
    fn command(&self) -> String;
}
