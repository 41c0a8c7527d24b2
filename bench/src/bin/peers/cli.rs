//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::placement::Class;

/// Valecast beside other switches, on the same jobs, in turn.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask bench peers")]
pub struct Args {
    /// The most important jobs only, in about two minutes.
    #[arg(long)]
    pub quick: bool,
    /// Rounds; 5 if not given, 3 with --quick.
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Measured milliseconds of each run; 200 if not given, 100 with --quick.
    #[arg(long)]
    pub ms: Option<u64>,
    /// Only jobs whose name contains this; several, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Only these contenders, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub peers: Vec<String>,
    /// Where the two cores must be for a run to count.
    #[arg(long, value_enum, default_value = "same-l3")]
    pub class: Class,
    /// Count runs wherever the cores are.
    #[arg(long, conflicts_with = "class")]
    pub any_class: bool,
    /// List jobs and contenders, and end.
    #[arg(long)]
    pub list: bool,
    /// Write everything, all samples included, as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write a chart.
    #[arg(long)]
    pub svg: Option<PathBuf>,
    /// Write the tables as Markdown.
    #[arg(long)]
    pub md: Option<PathBuf>,
    /// A Debian 13 in a folder, with the newest DPDK.
    #[arg(long)]
    pub trixie: Option<PathBuf>,
}
