//! The rounds: every contender does every job once per round, in turn, so that whatever the machine does falls on all.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use valecast_bench::StopFlag;

use crate::child;
use crate::costs;
use crate::cpu;
use crate::drive::{self, Figures};
use crate::job::{Job, Kind, Setup};
use crate::latency;
use crate::namespaces;
use crate::noise::{Noise, Reading};
use crate::peer::{Peer, Running, Trouble, Wire};
use crate::placement::{Class, Probe};
use crate::raw::probes::PROBES;
use crate::results::{Results, Sample};
use crate::split;

/// How to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds.
    pub rounds: usize,
    /// Measured time of a run.
    pub time: Duration,
    /// Start contenders once per setup instead of once per round.
    pub keep: bool,
    /// Where the cores must be for a run to count; none: anywhere.
    pub class: Option<Class>,
    /// Longest wait for that, for one run.
    pub patience: Duration,
    /// Longest wait for that in all; then runs are taken where the cores are, and marked.
    pub waiting: Duration,
    /// For files.
    pub work: PathBuf,
}

/// Before each measurement.
const WARM_UP: Duration = Duration::from_millis(20);
/// A run that was disturbed is repeated so often,
const ATTEMPTS: u32 = 6;
/// or so often when all waiting has been used up, so that a restless host costs no more than that.
const HURRIED: u32 = 2;

/// A contender that has been started.
struct Active<'a> {
    peer: &'a dyn Peer,
    running: Box<dyn Running>,
    wires: Vec<Box<dyn Wire>>,
}

impl Active<'_> {
    /// Attaches, unless that is done.
    fn attach(&mut self) -> Result<(), Trouble> {
        if self.wires.is_empty() {
            self.wires = self.running.wires()?;
        }
        Ok(())
    }

    /// Leaves the ports to others.
    fn detach(&mut self) {
        if !self.wires.is_empty() {
            self.wires.clear();
            std::thread::sleep(Duration::from_millis(60));
        }
    }

    /// One of its processes is no longer there.
    fn has_ended(&self) -> bool {
        self.running.pids().into_iter().any(|pid| !child::runs(pid))
    }
}

/// Measures all jobs.
pub fn all(jobs: &[Job], peers: &[Box<dyn Peer>], plan: &Plan, stop: &StopFlag) -> Results {
    let mut results = Results::default();
    let mut watch = Watch { probe: Probe::new(), waiting: plan.waiting };
    for group in jobs.chunk_by(|a, b| a.setup == b.setup) {
        let mut active: Vec<Active<'_>> = Vec::new();
        for round in 0..plan.rounds {
            if active.is_empty() || !plan.keep || active.iter().any(Active::has_ended) {
                active.clear();
                active = start(group, peers, &mut results, round);
            }
            for job in group {
                if stop.is_set() {
                    results.interrupted = true;
                    return results;
                }
                for p in PROBES.iter().filter(|p| (p.fits)(job)) {
                    let mut run = || (p.run)(job, plan.time);
                    measure(job, p.name, round, plan, &mut watch, &mut results, &mut Bare(&mut run));
                }
                for a in &mut active {
                    if stop.is_set() {
                        break;
                    }
                    match can(a.peer, job) {
                        Ok(()) => {
                            let name = a.peer.name();
                            let mut run = Contender { active: a, job, plan, prepared: false };
                            measure(job, name, round, plan, &mut watch, &mut results, &mut run);
                        }
                        Err(why) => results.cannot(a.peer.name(), job, &why),
                    }
                }
                results.progress(job, round, plan.rounds);
            }
        }
    }
    results
}

/// Whether a contender can do a job, or why not.
fn can(peer: &dyn Peer, job: &Job) -> Result<(), String> {
    match (peer.joins_namespaces(), matches!(job.kind, Kind::Namespaces(_))) {
        (true, false) => Err("it joins namespaces only".to_owned()),
        (false, true) => Err("it has no ports in namespaces here".to_owned()),
        _ => peer.can(job),
    }
}

