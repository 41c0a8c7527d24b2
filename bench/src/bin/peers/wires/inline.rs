//! Inline ports of Valecast's switch, in this process. The near end is the generator's: what it sends is forwarded in its
//! own thread. The far ends are another thread's, on the other core: it takes what comes and counts it, or answers.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use valecast_bench::ends::{self, AHEAD};
use valecast_ring::client::{Link, RxRing};
use valecast_switch::daemon::Daemon;
use valecast_switch::inline::InlineSender;

use crate::cpu;
use crate::frames::{Frames, Headers, PREPARED, STAMP_AT};
use crate::peer::{Trouble, Wire};

/// Most frames taken at once.
const ALL: u32 = 1024;
const MASK: usize = PREPARED - 1;

/// One attached port, and the frames that are sent from there.
struct End {
    _link: Link,
    tx: InlineSender,
    rx: RxRing,
    /// [`PREPARED`] of them, one after the other, as a ring would have them.
    frames: Vec<Vec<u8>>,
    next: usize,
    headers: Headers,
    /// Empty, for its memory.
    spare: Vec<&'static [u8]>,
    answers: Vec<u64>,
}

/// The same memory for other slices.
fn again<'b>(mut v: Vec<&[u8]>) -> Vec<&'b [u8]> {
    v.clear();
    // In place: nothing is allocated, and there is nothing to map.
    v.into_iter().map(|_| -> &'b [u8] { &[] }).collect()
}

impl End {
    fn open(daemon: &Daemon, port: usize) -> Result<Self, Trouble> {
        let (link, tx, rx) = daemon.attach_inline("peers", &format!("p{port}"))?.split();
        let rx = rx.into_iter().next().ok_or("a port without a ring")?;
        Ok(Self {
            _link: link,
            tx,
            rx,
            frames: Vec::new(),
            next: 0,
            headers: Headers::default(),
            spare: Vec::with_capacity(PREPARED),
            answers: Vec::with_capacity(PREPARED),
        })
    }

    fn load(&mut self, frames: &Frames) {
        self.headers = Headers::new(frames);
        self.frames = frames.list.iter().cycle().take(PREPARED).cloned().collect();
        self.next = 0;
    }

    #[inline]
    fn send(&mut self, n: u32) -> u32 {
        let n = n.min(PREPARED as u32) as usize;
        let at = self.next;
        if self.headers.needed() {
            for i in 0..n {
                self.frames[(at + i) & MASK][..12].copy_from_slice(self.headers.next());
            }
        }
        let mut lent = again(std::mem::take(&mut self.spare));
        lent.extend((0..n).map(|i| &self.frames[(at + i) & MASK][..]));
        let sent = self.tx.send(&lent).map_or(0, |s| s.frames);
        self.spare = again(lent);
        self.next = (at + sent) & MASK;
        sent as u32
    }

    fn send_stamp(&mut self, stamp: u64) -> bool {
        let f = &mut self.frames[self.next];
        f[STAMP_AT..STAMP_AT + 8].copy_from_slice(&stamp.to_le_bytes());
        let sent = self.tx.send(&[&*f]).is_ok_and(|s| s.frames == 1);
        f[STAMP_AT..STAMP_AT + 8].fill(0);
        // Whoever is to have it may sleep, for all that this end knows.
        self.tx.flush();
        self.next = (self.next + 1) & MASK;
        sent
    }

    #[inline]
    fn recv(&mut self, max: u32) -> u32 {
        ends::recv(&mut self.rx, max)
    }

    fn recv_stamps(&mut self, max: u32, found: &mut dyn FnMut(u64)) -> u32 {
        let n = self.rx.pending().min(max);
        (0..n.min(AHEAD)).for_each(|i| self.rx.prefetch(i));
        for i in 0..n {
            self.rx.prefetch(i + AHEAD);
            let data = self.rx.frame(i).data;
            if let Some(Ok(bytes)) = data.get(STAMP_AT..STAMP_AT + 8).map(<[u8; 8]>::try_from)
                && bytes != [0; 8]
            {
                found(u64::from_le_bytes(bytes));
            }
        }
        self.rx.advance(n);
        self.rx.release();
        n
    }

    /// Answers what carries a stamp; frames taken.
    fn answer(&mut self) -> u32 {
        let mut answers = std::mem::take(&mut self.answers);
        let n = self.recv_stamps(ALL, &mut |stamp| answers.push(stamp));
        for stamp in answers.drain(..) {
            self.send_stamp(stamp);
        }
        self.answers = answers;
        n
    }
}

/// The generator's port.
pub struct NearWire(End);

impl NearWire {
    /// Attaches to the first port.
    pub fn open(daemon: &Daemon) -> Result<Self, Trouble> {
        Ok(Self(End::open(daemon, 0)?))
    }
}

impl Wire for NearWire {
    fn load(&mut self, frames: &Frames) -> Result<(), Trouble> {
        self.0.load(frames);
        Ok(())
    }

    #[inline]
    fn send(&mut self, n: u32) -> u32 {
        self.0.send(n)
    }

    #[inline]
    fn recv(&mut self, max: u32) -> u32 {
        self.0.recv(max)
    }

    fn send_stamp(&mut self, stamp: u64) -> bool {
        self.0.send_stamp(stamp)
    }

    fn recv_stamps(&mut self, max: u32, found: &mut dyn FnMut(u64)) -> u32 {
        self.0.recv_stamps(max, found)
    }

    fn wait_recv(&mut self, many: u32, timeout: Duration) {
        let _ = self.0.rx.wait(many, Some(timeout));
    }

    fn wait_send(&mut self, timeout: Duration) {
        let _ = self.0.tx.wait(Some(timeout));
    }
}

/// What the far thread does.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Does {
    Rests,
    Sinks,
    Answers,
    Ends,
}

