//! One run: attach, work, watch, report.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use valecast_bench::hist::{Interval, Latency};
use valecast_bench::hlog::HlogWriter;
use valecast_bench::picture::{one_line, picture};
use valecast_bench::plot::{Series, svg};
use valecast_bench::signal::stop_on_signals;
use valecast_bench::team::{Job, run_team};
use valecast_bench::{End, Outcome, Progress, RunError, StopFlag, run_ping, run_pong, run_rx, run_tx};
use valecast_ring::client::{Link, Port, RxRing, TxRing};

use super::jobs;
use super::options::{Mode, Options};
use super::show::{Live, Style, prefix, round_trips, sum, totals};

/// Width of the bars of a histogram on the terminal.
const BAR: usize = 40;
/// Environment variable that names the run directory.
const RUN_DIR: &str = "VALECAST_RUN_DIR";

/// Runs what `o` asks for and prints it.
pub fn run(o: &Options) -> Result<(), String> {
    // Before attaching: a wrong file should not take a port.
    let (what, played) = jobs::what(o)?;
    let stop = stop_on_signals().map_err(|e| format!("signal handlers: {e}"))?;
    let run_dir = o
        .run_dir
        .clone()
        .or_else(|| std::env::var_os(RUN_DIR).map(PathBuf::from))
        .unwrap_or_else(valecast_config::default_run_dir);
    let socket = o.place.socket(&run_dir);
    let port = Port::attach(&socket, &o.place.port, &o.attach).map_err(|e| format!("{}: {e}", o.place))?;
    let (link, tx, rx) = port.split();
    check_rings(o, &tx, &rx)?;
    let mut watch = Watch::new(o, &link, &stop)?;
    head(o, &tx, &rx);
    std::thread::sleep(o.wait);
    watch.begin();
    let outcome = match o.mode {
        Mode::Tx | Mode::TxSeq => {
            let jobs = deal(tx, o.threads).into_iter().enumerate().map(|(i, mut rings)| {
                let (cfg, stop) = (jobs::tx(o, &what, played, i), &stop);
                Box::new(move |p: &Progress| run_tx(&cfg, &mut rings, stop, p)) as Job<'_, _>
            });
            Outcome::of_tx(o.mode.name(), &team(o, jobs.collect(), &stop, &mut watch)?)
        }
        Mode::Rx | Mode::RxSeq => {
            let jobs = deal(rx, o.threads).into_iter().enumerate().map(|(i, mut rings)| {
                let (cfg, stop) = (jobs::rx(o, i), &stop);
                Box::new(move |p: &Progress| run_rx(&cfg, &mut rings, stop, p)) as Job<'_, _>
            });
            let threads = team(o, jobs.collect(), &stop, &mut watch)?;
            Outcome::of_rx(o.mode.name(), &threads, &watch.taken)
        }
        Mode::Ping => {
            let (cfg, stopper) = (jobs::ping(o), &stop);
            let (mut tx, mut rx) = (tx, rx);
            let job: Job<'_, _> = Box::new(move |p: &Progress| match tx.first_mut() {
                Some(ring) => run_ping(&cfg, ring, &mut rx, stopper, p),
                None => Err(RunError::NoRing),
            });
            let threads = team(o, vec![job], &stop, &mut watch)?;
            let report = threads.first().ok_or("the ping thread left no report")?;
            Outcome::of_ping(report, &watch.taken)
        }
        Mode::Pong => {
            let pairs = tx.into_iter().zip(rx).take(o.threads).enumerate();
            let jobs = pairs.map(|(i, (mut tx, mut rx))| {
                let (cfg, stop) = (jobs::pong(o, i), &stop);
                Box::new(move |p: &Progress| run_pong(&cfg, &mut tx, &mut rx, stop, p)) as Job<'_, _>
            });
            Outcome::of_tx(o.mode.name(), &team(o, jobs.collect(), &stop, &mut watch)?)
        }
    };
    let gone = watch.gone;
    watch.finish(&outcome.latency)?;
    print(o, &outcome)?;
    match &outcome.report.ended {
        End::Gone(why) => Err(format!("{}: {why}", o.place)),
        _ if gone => Err(format!("{}: the switch detached this port", o.place)),
        _ => Ok(()),
    }
}