/// Starts everyone who can do at least one of the jobs, and freezes them again.
fn start<'a>(
    group: &[Job],
    peers: &'a [Box<dyn Peer>],
    results: &mut Results,
    round: usize,
) -> Vec<Active<'a>> {
    let setup: Setup = group[0].setup;
    let mut active = Vec::new();
    for peer in peers {
        if let Some(why) = group.iter().map(|j| can(peer.as_ref(), j).err()).reduce(|a, b| a.and(b)).flatten()
        {
            for job in group {
                results.cannot(
                    peer.name(),
                    job,
                    &can(peer.as_ref(), job).err().unwrap_or_else(|| why.clone()),
                );
            }
            continue;
        }
        // A memory job starts its own.
        let begin = Instant::now();
        let started = peer.start(&setup).and_then(|running| {
            let mut a = Active { peer: peer.as_ref(), running, wires: Vec::new() };
            if group.iter().any(|j| j.kind != Kind::Memory) {
                a.attach()?;
            }
            a.running.freeze();
            Ok(a)
        });
        match started {
            Ok(a) => {
                results.command(peer.name(), &setup, peer.command());
                if round == 0 {
                    eprintln!("  {} started in {:.1} s", peer.name(), begin.elapsed().as_secs_f64());
                }
                active.push(a);
            }
            Err(e) => group.iter().for_each(|job| results.failed(peer.name(), job, &e.to_string())),
        }
    }
    active
}

/// Something that is measured under watch.
trait Run {
    /// Processes whose time is ours.
    fn pids(&self) -> Vec<nix::unistd::Pid>;
    /// Gets ready to run, still unwatched.
    fn wake(&mut self) -> Result<(), Trouble>;
    /// Runs.
    fn run(&mut self) -> Result<Figures, Trouble>;
    /// Uses no processor any more.
    fn rest(&mut self);
}

struct Bare<'a>(&'a mut dyn FnMut() -> Result<Figures, Trouble>);

impl Run for Bare<'_> {
    fn pids(&self) -> Vec<nix::unistd::Pid> {
        Vec::new()
    }
    fn wake(&mut self) -> Result<(), Trouble> {
        Ok(())
    }
    fn run(&mut self) -> Result<Figures, Trouble> {
        (self.0)()
    }
    fn rest(&mut self) {}
}

struct Contender<'a, 'b> {
    active: &'a mut Active<'b>,
    job: &'a Job,
    plan: &'a Plan,
    prepared: bool,
}

impl Run for Contender<'_, '_> {
    fn pids(&self) -> Vec<nix::unistd::Pid> {
        self.active.running.pids()
    }

    fn wake(&mut self) -> Result<(), Trouble> {
        let a = &mut *self.active;
        if a.has_ended() {
            return Err("it has ended".into());
        }
        a.running.thaw();
        match self.job.kind {
            Kind::Split { .. } | Kind::Scale { .. } | Kind::Attach | Kind::Memory => a.detach(),
            Kind::Namespaces(_) => {}
            _ => {
                a.attach()?;
                if !self.prepared {
                    drive::prepare(self.job, &mut a.wires)?;
                    self.prepared = true;
                }
                if matches!(self.job.kind, Kind::Rate | Kind::BothWays | Kind::Rtt { .. }) {
                    drive::load(self.job, &mut a.wires, WARM_UP);
                    drive::drain(&mut a.wires, Duration::from_millis(1));
                }
            }
        }
        Ok(())
    }

