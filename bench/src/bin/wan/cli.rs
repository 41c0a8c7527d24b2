//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Part {
    /// One file over a WAN, beside other programs.
    Wan,
    /// One file through two switches without limits, to 1 to 32 receivers.
    Copies,
    /// One file through two switches from a disk and to it, beside what the disk takes by itself.
    Disk,
    /// 200 transfers over GEANT, beside what the simulator says.
    Geant,
    /// 10,000 small transfers, and 100 large ones at once.
    Many,
    /// A tunnel between two hosts, beside Linux's own.
    Vxlan,
}

/// Files over an emulated WAN: QuickCast's schemes beside other programs, in turn. Needs root.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask bench wan")]
pub struct Args {
    /// Only these parts, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Wan])]
    pub part: Vec<Part>,
    /// The network: a built-in name or a file. Programs other than Valecast need it to be a tree.
    #[arg(long, value_name = "FILE|NAME", default_value = "examples/fig1-topology.toml")]
    pub topology: String,
    /// Capacities are this part of the topology's: 0.05 makes 10 Gbit/s 500 Mbit/s, which two cores carry.
    #[arg(long, value_name = "FACTOR", default_value_t = 0.05)]
    pub scale: f64,
    /// The site that sends.
    #[arg(long, value_name = "SITE", default_value = "S")]
    pub from: String,
    /// The sites that receive.
    #[arg(long, value_name = "SITE,..", value_delimiter = ',', default_values_t = ["t1", "t2", "t3", "t4"].map(str::to_owned))]
    pub to: Vec<String>,
    /// The file; 100MB for the WAN, 256MB for copies, 1GB for the disk.
    #[arg(long, value_name = "SIZE")]
    pub size: Option<String>,
    /// Part geant: capacities are this part of GEANT's. Lower ones take longer, and a transfer's own tenth of a second
    /// counts less.
    #[arg(long, value_name = "FACTOR", default_value_t = 0.02)]
    pub geant_scale: f64,
    /// Part geant: transfers.
    #[arg(long, default_value_t = 200)]
    pub transfers: usize,
    /// Part geant: receivers of each.
    #[arg(long, default_value_t = 4)]
    pub receivers: usize,
    /// Part geant: mean size.
    #[arg(long, value_name = "SIZE", default_value = "20MB")]
    pub mean: String,
    /// Part geant: transfers a second.
    #[arg(long, default_value_t = 0.15)]
    pub lambda: f64,
    /// Part geant: only say what the simulator says, and send nothing.
    #[arg(long)]
    pub predict: bool,
    /// Part many: capacities are this part of the topology's. Faster than the machine: it is not the links that it waits for.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub many_scale: f64,
    /// Part many, large transfers: the same. A hundred at once need all of their machine where links are faster.
    #[arg(long, value_name = "FACTOR", default_value_t = 0.2)]
    pub large_scale: f64,
    /// Part many: small transfers of 1 MB.
    #[arg(long, default_value_t = 10_000)]
    pub small: usize,
    /// Part many: large transfers of 20 MB, all at once.
    #[arg(long, default_value_t = 100)]
    pub large: usize,
    /// Rounds; each contender has its turn in each.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Only these contenders, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// List parts and contenders, and end.
    #[arg(long)]
    pub list: bool,
    /// Where files and sockets go: memory, so that no disk is measured.
    #[arg(long, value_name = "FOLDER", default_value = "/dev/shm")]
    pub folder: PathBuf,
    /// Part disk: a folder on the disk that is measured, with room for three of the file.
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    pub disk: PathBuf,
    /// Leave folders and logs there.
    #[arg(long)]
    pub keep: bool,
    /// Write everything, all rounds included, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a chart.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Write the tables as Markdown.
    #[arg(long, value_name = "FILE")]
    pub md: Option<PathBuf>,
}
