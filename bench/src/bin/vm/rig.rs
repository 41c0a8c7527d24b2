//! The guests, the host's side; and one run.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use valecast_bench::addr::{Family, Mac, MacRange};
use valecast_bench::vm::{Socket, Vm, inside};
use valecast_bench::{
    FrameSpec, Limits, Progress, RunError, RxConfig, StopFlag, TxConfig, What, run_rx, run_tx,
};
use valecast_guest::mailbox::{self, Counted, Job, Role};
use valecast_guest::virtio;
use valecast_ring::client::{AttachOptions, Link, Port, RxRing, TxRing};

use super::Trouble;
use super::cells::{Cell, FULL, Mode, SHORT, Way};
use super::service::Service;

/// The guests with an e1000.
pub const CARDS: [Mac; 2] = [[0x52, 0x54, 0, 0xe1, 0, 1], [0x52, 0x54, 0, 0xe1, 0, 2]];
/// Those with virtio-net.
const VIRTIO: [Mac; 2] = [[0x52, 0x54, 0, 0xe1, 0, 3], [0x52, 0x54, 0, 0xe1, 0, 4]];
/// The host.
const HOST: Mac = [0x52, 0x54, 0, 0xe1, 0, 5];
/// Before the figures are taken.
const WARM: Duration = Duration::from_millis(80);

/// What is to happen to frames for a port that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Overflow {
    /// They are lost.
    Drop,
    /// They wait with their sender.
    Backpressure,
}

/// How guests are set up beyond their mode.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Descriptors per ring, for short frames.
    pub descriptors: u32,
    /// For long ones.
    pub long_descriptors: u32,
    /// Looks for frames before a guest that receives halts.
    pub polls: u32,
    /// Looks for room before one that sends does.
    pub send_polls: u32,
    /// Guests share core 0, the switch's worker has core 1; otherwise the scheduler places them.
    pub pinned: bool,
    /// The worker polls for so long (us) before it sleeps.
    pub spin: u64,
    /// Ports that are full.
    pub overflow: Overflow,
}

impl Tuning {
    /// Descriptors of the rings that frames of `len` bytes go through.
    fn descriptors(&self, len: u32) -> u32 {
        if len == SHORT { self.descriptors } else { self.long_descriptors }
    }
}

/// What one run came to.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Figures {
    /// Frames sent per second.
    pub sent: f64,
    /// Frames received per second; round trips.
    pub received: f64,
    /// Writes of TDT or of the transmit doorbell per frame sent.
    pub tx_kicks: f64,
    /// Interrupts of the sender per frame sent.
    pub tx_interrupts: f64,
    /// Interrupts of the receiver per frame received.
    pub rx_interrupts: f64,
    /// Writes of RDT or of the receive doorbell per frame received.
    pub rx_kicks: f64,
}

impl Figures {
    /// Of each figure.
    pub fn median(runs: &[Self]) -> Self {
        let mid = |get: fn(&Self) -> f64| {
            let mut all: Vec<f64> = runs.iter().map(get).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or(0.0)
        };
        Self {
            sent: mid(|f| f.sent),
            received: mid(|f| f.received),
            tx_kicks: mid(|f| f.tx_kicks),
            tx_interrupts: mid(|f| f.tx_interrupts),
            rx_interrupts: mid(|f| f.rx_interrupts),
            rx_kicks: mid(|f| f.rx_kicks),
        }
    }
}

/// Everything that runs.
pub struct Rig {
    tuning: Tuning,
    cards: [Vm; 2],
    virtio: [Vm; 2],
    host: Option<(Link, Vec<TxRing>, Vec<RxRing>)>,
    // Last: the guests leave before it ends.
    _service: Service,
}

