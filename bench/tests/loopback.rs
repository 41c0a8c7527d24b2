//! The engine over real rings, with a wire in place of the switch: two ports, each frame goes to the other.

// Helpers of tests, which the lint's own exception does not know.
#![allow(clippy::unwrap_used)]

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use valecast_bench::addr::{Family, MacRange};
use valecast_bench::hist::Latency;
use valecast_bench::pace::Rate;
use valecast_bench::pcap::Capture;
use valecast_bench::source::Fragments;
use valecast_bench::{
    End, FrameSpec, Limits, PingConfig, PongConfig, Progress, RxConfig, RxReport, StopFlag, TxConfig,
    TxReport, What, run_ping, run_pong, run_rx, run_tx,
};
use valecast_ring::client::{Link, Port, RxRing, TxRing};
use valecast_ring::host::{Endpoint, RxQueue, Source, TxQueue};
use valecast_ring::layout::{Layout, RingParams};

struct Side {
    _link: Link,
    /// The other end of the lifeline.
    _held: OwnedFd,
    tx: Vec<TxRing>,
    rx: Vec<RxRing>,
}

struct Wire {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Two ports joined by a wire that loses every `lose`-th slot from the first port (0: none).
fn wire(lose: u64) -> (Wire, Side, Side) {
    let layout = Layout::try_from(RingParams { slots: 256, ..RingParams::default() }).unwrap();
    let make = |name| {
        let e = Endpoint::new(layout, name, true).unwrap();
        let (lifeline, held) = std::io::pipe().unwrap();
        let (link, tx, rx) = Port::local(&e.region, e.bells, lifeline.into()).split();
        (e.tx, e.rx, Side { _link: link, _held: held.into(), tx, rx })
    };
    let ((mut atx, arx, a), (mut btx, brx, b)) = (make("a"), make("b"));
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    let thread = std::thread::spawn(move || {
        let mut count = 0u64;
        while !asked.load(Ordering::Relaxed) {
            let moved =
                carry(&mut atx[0], &brx[0], &mut count, lose) + carry(&mut btx[0], &arx[0], &mut 0, 0);
            if moved == 0 {
                valecast_ring::notify::settle();
                atx[0].wake();
                btx[0].wake();
                arx[0].wake_patient();
                brx[0].wake_patient();
                std::thread::yield_now();
            }
        }
    });
    (Wire { stop, thread: Some(thread) }, a, b)
}

fn carry(from: &mut TxQueue, to: &RxQueue, count: &mut u64, lose: u64) -> u32 {
    let n = to.claim(from.pending());
    let keep: Vec<u32> =
        (0..n).filter(|i| lose == 0 || !(*count + 1 + u64::from(*i)).is_multiple_of(lose)).collect();
    *count += u64::from(n);
    let kept = keep.len() as u32;
    to.unclaim(n - kept);
    let pos = to.reserve(kept);
    for (at, i) in (pos..).zip(keep) {
        let f = from.slots().frame(i).unwrap();
        let whole = f.data.as_ptr().cast_const();
        let source = Source { head: whole, head_len: 0, tail: whole, tail_len: f.len as usize };
        // SAFETY: the frame is readable for its length, which fits, and the position is reserved.
        unsafe { to.writer().write(at, 1, f.flags, std::iter::once(source)) };
    }
    to.commit(pos, kept);
    from.complete(n);
    from.publish();
    valecast_ring::notify::settle();
    from.wake();
    to.wake();
    n
}

fn spec() -> FrameSpec {
    FrameSpec::new(Family::V4, MacRange::single([2, 0, 0, 0, 0, 1])).unwrap()
}

/// Sends with `cfg` from one port, receives at the other until what was sent is there.
fn both(cfg: &TxConfig, rx: &RxConfig, lose: u64) -> (TxReport, RxReport) {
    let (_wire, mut a, mut b) = wire(lose);
    let stop = StopFlag::default();
    std::thread::scope(|s| {
        let receiver = s.spawn(|| run_rx(rx, &mut b.rx, &stop, &Progress::default()).unwrap());
        let sent = run_tx(cfg, &mut a.tx, &StopFlag::default(), &Progress::default()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        stop.set();
        (sent, receiver.join().unwrap())
    })
}

fn count(n: u64) -> Limits {
    Limits { count: Some(n), time: None }
}

#[test]
fn all_that_is_sent_arrives() {
    let mut cfg = TxConfig::new(What::Generated(spec()));
    cfg.limits = count(200_000);
    let (tx, rx) = both(&cfg, &RxConfig::default(), 0);
    assert_eq!((tx.packets, tx.bytes, tx.why), (200_000, 12_000_000, End::Count));
    assert_eq!((rx.packets, rx.bytes, rx.why), (200_000, 12_000_000, End::Stopped));
    assert!(rx.latency.is_empty());
}

#[test]
fn numbers_find_what_the_wire_loses() {
    let mut cfg = TxConfig::new(What::Generated(FrameSpec { sequence: Some(7), ..spec() }));
    cfg.limits = count(50_000);
    let rx = RxConfig { sequence: true, ..RxConfig::default() };
    let (_, kept) = both(&cfg, &rx, 0);
    assert_eq!((kept.seq.received, kept.seq.lost, kept.seq.reordered), (50_000, 0, 0));
    let (_, some) = both(&cfg, &rx, 100);
    assert!((498..=500).contains(&some.seq.lost), "{:?}", some.seq);
    assert_eq!((some.seq.reordered, some.seq.duplicates), (0, 0));
}

/// A busy machine makes a run late; one that is always late keeps no rate.
fn in_one_of_many(mut run: impl FnMut() -> bool) {
    assert!((0..20).any(|_| run()), "in none of 20 runs");
}

#[test]
fn probes_measure_the_way_and_leave_the_load_whole() {
    let mut cfg = TxConfig::new(What::Generated(spec())).with_probes(Rate::per_second(2000), 0);
    cfg.limits = Limits { count: None, time: Some(Duration::from_millis(500)) };
    cfg.rate = Some(Rate::per_second(100_000));
    in_one_of_many(|| {
        let (tx, rx) = both(&cfg, &RxConfig::default(), 0);
        assert_eq!(tx.why, End::Time);
        assert_eq!(tx.packets, rx.packets);
        assert!(tx.probes <= 1001, "{}", tx.probes);
        assert_eq!(
            (rx.probes, rx.latency.count(), rx.latency_sent.count()),
            (tx.probes, tx.probes, tx.probes)
        );
        assert_eq!((rx.seq.lost, rx.seq.reordered), (0, 0));
        // Where probes had been, the load's own frame is there again.
        assert_eq!(rx.bytes, (tx.packets - tx.probes) * 60 + tx.probes * 76);
        tx.probes >= 800
    });
}

#[test]
fn a_rate_is_kept() {
    for pps in [1_000, 50_000] {
        let mut cfg = TxConfig::new(What::Generated(spec()));
        cfg.limits = Limits { count: None, time: Some(Duration::from_millis(1000)) };
        cfg.rate = Some(Rate::per_second(pps));
        in_one_of_many(|| {
            let (tx, rx) = both(&cfg, &RxConfig::default(), 0);
            assert!(tx.packets <= pps + 1, "{pps}: {}", tx.packets);
            assert_eq!(tx.packets, rx.packets);
            tx.packets * 100 >= pps * 95 && tx.skipped == 0
        });
    }
}

#[test]
fn fragments_and_long_frames_arrive_as_frames() {
    for (size, fragments) in [
        (300, Fragments { count: 5, size: None }),
        (300, Fragments { count: 1, size: Some(64) }),
        (9000, Fragments::default()),
    ] {
        let mut cfg = TxConfig::new(What::Generated(FrameSpec { size, ..spec() }));
        (cfg.fragments, cfg.limits) = (fragments, count(1000));
        let (tx, rx) = both(&cfg, &RxConfig::default(), 0);
        assert_eq!((rx.packets, rx.bytes), (1000, 1000 * size as u64));
        assert_eq!(tx.bytes, rx.bytes);
    }
    let mut cfg = TxConfig::new(What::Generated(FrameSpec { size: 9000, ..spec() }));
    cfg.fragments.size = Some(100);
    let (_wire, mut a, _b) = wire(0);
    let e = run_tx(&cfg, &mut a.tx, &StopFlag::default(), &Progress::default()).unwrap_err().to_string();
    assert!(e.contains("90 slots of 100 bytes") && e.contains("64 is the most"), "{e}");
}

#[test]
fn a_capture_is_sent_at_its_own_pace() {
    use pcap_file::pcap::{PcapPacket, PcapWriter};
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut w = PcapWriter::new(file.reopen().unwrap()).unwrap();
    for i in 0..11u64 {
        w.write_packet(&PcapPacket::new(Duration::from_millis(20 * i), 60, &[i as u8; 60])).unwrap();
    }
    w.into_writer().sync_all().unwrap();
    let frames = Arc::new(Capture::load(file.path()).unwrap());
    for (speed, span) in [(Some(1.0), 200), (Some(4.0), 50), (None, 0)] {
        let mut cfg = TxConfig::new(What::Capture { frames: frames.clone(), speed });
        cfg.limits = count(frames.len());
        in_one_of_many(|| {
            let (tx, rx) = both(&cfg, &RxConfig::default(), 0);
            assert_eq!((tx.packets, rx.packets, rx.bytes), (11, 11, 660));
            let [sent, took] = [tx.end - tx.start, rx.end - rx.start].map(|ns| ns / 1_000_000);
            assert!(sent >= span, "{speed:?}: {sent} ms");
            // The first frame may come a little late, the last not.
            (span - span / 20..span + 150).contains(&took)
        });
    }
}

fn ping(cfg: &PingConfig, lose: u64, progress: &Progress) -> valecast_bench::PingReport {
    let (_wire, mut a, mut b) = wire(lose);
    let stop = StopFlag::default();
    std::thread::scope(|s| {
        let pong = s.spawn(|| {
            run_pong(&PongConfig::default(), &mut b.tx[0], &mut b.rx[0], &stop, &Progress::default()).unwrap()
        });
        let report = run_ping(cfg, &mut a.tx[0], &mut a.rx, &StopFlag::default(), progress).unwrap();
        stop.set();
        assert!(pong.join().unwrap().packets >= report.seq.received);
        report
    })
}

#[test]
fn pings_come_back() {
    let mut cfg = PingConfig::new(spec());
    cfg.limits = count(500);
    let r = ping(&cfg, 0, &Progress::default());
    assert_eq!((r.packets, r.seq.received, r.seq.lost, r.latency.count()), (500, 500, 0, 500));
    assert_eq!((r.other, r.why), (0, End::Count));
    cfg.rate = Some(Rate::per_second(2000));
    cfg.load = Some(Rate::per_second(20_000));
    let r = ping(&cfg, 0, &Progress::default());
    assert_eq!((r.packets, r.seq.received, r.seq.lost, r.latency.count()), (500, 500, 0, 500));
    assert!(r.load > 4000, "{}", r.load);
    assert!(r.latency.summary().p50 >= r.latency_sent.summary().p50);
}

#[test]
fn lost_pings_are_counted_and_do_not_hold_up_the_rest() {
    let mut cfg = PingConfig::new(spec());
    (cfg.limits, cfg.patience) = (count(100), Duration::from_millis(20));
    let r = ping(&cfg, 10, &Progress::default());
    assert_eq!((r.packets, r.seq.received, r.seq.lost), (100, 90, 10));
    assert!(r.end - r.start < 1_000_000_000, "ten times 20 ms, not more");
}

#[test]
fn a_watcher_takes_latencies_and_none_is_counted_twice() {
    let mut cfg = PingConfig::new(spec());
    (cfg.limits, cfg.rate) = (count(1500), Some(Rate::per_second(3000)));
    let progress = Progress::default();
    let mut taken = Latency::new();
    let r = std::thread::scope(|s| {
        let run = s.spawn(|| ping(&cfg, 0, &progress));
        while !run.is_finished() {
            taken.merge(&progress.take_latency().unwrap_or_default());
            std::thread::sleep(Duration::from_millis(50));
        }
        run.join().unwrap()
    });
    assert!(taken.count() > 0);
    assert_eq!(taken.count() + r.latency.count(), 1500);
}
