//! What each thread does: the engine's configuration, cut into shares.

use std::sync::Arc;

use valecast_bench::dump::Dump;
use valecast_bench::pcap::Capture;
use valecast_bench::{FrameSpec, Limits, PingConfig, PongConfig, RxConfig, TxConfig, What, stamp};

use super::options::{Mode, Options, Replay};

/// CPUs of this machine.
fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The CPU of thread `i`: `-c` many from `-a` on, or as many as it takes.
pub fn cpu(o: &Options, i: usize) -> Option<usize> {
    o.first_cpu.map(|first| match o.cpus {
        Some(n) => first + i % n,
        None => (first + i) % cpus().max(first + 1),
    })
}

/// The `i`-th share of `n` frames.
fn share(count: u64, i: usize, n: usize) -> u64 {
    let n = n.max(1) as u64;
    count / n + u64::from((i as u64) < count % n)
}

fn limits(o: &Options, i: usize) -> Limits {
    Limits { count: o.count.map(|c| share(c, i, o.threads)), time: o.time }
}

fn dump(o: &Options) -> Dump {
    match (o.dump, o.json) {
        (false, _) => Dump::Off,
        (true, true) => Dump::Stderr,
        (true, false) => Dump::Stdout,
    }
}

/// What a sender sends, and after how many frames a capture has been played.
pub fn what(o: &Options) -> Result<(What, Option<u64>), String> {
    if o.rubbish {
        return Ok((What::Rubbish { size: o.frame.size }, None));
    }
    let Some(replay) = &o.replay else { return Ok((What::Generated(o.frame.clone()), None)) };
    let capture = Capture::load(&replay.file).map_err(|e| e.to_string())?;
    if o.verbose {
        let (cut, back) = (capture.cut_short, capture.back_in_time);
        errln!("{}: {} frames, {cut} cut short, {back} back in time", replay.file.display(), capture.len());
    }
    let frames = Arc::new(capture);
    let (speed, times) = playing(replay, frames.len(), o.rate.is_some());
    Ok((What::Capture { speed, frames: frames.clone() }, times.map(|t| t.saturating_mul(frames.len()))))
}

/// Speed and repetitions of a capture of `n` frames; `None` is without times, and for ever.
fn playing(r: &Replay, n: u64, rate: bool) -> (Option<f64>, Option<u64>) {
    // One frame and no word about time: it is pkt-gen's `-P`, the frame to send over and over.
    if n == 1 && r.speed.is_none() && r.times.is_none() {
        return (None, None);
    }
    let speed = match r.speed {
        None if rate => None,
        speed => Some(speed.unwrap_or(1.0)).filter(|s| *s > 0.0),
    };
    (speed, Some(r.times.unwrap_or(1)).filter(|t| *t > 0))
}

/// The configuration of sender `i`.
pub fn tx(o: &Options, what: &What, played: Option<u64>, i: usize) -> TxConfig {
    let what = match what {
        What::Generated(spec) => What::Generated(FrameSpec {
            seed: spec.seed.wrapping_add(i as u64),
            sequence: spec.sequence.map(|_| stamp::stream_id(i)),
            ..spec.clone()
        }),
        other => other.clone(),
    };
    let mut cfg = TxConfig::new(what);
    cfg.limits = limits(o, i);
    cfg.limits.count = [cfg.limits.count, played].into_iter().flatten().min();
    cfg.rate = o.rate.map(|r| r.share(i, o.threads));
    (cfg.burst, cfg.fragments, cfg.copy) = (o.burst, o.fragments, o.copy);
    (cfg.cpu, cfg.dump) = (cpu(o, i), dump(o));
    match o.probe {
        Some(rate) => cfg.with_probes(rate.share(i, o.threads), i),
        None => cfg,
    }
}

/// The configuration of receiver `i`.
pub fn rx(o: &Options, i: usize) -> RxConfig {
    RxConfig {
        limits: limits(o, i),
        silence: o.silence,
        burst: o.burst,
        sequence: o.mode == Mode::RxSeq,
        tell_gaps: o.mode == Mode::RxSeq || o.verbose,
        vnet: o.frame.vnet,
        busy: o.busy,
        cpu: cpu(o, i),
        dump: dump(o),
    }
}

/// The configuration of the pinger.
pub fn ping(o: &Options) -> PingConfig {
    PingConfig {
        frame: o.frame.clone(),
        limits: limits(o, 0),
        rate: o.rate,
        burst: o.burst,
        load: o.load,
        patience: o.patience,
        busy: o.busy,
        cpu: cpu(o, 0),
    }
}

/// The configuration of answerer `i`.
pub fn pong(o: &Options, i: usize) -> PongConfig {
    PongConfig { limits: limits(o, i), vnet: o.frame.vnet, busy: o.busy, cpu: cpu(o, i) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for (count, n) in [(10, 3), (0, 2), (2, 4), (1_000_001, 2)] {
            assert_eq!((0..n).map(|i| share(count, i, n)).sum::<u64>(), count);
        }
    }

    #[test]
    fn one_frame_is_pkt_gens_packet_and_more_are_a_recording() {
        let r = |speed, times| Replay { file: "x".into(), speed, times };
        assert_eq!(playing(&r(None, None), 1, false), (None, None));
        assert_eq!(playing(&r(None, None), 5, false), (Some(1.0), Some(1)));
        assert_eq!(playing(&r(None, None), 5, true), (None, Some(1)));
        assert_eq!(playing(&r(Some(0.0), Some(0)), 5, false), (None, None));
        assert_eq!(playing(&r(Some(3.0), Some(2)), 1, false), (Some(3.0), Some(2)));
    }
}
