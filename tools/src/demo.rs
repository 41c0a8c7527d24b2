//! `valecast demo`: the whole path in one command. A switch in this process, a generator and a receiver as
//! client processes of their own, a live line, and at the end what they saw.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use valecast_bench::hist::{Latency, show_ns};
use valecast_bench::{hlog_read, picture};
use valecast_config::Config;
use valecast_switch::daemon::Daemon;
use valecast_switch::switch::show::{PortView, StatsView};

use crate::DemoArgs;

/// The receiver's address. It never sends, so the switch is told where it lives.
const RECEIVER: &str = "02:00:00:00:00:0b";
/// Frames per second that carry a time stamp, beside the load.
const PROBES: &str = "10000";
/// How often the live line is renewed.
const LIVE: Duration = Duration::from_millis(200);

type Failure = Box<dyn std::error::Error>;

/// Runs the demo.
pub fn run(args: DemoArgs) -> ExitCode {
    let dir = std::env::temp_dir().join(format!("valecast-demo-{}", std::process::id()));
    let done = demo(args, &dir);
    let _ = std::fs::remove_dir_all(&dir);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            errln!("valecast demo: {e}");
            ExitCode::FAILURE
        }
    }
}

fn demo(args: DemoArgs, dir: &Path) -> Result<(), Failure> {
    // With backpressure a generator without limit waits for the receiver, and nothing is lost.
    let text = format!(
        "run_dir = {dir:?}\n[[switch]]\nname = \"demo\"\n\
         [[switch.port]]\nname = \"generator\"\nkind = \"ring\"\n\
         [[switch.port]]\nname = \"receiver\"\nkind = \"ring\"\noverflow = \"backpressure\"\n\
         [[switch.static]]\nmac = \"{RECEIVER}\"\nport = \"receiver\"\n"
    );
    let daemon = Daemon::start(Config::parse("demo", &text)?, None)?;
    let result = measure(args, dir, &daemon);
    let stats = daemon.with("demo", |s| s.stats_view());
    daemon.stop();
    let (tx, rx, latency) = result?;
    show(args, &tx, &rx, &latency, &stats?)
}

/// A client process: this program again, as pkt-gen.
fn client(dir: &Path, port: &str, more: &[&str]) -> Result<Child, Failure> {
    let exe = std::env::current_exe()?;
    let child = Command::new(exe)
        .args(["pkt-gen", "-i", &format!("demo:{port}"), "--json", "--run-dir"])
        .arg(dir)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    Ok(child)
}

fn finish(child: Child, who: &str) -> Result<Value, Failure> {
    let out = child.wait_with_output()?;
    if !out.status.success() {
        let why = String::from_utf8_lossy(&out.stderr);
        return Err(format!("the {who} failed ({}): {}", out.status, why.trim()).into());
    }
    Ok(serde_json::from_slice(&out.stdout)?)
}

fn measure(args: DemoArgs, dir: &Path, daemon: &Daemon) -> Result<(Value, Value, Latency), Failure> {
    let hlog: PathBuf = dir.join("latency.hlog");
    let log = hlog.to_string_lossy().into_owned();
    let rx = client(dir, "receiver", &["-f", "rx", "--silence", "1", "--hlog", &log])?;
    wait_until_up(daemon, "receiver")?;
    let seconds = args.seconds.to_string();
    let load = ["-f", "tx", "-l", "60", "-D", RECEIVER, "--probe", PROBES, "--seconds", &seconds];
    let mut tx = client(dir, "generator", &load)?;
    let live = !args.json && std::io::stderr().is_terminal();
    let begin = Instant::now();
    let mut last = received(daemon);
    while tx.try_wait()?.is_none() {
        std::thread::sleep(LIVE);
        let now = received(daemon);
        if live {
            let pps = (now.0 - last.0) as f64 / LIVE.as_secs_f64();
            let gbps = (now.1 - last.1) as f64 * 8.0 / LIVE.as_secs_f64() / 1e9;
            err!("\r{:5.1} s  {:7.2} Mpps  {gbps:6.2} Gbit/s ", begin.elapsed().as_secs_f64(), pps / 1e6);
        }
        last = now;
    }
    if live {
        err!("\r{:50}\r", "");
    }
    let tx = finish(tx, "generator")?;
    let rx = finish(rx, "receiver")?;
    let latency = hlog_read::read(&std::fs::read_to_string(&hlog)?)?;
    Ok((tx, rx, latency))
}

fn wait_until_up(daemon: &Daemon, port: &str) -> Result<(), Failure> {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        let ports = daemon.with("demo", |s| s.ports_view())?;
        if ports.iter().any(|p| p.name == port && p.state == "up") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(format!("port {port} was not attached within 10 s").into())
}

fn received(daemon: &Daemon) -> (u64, u64) {
    let ports = daemon.with("demo", |s| s.ports_view()).unwrap_or_default();
    ports.iter().find(|p| p.name == "receiver").map_or((0, 0), |p| (p.out_frames, p.out_bytes))
}

/// All drops of a switch by cause.
fn drops(stats: &StatsView) -> std::collections::BTreeMap<String, u64> {
    let mut all = std::collections::BTreeMap::new();
    let of = |p: &PortView| p.in_drops.clone().into_iter().chain(p.out_drops.clone());
    for (cause, n) in stats.ports.iter().chain([&stats.retired]).flat_map(of) {
        *all.entry(cause).or_default() += n;
    }
    all
}

fn show(args: DemoArgs, tx: &Value, rx: &Value, latency: &Latency, stats: &StatsView) -> Result<(), Failure> {
    let causes = drops(stats);
    let dropped: u64 = causes.values().sum();
    let number = |v: &Value, key: &str| v[key].as_f64().unwrap_or(0.0);
    if args.json {
        let mut all = rx.clone();
        all["mode"] = json!("demo");
        all["drops"] = json!(dropped);
        all["drops_by_cause"] = json!(causes);
        all["sent"] = tx["packets"].clone();
        outln!("{}", serde_json::to_string(&all)?);
        return Ok(());
    }
    outln!("generator -> switch -> receiver: three processes, 60-byte frames, {} s", args.seconds);
    outln!("  sent      {:>14} frames", tx["packets"]);
    outln!("  received  {:>14} frames", rx["packets"]);
    outln!("  rate      {:>14.2} Mpps   {:.2} Gbit/s", number(rx, "pps") / 1e6, number(rx, "bps") / 1e9);
    if causes.is_empty() {
        outln!("  drops     {dropped:>14}");
    }
    for (cause, n) in &causes {
        outln!("  drops     {n:>14} {cause}");
    }
    let s = latency.summary();
    outln!("  latency   one way under this load, {} probes", s.count);
    for (name, ns) in [("p50", s.p50), ("p90", s.p90), ("p99", s.p99), ("p99.9", s.p999), ("max", s.max)] {
        outln!("    {name:<6} {:>12}", show_ns(ns));
    }
    outln!();
    out!("{}", picture::picture(latency, 72));
    Ok(())
}
