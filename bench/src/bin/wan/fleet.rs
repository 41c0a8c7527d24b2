//! Many transfers: each is sent by a process of its own when it is due, and compared at each receiver when it is done.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use valecast_bench::child::{Process, Trouble};
use valecast_bench::run::StopFlag;
use valecast_qc_dataplane::graph::Node;

use crate::contenders::same;
use crate::net::Net;
use crate::rig::Rig;

/// A transfer.
#[derive(Clone, Debug)]
pub struct Order {
    /// When it starts, in seconds.
    pub due: f64,
    /// The sender.
    pub from: Node,
    /// The receivers.
    pub to: Vec<Node>,
    /// The file, of a name that no other has.
    pub file: PathBuf,
}

/// What is the same for all.
pub struct Fleet<'a> {
    /// The network.
    pub net: &'a Net,
    /// What it runs on.
    pub rig: &'a Rig,
    /// The receivers' folders: one for each site, by its name.
    pub folders: &'a Path,
    /// The controller's scheme.
    pub scheme: &'a str,
    /// Senders at once.
    pub at_once: usize,
    /// How long all may take.
    pub patience: Duration,
    /// Ctrl-C.
    pub stop: &'a StopFlag,
}

impl Fleet<'_> {
    /// Starts a receiver at each of these sites.
    pub fn receivers(&self, sites: impl IntoIterator<Item = Node>) -> Result<Vec<Process>, Trouble> {
        let mut receivers = Vec::new();
        for node in sites {
            let folder = self.folder(node);
            std::fs::create_dir_all(&folder)?;
            let words = ["recv", "--dir", &folder.display().to_string()];
            receivers.push(self.rig.endpoint(node, &words, &format!("recv-{node}.log"))?);
        }
        self.rig.wait_receivers(receivers.len())?;
        Ok(receivers)
    }

    fn folder(&self, node: Node) -> PathBuf {
        self.folders.join(self.net.graph.name(node))
    }

    /// Sends all; what has arrived is compared, and removed with what was sent. Returns the seconds that each took for its
    /// sender, or what went wrong: one that fails does not end the others.
    pub fn run(&self, orders: &[Order], mut look: impl FnMut()) -> Result<Vec<Result<f64, String>>, Trouble> {
        let began = Instant::now();
        let mut ends: Vec<Result<f64, String>> = vec![Err("it was not done in time".into()); orders.len()];
        let mut running: Vec<(usize, Instant, Process)> = Vec::new();
        let mut next = 0;
        while next < orders.len() || !running.is_empty() {
            while let Some(order) = orders.get(next)
                && running.len() < self.at_once
                && began.elapsed().as_secs_f64() >= order.due
            {
                running.push((next, Instant::now(), self.send(order, next)?));
                next += 1;
            }
            let mut still = Vec::new();
            for (i, since, mut process) in running {
                let end = match process.ended() {
                    Ok(false) => {
                        still.push((i, since, process));
                        continue;
                    }
                    Ok(true) => {
                        let seconds = since.elapsed().as_secs_f64();
                        self.check(&orders[i]).map(|()| seconds)
                    }
                    Err(e) => Err(e),
                };
                ends[i] = end.map_err(|e| e.to_string());
                if let Err(e) = &ends[i] {
                    eprintln!("transfer {i}: {e}");
                }
            }
            running = still;
            if self.stop.is_set() || began.elapsed() > self.patience {
                return Ok(ends);
            }
            look();
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(ends)
    }

    fn send(&self, order: &Order, i: usize) -> Result<Process, Trouble> {
        let to = order.to.iter().map(|n| self.net.graph.name(*n)).collect::<Vec<_>>().join(",");
        let file = order.file.display().to_string();
        let words = ["send", &file, "--to", &to, "--scheme", self.scheme, "--wait"];
        self.rig.endpoint(order.from, &words, &format!("send-{i}.log"))
    }

    fn check(&self, order: &Order) -> Result<(), Trouble> {
        let name = order.file.file_name().unwrap_or_default();
        for &node in &order.to {
            let place = self.folder(node).join(name);
            same(&order.file, &place)?;
            std::fs::remove_file(&place)?;
        }
        std::fs::remove_file(&order.file)?;
        Ok(())
    }
}
