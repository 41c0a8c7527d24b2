//! Frames to the interface.
//!
//! Any worker may deliver here, while a transmit ring has one producer: so each queue has a lock. With one worker
//! nobody ever waits for it. With several it is held while frames are copied and sent, as the kernel's
//! own lock of a TAP or packet socket is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::libc;
use valecast_config::XdpMode;

use super::socket::{Socket, Transmit};
use super::sys::Iface;
use crate::frame::{Burst, Bytes, Entry, Frame};
use crate::port::{About, Caps, Egress, Tally};

/// Calls in a row that move nothing, after which frames are left for later.
const TRIES: u32 = 3;

struct Queue {
    transmit: Transmit,
    /// Chunks promised and not used yet.
    claimed: usize,
    /// The interface took nothing when it was last asked: it is down, or gone.
    down: bool,
}

pub struct XdpEgress {
    queues: Vec<(Arc<Socket>, Mutex<Queue>)>,
    /// Queues that frames leave by, the first ones.
    sending: usize,
    caps: Caps,
    mode: XdpMode,
    iface: Iface,
    index: i32,
}

impl XdpEgress {
    pub fn new(
        queues: Vec<(Arc<Socket>, Transmit)>,
        sending: usize,
        longest: usize,
        mode: XdpMode,
        iface: Iface,
        index: i32,
    ) -> Self {
        let queue = |(socket, transmit)| (socket, Mutex::new(Queue { transmit, claimed: 0, down: false }));
        let caps = Caps { vnet: false, max_frame: longest, max_run: usize::MAX, queues: sending };
        Self { queues: queues.into_iter().map(queue).collect(), sending, caps, mode, iface, index }
    }

    /// Bytes shared with the kernel.
    pub fn memory(&self) -> u64 {
        self.queues.iter().map(|(s, _)| s.shape().memory() as u64).sum()
    }