    fn run(&mut self) -> Result<Figures, Trouble> {
        let (a, job, time) = (&mut *self.active, self.job, self.plan.time);
        match job.kind {
            Kind::Rate | Kind::BothWays => {
                let figures = drive::rate(job, &mut a.wires, time);
                let none = figures.get("frames").is_none_or(|n| *n == 0.0);
                if none { Err("no frame arrived".into()) } else { Ok(figures) }
            }
            Kind::Rtt { load } => latency::round_trips(job, load, &mut a.wires, time),
            Kind::WakeUp => latency::wake_ups(&mut a.wires, time),
            Kind::Split { pinned, sleeping } => {
                split::run(job, pinned, sleeping, a.running.as_ref(), &self.plan.work, time)
            }
            Kind::Scale { flows } => costs::scale(job, flows, a.running.as_ref(), time),
            Kind::Steady { pps } => {
                costs::steady(pps, a.running.as_ref(), &mut a.wires, time.max(Duration::from_millis(500)))
            }
            Kind::Idle => Ok(costs::idle(a.running.as_ref(), Duration::from_secs(2))),
            Kind::Attach => costs::attach(a.running.as_ref()),
            Kind::Memory => costs::memory(a.peer, &job.setup, job),
            Kind::Namespaces(traffic) => {
                namespaces::run(job, traffic, a.running.as_ref(), &self.plan.work, time)
            }
        }
    }

    fn rest(&mut self) {
        // What is still on its way would be the next run's.
        drive::drain(&mut self.active.wires, Duration::from_millis(1));
        self.active.running.freeze();
    }
}

/// One sample: repeated while somebody disturbs it, or while the cores are elsewhere.
fn measure(
    job: &Job,
    name: &'static str,
    round: usize,
    plan: &Plan,
    watch: &mut Watch,
    results: &mut Results,
    run: &mut dyn Run,
) {
    let mut sample: Option<Sample> = None;
    for attempt in 1..=ATTEMPTS {
        if attempt > HURRIED && watch.waiting.is_zero() {
            break;
        }
        let before_ns = watch.in_class(plan);
        let outcome = run.wake().and_then(|()| {
            let (before, begin) = (Reading::take(&run.pids()), Instant::now());
            let figures = run.run()?;
            let seconds = begin.elapsed().as_secs_f64();
            let noise = Noise::between(before, Reading::take(&run.pids()), seconds, cpu::cores());
            Ok((figures, noise))
        });
        run.rest();
        cpu::pin(cpu::CLIENT);
        let after_ns = watch.probe.measure();
        match outcome {
            Ok((figures, noise)) => {
                let (a, b) = (Class::of(before_ns), Class::of(after_ns));
                let class = (a == b).then_some(a);
                let good =
                    !noise.is_noisy() && class.is_some() && (plan.class.is_none() || class == plan.class);
                let s = Sample {
                    job: *job,
                    contender: name,
                    round,
                    figures,
                    noise,
                    class,
                    line_ns: [before_ns, after_ns],
                    noisy: noise.is_noisy(),
                    attempts: attempt,
                };
                results.attempts += 1;
                sample = Some(s);
                if good {
                    break;
                }
                results.thrown_away += 1;
            }
            Err(e) => return results.failed(name, job, &e.to_string()),
        }
    }
    if let Some(s) = sample {
        if s.noisy || s.class.is_none() || (plan.class.is_some() && s.class != plan.class) {
            // The last attempt is kept, marked.
            results.thrown_away -= 1;
        }
        results.samples.push(s);
    }
}

/// Where the cores are, and what is left of the time to wait for them to be elsewhere.
struct Watch {
    probe: Probe,
    waiting: Duration,
}

impl Watch {
    /// Waits until the cores are where they should be; returns the way of a cache line in ns.
    fn in_class(&mut self, plan: &Plan) -> f64 {
        let (begin, patience) = (Instant::now(), plan.patience.min(self.waiting));
        loop {
            let ns = self.probe.measure();
            if plan.class.is_none_or(|c| c == Class::of(ns)) || begin.elapsed() >= patience {
                self.waiting = self.waiting.saturating_sub(begin.elapsed());
                return ns;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
