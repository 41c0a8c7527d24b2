//! What the monitor asks for.

use core::fmt::Display;

use valecast_guest::dma::Dma;
use valecast_guest::driver::Driver;
use valecast_guest::mailbox::{Card, Job, Mailbox, Role};
use valecast_guest::nic::{self, Nic, Received};

use crate::console::line;
use crate::machine::{Machine, ticks};

/// Longest frame that is echoed.
const LONGEST: usize = 1514;
/// Ticks (of a processor of some GHz) after which a ping's answer is not waited for any more: about half a second.
const LOST: u64 = 1 << 30;
/// Experimental ethertype.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

struct Run<'a, N> {
    machine: &'a mut Machine,
    mailbox: &'a Mailbox,
    number: u32,
    job: Job,
    driver: N,
    first_interrupt: u64,
    sleeps: u64,
    trips: u64,
    idle: u32,
}

/// Does a job until it is told to stop; whether that went well.
pub fn run(machine: &mut Machine, mailbox: &Mailbox, number: u32, job: &Job) -> bool {
    let ram = machine.ram;
    let started = match mailbox.card() {
        Card::E1000 => {
            told(Driver::start(&mut machine.card, &ram, job.options())).map(|d| work(machine, mailbox, number, job, d))
        }
        Card::Virtio => {
            // ORDERING: Relaxed: written before we were started.
            let offered = mailbox.virtio.offered.load(core::sync::atomic::Ordering::Relaxed);
            told(nic::start_virtio(&mut machine.card, &ram, mailbox, job.virtio(offered)))
                .map(|d| work(machine, mailbox, number, job, d))
        }
    };
    started == Some(true)
}

/// Prints what went wrong.
fn told<T, E: Display>(done: Result<T, E>) -> Option<T> {
    done.inspect_err(|why| line(format_args!("FAILED: {why}"))).ok()
}

fn work<N: Nic>(machine: &mut Machine, mailbox: &Mailbox, number: u32, job: &Job, driver: N) -> bool {
    let first_interrupt = machine.interrupts();
    let mut r =
        Run { machine, mailbox, number, job: *job, driver, first_interrupt, sleeps: 0, trips: 0, idle: 0 };
    r.count();
    let done = match job.role {
        Role::Send => r.send(),
        Role::Receive => r.receive(),
        Role::Echo => r.echo(),
        Role::Ping => r.ping(),
        // Before there is a driver: see `main.rs`.
        Role::Test => Ok(()),
    };
    r.count();
    r.driver.stop(&mut r.machine.card);
    told(done).is_some()
}

