//! VM ports with bare guests under KVM, in the shape of Figure 1 of "Speeding Up Packet I/O in Virtual Machines".
//!
//! `cargo xtask bench vm [--rounds N] [--ms N] [--only TEXT] [--descriptors N] [--polls N] [--send-polls N] [--spin US] [--pin] [--json] [--svg FILE]`
//!
//! One daemon with two e1000 ports and a ring port, two bare guests ([`valecast_bench::vm`]) and, for the host's side, a
//! ring client in this process. All cells run once per round, in the same order, so that noise of the machine falls on
//! all of them; tables show medians of the rounds.
//!
//! [`cells`]: what is measured; [`rig`]: the processes, and one cell's run; [`table`] and [`chart`]: what came out.

mod cells;
mod chart;
mod rig;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use rig::{Figures, Rig, Tuning};

fn main() -> ExitCode {
    if let Err(why) = valecast_bench::vm::have_kvm() {
        println!("**** NOT RUN: bare guests need KVM: {why}");
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    let number = |name: &str, default: u64| match value(name) {
        None => Ok(default),
        Some(v) => v.parse().map_err(|_| format!("{name} takes a number, not {v:?}")),
    };
    let (rounds, ms) = (number("--rounds", 5)?, number("--ms", 250)?);
    let mut cells = cells::all();
    if let Some(only) = value("--only") {
        cells.retain(|c| c.to_string().contains(only.as_str()));
    }
    if cells.is_empty() && value("--only").is_none_or(|only| only != "no guests") {
        return Err("no cell's name contains what --only says, nor is it \"no guests\"".into());
    }
    let tuning = Tuning {
        descriptors: number("--descriptors", 4096)?.min(4096) as u32,
        polls: number("--polls", 1000)?.min(1 << 30) as u32,
        send_polls: number("--send-polls", 1)?.min(1 << 30) as u32,
        spin: number("--spin", 50)?,
        pinned: args.iter().any(|a| a == "--pin"),
    };
    let time = Duration::from_millis(ms);
    if value("--only").is_some_and(|only| only == "no guests") {
        print!("{}", table::no_guests(rig::inside(&tuning, rounds, time)?));
        return Ok(());
    }
    let mut rig = Rig::start(tuning)?;
    let mut runs: Vec<Vec<Figures>> = vec![Vec::new(); cells.len()];
    for round in 0..rounds {
        for (cell, runs) in cells.iter().zip(&mut runs) {
            let f = rig.run(cell, time).map_err(|e| format!("{cell}: {e}"))?;
            eprintln!("{round} {cell}: {f:?}");
            runs.push(f);
        }
    }
    let rows: Vec<table::Row> = cells
        .iter()
        .zip(&runs)
        .map(|(c, r)| table::Row { cell: *c, median: Figures::median(r), runs: r.clone() })
        .collect();
    if args.iter().any(|a| a == "--json") {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", table::markdown(&rows));
        if value("--only").is_none() {
            drop(rig);
            print!("\n{}", table::no_guests(rig::inside(&tuning, rounds, time)?));
        }
    }
    if let Some(file) = value("--svg") {
        std::fs::write(file, chart::svg(&rows)).map_err(|e| format!("{file}: {e}"))?;
    }
    Ok(())
}
