//! VM ports with bare guests under KVM, in the shape of Figure 1 of "Speeding Up Packet I/O in Virtual Machines".
//!
//! `cargo xtask bench vm [OPTIONS]`; `--help` lists them.
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

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rig::{Figures, Overflow, Rig, Tuning};

/// Bare guests under KVM at e1000 ports, in the shape of the paper's Figure 1.
#[derive(Debug, Parser)]
struct Args {
    /// Rounds; tables show medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Milliseconds of each run.
    #[arg(long, default_value_t = 250)]
    ms: u64,
    /// Only cells whose name contains this, or `no guests`.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Descriptors of a guest's rings.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(..=4096))]
    descriptors: u32,
    /// How often a guest that receives looks before it halts.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=1 << 30))]
    polls: u32,
    /// How often one that sends does.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(..=1 << 30))]
    send_polls: u32,
    /// The worker's spin time, in microseconds.
    #[arg(long, value_name = "US", default_value_t = 50)]
    spin: u64,
    /// Receivers that are full: frames wait with their sender, or are lost as in VALE.
    #[arg(long, default_value = "backpressure")]
    overflow: Overflow,
    /// Keep each thread on one processor.
    #[arg(long)]
    pin: bool,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Write a chart.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(why) = valecast_bench::vm::have_kvm() {
        println!("**** NOT RUN: bare guests need KVM: {why}");
        return ExitCode::SUCCESS;
    }
    match measure(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let rounds = args.rounds;
    let inside = args.only.as_deref() == Some("no guests");
    let mut cells = cells::all();
    if let Some(only) = &args.only {
        cells.retain(|c| c.to_string().contains(only.as_str()));
    }
    if cells.is_empty() && !inside {
        return Err("no cell's name contains what --only says, nor is it \"no guests\"".into());
    }
    let tuning = Tuning {
        descriptors: args.descriptors,
        polls: args.polls,
        send_polls: args.send_polls,
        spin: args.spin,
        overflow: args.overflow,
        pinned: args.pin,
    };
    let time = Duration::from_millis(args.ms);
    if inside {
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
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", table::markdown(&rows));
        if args.only.is_none() {
            drop(rig);
            print!("\n{}", table::no_guests(rig::inside(&tuning, rounds, time)?));
        }
    }
    if let Some(file) = &args.svg {
        std::fs::write(file, chart::svg(&rows)).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(())
}
