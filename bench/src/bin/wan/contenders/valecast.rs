//! Valecast: a daemon at each site, the controller, and an endpoint at the sender and each receiver.

use std::path::{Path, PathBuf};
use std::time::Instant;

use valecast_bench::child::{Trouble, run};

use super::{Contender, Job, Run, carried, same, wait_each};
use crate::frames::{HEADROOM, OVERHEAD};
use crate::plan::planned;
use crate::rig::{Links, Rig, Settings};
use crate::wan::{Sites, Wan};

/// A scheme: its name here, for the controller and for the planner, and what it is.
#[derive(Debug)]
pub struct Scheme {
    name: &'static str,
    controller: &'static str,
    planner: &'static str,
    about: &'static str,
}

/// The contender, with one of its schemes.
pub struct Valecast {
    scheme: &'static Scheme,
    release: PathBuf,
}

impl Valecast {
    /// All, in the tables' order.
    pub const SCHEMES: [Scheme; 5] = [
        Scheme {
            name: "unicast",
            controller: "unicast",
            planner: "unicast",
            about: "Valecast, a flow for each receiver",
        },
        Scheme {
            name: "single",
            controller: "single",
            planner: "single",
            about: "Valecast, one tree for all receivers",
        },
        Scheme {
            name: "quickcast2",
            controller: "quickcast2",
            planner: "quickcast2",
            about: "Valecast, two partitions at most, a tree for each",
        },
        Scheme {
            name: "quickcast",
            controller: "quickcast",
            planner: "paper",
            about: "Valecast, as many partitions as the budget allows, as published",
        },
        Scheme {
            name: "best",
            controller: "best",
            planner: "best",
            about: "Valecast, as it plans when nothing is said",
        },
    ];

    /// One of [`Self::SCHEMES`], by the program that lies in `release`.
    pub fn new(scheme: &'static Scheme, release: &Path) -> Self {
        Self { scheme, release: release.to_owned() }
    }
}

impl Contender for Valecast {
    fn name(&self) -> &'static str {
        self.scheme.name
    }

    fn about(&self) -> &'static str {
        self.scheme.about
    }

    fn version(&self) -> Result<String, String> {
        let program = self.release.join("valecast").display().to_string();
        run(&program, &["--version"]).map_err(|e| e.to_string())
    }

    fn run(&self, job: &Job<'_>) -> Result<Run, Trouble> {
        let wan = Wan::build(job.net, Sites::Bare)?;
        let rig = Rig::start(
            job.net,
            Links::Wan(&wan),
            &Settings::default(),
            &self.release,
            &job.work.join("rig"),
        )?;
        let mut receivers = Vec::new();
        for &node in job.to {
            let folder = job.folder(node)?.display().to_string();
            let log = format!("recv-{node}.log");
            receivers.push(rig.endpoint(node, &["recv", "--dir", &folder], &log)?);
        }
        rig.wait_receivers(job.to.len())?;
        let name = job.file.file_name().unwrap_or_default();
        let before = wan.carried()?;
        let to = job.to.iter().map(|n| job.net.graph.name(*n)).collect::<Vec<_>>().join(",");
        let file = job.file.display().to_string();
        let words = ["send", &file, "--to", &to, "--scheme", self.scheme.controller, "--wait"];
        let began = Instant::now();
        let mut sender = rig.endpoint(job.from, &words, "send.log")?;
        let mut places = std::collections::BTreeMap::new();
        for &node in job.to {
            places.insert(node, job.folder(node)?.join(name));
        }
        // A file appears under its name when its hash is right.
        let seconds = wait_each(job, began, job.to.to_vec(), |node| {
            let there = places.get(&node).is_none_or(|p| p.exists());
            if !there && sender.ended()? {
                return Err(format!("the sender ended before; it said:\n{}", sender.said()).into());
            }
            Ok(there)
        })?;
        sender.wait(job.patience)?;
        let links = carried(job.net, &before, &wan.carried()?);
        let dropped = wan.dropped()?;
        for place in places.values() {
            same(job.file, place)?;
        }
        let net = job.net.with_headroom(HEADROOM)?;
        let bytes = job.bytes as f64 * OVERHEAD;
        let planned = Some(planned(&net, self.scheme.planner, job.from, job.to, bytes)?);
        Ok(Run { seconds, links, dropped, planned })
    }
}
