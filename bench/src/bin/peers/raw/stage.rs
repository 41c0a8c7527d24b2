//! The raw three-stage loop: a contender that does what a learning bridge must, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::unistd::Pid;

use super::ring::{Consumer, Producer, pair};
use super::table::{Table, addresses};
use crate::cpu;
use crate::frames::{Frames, GROUP, Headers, STAMP_AT};
use crate::job::{Job, Kind, Pattern, Setup};
use crate::peer::{Peer, Running, Trouble, Wire};
use crate::wires::{Endpoint, Stamped};

/// Fetched so many frames ahead.
const AHEAD: u32 = 8;

/// The contender.
pub struct Raw;

impl Peer for Raw {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn version(&self) -> Result<String, String> {
        Ok("three stages".to_owned())
    }

    fn about(&self) -> &'static str {
        "generate and sink on core 0; learn, look up and copy once on core 1, in a thread of the harness: plain loops \
         over rings of 1024 slots, no checks, no isolation, nobody ever sleeps"
    }

    fn can(&self, job: &Job) -> Result<(), String> {
        match (job.kind, job.pattern) {
            (Kind::Rate, Pattern::Unicast { .. } | Pattern::Replicate) if job.setup.idle_ports == 0 => Ok(()),
            (Kind::BothWays | Kind::Rtt { .. }, _) => Ok(()),
            _ => Err("the raw loop only forwards and replicates".to_owned()),
        }
    }

    fn start(&self, setup: &Setup) -> Result<Box<dyn Running>, Trouble> {
        let (mut wires, mut ins, mut outs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..setup.ports {
            let ((tx, input), (output, rx)) = (pair(), pair());
            let wire =
                RawWire { tx, rx, lens: vec![], headers: Headers::default(), stamped: Stamped::default() };
            wires.push(Box::new(wire) as Box<dyn Wire>);
            ins.push(input);
            outs.push(output);
        }
        let flags = Arc::new(Flags::default());
        let (theirs, burst) = (flags.clone(), setup.most());
        let worker = std::thread::spawn(move || {
            cpu::pin(cpu::SWITCH);
            Stage { ins, outs, table: Table::new(), burst }.run(&theirs);
        });
        Ok(Box::new(RawRunning { wires, flags, worker: Some(worker) }))
    }

    fn command(&self) -> String {
        "(a thread of the harness)".to_owned()
    }
}

#[derive(Default)]
struct Flags {
    frozen: AtomicBool,
    over: AtomicBool,
}

struct RawRunning {
    wires: Vec<Box<dyn Wire>>,
    flags: Arc<Flags>,
    worker: Option<std::thread::JoinHandle<()>>,
}

impl Running for RawRunning {
    fn wires(&mut self) -> Result<Vec<Box<dyn Wire>>, Trouble> {
        Ok(std::mem::take(&mut self.wires))
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        Vec::new()
    }

    fn pids(&self) -> Vec<Pid> {
        Vec::new()
    }

    fn freeze(&mut self) {
        self.flags.frozen.store(true, Ordering::Relaxed);
    }

    fn thaw(&mut self) {
        self.flags.frozen.store(false, Ordering::Relaxed);
        if let Some(w) = &self.worker {
            w.thread().unpark();
        }
    }
}

impl Drop for RawRunning {
    fn drop(&mut self) {
        self.flags.over.store(true, Ordering::Relaxed);
        self.thaw();
        if let Some(w) = self.worker.take() {
            let _ = w.join();
        }
    }
}

struct Stage {
    ins: Vec<Consumer>,
    outs: Vec<Producer>,
    table: Table,
    burst: u32,
}

impl Stage {
    fn run(&mut self, flags: &Flags) {
        let group = u64::from_le_bytes([GROUP[0], GROUP[1], GROUP[2], GROUP[3], GROUP[4], GROUP[5], 0, 0]);
        while !flags.over.load(Ordering::Relaxed) {
            if flags.frozen.load(Ordering::Relaxed) {
                std::thread::park();
            }
            for _ in 0..64 {
                for port in 0..self.ins.len() {
                    let n = self.ins[port].pending().min(self.burst);
                    if n > 0 {
                        self.forward(port, n, group);
                    }
                }
            }
        }
    }