/// Each thread needs a ring of its own.
fn check_rings(o: &Options, tx: &[TxRing], rx: &[RxRing]) -> Result<(), String> {
    let (have, kind) = match o.mode {
        Mode::Tx | Mode::TxSeq => (tx.len(), "transmit"),
        Mode::Rx | Mode::RxSeq | Mode::Ping => (rx.len(), "receive"),
        Mode::Pong => (tx.len().min(rx.len()), "transmit and receive"),
    };
    if o.threads <= have {
        return Ok(());
    }
    Err(format!(
        "-p {}: {} has {have} {kind} ring(s), and each thread needs one; ask for more with -C 0,0,{} or give the \
         port tx_rings and rx_rings in the switch's configuration",
        o.threads, o.place, o.threads
    ))
}

/// One ring each, or all of them for a single thread.
fn deal<T>(rings: Vec<T>, threads: usize) -> Vec<Vec<T>> {
    if threads == 1 { vec![rings] } else { rings.into_iter().take(threads).map(|r| vec![r]).collect() }
}

/// pkt-gen's first lines.
fn head(o: &Options, tx: &[TxRing], rx: &[RxRing]) {
    if o.json {
        return;
    }
    let cpus = o.cpus.unwrap_or(o.threads);
    let (verb, rings) = match o.mode {
        Mode::Tx | Mode::TxSeq => ("Sending on", tx.len()),
        Mode::Rx | Mode::RxSeq => ("Receiving from", rx.len()),
        Mode::Ping | Mode::Pong => ("Working on", rx.len()),
    };
    outln!("{verb} {}: {rings} queues, {} threads and {cpus} cpus.", o.place, o.threads);
    if let Some(replay) = &o.replay {
        outln!("Frames of {}", replay.file.display());
    } else if o.mode.sends() {
        let f = &o.frame;
        outln!("{} -> {} ({} -> {})", f.src, f.dst, f.src_mac, f.dst_mac);
    }
    if o.verbose {
        tx.iter().enumerate().for_each(|(i, r)| errln!("TX{i} {} slots {} bytes", r.slots(), r.buf_size()));
        rx.iter().enumerate().for_each(|(i, r)| errln!("RX{i} {} slots", r.slots()));
    }
}

fn team<'a, R: Send + 'a>(
    o: &Options,
    jobs: Vec<Job<'a, R>>,
    stop: &StopFlag,
    watch: &mut Watch<'_>,
) -> Result<Vec<R>, String> {
    let results = run_team(jobs, stop, o.report_every, |progress| watch.look(progress));
    results.into_iter().collect::<Result<_, _>>().map_err(|e| format!("{}: {e}", o.place))
}

/// Looks at a run from outside: report lines, latencies for the log, the end of the switch.
struct Watch<'a> {
    o: &'a Options,
    link: &'a Link,
    stop: &'a StopFlag,
    live: Live,
    hlog: Option<HlogWriter<BufWriter<File>>>,
    /// Latencies taken so far.
    taken: Latency,
    begun: Instant,
    /// The last look.
    last: Instant,
    /// How far the log reaches.
    logged: Instant,
    gone: bool,
}

impl<'a> Watch<'a> {
    fn new(o: &'a Options, link: &'a Link, stop: &'a StopFlag) -> Result<Self, String> {
        let style = Style { normalize: o.normalize, framing: o.framing };
        let hlog = o.hlog.as_ref().map(|path| {
            let about = format!("pkt-gen -f {} on {}", o.mode.name(), o.place);
            let file = File::create(path).map(BufWriter::new);
            file.and_then(|f| HlogWriter::new(f, SystemTime::now() + o.wait, &about))
                .map_err(|e| format!("--hlog {}: {e}", path.display()))
        });
        Ok(Self {
            o,
            link,
            stop,
            live: Live::new(style, o.statistics),
            hlog: hlog.transpose()?,
            taken: Latency::new(),
            begun: Instant::now(),
            last: Instant::now(),
            logged: Instant::now(),
            gone: false,
        })
    }

