//! Answering pings: every frame goes back to where it came from.

use std::io;
use std::time::Duration;

use valecast_ring::SlotFlags;
use valecast_ring::client::{RxRing, TxRing};

use crate::addr::Family;
use crate::clock::{now_ns, sharpen_sleep};
use crate::packet::ETH_LEN;
use crate::run::{End, LOOK_AROUND, Limits, Progress, RunError, StopFlag, pin};
use crate::stamp::family_of;
use crate::tx::TxReport;

/// Looks at the ring before sleeping.
const SPINS: u32 = 64;

/// How to answer.
#[derive(Clone, Debug, Default)]
pub struct PongConfig {
    /// When to end; the count is of answers.
    pub limits: Limits,
    /// Bytes of virtio header in front of frames.
    pub vnet: usize,
    /// Never sleep: measures the switch without the time it takes to wake a process, and takes a core.
    pub busy: bool,
    /// Bind the thread to this CPU.
    pub cpu: Option<usize>,
}

/// Sends every frame from `rx` back over `tx`, addresses swapped, with the calling thread. Nothing is dropped:
/// while `tx` has no room, frames stay in `rx`.
pub fn run_pong(
    cfg: &PongConfig,
    tx: &mut TxRing,
    rx: &mut RxRing,
    stop: &StopFlag,
    progress: &Progress,
) -> Result<TxReport, RunError> {
    if let Some(cpu) = cfg.cpu {
        pin(cpu)?;
    }
    sharpen_sleep();
    let start = now_ns();
    let mut report = TxReport {
        packets: 0,
        bytes: 0,
        bursts: 0,
        probes: 0,
        skipped: 0,
        stalls: 0,
        start,
        end: start,
        why: End::Stopped,
    };
    let why = answer(cfg, tx, rx, stop, progress, &mut report);
    report.why = why.unwrap_or_else(|e| End::Gone(e.to_string()));
    Ok(report)
}

fn answer(
    cfg: &PongConfig,
    tx: &mut TxRing,
    rx: &mut RxRing,
    stop: &StopFlag,
    progress: &Progress,
    report: &mut TxReport,
) -> io::Result<End> {
    let deadline = cfg.limits.deadline(report.start);
    let (mut idle, mut inside) = (0, false);
    loop {
        let now = now_ns();
        if stop.is_set() {
            return Ok(End::Stopped);
        } else if now >= deadline {
            return Ok(End::Time);
        } else if cfg.limits.left(report.packets) == 0 {
            return Ok(End::Count);
        }
        let rest = LOOK_AROUND.min(Duration::from_nanos(deadline - now));
        let pending = rx.pending();
        if pending == 0 {
            idle += 1;
            match idle {
                _ if idle <= SPINS => (0..8).for_each(|_| std::hint::spin_loop()),
                _ if cfg.busy => std::thread::yield_now(),
                _ => {
                    rx.wait(1, Some(rest))?;
                    idle = 0;
                }
            }
            continue;
        }
        idle = 0;
        let n = pending.min(tx.room());
        if n == 0 {
            report.stalls += 1;
            tx.wait(1, Some(rest))?;
            continue;
        }
        if report.packets == 0 {
            report.start = now;
        }
        for i in 0..n {
            let slot = rx.frame(i);
            let len = slot.data.len().min(tx.buf_size());
            let out = &mut tx.buffer(i)[..len];
            out.copy_from_slice(&slot.data[..len]);
            if !inside && let Some(frame) = out.get_mut(cfg.vnet..) {
                turn_round(frame);
            }
            inside = slot.flags.contains(SlotFlags::MORE_FRAG);
            tx.set(i, len, slot.flags & SlotFlags::MORE_FRAG);
            report.packets += u64::from(!inside);
            report.bytes += len as u64;
        }
        tx.advance(n);
        tx.publish();
        rx.advance(n);
        rx.release();
        report.bursts += 1;
        report.end = now;
        progress.store(report.packets, report.bytes, report.bursts);
    }
}

/// Swaps Ethernet and IP addresses of `frame`, as far as it is long enough; checksums stay right by that.
pub fn turn_round(frame: &mut [u8]) {
    swap(frame, 0, 6);
    if frame.get(12..14) == Some(&[8, 0]) {
        swap(frame, ETH_LEN + 12, 4);
    } else if family_of(frame) == Family::V6 {
        swap(frame, ETH_LEN + 8, 16);
    }
}

/// Swaps the `len` bytes at `at` with the `len` after them.
fn swap(frame: &mut [u8], at: usize, len: usize) {
    if let Some(both) = frame.get_mut(at..at + 2 * len) {
        let (a, b) = both.split_at_mut(len);
        a.swap_with_slice(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::MacRange;
    use crate::generate::{FrameSpec, Generator};

    #[test]
    fn there_and_back_is_the_same() {
        for family in [Family::V4, Family::V6] {
            let spec = FrameSpec::new(family, MacRange::single([2, 0, 0, 0, 0, 1])).unwrap();
            let frame = Generator::new(&FrameSpec { size: 90, ..spec }, 0).unwrap().make().to_vec();
            let mut back = frame.clone();
            turn_round(&mut back);
            assert_eq!((&back[..6], &back[6..12]), (&frame[6..12], &frame[..6]));
            let (at, len) = if family == Family::V4 { (26, 4) } else { (22, 16) };
            assert_eq!(back[at..at + len], frame[at + len..at + 2 * len]);
            turn_round(&mut back);
            assert_eq!(back, frame);
        }
        for len in 0..40 {
            turn_round(&mut vec![0; len]);
        }
    }
}