struct Shared {
    does: AtomicU8,
    /// The thread's while it does something.
    ends: Mutex<Vec<End>>,
    /// Frames taken, by port.
    taken: Vec<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Shared {
    fn set(&self, does: Does) {
        self.does.store(does as u8, Ordering::Release);
        if let Some(t) = &*self.thread.lock().unwrap_or_else(PoisonError::into_inner) {
            t.thread().unpark();
        }
    }

    fn is(&self, does: Does) -> bool {
        self.does.load(Ordering::Acquire) == does as u8
    }

    fn ends(&self) -> MutexGuard<'_, Vec<End>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        cpu::pin(cpu::SWITCH);
        while !self.is(Does::Ends) {
            if self.is(Does::Rests) {
                std::thread::park();
                continue;
            }
            let mut ends = self.ends();
            while self.is(Does::Sinks) {
                self.look(&mut ends, |e| e.recv(ALL));
            }
            while self.is(Does::Answers) {
                self.look(&mut ends, End::answer);
            }
        }
    }

    #[inline(always)]
    fn look(&self, ends: &mut [End], mut take: impl FnMut(&mut End) -> u32) {
        for (end, taken) in ends.iter_mut().zip(&self.taken) {
            let n = take(end);
            if n > 0 {
                // One writer, this thread.
                taken.store(taken.load(Ordering::Relaxed) + u64::from(n), Ordering::Relaxed);
            }
        }
    }
}

/// All ports but the first, in the hands of a thread on the other core.
pub struct Far(Arc<Shared>);

impl Far {
    /// Attaches to them; the thread rests.
    pub fn open(daemon: &Daemon, ports: usize) -> Result<Self, Trouble> {
        let ends = (1..ports).map(|p| End::open(daemon, p)).collect::<Result<Vec<_>, _>>()?;
        let shared = Arc::new(Shared {
            does: AtomicU8::new(Does::Rests as u8),
            taken: ends.iter().map(|_| AtomicU64::new(0)).collect(),
            ends: Mutex::new(ends),
            thread: Mutex::default(),
        });
        let theirs = shared.clone();
        let thread = std::thread::spawn(move || theirs.run());
        *shared.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(Self(shared))
    }

    /// A wire for each port.
    pub fn wires(&self) -> Vec<FarWire> {
        let one = |port| FarWire { shared: self.0.clone(), port, seen: 0 };
        (0..self.0.taken.len()).map(one).collect()
    }

    /// The thread uses no processor from now on.
    pub fn rest(&self) {
        self.0.set(Does::Rests);
        drop(self.0.ends());
    }

