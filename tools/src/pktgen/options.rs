//! A checked command line.

use std::path::PathBuf;
use std::time::Duration;

use valecast_bench::FrameSpec;
use valecast_bench::pace::Rate;
use valecast_bench::source::Fragments;
use valecast_ring::client::AttachOptions;

use super::place::Place;

/// What to do (`-f`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Send.
    Tx,
    /// Receive.
    Rx,
    /// Ask.
    Ping,
    /// Answer.
    Pong,
    /// Send numbered frames.
    TxSeq,
    /// Receive numbered frames.
    RxSeq,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Tx, Self::Rx, Self::Ping, Self::Pong, Self::TxSeq, Self::RxSeq];

    /// Its name, as in `-f` and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tx => "tx",
            Self::Rx => "rx",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::TxSeq => "txseq",
            Self::RxSeq => "rxseq",
        }
    }

    /// Whether it only sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::Tx | Self::TxSeq)
    }
}

/// Replay of a capture (`-P`).
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// The file.
    pub file: PathBuf,
    /// `--pcap-speed`; 0 is without regard to times.
    pub speed: Option<f64>,
    /// `--loop`; 0 is for ever.
    pub times: Option<u64>,
}

/// A checked command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// The port.
    pub place: Place,
    /// `--run-dir`.
    pub run_dir: Option<PathBuf>,
    /// What to do.
    pub mode: Mode,
    /// Frames to send.
    pub frame: FrameSpec,
    /// `-P`.
    pub replay: Option<Replay>,
    /// Slots per frame.
    pub fragments: Fragments,
    /// Send whatever is in the buffers.
    pub rubbish: bool,
    /// Copy every frame.
    pub copy: bool,
    /// Frames in all.
    pub count: Option<u64>,
    /// Run time.
    pub time: Option<Duration>,
    /// Frames per second in all.
    pub rate: Option<Rate>,
    /// Most frames at once.
    pub burst: u32,
    /// Probes per second in all.
    pub probe: Option<Rate>,
    /// Background frames per second.
    pub load: Option<Rate>,
    /// How long an answer may take.
    pub patience: Duration,
    /// End after so long without frames.
    pub silence: Option<Duration>,
    /// Threads.
    pub threads: usize,
    /// First CPU.
    pub first_cpu: Option<usize>,
    /// CPUs to use; `None` counts on from the first.
    pub cpus: Option<usize>,
    /// What to ask of the port.
    pub attach: AttachOptions,
    /// Never sleep.
    pub busy: bool,
    /// Wait before the start.
    pub wait: Duration,
    /// Time between reports.
    pub report_every: Duration,
    /// K, M, G.
    pub normalize: bool,
    /// Count framing.
    pub framing: bool,
    /// Average and deviation.
    pub statistics: bool,
    /// Show frames.
    pub dump: bool,
    /// Say more.
    pub verbose: bool,
    /// JSON only.
    pub json: bool,
    /// Interval log.
    pub hlog: Option<PathBuf>,
    /// Picture.
    pub plot: Option<PathBuf>,
}

impl Options {
    /// Receiving with pkt-gen's defaults, the frames being `frame`; the port is still to be named.
    pub fn new(frame: FrameSpec) -> Self {
        let nowhere = Place { switch: String::new(), port: String::new() };
        Self {
            place: nowhere,
            run_dir: None,
            mode: Mode::Rx,
            frame,
            replay: None,
            fragments: Fragments::default(),
            rubbish: false,
            copy: false,
            count: None,
            time: None,
            rate: None,
            burst: 0,
            probe: None,
            load: None,
            patience: Duration::from_secs(1),
            silence: None,
            threads: 1,
            first_cpu: None,
            cpus: None,
            attach: AttachOptions::default(),
            busy: false,
            wait: Duration::ZERO,
            report_every: Duration::from_secs(1),
            normalize: true,
            framing: false,
            statistics: false,
            dump: false,
            verbose: false,
            json: false,
            hlog: None,
            plot: None,
        }
    }
}
