//! VM ports with bare guests under KVM, in the shape of Figure 1 of "Speeding Up Packet I/O in Virtual Machines".
//!
//! `cargo xtask bench vm [OPTIONS]`; `--help` lists them.
//!
//! One daemon with two e1000 ports and a ring port, two bare guests ([`valecast_bench::vm`]) and, for the host's side, a
//! ring client in this process. All cells run once per round, in the same order, so that noise of the machine falls on
//! all of them; tables show medians of the rounds.
//!
//! [`cells`]: what is measured; [`service`]: the daemon; [`rig`]: its guests and clients, and one cell's run; [`table`] and [`chart`]: what came out.

mod cells;
mod chart;
mod rig;
mod service;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use cells::Cell;
use clap::Parser;
use rig::{Figures, Overflow, Rig, Tuning};
use valecast_guest::mailbox::MOST_DESCRIPTORS;

type Trouble = Box<dyn std::error::Error>;

/// Bare guests under KVM at e1000 ports, in the shape of the paper's Figure 1.
#[derive(Debug, Parser)]
struct Args {
    /// Rounds; tables show medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Milliseconds of each run.
    #[arg(long, default_value_t = 250)]
    ms: u64,
    /// Only cells whose name contains this; `no guests` or `frames lost`: only that table.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Descriptors of a guest's rings for short frames; virtio-net's have 4096 at most.
    #[arg(long, default_value_t = 16384, value_parser = clap::value_parser!(u32).range(8..=i64::from(MOST_DESCRIPTORS)))]
    descriptors: u32,
    /// And for long ones, whose buffers are to fit into a cache.
    #[arg(long, value_name = "DESCRIPTORS", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(8..=i64::from(MOST_DESCRIPTORS)))]
    long_descriptors: u32,
    /// How often a guest that receives looks before it halts.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=1 << 30))]
    polls: u32,
    /// How often one that sends does.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(..=1 << 30))]
    send_polls: u32,
    /// The worker's spin time, in microseconds.
    #[arg(long, value_name = "US", default_value_t = 500)]
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

/// All rounds of some cells, each with new guests' jobs in the same processes.
fn rows(cells: &[Cell], tuning: Tuning, rounds: u64, time: Duration) -> Result<Vec<table::Row>, Trouble> {
    let mut rig = Rig::start(tuning)?;
    let mut runs: Vec<Vec<Figures>> = vec![Vec::new(); cells.len()];
    for round in 0..rounds {
        for (cell, runs) in cells.iter().zip(&mut runs) {
            let f = rig.run(cell, time).map_err(|e| format!("{cell}: {e}"))?;
            eprintln!("{round} {cell}: {f:?}");
            runs.push(f);
        }
    }
    let row =
        |(c, runs): (&Cell, Vec<Figures>)| table::Row { cell: *c, median: Figures::median(&runs), runs };
    Ok(cells.iter().zip(runs).map(row).collect())
}

fn measure(args: &Args) -> Result<(), Trouble> {
    let tuning = Tuning {
        descriptors: args.descriptors,
        long_descriptors: args.long_descriptors,
        polls: args.polls,
        send_polls: args.send_polls,
        spin: args.spin,
        overflow: args.overflow,
        pinned: args.pin,
    };
    let (rounds, time) = (args.rounds, Duration::from_millis(args.ms));
    let no_guests = || Ok::<_, Trouble>(table::no_guests(&rig::inside(&tuning, rounds, time)?));
    let lossy = || {
        let pkt_gen: Vec<_> = cells::all().into_iter().filter(|c| c.batch == cells::BATCH).collect();
        rows(&pkt_gen, Tuning { overflow: Overflow::Drop, ..tuning }, rounds, time)
    };
    let mut cells = cells::all();
    let rows = match args.only.as_deref() {
        Some("no guests") => {
            print!("{}", no_guests()?);
            return Ok(());
        }
        Some("frames lost") => {
            let rows = lossy()?;
            if !args.json {
                print!("{}", table::lossy(&rows));
            }
            rows
        }
        only => {
            cells.retain(|c| only.is_none_or(|only| c.to_string().contains(only)));
            if cells.is_empty() {
                return Err(
                    "no cell's name contains what --only says, nor is it \"no guests\" or \"frames lost\""
                        .into(),
                );
            }
            let rows = rows(&cells, tuning, rounds, time)?;
            if !args.json {
                print!("{}", table::markdown(&rows));
                if only.is_none() {
                    print!("\n{}\n{}", table::lossy(&lossy()?), no_guests()?);
                }
            }
            rows
        }
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    }
    if let Some(file) = &args.svg {
        std::fs::write(file, chart::svg(&rows)).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(())
}