    /// The thread takes what comes.
    pub fn sink(&self) {
        self.0.set(Does::Sinks);
    }

    /// The thread ends.
    pub fn end(&self) {
        self.0.set(Does::Ends);
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(t) = thread {
            let _ = t.join();
        }
        self.0.ends().clear();
    }
}

/// One of those ports, as the generator's thread sees it.
pub struct FarWire {
    shared: Arc<Shared>,
    port: usize,
    seen: u64,
}

impl FarWire {
    /// Does something in place of the thread, which goes on afterwards.
    fn instead<T>(&mut self, f: impl FnOnce(&mut End) -> T) -> T {
        self.shared.set(Does::Rests);
        let done = f(&mut self.shared.ends()[self.port]);
        self.shared.set(Does::Sinks);
        done
    }
}

impl Wire for FarWire {
    fn load(&mut self, frames: &Frames) -> Result<(), Trouble> {
        self.instead(|e| e.load(frames));
        Ok(())
    }

    fn send(&mut self, n: u32) -> u32 {
        self.instead(|e| e.send(n))
    }

    #[inline]
    fn recv(&mut self, _max: u32) -> u32 {
        let all = self.shared.taken[self.port].load(Ordering::Relaxed);
        let n = all - self.seen;
        self.seen = all;
        n as u32
    }

    fn send_stamp(&mut self, stamp: u64) -> bool {
        self.instead(|e| e.send_stamp(stamp))
    }

    /// The thread has taken them already.
    fn recv_stamps(&mut self, max: u32, _found: &mut dyn FnMut(u64)) -> u32 {
        self.recv(max)
    }

    fn answers_itself(&mut self, on: bool) -> bool {
        self.shared.set(if on { Does::Answers } else { Does::Sinks });
        true
    }

    fn wait_recv(&mut self, _many: u32, timeout: Duration) {
        std::thread::sleep(timeout.min(Duration::from_micros(50)));
    }

    fn wait_send(&mut self, timeout: Duration) {
        self.wait_recv(1, timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Pattern, Size};
    use crate::{contenders, drive, latency, plan};

    /// A lent slice's memory is used again, and a stamp comes back by the other thread.
    #[test]
    fn frames_go_and_stamps_come_back() {
        let work = tempfile::tempdir().unwrap();
        let text = contenders::valecast::toml(&plan::pair(32), &work.path().join("run"), 2);
        let daemon = Daemon::start(valecast_config::Config::parse("x", &text).unwrap(), None).unwrap();
        let near: Box<dyn Wire> = Box::new(NearWire::open(&daemon).unwrap());
        let far = Far::open(&daemon, 2).unwrap();
        let mut wires = vec![near, Box::new(far.wires().remove(0))];
        far.sink();
        let job = crate::job::Job {
            setup: plan::pair(32),
            kind: crate::job::Kind::Rtt { load: 0 },
            pattern: Pattern::Unicast { macs: 1 },
            size: Size::Fixed(64),
        };
        drive::prepare(&job, &mut wires).unwrap();
        let (got, _) = drive::load(&job, &mut wires, Duration::from_millis(20));
        assert!(got > 0);
        // On a machine whose other core is busy elsewhere for long, rings run full and probes are lost.
        let mut all_back = || {
            drive::drain(&mut wires, Duration::from_millis(2));
            let figures = latency::round_trips(&job, 0, &mut wires, Duration::from_millis(50)).unwrap();
            assert!(figures["probes"] > 0.0 && figures["lost"] < figures["probes"], "{figures:?}");
            figures["lost"] == 0.0
        };
        assert!((0..20).any(|_| all_back()), "in none of 20 runs");
        drop(wires);
        far.end();
        daemon.stop();
    }

    #[test]
    fn memory_for_slices_is_used_again() {
        let bytes = [1u8; 4];
        let mut v: Vec<&[u8]> = Vec::with_capacity(64);
        v.extend([&bytes[..], &bytes[1..]]);
        let before = (v.as_ptr().cast::<u8>(), v.capacity());
        let after: Vec<&'static [u8]> = again(v);
        assert!(after.is_empty());
        assert_eq!((after.as_ptr().cast::<u8>(), after.capacity()), before);
    }
}
