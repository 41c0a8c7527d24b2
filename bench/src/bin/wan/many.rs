//! Part `many`: very many small transfers, and a hundred large ones at once. All have to be verified; what is measured is
//! what the controller uses.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use valecast_bench::child::Trouble;
use valecast_bench::run::StopFlag;
use valecast_bench::stats::Summary;

use crate::fleet::{Fleet, Order};
use crate::net::Net;
use crate::rig::{Links, Rig, Settings};
use crate::rounds::random_file;
use crate::usage::{cpu_seconds, peak_mib};

/// Files that differ; transfers have one of them each, under names of their own.
const DIFFERENT: usize = 16;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// What it is called.
    pub name: &'static str,
    /// Transfers.
    pub transfers: usize,
    /// Bytes of each.
    pub bytes: u64,
    /// At once.
    pub at_once: usize,
}

/// What came of it: all transfers are verified, or there is none.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// What it is called.
    pub name: &'static str,
    /// Transfers.
    pub transfers: usize,
    /// Bytes of each.
    pub bytes: u64,
    /// At once.
    pub at_once: usize,
    /// All together.
    pub seconds: f64,
    /// Of each, for its sender.
    pub each: Summary,
    /// Processor time of the controller.
    pub controller_cpu: f64,
    /// The most memory that the controller ever had, in MiB.
    pub controller_mib: f64,
    /// The same of the daemon with the switches.
    pub daemon_cpu: f64,
    /// In MiB.
    pub daemon_mib: f64,
}

/// Runs it on `net`: from its first site to two others in turn.
pub fn run(net: &Net, task: Task, release: &Path, work: &Path, stop: &StopFlag) -> Result<Outcome, Trouble> {
    let rig = Rig::start(net, Links::Patch, &Settings::default(), release, &work.join("rig"))?;
    let (files, folders) = (work.join("files"), work.join("at"));
    std::fs::create_dir_all(&files)?;
    for i in 0..DIFFERENT.min(task.transfers) {
        random_file(&files.join(format!("content-{i}")), task.bytes + i as u64)?;
    }
    let from = net.site("S")?;
    let to = ["t1", "t2", "t3", "t4"].map(|t| net.site(t)).into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut orders = Vec::new();
    for i in 0..task.transfers {
        let file = files.join(format!("file-{i}"));
        std::fs::hard_link(files.join(format!("content-{}", i % DIFFERENT)), &file)?;
        let to = vec![to[i % to.len()], to[(i + 1) % to.len()]];
        orders.push(Order { due: 0.0, from, to, file });
    }
    let patience = Duration::from_secs(3600);
    let fleet = Fleet {
        net,
        rig: &rig,
        folders: &folders,
        scheme: "quickcast",
        at_once: task.at_once,
        patience,
        stop,
    };
    let _receivers = fleet.receivers(to)?;
    let (controller, daemon) = (rig.controller.pid(), rig.daemons[0].pid());
    let used = |pid| cpu_seconds(pid).unwrap_or(f64::NAN);
    let before = (used(controller), used(daemon));
    let began = Instant::now();
    let ends = fleet.run(&orders, || ())?;
    let each = ends.into_iter().enumerate().map(|(i, e)| e.map_err(|e| format!("transfer {i}: {e}")));
    let each = each.collect::<Result<Vec<f64>, _>>()?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Outcome {
        name: task.name,
        transfers: task.transfers,
        bytes: task.bytes,
        at_once: task.at_once,
        seconds,
        each: Summary::of(each).ok_or("no transfers")?,
        controller_cpu: used(controller) - before.0,
        controller_mib: peak_mib(controller).unwrap_or(f64::NAN),
        daemon_cpu: used(daemon) - before.1,
        daemon_mib: peak_mib(daemon).unwrap_or(f64::NAN),
    })
}

/// In a line.
pub fn text(o: &Outcome) -> String {
    format!(
        "{}: {} transfers of {} bytes to 2 sites each, {} at once: all verified in {:.0} s; each {:.2} s (up to {:.2} s); \
         controller {:.1} s of processor time, {:.0} MiB at most; daemon {:.1} s, {:.0} MiB\n",
        o.name,
        o.transfers,
        o.bytes,
        o.at_once,
        o.seconds,
        o.each.median,
        o.each.max,
        o.controller_cpu,
        o.controller_mib,
        o.daemon_cpu,
        o.daemon_mib
    )
}
