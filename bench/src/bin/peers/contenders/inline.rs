//! Valecast's switch in the harness itself: the generator forwards what it sends, in its own thread.

use std::cell::RefCell;

use nix::unistd::Pid;
use valecast_config::Config;
use valecast_switch::daemon::Daemon;

use super::{Places, valecast};
use crate::job::{Job, Kind, Setup};
use crate::peer::{Peer, Running, Trouble, Wire};
use crate::wires::Endpoint;
use crate::wires::inline::{Far, NearWire};

/// The contender.
pub struct Inline {
    places: Places,
    config: RefCell<String>,
}

impl Inline {
    /// The library that this program is linked with.
    pub fn new(places: &Places) -> Self {
        Self { places: places.clone(), config: RefCell::default() }
    }
}

impl Peer for Inline {
    fn name(&self) -> &'static str {
        "valecast-inline"
    }

    fn version(&self) -> Result<String, String> {
        Ok(env!("CARGO_PKG_VERSION").to_owned())
    }

    fn about(&self) -> &'static str {
        "the same switch as a library: inline ports, so core 0 generates and forwards (one copy, from the generator's buffers \
         into the receivers' rings), and a thread on core 1 sinks; for RTT that thread answers, forwarding inline as well; the \
         switch's own worker sleeps"
    }

    fn can(&self, job: &Job) -> Result<(), String> {
        match job.kind {
            Kind::Rate if job.setup.idle_ports == 0 => Ok(()),
            Kind::Rtt { .. } => Ok(()),
            _ => Err("it is part of the generator's thread".to_owned()),
        }
    }

    fn start(&self, setup: &Setup) -> Result<Box<dyn Running>, Trouble> {
        let folder = super::fresh(&self.places.work, "valecast-inline")?;
        let text = valecast::toml(setup, &folder.join("run"), setup.ports);
        *self.config.borrow_mut() = format!("(within the harness)\n{text}");
        let daemon = Daemon::start(Config::parse("valecast.toml", &text)?, None)?;
        let near = NearWire::open(&daemon)?;
        let far = Far::open(&daemon, setup.ports)?;
        Ok(Box::new(InlineRunning { near: Some(near), far, daemon }))
    }

    fn command(&self) -> String {
        self.config.borrow().clone()
    }
}

struct InlineRunning {
    near: Option<NearWire>,
    far: Far,
    daemon: Daemon,
}

impl Running for InlineRunning {
    fn wires(&mut self) -> Result<Vec<Box<dyn Wire>>, Trouble> {
        let near = self.near.take().ok_or("its ports are attached already")?;
        let far = self.far.wires().into_iter().map(|w| Box::new(w) as Box<dyn Wire>);
        Ok([Box::new(near) as Box<dyn Wire>].into_iter().chain(far).collect())
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        Vec::new()
    }

    fn pids(&self) -> Vec<Pid> {
        Vec::new()
    }

    fn freeze(&mut self) {
        self.far.rest();
    }

    fn thaw(&mut self) {
        self.far.sink();
    }
}

impl Drop for InlineRunning {
    fn drop(&mut self) {
        self.far.end();
        self.daemon.stop();
    }
}
