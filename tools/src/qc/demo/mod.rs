//! `valecast qc demo`: a whole WAN in one process, without root: a switch and a site for each node of a network, joined by
//! patches of limited capacity, a controller, a sender and receivers with real files; and what becomes of a transfer.
//!
//! - [`network`]: a topology as the configuration of one daemon;
//! - `picture`: what is drawn meanwhile.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::DecimalBytes;
use serde_json::json;
use valecast_config::{Config, Controller, units};
use valecast_qc_dataplane::control::{ReceiverState, TransferStatus};
use valecast_qc_dataplane::controller::core::{Settings, scheme, view::Overview};
use valecast_qc_dataplane::controller::shell::{self, Options};
use valecast_qc_dataplane::endpoint::local::LocalSite;
use valecast_qc_dataplane::endpoint::receive::desk::Desk;
use valecast_qc_dataplane::endpoint::receive::worker::Where;
use valecast_qc_dataplane::endpoint::send::Cut;
use valecast_qc_dataplane::endpoint::send::job::{Job, JobEnd, Parcel};
use valecast_qc_dataplane::site::{Sites, socket};
use valecast_qc_dataplane::topology::Topology;
use valecast_switch::api::client;
use valecast_switch::daemon::Daemon;

mod network;
mod picture;

use super::site::{INTERRUPTED, told_to_stop};
use network::Network;
use picture::{Use, picture, rate};

pub const HELP: &str = "\
NETWORK is fig1 (the QuickCast paper's Fig. 1), a built-in network (geant, ans, uninett, gscale, b4, ...) or a topology
file. Its rates are scaled down so that its fastest link has --rate; links slower than a hundredth of that get so much.

On a terminal it draws the trees with the rates of their links, and how far each receiver is. At the end it says when each
receiver had the file, compared byte by byte with what was sent.

Examples:
  valecast qc demo fig1 --scheme single
  valecast qc demo fig1 --scheme quickcast
  valecast qc demo geant --from NL --to DE,IT,PT,HR --volume 20MB --json

Exit status: 0 all receivers have it, 1 not, 2 the command is wrong, 130 stopped.";

/// Fig. 1's topology is the example's.
const FIG1: &[u8] = include_bytes!("../../../../examples/fig1-topology.toml");
/// The slowest link, as a share of the fastest.
const SLOWEST: u64 = 100;
/// How long sites and links may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the picture is drawn.
const DRAW: Duration = Duration::from_millis(250);
/// The file's name.
const FILE: &str = "demo.bin";

/// What `valecast qc demo` takes.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// The network.
    #[arg(default_value = "fig1")]
    network: String,
    /// How to plan: unicast, single, quickcast2, quickcast or best; all of `valecast qc solve` are known.
    #[arg(long, default_value = "best")]
    scheme: String,
    /// The file's size.
    #[arg(long, value_name = "SIZE", default_value = "25MB")]
    volume: String,
    /// The fastest link's rate here.
    #[arg(long, value_name = "RATE", default_value = "400Mbit/s")]
    rate: String,
    /// The sender's site; by default the network's first.
    #[arg(long, value_name = "SITE")]
    from: Option<String>,
    /// The receivers' sites; by default t1 to t4 of Fig. 1, else eight spread over the network.
    #[arg(long, value_name = "SITE,SITE,..", value_delimiter = ',')]
    to: Vec<String>,
    /// Serve the controller's page at this address meanwhile.
    #[arg(long, value_name = "ADDRESS:PORT")]
    page: Option<std::net::SocketAddr>,
    /// Print a configuration for `examples/wan.sh`, which has the network in namespaces, and do nothing else.
    #[arg(long)]
    wan_config: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Why there is no result.
