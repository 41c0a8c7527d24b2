//! End-to-end forwarding rates: a client that generates and sinks on one core, the switch's worker on
//! another, beside a raw copying ring between the same two cores.
//!
//! `cargo run --release -p valecast-bench --bin e2e -- [--rounds N] [--ms N] [--only TEXT] [--json]`
//!
//! All jobs run once per round, in the same order, so that noise of the machine falls on all of them; the
//! table shows the median of the rounds with the lowest and highest, and its ratio to the raw ring.

mod jobs;
mod raw;

use std::time::Duration;

use jobs::{Job, Pattern};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    let number = |name: &str, default| value(name).map_or(Ok(default), |v| v.parse());
    let (Ok(rounds), Ok(ms)) = (number("--rounds", 5), number("--ms", 150)) else {
        eprintln!("--rounds and --ms take numbers");
        std::process::exit(2);
    };
    let mut jobs = Vec::new();
    for pattern in [Pattern::Unicast, Pattern::Broadcast, Pattern::Group4] {
        for size in [64, 256, 512, 1500] {
            for burst in [1, 32, 256] {
                jobs.push(Job { pattern, size, burst });
            }
        }
    }
    if let Some(only) = value("--only") {
        jobs.retain(|j| j.to_string().contains(only.as_str()));
    }
    let time = Duration::from_millis(ms);
    let sizes: std::collections::BTreeSet<usize> = jobs.iter().map(|j| j.size).collect();
    let mut raw: Vec<(usize, Vec<f64>)> = sizes.into_iter().map(|s| (s, Vec::new())).collect();
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); jobs.len()];
    for _ in 0..rounds {
        for (size, r) in &mut raw {
            r.push(raw::run(*size, time));
        }
        for (job, r) in jobs.iter().zip(&mut rates) {
            match jobs::run(job, time) {
                Ok(pps) => r.push(pps),
                Err(e) => {
                    eprintln!("{job}: {e}");
                    std::process::exit(1);
                }
            }
        }
    }
    let json = args.iter().any(|a| a == "--json");
    let mut rows = Vec::new();
    for (job, r) in jobs.iter().zip(&mut rates) {
        let base = raw.iter_mut().find(|(s, _)| *s == job.size).map(|(_, r)| median(r).1).unwrap_or(f64::NAN);
        let (lo, mid, hi) = median(r);
        rows.push(serde_json::json!({
            "job": job.to_string(), "mpps": mid / 1e6, "min": lo / 1e6, "max": hi / 1e6,
            "raw_mpps": base / 1e6, "of_raw": mid / base,
            "gbps": mid * job.size as f64 * 8.0 / 1e9,
        }));
    }
    if json {
        println!("{}", serde_json::Value::Array(rows));
        return;
    }
    println!("{:<28} {:>8} {:>8} {:>8} {:>9} {:>8}", "job", "Mpps", "min", "max", "Gbit/s", "of raw");
    for r in rows {
        let f = |k: &str| r[k].as_f64().unwrap_or(f64::NAN);
        println!(
            "{:<28} {:>8.2} {:>8.2} {:>8.2} {:>9.1} {:>8.2}",
            r["job"].as_str().unwrap_or(""),
            f("mpps"),
            f("min"),
            f("max"),
            f("gbps"),
            f("of_raw")
        );
    }
}

/// Lowest, median, highest.
fn median(v: &mut [f64]) -> (f64, f64, f64) {
    v.sort_by(f64::total_cmp);
    match v {
        [] => (f64::NAN, f64::NAN, f64::NAN),
        v => (v[0], v[v.len() / 2], v[v.len() - 1]),
    }
}

/// Ties the calling thread to a CPU; a machine without that CPU runs unpinned.
pub(crate) fn pin(cpu: usize) {
    let mut set = nix::sched::CpuSet::new();
    let pinned =
        set.set(cpu).and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set));
    if let Err(e) = pinned {
        eprintln!("running unpinned: CPU {cpu}: {e}");
    }
}