/// Frames per second between two cards without guests, and between two of virtio-net: medians of `rounds`, short frames
/// and long.
pub fn inside(tuning: &Tuning, rounds: u64, time: Duration) -> Result<Vec<(Mode, [f64; 2])>, Trouble> {
    let service = Service::start(tuning)?;
    let [a, b, c, d, _] = &service.sockets;
    let ends = [
        (Mode::Csb, [a, b].map(|s| Socket::VfioUser(s)), CARDS),
        (Mode::Virtio, [c, d].map(|s| Socket::VhostUser(s)), VIRTIO),
    ];
    let mut rates = ends.map(|_| [Vec::new(), Vec::new()]);
    for _ in 0..rounds.max(1) {
        for ((_, sockets, macs), rates) in ends.iter().zip(&mut rates) {
            for (len, rates) in [SHORT, FULL].iter().zip(rates) {
                let begun = Instant::now();
                // A port takes its next guest a moment after the last has gone.
                let rate = loop {
                    match inside::run(*sockets, *macs, tuning.descriptors(*len), *len as usize, time) {
                        Err(_) if begun.elapsed() < Duration::from_secs(5) => {
                            std::thread::sleep(Duration::from_millis(10));
                        }
                        done => break done?,
                    }
                };
                rates.push(rate);
            }
        }
    }
    let median = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    Ok(ends.iter().zip(rates).map(|((mode, ..), rates)| (*mode, rates.map(median))).collect())
}

impl Rig {
    /// Starts the daemon and two guests of each kind, of which those of one sleep.
    pub fn start(tuning: Tuning) -> Result<Self, Trouble> {
        let service = Service::start(&tuning)?;
        let core = tuning.pinned.then_some(0);
        let [a, b, c, d, h] = &service.sockets;
        let most = tuning.descriptors.max(tuning.long_descriptors);
        let job = Job { descriptors: most, ..Job::default() };
        let memory = |driver: usize| (mailbox::MEMORY as usize + driver).next_multiple_of(2 << 20);
        let card = |s| Vm::start(Socket::VfioUser(s), memory(job.options().memory()), core);
        let virtio = |s| Vm::start(Socket::VhostUser(s), memory(job.virtio(virtio::FEATURES).memory()), core);
        let (cards, virtio) = ([card(a)?, card(b)?], [virtio(c)?, virtio(d)?]);
        let host = Some(Port::attach(h, "h", &AttachOptions::default())?.split());
        Ok(Self { tuning, cards, virtio, host, _service: service })
    }

    /// The guests of a cell.
    fn guests(&self, mode: Mode) -> &[Vm; 2] {
        if mode == Mode::Virtio { &self.virtio } else { &self.cards }
    }

    /// Measures a cell.
    pub fn run(&mut self, cell: &Cell, time: Duration) -> Result<Figures, Trouble> {
        let [a, b] = if cell.mode == Mode::Virtio { VIRTIO } else { CARDS };
        let job = |role, to: Mac, from: Mac| Job {
            role,
            len: cell.len,
            batch: cell.batch,
            polls: if role == Role::Send { self.tuning.send_polls } else { self.tuning.polls },
            descriptors: self.tuning.descriptors(cell.len),
            itr: cell.mode.itr(),
            send_combining: cell.mode == Mode::Sc,
            csb: cell.mode.csb(),
            to,
            from,
        };
        match cell.way {
            Way::GuestGuest => {
                self.guests_only(cell.mode, &job(Role::Receive, a, b), &job(Role::Send, b, a), time)
            }
            Way::RoundTrip => {
                self.guests_only(cell.mode, &job(Role::Echo, a, b), &job(Role::Ping, b, a), time)
            }
            Way::GuestHost => self.send_to_host(cell.mode, &job(Role::Send, HOST, a), time),
            Way::HostGuest => self.receive_from_host(cell, &job(Role::Receive, HOST, b), time),
        }
    }

    fn guests_only(
        &mut self,
        mode: Mode,
        receiver: &Job,
        sender: &Job,
        time: Duration,
    ) -> Result<Figures, Trouble> {
        let [a, b] = self.guests(mode);
        let there = b.begin(receiver)?;
        let here = a.begin(sender)?;
        let (figures, _) = watch(time, a, Some(b), || 0);
        a.end(here)?;
        b.end(there)?;
        Ok(figures)
    }

    fn send_to_host(&mut self, mode: Mode, sender: &Job, time: Duration) -> Result<Figures, Trouble> {
        // So that the switch knows where the host is.
        let mut spec = FrameSpec::new(Family::V4, MacRange::single(HOST))?;
        spec.dst_mac = MacRange::single(sender.from);
        let (link, mut tx, rx) = self.host.take().ok_or("the host's port is gone")?;
        let mut hello = TxConfig::new(What::Generated(spec));
        hello.limits = Limits { count: Some(1), ..Limits::default() };
        run_tx(&hello, &mut tx, &StopFlag::default(), &Progress::default())?;
        let sink = Side::start(rx, |rings, stop, progress| {
            run_rx(&RxConfig::default(), rings, stop, progress).map(drop)
        });
        let a = &self.guests(mode)[0];
        let number = a.begin(sender)?;
        let (mut figures, received) = watch(time, a, None, || sink.progress.counts().packets);
        figures.received = received;
        a.end(number)?;
        self.host = Some((link, tx, sink.end()?));
        Ok(figures)
    }