enum Failure {
    Usage(String),
    Stopped,
    Other(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(e: E) -> Self {
        Self::Other(e.to_string())
    }
}

/// Runs the demo.
pub fn run(args: &DemoArgs) -> ExitCode {
    let dir = std::env::temp_dir().join(format!("valecast-qc-demo-{}", std::process::id()));
    let done = demo(args, &dir);
    let _ = std::fs::remove_dir_all(&dir);
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure::Usage(why)) => {
            eprintln!("valecast qc demo: {why}");
            ExitCode::from(2)
        }
        Err(Failure::Stopped) => ExitCode::from(INTERRUPTED),
        Err(Failure::Other(why)) => {
            eprintln!("valecast qc demo: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What is to be sent, and where.
struct Plan {
    network: Network,
    from: usize,
    to: Vec<usize>,
    bytes: u64,
}

fn plan(args: &DemoArgs) -> Result<Plan, Failure> {
    let usage = |e: &dyn std::fmt::Display| Failure::Usage(e.to_string());
    let topology = match args.network.as_str() {
        "fig1" => Topology::read("fig1.toml", FIG1.to_vec(), None),
        name => Topology::find(name, Some(1.0)),
    };
    let topology = topology.map_err(|e| usage(&e))?;
    let unit =
        |what: &str, e: units::UnitError| Failure::Usage(format!("--{what}: {} ({})", e.message, e.help));
    let fastest = units::parse_rate(&args.rate).map_err(|e| unit("rate", e))?;
    let bytes = units::parse_size(&args.volume).map_err(|e| unit("volume", e))?;
    if !(1_000_000..=100_000_000_000).contains(&fastest) {
        return Err(Failure::Usage("--rate: expected 1Mbit/s to 100Gbit/s".into()));
    }
    if scheme(&args.scheme).is_none() {
        let names = "unicast, single, quickcast2, quickcast, best";
        return Err(Failure::Usage(format!("no scheme {:?}: use {names}", args.scheme)));
    }
    let network = Network::new(&topology, fastest, (fastest / SLOWEST).max(1_000_000));
    let find = |site: &String| {
        let none = || format!("no site {site:?}: there are {}", network.sites.join(", "));
        network.find(site).ok_or_else(none).map_err(Failure::Usage)
    };
    let from = args.from.as_ref().map(find).transpose()?.unwrap_or(0);
    let mut to = args.to.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    if to.is_empty() {
        let fig1: Vec<usize> = ["t1", "t2", "t3", "t4"].iter().filter_map(|t| network.find(t)).collect();
        let others: Vec<usize> = (0..network.sites.len()).filter(|n| *n != from).collect();
        let spread = |many: usize| (0..many).map(|i| others[i * others.len() / many]).collect();
        to = if fig1.len() == 4 { fig1 } else { spread(others.len().min(8)) };
        to.retain(|t| *t != from);
    }
    to.sort_unstable();
    to.dedup();
    if to.is_empty() || to.contains(&from) {
        return Err(Failure::Usage("a transfer has a sender and other sites that receive".into()));
    }
    Ok(Plan { network, from, to, bytes })
}

fn demo(args: &DemoArgs, dir: &Path) -> Result<bool, Failure> {
    let plan = plan(args)?;
    if args.wan_config {
        print!("{}", plan.network.wan());
        return Ok(true);
    }
    let quiet = args.json || !std::io::stderr().is_terminal();
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    // Before there are threads.
    let stop = told_to_stop().map_err(|e| Failure::Other(e.said))?;
    let run_dir = dir.join("run");
    std::fs::create_dir_all(&run_dir)?;
    let file = dir.join(FILE);
    write_file(&file, plan.bytes)?;
    let config = Config::parse("demo", &plan.network.config(&run_dir))?;
    let daemon = Daemon::start(config, None)?;
    let result = over_sites(args, &plan, dir, &daemon, quiet, &stop);
    daemon.stop();
    let (status, bytes) = result?;
    Ok(show(args, &plan, dir, &status, &bytes))
}

/// A link by the sites at its ends, and the bytes that it has sent.
type Carried = (usize, usize, u64);

/// Starts all that stands on the switches, and sends.
fn over_sites(
    args: &DemoArgs,
    plan: &Plan,
    dir: &Path,
    daemon: &Daemon,
    quiet: bool,
    told: &Arc<AtomicBool>,
) -> Result<(TransferStatus, Vec<Carried>), Failure> {
    let run_dir = daemon.run_dir().to_owned();
    let chosen = scheme(&args.scheme).ok_or_else(|| Failure::Usage("no such scheme".into()))?;
    let place = run_dir.join(Controller::SOCKET);
    let controller = shell::serve(Options {
        settings: Settings::new(chosen),
        state_dir: dir.join("state"),
        socket: place.clone(),
        socket_mode: 0o600,
        tls: None,
        dashboard: args.page,
    })?;
    if let Some(page) = controller.dashboard {
        eprintln!("the controller's page: http://{page}/");
    }
    let sites = Sites::start(daemon)?;
    let stop = Arc::new(AtomicBool::new(false));
    let receivers: Result<Vec<_>, Failure> =
        plan.to.iter().map(|t| receiver(&run_dir, &plan.network.sites[*t], dir, &stop)).collect();
    let sent = receivers.and_then(|receivers| {
        ready(plan, &place, told)?;
        let before = counted(plan, daemon);
        let status = send(args, plan, dir, &place, quiet, told);
        let after = counted(plan, daemon);
        stop.store(true, Ordering::Relaxed);
        for r in receivers {
            if r.join().is_err() {
                return Err(Failure::Other("a receiver panicked".into()));
            }
        }
        let carried = before.iter().zip(after).map(|((a, b, n), (_, _, m))| (*a, *b, m - n)).collect();
        Ok((status?, carried))
    });
    stop.store(true, Ordering::Relaxed);
    drop(sites);
    drop(controller);
    sent
}

/// A receiver in a thread of its own.
fn receiver(
    run_dir: &Path,
    site: &str,
    dir: &Path,
    stop: &Arc<AtomicBool>,
) -> Result<JoinHandle<()>, Failure> {
    let to = Where { dir: dir.join("at").join(site), replace: false };
    std::fs::create_dir_all(&to.dir)?;
    let desk = Desk::open(LocalSite::at(socket(run_dir, site)), to, stop.clone())?;
    let thread = std::thread::Builder::new().name(format!("recv-{site}"));
    Ok(thread.spawn(move || {
        if let Err(e) = desk.run(&mut |_| true) {
            tracing::error!("a receiver: {e}");
        }
    })?)
}

fn overview(controller: &Path) -> Result<Overview, Failure> {
    let answer = client::ask(controller, "GET", "/v1/overview", None)?;
    Ok(serde_json::from_str(&answer.body)?)
}

/// Waits until all sites, links and receivers are there.
fn ready(plan: &Plan, controller: &Path, told: &AtomicBool) -> Result<(), Failure> {
    let since = Instant::now();
    loop {
        let now = overview(controller)?;
        let links = now.links.iter().filter(|l| l.up).count();
        let receives = |t: &usize| now.sites.iter().any(|s| s.name == plan.network.sites[*t] && s.receives);
        let up = now.sites.iter().filter(|s| s.state == "up").count();
        if up == plan.network.sites.len() && links == plan.network.links.len() && plan.to.iter().all(receives)
        {
            return Ok(());
        }
        if told.load(Ordering::Relaxed) {
            return Err(Failure::Stopped);
        }
        if since.elapsed() > PATIENCE {
            return Err(Failure::Other(format!(
                "after a minute {up} of {} sites and {links} of {} links are up: this machine may be too slow for it",
                plan.network.sites.len(),
                plan.network.links.len()
            )));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Bytes that each link has carried.
fn counted(plan: &Plan, daemon: &Daemon) -> Vec<Carried> {
    let bytes = |(from, to): &(usize, usize)| {
        let port = plan.network.port(*to);
        let counted = daemon.with(&plan.network.sites[*from], |s| s.out_bytes(&port));
        (*from, *to, counted.ok().flatten().unwrap_or(0))
    };
    plan.network.links.keys().map(bytes).collect()
}

fn send(
    args: &DemoArgs,
    plan: &Plan,
    dir: &Path,
    controller: &Path,
    quiet: bool,
    told: &Arc<AtomicBool>,
) -> Result<TransferStatus, Failure> {
    let run_dir = controller.parent().unwrap_or(dir);
    let site = LocalSite::at(socket(run_dir, &plan.network.sites[plan.from]));
    let parcel = Parcel::open(&dir.join(FILE), Cut::default())?;
    let to = plan.to.iter().map(|t| plan.network.sites[*t].clone()).collect();
    let id = site.create(&parcel.ask(to, Some(args.scheme.clone()))?)?.id;
    let since = Instant::now();
    let job = Job::new(site, id, parcel, told.clone())?;
    let (mut drawn, mut lines) = (None::<Instant>, 0);
    let end = job.run(&mut |view| {
        if quiet || drawn.is_some_and(|d| d.elapsed() < DRAW) {
            return;
        }
        drawn = Some(Instant::now());
        let links = overview(controller).map(|o| uses(&o)).unwrap_or_default();
        let mut status = view.status.clone();
        // The sender knows more than the controller.
        for (r, (_, newer)) in status.receivers.iter_mut().zip(&view.receivers) {
            (r.have, r.rate) = (newer.have.max(r.have), newer.rate);
        }
        let text = picture(&status, &links, since.elapsed().as_secs_f64());
        redraw(&text, &mut lines);
    })?;
    match end {
        JobEnd::Over(status) => Ok(*status),
        JobEnd::Paused => Err(Failure::Stopped),
    }
}

fn uses(overview: &Overview) -> Use {
    overview.links.iter().map(|l| ((l.from.clone(), l.to.clone()), (l.used, l.capacity))).collect()
}

/// Draws over what was drawn before.
fn redraw(text: &str, lines: &mut usize) {
    let mut out = String::new();
    if *lines > 0 {
        out += &format!("\x1b[{lines}A");
    }
    for line in text.lines() {
        out += &format!("\x1b[2K{line}\n");
    }
    out += "\x1b[J";
    *lines = text.lines().count();
    let mut err = std::io::stderr();
    let _ = err.write_all(out.as_bytes()).and_then(|()| err.flush());
}

/// A file whose bytes do not repeat.
fn write_file(path: &Path, bytes: u64) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    let (mut x, mut left) = (0x9e37_79b9_7f4a_7c15u64, bytes);
    while left > 0 {
        // xorshift64.
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let n = left.min(8) as usize;
        out.write_all(&x.to_le_bytes()[..n])?;
        left -= n as u64;
    }
    out.flush()
}

/// Whether two files have the same bytes.
fn same(a: &Path, b: &Path) -> std::io::Result<bool> {
    use std::io::Read;
    let open = |p: &Path| std::fs::File::open(p).map(|f| std::io::BufReader::with_capacity(1 << 20, f));
    let (mut a, mut b) = (open(a)?, open(b)?);
    let (mut x, mut y) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let n = a.read(&mut x)?;
        if n == 0 {
            return Ok(b.read(&mut y)? == 0);
        }
        if b.read_exact(&mut y[..n]).is_err() || x[..n] != y[..n] {
            return Ok(false);
        }
    }
}

/// Says what came of it. Whether all receivers have it.
fn show(args: &DemoArgs, plan: &Plan, dir: &Path, status: &TransferStatus, carried: &[Carried]) -> bool {
    let at = |site: &str| -> PathBuf { dir.join("at").join(site).join(FILE) };
    let right: BTreeMap<&str, bool> = (status.receivers.iter())
        .map(|r| {
            let equal = same(&dir.join(FILE), &at(&r.site)).unwrap_or(false);
            (r.site.as_str(), equal && r.state == ReceiverState::Verified)
        })
        .collect();
    let all = right.values().all(|r| *r);
    let seconds: Vec<f64> = status.receivers.iter().filter_map(|r| r.seconds).collect();
    let mean = seconds.iter().sum::<f64>() / seconds.len().max(1) as f64;
    let bytes: u64 = carried.iter().map(|(_, _, n)| n).sum();
    if args.json {
        let receivers = status.receivers.iter().map(|r| {
            json!({ "name": r.site, "seconds": r.seconds, "verified": right.get(r.site.as_str()), "why": r.why })
        });
        let links = carried.iter().filter(|(.., n)| *n > 0).map(|(a, b, n)| {
            let (from, to) = (&plan.network.sites[*a], &plan.network.sites[*b]);
            json!({ "from": from, "to": to, "bytes": n, "capacity": plan.network.links.get(&(*a, *b)) })
        });
        let out = json!({
            "network": plan.network.name, "scheme": args.scheme, "bytes": plan.bytes, "scale": plan.network.scale,
            "receivers": receivers.collect::<Vec<_>>(), "mean_seconds": mean, "bytes_on_links": bytes,
            "links": links.collect::<Vec<_>>(), "state": status.state, "why": status.why,
        });
        println!("{out:#}");
        return all;
    }
    let fastest = plan.network.links.values().max().copied().unwrap_or(0);
    println!(
        "{} over {}, its fastest link at {} ({:.0} times slower than it is), scheme {}",
        DecimalBytes(plan.bytes),
        plan.network.name,
        rate(fastest),
        plan.network.scale,
        args.scheme
    );
    for r in &status.receivers {
        let verified = right.get(r.site.as_str()).copied().unwrap_or(false);
        let what = match (verified, r.seconds) {
            (true, Some(s)) => format!("{s:8.2} s, the same byte for byte"),
            _ => format!(
                "has not got it: {}",
                r.why.as_deref().or(status.why.as_deref()).unwrap_or("no reason given")
            ),
        };
        println!("  {:12} {what}", r.site);
    }
    println!("  mean         {mean:8.2} s; {} on links", DecimalBytes(bytes));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(network: &str) -> DemoArgs {
        DemoArgs {
            network: network.into(),
            scheme: "best".into(),
            volume: "1MB".into(),
            rate: "100Mbit/s".into(),
            from: None,
            to: Vec::new(),
            page: None,
            wan_config: false,
            json: false,
        }
    }

    #[test]
    fn fig1_has_the_papers_sender_and_receivers() {
        let Ok(plan) = plan(&args("fig1")) else { panic!("a plan") };
        let names: Vec<_> = plan.to.iter().map(|t| plan.network.sites[*t].as_str()).collect();
        assert_eq!((plan.network.sites[plan.from].as_str(), names), ("S", vec!["t1", "t2", "t3", "t4"]));
        let rate = |a: &str, b: &str| {
            plan.network.links[&(plan.network.find(a).unwrap(), plan.network.find(b).unwrap())]
        };
        assert_eq!((rate("S", "a"), rate("a", "b"), rate("b", "a")), (100_000_000, 10_000_000, 10_000_000));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |a: DemoArgs| matches!(plan(&a), Err(Failure::Usage(_)));
        assert!(refused(args("no such network")));
        assert!(refused(DemoArgs { scheme: "x".into(), ..args("fig1") }));
        assert!(refused(DemoArgs { rate: "1".into(), ..args("fig1") }));
        assert!(refused(DemoArgs { to: vec!["nobody".into()], ..args("fig1") }));
        assert!(refused(DemoArgs { to: vec!["S".into()], ..args("fig1") }));
        let Ok(eight) = plan(&args("gscale")) else { panic!("a plan") };
        assert_eq!((eight.from, eight.to.len()), (0, 8));
    }

    #[test]
    fn files_are_compared() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|n| dir.path().join(n));
        for (n, m, equal) in
            [(100_003, 100_003, true), (100_003, 100_002, false), (0, 1, false), (0, 0, true)]
        {
            write_file(&a, n).unwrap();
            write_file(&b, m).unwrap();
            assert_eq!(same(&a, &b).unwrap(), equal, "{n} {m}");
        }
    }
}