    fn queue(&self, lane: usize) -> (&Socket, MutexGuard<'_, Queue>) {
        let (socket, queue) = &self.queues[lane % self.sending];
        // A worker that panicked left whole frames at worst.
        (socket, queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Chunks that a frame takes.
fn chunks(f: &Frame, chunk: usize) -> usize {
    f.len().div_ceil(chunk).max(1)
}

/// How many of `list` fit into `room` chunks, and how many chunks they take.
fn fit(burst: &Burst, list: &[Entry], chunk: usize, room: usize) -> (usize, usize) {
    if burst.longest() <= chunk {
        let n = list.len().min(room);
        return (n, n);
    }
    let mut used = 0;
    for (i, e) in list.iter().enumerate() {
        let n = chunks(&burst.frames[usize::from(e.frame)], chunk);
        if used + n > room {
            return (i, used);
        }
        used += n;
    }
    (list.len(), used)
}

impl Queue {
    /// Takes back the chunks that were sent.
    fn reap(&mut self, chunk: u64) {
        let n = self.transmit.completion.pending();
        for i in 0..n {
            self.transmit.free.push(self.transmit.completion.get(i) & !(chunk - 1));
        }
        if n > 0 {
            self.transmit.completion.release(n);
        }
    }

    /// Copies a frame into free chunks and puts them on the ring; `false` without enough of them.
    fn push(&mut self, socket: &Socket, f: &Frame, bytes: Bytes<'_>) -> bool {
        let chunk = socket.shape().chunk as usize;
        let (len, n) = (f.len(), chunks(f, chunk));
        if self.transmit.free.len() < n {
            return false;
        }
        for i in 0..n {
            let (from, to) = (i * chunk, ((i + 1) * chunk).min(len));
            let Some(addr) = self.transmit.free.pop() else { return false };
            let Some(p) = socket.bytes(addr, to - from) else { return false };
            // SAFETY: the chunk is free, so nobody else reads or writes it; it holds `to - from` bytes.
            unsafe { bytes.copy(from, to - from, p) };
            let options = if i + 1 < n { libc::XDP_PKT_CONTD } else { 0 };
            self.transmit.frames.push(libc::xdp_desc { addr, len: (to - from) as u32, options });
        }
        true
    }

    /// Has the kernel send what is on the ring.
    fn send(&mut self, socket: &Socket, zero_copy: bool, tally: &mut Tally) {
        if zero_copy {
            let refused = |e| matches!(e, Err(Errno::ENETDOWN | Errno::ENXIO));
            self.down = self.transmit.frames.needs_wakeup() && refused(socket.wake_transmit());
            return;
        }
        // The kernel copies while it is called, a limited number of frames at a time.
        let (mut left, mut tries) = (self.transmit.frames.pending(), 0);
        if left == 0 {
            // Whatever was left has gone by itself.
            self.down = false;
        }
        while left > 0 && tries < TRIES {
            match socket.wake_transmit() {
                Ok(()) | Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => self.down = false,
                // The interface dropped one frame, and the kernel stopped there.
                Err(Errno::EBUSY) => {
                    if let (Some(d), true) = (self.transmit.frames.last_taken(), tally.frames > 0) {
                        tally.frames -= 1;
                        tally.bytes = tally.bytes.saturating_sub(u64::from(d.len));
                        tally.tx_error += 1;
                    }
                }
                Err(_) => {
                    self.down = true;
                    return;
                }
            }
            let now = self.transmit.frames.pending();
            tries = if now == left { tries + 1 } else { 0 };
            left = now;
        }
    }
}

impl Egress for XdpEgress {
    fn caps(&self) -> Caps {
        self.caps
    }

    fn about(&self) -> About {
        let mut drops = [("rx_dropped", 0), ("rx_ring_full", 0), ("rx_invalid", 0), ("tx_invalid", 0)];
        for s in self.queues.iter().filter_map(|(s, _)| s.statistics().ok()) {
            let seen = [s.rx_dropped, s.rx_ring_full, s.rx_invalid_descs, s.tx_invalid_descs];
            drops.iter_mut().zip(seen).for_each(|((_, n), more)| *n += more);
        }
        About {
            state: Some(super::state(&self.iface, self.index)),
            mode: Some(self.mode.name()),
            memory: self.memory(),
            kernel_drops: drops.to_vec(),
            ..About::default()
        }
    }

    fn claim(&self, burst: &Burst, list: &[Entry], lane: usize) -> usize {
        let (socket, mut q) = self.queue(lane);
        let chunk = socket.shape().chunk;
        q.reap(u64::from(chunk));
        let mut room = q.transmit.free.len().saturating_sub(q.claimed);
        if q.down {
            // Nobody waits for an interface that is down; `put` drops what it cannot place.
            room = usize::MAX;
        }
        let (n, used) = fit(burst, list, chunk as usize, room);
        q.claimed += used;
        n
    }

    fn unclaim(&self, burst: &Burst, list: &[Entry], lane: usize) {
        let (socket, mut q) = self.queue(lane);
        let (_, used) = fit(burst, list, socket.shape().chunk as usize, usize::MAX);
        q.claimed = q.claimed.saturating_sub(used);
    }

    fn put(&self, burst: &Burst, list: &[Entry], lane: usize, _now: u64) -> Tally {
        let (socket, mut q) = self.queue(lane);
        let zero_copy = self.mode == XdpMode::Native;
        let (_, used) = fit(burst, list, socket.shape().chunk as usize, usize::MAX);
        q.claimed = q.claimed.saturating_sub(used);
        let mut tally = Tally::default();
        if q.transmit.free.len() < used {
            q.reap(u64::from(socket.shape().chunk));
        }
        if q.down {
            // It is up again if it takes what was left.
            q.send(socket, zero_copy, &mut tally);
        }
        for e in list {
            let f = &burst.frames[usize::from(e.frame)];
            if !q.down && q.push(socket, f, burst.bytes_of(f)) {
                tally.frames += 1;
                tally.bytes += f.len() as u64;
            } else {
                tally.tx_error += 1;
            }
        }
        q.transmit.frames.publish();
        if tally.frames > 0 {
            q.send(socket, zero_copy, &mut tally);
        }
        tally
    }

    fn wake_patient(&self) {
        for (lane, _) in self.queues.iter().take(self.sending).enumerate() {
            let (socket, mut q) = self.queue(lane);
            if !q.down && q.transmit.frames.pending() > 0 {
                q.send(socket, self.mode == XdpMode::Native, &mut Tally::default());
            }
        }
    }
}
