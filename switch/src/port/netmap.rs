//! `netmap`: a port of a real netmap, through its device: an interface, a port of a VALE switch, the end of a pipe.
//!
//! Each pair of rings is registered with a descriptor of its own, which a worker can sleep on. Frames are taken by
//! reference from netmap's receive buffers and copied once into transmit buffers.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use valecast_config::NetmapPort;
use valecast_ring::SlotFlags;

use super::ring::{Each, Extras, take_slots};
use super::{About, Caps, Egress, Ingress, OpenError, Opened, Tally};
use crate::frame::{Burst, Entry};

mod device;

use device::{Handle, RxRing, TxRing};

/// Most slots that one frame may take.
const MAX_FRAGS: usize = valecast_ring::abi::MAX_FRAGS;

/// One receive ring.
struct NetmapIngress {
    handle: Arc<Handle>,
    ring: RxRing,
}

impl Ingress for NetmapIngress {
    fn take(&mut self, burst: &mut Burst, max: usize, _now: u64) {
        if self.ring.pending() == 0 {
            self.handle.rxsync();
        }
        let pending = self.ring.pending();
        if pending == 0 {
            return;
        }
        let ring = &self.ring;
        let slot =
            |i| ring.slot(i).map(|(p, len, flags)| (p.cast_const(), len, flags & SlotFlags::MORE_FRAG));
        // SAFETY: slots are this port's until `complete` gives them back, which ends the burst.
        unsafe { take_slots(burst, pending, max, Extras::default(), Each(slot)) };
    }

    fn complete(&mut self, burst: &Burst, n: usize) {
        self.ring.advance(burst.slots(n));
    }

    fn publish(&mut self) {
        // netmap hears of slots that are given back at the next sync.
        self.handle.rxsync();
    }

    fn arm(&mut self) -> bool {
        self.handle.rxsync();
        self.ring.pending() == 0
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.handle.fd())
    }
}

/// A transmit ring, and slots promised and not used yet.
struct Queue {
    ring: TxRing,
    claimed: u32,
}

/// The transmit rings. Any worker may deliver here, while a ring has one producer: so each has a lock, held while
/// frames are copied, as the kernel's own lock of a TAP or packet socket is. With one worker nobody ever waits for it.
struct NetmapEgress {
    queues: Vec<(Arc<Handle>, Mutex<Queue>)>,
    buf: usize,
    caps: Caps,
    memory: u64,
}

impl NetmapEgress {
    fn queue(&self, lane: usize) -> (&Handle, MutexGuard<'_, Queue>) {
        let (handle, queue) = &self.queues[lane % self.queues.len()];
        // A worker that panicked left whole frames at worst.
        (handle, queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn cost(&self, burst: &Burst, e: &Entry) -> u32 {
        burst.frames[usize::from(e.frame)].len().div_ceil(self.buf).max(1) as u32
    }

    /// How many of `list` fit into `room` slots, and how many slots they take.
    fn fit(&self, burst: &Burst, list: &[Entry], room: u32) -> (usize, u32) {
        let mut used = 0;
        for (i, e) in list.iter().enumerate() {
            let n = self.cost(burst, e);
            if used + n > room {
                return (i, used);
            }
            used += n;
        }
        (list.len(), used)
    }
}

impl Egress for NetmapEgress {
    fn caps(&self) -> Caps {
        self.caps
    }

    fn about(&self) -> About {
        About { memory: self.memory, ..About::default() }
    }

    fn claim(&self, burst: &Burst, list: &[Entry], lane: usize) -> usize {
        let (handle, mut q) = self.queue(lane);
        let (_, all) = self.fit(burst, list, u32::MAX);
        if q.ring.room().saturating_sub(q.claimed) < all {
            handle.txsync();
        }
        let (n, used) = self.fit(burst, list, q.ring.room().saturating_sub(q.claimed));
        q.claimed += used;
        n
    }

    fn unclaim(&self, burst: &Burst, list: &[Entry], lane: usize) {
        let (_, mut q) = self.queue(lane);
        q.claimed = q.claimed.saturating_sub(self.fit(burst, list, u32::MAX).1);
    }

    fn put(&self, burst: &Burst, list: &[Entry], lane: usize, _now: u64) -> Tally {
        let (handle, mut q) = self.queue(lane);
        q.claimed = q.claimed.saturating_sub(self.fit(burst, list, u32::MAX).1);
        let mut tally = Tally::default();
        for e in list {
            let f = &burst.frames[usize::from(e.frame)];
            if q.ring.push(burst.bytes_of(f), f.len(), self.buf) {
                tally.frames += 1;
                tally.bytes += f.len() as u64;
            } else {
                tally.tx_error += 1;
            }
        }
        if !handle.txsync() {
            // The port is gone: what was put there goes nowhere.
            tally.tx_error += std::mem::take(&mut tally.frames);
            tally.bytes = 0;
        }
        tally
    }
}

/// Opens the port.
pub fn open(name: &str, cfg: &NetmapPort) -> Result<Opened, OpenError> {
    let rings = device::open(cfg)?;
    let memory = rings.iter().map(|r| r.memory).max().unwrap_or(0);
    tracing::info!(port = name, netmap = cfg.interface, rings = rings.len(), memory, "netmap port is open");
    let buf = rings.iter().filter_map(|r| r.tx.as_ref()).map(TxRing::buf_size).min().unwrap_or(2048);
    let slots = rings.iter().filter_map(|r| r.tx.as_ref()).map(TxRing::slots).min().unwrap_or(0);
    let (mut ingress, mut queues) = (Vec::<Box<dyn Ingress>>::new(), Vec::new());
    for r in rings {
        if let Some(ring) = r.rx {
            ingress.push(Box::new(NetmapIngress { handle: r.handle.clone(), ring }));
        }
        if let Some(ring) = r.tx {
            queues.push((r.handle, Mutex::new(Queue { ring, claimed: 0 })));
        }
    }
    if queues.is_empty() {
        return Err(OpenError::File(format!("netmap port {}: it has no transmit ring", cfg.interface)));
    }
    let frags = MAX_FRAGS.min(slots as usize / 2).max(1);
    let caps = Caps {
        vnet: false,
        max_frame: (buf * frags).min(usize::from(u16::MAX)),
        max_run: slots as usize / 2,
        queues: queues.len(),
    };
    Ok(Opened { ingress, egress: Arc::new(NetmapEgress { queues, buf, caps, memory }), keep: Vec::new() })
}
