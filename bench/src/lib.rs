//! Load generation and measurement for Valecast: the engine of pkt-gen, demo and the benchmarks.
//!
//! In the order in which a frame meets them:
//!
//! - [`addr`], [`packet`], [`generate`]: what frames look like, made in place with right checksums.
//! - [`pcap`]: frames from a capture instead.
//! - [`pace`]: when frames are due, as pure functions of the time ([`clock`]).
//! - [`source`] and [`run_tx`]: frames into transmit rings; [`stamp`]: numbers and times they carry.
//! - [`run_rx`], [`run_ping`], [`run_pong`]: the other ends; [`seq`] finds loss and reordering.
//! - [`hist`], [`picture`], [`plot`], [`hlog`]: latencies, and how they are shown.
//! - [`rig`]: the forwarding path without threads, for counting and micro-benchmarks; [`ends`]: a client's half of it.
//! - [`child`], [`cpu`], [`machine`], [`stats`]: processes that are measured, on what, and their samples in few numbers.
//! - [`report`]: a run in numbers; [`run`], [`team`], [`signal`]: limits, threads, stopping.
//!
//! ```no_run
//! use valecast_bench::addr::{Family, MacRange, mac_of_port};
//! use valecast_bench::{FrameSpec, Progress, StopFlag, TxConfig, What, run_tx};
//! use valecast_ring::client::{AttachOptions, Port};
//! let port = Port::attach("/run/valecast/vale0.ring".as_ref(), "a", &AttachOptions::default())?;
//! let (_link, mut tx, _rx) = port.split();
//! let frame = FrameSpec::new(Family::V4, MacRange::single(mac_of_port("vale0:a")))?;
//! let mut cfg = TxConfig::new(What::Generated(frame));
//! cfg.limits.count = Some(1_000_000);
//! let report = run_tx(&cfg, &mut tx, &StopFlag::default(), &Progress::default())?;
//! println!("{} frames in {} ns", report.packets, report.end - report.start);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod addr;
pub mod child;
pub mod clock;
pub mod cpu;
pub mod dump;
pub mod ends;
mod flight;
pub mod generate;
pub mod hist;
pub mod hlog;
pub mod hlog_read;
mod mac;
pub mod machine;
pub mod pace;
pub mod packet;
pub mod paint;
pub mod pcap;
pub mod picture;
pub mod ping;
mod ping_config;
pub mod plot;
pub mod pong;
pub mod report;
pub mod rig;
pub mod rng;
pub mod run;
pub mod rx;
mod schedule;
pub mod seq;
pub mod signal;
pub mod source;
pub mod stamp;
pub mod stats;
pub mod team;
pub mod tx;
pub mod vm;
mod wait;

pub use generate::FrameSpec;
pub use ping::{PingConfig, PingReport, run_ping};
pub use pong::{PongConfig, run_pong};
pub use report::{Outcome, Report};
pub use run::{End, Limits, Progress, RunError, StopFlag};
pub use rx::{RxConfig, RxReport, run_rx};
pub use source::What;
pub use tx::{TxConfig, TxReport, run_tx};