/// A frame's bytes before they go where the driver wants them.
struct Buffer {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Buffer {
    fn take(&mut self, mem: &impl Dma, f: &impl Received) {
        if f.len() <= LONGEST {
            self.len = f.copy(mem, &mut self.bytes);
        }
    }
}

impl<N: Nic> Run<'_, N> {
    fn count(&self) {
        use core::sync::atomic::Ordering::Relaxed;
        let c = &self.mailbox.counts.0;
        c.driver(&self.driver.did());
        c.vectors.store(self.machine.interrupts() - self.first_interrupt, Relaxed);
        c.sleeps.store(self.sleeps, Relaxed);
        c.round_trips.store(self.trips, Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.mailbox.stops(self.number)
    }

    fn frame(&self) -> Buffer {
        let mut b = Buffer { bytes: [0; LONGEST], len: (self.job.len as usize).clamp(60, LONGEST) };
        b.bytes[..6].copy_from_slice(&self.job.to);
        b.bytes[6..12].copy_from_slice(&self.job.from);
        b.bytes[12..14].copy_from_slice(&ETHERTYPE);
        b
    }

    /// Serves an interrupt, if there was one.
    fn serve(&mut self, mut each: impl FnMut(&N::Frame)) -> Result<(), N::Fault> {
        if let Some(n) = self.machine.interrupted() {
            let ram = self.machine.ram;
            // In a flood that may take as long as it lasts: frames are counted meanwhile.
            let (counts, mut received) = (&self.mailbox.counts.0, self.driver.did().received);
            let each = |f: &N::Frame| {
                received += 1;
                counts.received.store(received, core::sync::atomic::Ordering::Relaxed);
                each(f);
            };
            self.driver.interrupt(&mut self.machine.card, &ram, each)?;
            self.machine.end_of_interrupt(n);
            self.idle = 0;
        }
        Ok(())
    }

    /// Nothing was there to do: looks again a few times, then halts.
    fn rest(&mut self) -> Result<(), N::Fault> {
        self.idle += 1;
        if self.idle <= self.job.polls {
            core::hint::spin_loop();
            return Ok(());
        }
        self.idle = 0;
        let ram = self.machine.ram;
        if self.driver.may_sleep(&ram)? || self.job.role == Role::Send {
            self.sleeps += 1;
            self.count();
            self.machine.halt();
            self.driver.awake(&ram)?;
        }
        Ok(())
    }

    /// The pkt-gen of the paper: one frame, as fast as it goes.
    fn send(&mut self) -> Result<(), N::Fault> {
        let ram = self.machine.ram;
        let f = self.frame();
        self.driver.fill(&ram, &f.bytes[..f.len])?;
        while self.goes_on() {
            self.serve(|_| {})?;
            if self.driver.queue_filled(&ram, f.len, self.job.batch.max(1))? == 0 {
                self.rest()?;
                continue;
            }
            self.idle = 0;
            self.driver.flush(&mut self.machine.card, &ram)?;
            self.count();
        }
        Ok(())
    }

    /// With the CSB and virtio-net frames are looked for; otherwise an interrupt tells of them.
    fn look(&mut self, max: u32, mut each: impl FnMut(&N::Frame)) -> Result<u32, N::Fault> {
        let ram = self.machine.ram;
        let before = self.driver.did().received;
        self.serve(&mut each)?;
        if self.driver.polls() {
            self.driver.poll(&mut self.machine.card, &ram, max, &mut each)?;
        }
        Ok((self.driver.did().received - before) as u32)
    }

    fn receive(&mut self) -> Result<(), N::Fault> {
        let ram = self.machine.ram;
        // So that the switch knows where we are.
        self.put(&self.frame())?;
        let mut words = 0;
        while self.goes_on() {
            let n = self.look(64, |f| words ^= f.word(&ram))?;
            if n == 0 {
                self.rest()?;
            } else {
                self.idle = 0;
                self.count();
            }
        }
        core::hint::black_box(words);
        Ok(())
    }

    /// Sends; waits for room if there is none.
    fn put(&mut self, b: &Buffer) -> Result<(), N::Fault> {
        let ram = self.machine.ram;
        while !self.driver.send(&mut self.machine.card, &ram, &b.bytes[..b.len])? && self.goes_on() {
            self.serve(|_| {})?;
            core::hint::spin_loop();
        }
        Ok(())
    }

    fn echo(&mut self) -> Result<(), N::Fault> {
        let ram = self.machine.ram;
        let mut b = self.frame();
        self.put(&b)?;
        while self.goes_on() {
            b.len = 0;
            if self.look(1, |f| b.take(&ram, f))? == 0 || b.len < 14 {
                self.rest()?;
                continue;
            }
            self.idle = 0;
            let (to, from) = b.bytes.split_at_mut(6);
            to.swap_with_slice(&mut from[..6]);
            self.put(&b)?;
            self.count();
        }
        Ok(())
    }

    fn ping(&mut self) -> Result<(), N::Fault> {
        let b = self.frame();
        while self.goes_on() {
            let begun = ticks();
            self.put(&b)?;
            while self.goes_on() {
                if self.look(64, |_| {})? > 0 {
                    self.idle = 0;
                    self.trips += 1;
                    self.count();
                    break;
                }
                if ticks() - begun > LOST {
                    break;
                }
                self.rest()?;
            }
        }
        Ok(())
    }
}