    fn receive_from_host(&mut self, cell: &Cell, receiver: &Job, time: Duration) -> Result<Figures, Trouble> {
        let mut spec = FrameSpec::new(Family::V4, MacRange::single(HOST))?;
        spec.dst_mac = MacRange::single(receiver.from);
        spec.size = cell.len as usize;
        let (link, tx, rx) = self.host.take().ok_or("the host's port is gone")?;
        let b = &self.guests(cell.mode)[1];
        let number = b.begin(receiver)?;
        let source = Side::start(tx, move |rings, stop, progress| {
            run_tx(&TxConfig::new(What::Generated(spec.clone())), rings, stop, progress).map(drop)
        });
        let (figures, sent) = watch(time, b, Some(b), || source.progress.counts().packets);
        // The guest only receives.
        let figures = Figures { sent, tx_kicks: 0.0, tx_interrupts: 0.0, ..figures };
        let tx = source.end()?;
        b.end(number)?;
        self.host = Some((link, tx, rx));
        Ok(figures)
    }
}

/// The host's side, on a thread.
struct Side<R> {
    stop: StopFlag,
    progress: std::sync::Arc<Progress>,
    thread: JoinHandle<Result<Vec<R>, RunError>>,
}

impl<R: Send + 'static> Side<R> {
    fn start(
        mut rings: Vec<R>,
        run: impl Fn(&mut [R], &StopFlag, &Progress) -> Result<(), RunError> + Send + 'static,
    ) -> Self {
        let (stop, progress) = (StopFlag::default(), std::sync::Arc::new(Progress::default()));
        let (theirs, counts) = (stop.clone(), progress.clone());
        let thread = std::thread::spawn(move || {
            run(&mut rings, &theirs, &counts)?;
            Ok(rings)
        });
        Self { stop, progress, thread }
    }

    fn end(self) -> Result<Vec<R>, Trouble> {
        self.stop.set();
        Ok(self.thread.join().map_err(|_| "the host's side failed")??)
    }
}

/// What `sender` and `receiver` count in `time`, and how much `other` does per second.
fn watch(time: Duration, sender: &Vm, receiver: Option<&Vm>, other: impl Fn() -> u64) -> (Figures, f64) {
    let rest = |d: Duration| {
        let end = Instant::now() + d;
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(40).min(end.saturating_duration_since(Instant::now())));
            // A ping that got lost before both sides were up is sent again by who is awake.
            if sender.counted().round_trips == 0 {
                sender.nudge();
            }
        }
    };
    rest(WARM);
    let look = || (sender.counted(), receiver.map(Vm::counted), other(), Instant::now());
    let (s0, r0, o0, t0) = look();
    rest(time);
    let (s1, r1, o1, t1) = look();
    let seconds = t1.duration_since(t0).as_secs_f64();
    let d = |get: fn(&Counted) -> u64, from: &Counted, to: &Counted| (get(to) - get(from)) as f64;
    let sent = d(|c| c.sent, &s0, &s1);
    let per = |n: f64, of: f64| if of > 0.0 { n / of } else { 0.0 };
    let (received, interrupts, kicks) = match (r0, r1) {
        (Some(r0), Some(r1)) => {
            (d(|c| c.received, &r0, &r1), d(|c| c.vectors, &r0, &r1), d(|c| c.rx_kicks, &r0, &r1))
        }
        _ => (0.0, 0.0, 0.0),
    };
    let figures = Figures {
        sent: sent / seconds,
        received: received / seconds,
        tx_kicks: per(d(|c| c.tx_kicks, &s0, &s1), sent),
        tx_interrupts: per(d(|c| c.vectors, &s0, &s1), sent),
        rx_interrupts: per(interrupts, received),
        rx_kicks: per(kicks, received),
    };
    (figures, (o1 - o0) as f64 / seconds)
}
