//! Valecast's developer commands. `cargo xtask test` is the one command that CI runs and that a
//! developer runs before pushing; the others are its parts, and the benchmarks.
//!
//! Files in the order a `test` run meets them: `packages` (what the tests need from Debian), `suite` (the
//! steps), `checks` (the steps that are more than one cargo call), `counts`, `deny` and `docs` (such checks),
//! `guests` (virtual machines for the end-to-end tests), `peers` (the benchmark beside other switches, and bringing these), `wan` (the same for files over a WAN),
//! `report` (what passed, what failed, and loudly what did not run).

mod checks;
mod cmd;
mod counts;
mod deny;
mod docs;
mod guests;
mod packages;
mod peers;
mod report;
mod suite;
mod wan;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use report::{Outcome, Report};

/// Valecast's developer commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything CI runs: format, lints, build, tests, models, end-to-end tests, docs, dependencies.
    #[command(alias = "ci")]
    Test(TestArgs),
    /// Run the micro-benchmarks, then the end-to-end benchmark (the arguments go to the latter). `bench peers`
    /// measures Valecast beside other switches instead: see `bench peers --help` and docs/guide/benchmarking.md.
    /// `bench qc` runs only the micro-benchmarks of QuickCast. `bench vm` measures VM ports with bare guests under KVM.
    /// `bench wan` measures files over an emulated WAN beside other programs: see `bench wan --help`.
    Bench {
        /// Arguments of the end-to-end benchmark; or `peers` and the arguments of that one; `vm` and its arguments; or `qc` and
        /// those of criterion, such as part of a benchmark's name.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Count the instructions of the forwarding path per frame, against bench/counts.toml (needs valgrind).
    Counts {
        /// Write what was counted into the file.
        #[arg(long)]
        write: bool,
    },
    /// Write the generated pages under docs/ anew.
    Docs {
        /// Write nothing; fail if a page is out of date.
        #[arg(long)]
        check: bool,
    },
    /// Check licences, banned crates and crate sources against deny.toml.
    Deny,
    /// Make what the end-to-end tests with virtual machines run: QEMU, a kernel, its module, a file system.
    Guests,
    /// Explore the loom models of the ring.
    Loom,
    /// Run the ring's unit tests under Miri (needs a nightly toolchain with miri).
    Miri,
    /// Run each fuzz target for a while (needs cargo-fuzz and a nightly toolchain).
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Only the targets whose name contains one of these.
        targets: Vec<String>,
    },
}

/// Arguments of `test`.
#[derive(clap::Args)]
struct TestArgs {
    /// Install no Debian package; tests that miss one are listed as not run.
    #[arg(long)]
    no_install: bool,
    /// Only the steps whose name starts with one of these (fmt, clippy, build, unit, loom, miri, e2e,
    /// counts, docs, rustdoc, deny).
    filter: Vec<String>,
    /// Arguments for the test programs of the steps unit and e2e, for example a test's name.
    #[arg(last = true)]
    test_args: Vec<String>,
}

fn main() -> ExitCode {
    let mut report = Report::new();
    match Cli::parse().command {
        Command::Test(args) => {
            if let Err(wrong) = suite::run(&args, &mut report) {
                eprintln!("error: {wrong}");
                return ExitCode::from(2);
            }
            return report.finish();
        }
        Command::Bench { args } if args.first().is_some_and(|a| a == peers::WORD) => {
            peers::bench(&mut report, &args[1..]);
        }
        Command::Bench { args } if args.first().is_some_and(|a| a == wan::WORD) => {
            wan::bench(&mut report, &args[1..]);
        }
        Command::Bench { args } if args.first().is_some_and(|a| a == "qc") => {
            checks::bench_qc(&mut report, &args[1..]);
        }
        Command::Bench { args } if args.first().is_some_and(|a| a == "vm") => {
            checks::bench_vm(&mut report, &args[1..]);
        }
        Command::Bench { args } => checks::bench(&mut report, &args),
        Command::Counts { write } => report.step("counts", |_| counts::run(write)),
        Command::Docs { check } => report.step("docs", |_| docs::run(check)),
        Command::Deny => report.step("deny", deny::run),
        Command::Guests => report.step("guests", |_| guests::run()),
        Command::Loom => report.step("loom", |_| checks::loom()),
        Command::Miri => report.step("miri", |_| checks::miri()),
        Command::Fuzz { seconds, targets } => report.step("fuzz", |_| checks::fuzz(seconds, &targets)),
    }
    // Asked for by name: not having run is a failure here, while `test` only lists it.
    report.finish_strict()
}

/// Makes an outcome of a list of complaints.
fn outcome(complaints: &[String]) -> Outcome {
    for complaint in complaints {
        eprintln!("error: {complaint}");
    }
    match complaints.len() {
        0 => Outcome::Passed,
        1 => Outcome::Failed(complaints[0].clone()),
        n => Outcome::Failed(format!("{n} complaints, see above")),
    }
}