    /// Forwards up to `n` frames of a port. Frames of one burst mostly go the same way: runs of them are published as one.
    #[inline(always)]
    fn forward(&mut self, port: usize, n: u32, group: u64) {
        let input = &mut self.ins[port];
        let mut done = 0;
        while done < n {
            let (dst, src) = addresses(input.words(done));
            self.table.learn(src, port);
            if dst == group {
                let run = Self::replicate(input, &mut self.outs, port, done, n, group);
                done += run;
                if run == 0 {
                    break;
                }
                continue;
            }
            let Some(to) = self.table.look_up(dst).filter(|to| *to != port) else {
                done += 1;
                continue;
            };
            let out = &mut self.outs[to];
            let most = out.room(n - done).min(n - done);
            let mut run = 0;
            while run < most {
                let i = done + run;
                if run > 0 {
                    let (dst, src) = addresses(input.words(i));
                    self.table.learn(src, port);
                    if self.table.look_up(dst) != Some(to) {
                        break;
                    }
                }
                input.prefetch(i + AHEAD);
                out.prefetch(run + AHEAD);
                input.copy(i, out, run);
                run += 1;
            }
            out.publish(run);
            done += run;
            if most == 0 {
                // No room: the frame waits where it is.
                break;
            }
        }
        input.release(done);
    }

    /// Copies the frames of a run for the group to every other port that has room; the others lose them.
    fn replicate(input: &Consumer, outs: &mut [Producer], port: usize, from: u32, n: u32, group: u64) -> u32 {
        let mut run = 0;
        while from + run < n && addresses(input.words(from + run)).0 == group {
            run += 1;
        }
        for (_, out) in outs.iter_mut().enumerate().filter(|(i, _)| *i != port) {
            let fits = out.room(run).min(run);
            (0..fits).for_each(|i| input.copy(from + i, out, i));
            out.publish(fits);
        }
        run
    }
}

struct RawWire {
    tx: Producer,
    rx: Consumer,
    lens: Vec<u16>,
    headers: Headers,
    stamped: Stamped,
}

const MASK: u32 = super::ring::SLOTS - 1;

impl RawWire {
    /// Takes stamps out of the next `n` slots. Apart, since most jobs need it not.
    #[cold]
    #[inline(never)]
    fn wipe(&mut self, n: u32) {
        let first = self.tx.slot(0);
        let tx = &mut self.tx;
        self.stamped.clean(first, n, MASK, |slot| {
            tx.buffer(slot.wrapping_sub(first) & MASK)[STAMP_AT..STAMP_AT + 8].fill(0);
        });
    }
}

impl Wire for RawWire {
    fn load(&mut self, frames: &Frames) -> Result<(), Trouble> {
        while self.tx.room(super::ring::SLOTS) < super::ring::SLOTS {
            std::thread::yield_now();
        }
        self.headers = Headers::new(frames);
        self.stamped = Stamped::default();
        let of = |slot: u32| &frames.list[slot as usize % frames.list.len()];
        self.lens = (0..super::ring::SLOTS).map(|s| of(s).len() as u16).collect();
        for i in 0..super::ring::SLOTS {
            let frame = of(self.tx.slot(i));
            self.tx.buffer(i)[..frame.len()].copy_from_slice(frame);
        }
        Ok(())
    }

    #[inline]
    fn send(&mut self, n: u32) -> u32 {
        let n = self.tx.room(n).min(n);
        if self.stamped.any() {
            self.wipe(n);
        }
        let tx = &mut self.tx;
        if self.headers.needed() {
            for i in 0..n {
                tx.prefetch(i + AHEAD);
                tx.buffer(i)[..12].copy_from_slice(self.headers.next());
            }
        }
        for i in 0..n {
            let len = self.lens[tx.slot(i) as usize];
            tx.set(i, u64::from(len));
        }
        tx.publish(n);
        n
    }

    #[inline]
    fn recv(&mut self, max: u32) -> u32 {
        let n = self.rx.pending().min(max);
        let mut sum = 0;
        for i in 0..n {
            self.rx.prefetch(i + AHEAD);
            sum ^= self.rx.words(i)[0] ^ self.rx.len(i) as u64;
        }
        std::hint::black_box(sum);
        if n > 0 {
            self.rx.release(n);
        }
        n
    }

    fn send_stamp(&mut self, stamp: u64) -> bool {
        if self.tx.room(1) == 0 {
            return false;
        }
        let slot = self.tx.slot(0);
        self.tx.buffer(0)[STAMP_AT..STAMP_AT + 8].copy_from_slice(&stamp.to_le_bytes());
        self.stamped.note(slot);
        self.tx.set(0, u64::from(self.lens[slot as usize]));
        self.tx.publish(1);
        true
    }

    fn recv_stamps(&mut self, max: u32, found: &mut dyn FnMut(u64)) -> u32 {
        let n = self.rx.pending().min(max);
        for i in 0..n {
            let stamp = self.rx.words(i)[STAMP_AT / 8];
            if stamp != 0 {
                found(stamp);
            }
        }
        self.rx.release(n);
        n
    }

    // Nobody sleeps here, and `can` refuses the jobs that would.
    fn wait_recv(&mut self, _: u32, _: Duration) {}
    fn wait_send(&mut self, _: Duration) {}
}