    fn begin(&mut self) {
        let now = Instant::now();
        (self.begun, self.last, self.logged) = (now, now, now);
    }

    fn look(&mut self, progress: &[Progress]) {
        if !self.link.is_alive() {
            self.gone = true;
            self.stop.set();
        }
        let took = self.last.elapsed();
        let mut interval = Latency::new();
        progress.iter().filter_map(Progress::take_latency).for_each(|l| interval.merge(&l));
        let counts = sum(progress.iter().map(Progress::counts));
        // Too short to say anything, as pkt-gen has it.
        if took >= Duration::from_millis(10) || self.o.report_every < Duration::from_millis(10) {
            if self.o.mode != Mode::Ping {
                errln!("{}{}", prefix("main_thread", line!()), self.live.line(counts, took));
            } else if !interval.is_empty() {
                for text in round_trips(&interval) {
                    errln!("{}{text}", prefix("ping_body", line!()));
                }
            }
        }
        self.log(&interval);
        self.taken.merge(&interval);
    }

    /// Notes what was recorded since the last time.
    fn log(&mut self, latency: &Latency) {
        self.last = Instant::now();
        // Nothing recorded: the next interval is the longer.
        let (start, length) = (self.logged - self.begun, self.last - self.logged);
        if let Some(log) = self.hlog.as_mut().filter(|_| !latency.is_empty()) {
            self.logged = self.last;
            let interval = Interval { start, length, latency: latency.clone() };
            if let Err(e) = log.write(&interval) {
                errln!("valecast pkt-gen: --hlog: {e}; no more is written");
                self.hlog = None;
            }
        }
    }

    /// The rest goes into the log: what `all` has more than was taken.
    fn finish(mut self, all: &Latency) -> Result<(), String> {
        let rest = all.without(&self.taken);
        self.log(&rest);
        match (&self.o.hlog, self.hlog) {
            (Some(path), None) => Err(format!("--hlog {}: not written to the end", path.display())),
            _ => Ok(()),
        }
    }
}

/// The end of a run.
fn print(o: &Options, outcome: &Outcome) -> Result<(), String> {
    let r = &outcome.report;
    if let Some(path) = &o.plot {
        let title = format!(
            "{}: {} {}",
            o.place,
            o.mode.name(),
            if o.mode == Mode::Ping { "round trips" } else { "one way" }
        );
        let series = [
            Series { name: "from the intended time", latency: &outcome.latency },
            Series { name: "from sending", latency: &outcome.latency_sent },
        ];
        // Without a schedule both are the same.
        let shown = if o.mode == Mode::Ping && o.rate.is_none() { &series[1..] } else { &series[..] };
        std::fs::write(path, svg(&title, shown)).map_err(|e| format!("--plot {}: {e}", path.display()))?;
    }
    if o.json {
        let text = serde_json::to_string(r).map_err(|e| e.to_string())?;
        outln!("{text}");
        return Ok(());
    }
    let style = Style { normalize: o.normalize, framing: o.framing };
    match o.mode {
        Mode::Tx | Mode::TxSeq | Mode::Pong => out!("{}", totals(r, "Sent", style)),
        Mode::Rx | Mode::RxSeq => out!("{}", totals(r, "Received", style)),
        Mode::Ping => {
            let s = &r.latency_ns;
            outln!("RTT over {} packets: min {} av {} ns", r.packets, s.min, s.mean);
        }
    }
    if r.skipped > 0 {
        outln!("Skipped {} frames that were due while the ring was full.", r.skipped);
    }
    if r.received > 0 || r.lost > 0 {
        let what = if o.mode == Mode::Ping { "pings" } else { "numbered frames" };
        outln!(
            "Lost {} of {} {what}, reordered {}, duplicates {}.",
            r.lost,
            r.received + r.lost,
            r.reordered,
            r.duplicates
        );
    }
    if r.latency_ns.count > 0 {
        outln!("Latency: {}", one_line(&outcome.latency));
        if r.latency_sent_ns != r.latency_ns {
            outln!("  from sending: {}", one_line(&outcome.latency_sent));
        }
        out!("{}", picture(&outcome.latency, BAR));
    }
    Ok(())
}
