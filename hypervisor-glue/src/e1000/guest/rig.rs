//! A card, its memory and a driver in one process, and the switch's part played by the caller.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use valecast_ring::notify;
use valecast_switch::frame::{Burst, Entry, Frame, VnetHdr};

use super::{Bus, Driver, Options, Received, Send};
use crate::e1000::chip::Chip;
use crate::e1000::device::{Device, Effects, Settings};
use crate::e1000::dma::{Dma, HeapMemory, Unmapped};
use crate::e1000::tx::TxQueue;

/// A chip at a moment, as a bus.
pub struct At<'a> {
    /// The chip.
    pub chip: &'a mut Chip,
    /// The moment (ns).
    pub now: u64,
    /// What its accesses asked for.
    pub effects: Effects,
}

impl Bus for At<'_> {
    fn read(&mut self, at: u32) -> u32 {
        let mut b = [0; 4];
        self.chip.read_bar0(u64::from(at), &mut b, self.now);
        u32::from_le_bytes(b)
    }

    fn write(&mut self, at: u32, v: u32) {
        let e = self.chip.write_bar0(u64::from(at), &v.to_le_bytes(), self.now);
        self.effects.interrupt |= e.interrupt;
        self.effects.transmit |= e.transmit;
        self.effects.room |= e.room;
    }
}

/// A frame as the switch got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What is left to do to it.
    pub vnet: Option<VnetHdr>,
}

/// All of it.
pub struct Rig {
    /// The card's register side.
    pub chip: Chip,
    /// Its transmit side.
    pub tx: TxQueue,
    /// What both share.
    pub device: Arc<Device>,
    /// Guest memory.
    pub mem: HeapMemory,
    /// The driver.
    pub driver: Driver,
    /// The moment (ns).
    pub now: u64,
    base: u64,
    burst: Burst,
    /// Whether the worker sleeps until it is kicked.
    asleep: bool,
}

/// The bytes of a frame in a burst that is in use.
pub fn bytes_of(burst: &Burst, f: &Frame) -> Vec<u8> {
    let mut b = vec![0; f.len()];
    burst.bytes_of(f).read(0, &mut b);
    b
}

impl Rig {
    /// A card that was made so, and a driver that has set it up.
    pub fn new(settings: Settings, options: Options) -> Result<Self, Unmapped> {
        let device = Arc::new(Device::new(settings));
        let mut chip = Chip::new(device.clone());
        let mem = HeapMemory::new(&[(options.base, options.memory())]);
        let driver =
            Driver::start(&mut At { chip: &mut chip, now: 0, effects: Effects::default() }, &mem, options)?;
        let tx = TxQueue::new(device.clone());
        Ok(Self {
            chip,
            tx,
            device,
            mem,
            driver,
            now: 0,
            base: options.base,
            burst: Burst::default(),
            asleep: false,
        })
    }

    /// The chip as a bus, now.
    pub fn bus(&mut self) -> At<'_> {
        At { chip: &mut self.chip, now: self.now, effects: Effects::default() }
    }

    /// The driver sends; whether it could.
    pub fn send(&mut self, s: &Send<'_>) -> Result<bool, Unmapped> {
        let mut bus = At { chip: &mut self.chip, now: self.now, effects: Effects::default() };
        let sent = self.driver.send(&mut bus, &self.mem, s)?;
        if bus.effects.transmit && self.asleep {
            self.asleep = false;
            self.tx.disarm(&self.mem);
        }
        Ok(sent)
    }

    /// The driver sends up to `most` frames of `bytes`, told of at once; how many there was room for. Those
    /// that were not sent yet get the same bytes.
    pub fn send_filled(&mut self, bytes: &[u8], most: u32) -> Result<u32, Unmapped> {
        let mut bus = At { chip: &mut self.chip, now: self.now, effects: Effects::default() };
        self.driver.fill(&self.mem, bytes)?;
        let n = self.driver.queue_filled(&self.mem, bytes.len(), most)?;
        self.driver.flush(&mut bus, &self.mem)?;
        if bus.effects.transmit && self.asleep {
            self.asleep = false;
            self.tx.disarm(&self.mem);
        }
        Ok(n)
    }

    /// The worker's turn, if it is awake: takes up to `max` frames, is done with all of them.
    pub fn turn(&mut self, max: usize) -> Vec<Sent> {
        if self.asleep {
            return Vec::new();
        }
        self.burst.clear();
        self.tx.take(&self.mem, &mut self.burst, max, self.now);
        let n = self.burst.taken();
        if n == 0 {
            self.asleep = self.tx.arm(&self.mem);
            return Vec::new();
        }
        let frames = self.burst.frames.iter().filter(|f| f.reject.is_none());
        let sent =
            frames.map(|f| Sent { bytes: bytes_of(&self.burst, f), vnet: self.burst.vnet(f) }).collect();
        self.tx.complete(&self.mem, &self.burst, n);
        self.tx.publish();
        notify::settle();
        self.tx.wake(&self.mem, self.now);
        sent
    }

    /// The switch delivers frames as one burst; how many there was room for.
    pub fn deliver(&mut self, frames: &[Vec<u8>]) -> usize {
        self.burst.clear();
        for f in frames {
            // SAFETY: `frames` outlives this use of the burst.
            unsafe { self.burst.push(f.as_ptr(), f.len(), 1) };
        }
        let list: Vec<Entry> = (0..self.burst.taken() as u16).map(|i| Entry { orig: i, frame: i }).collect();
        let n = self.device.claim(&self.mem, &self.burst, &list);
        self.device.put(&self.mem, &self.burst, &list[..n]);
        notify::settle();
        self.device.notify(&self.mem, self.now);
        n
    }

    /// Time goes by.
    pub fn wait(&mut self, ns: u64) {
        self.now += ns;
        self.device.tick(self.now);
    }

    /// The guest serves its interrupt, if the line is asserted.
    pub fn interrupt(&mut self) -> Result<Vec<Received>, Unmapped> {
        if !self.device.line() {
            return Ok(Vec::new());
        }
        let mut bus = At { chip: &mut self.chip, now: self.now, effects: Effects::default() };
        let mut got = Vec::new();
        self.driver.interrupt(&mut bus, &self.mem, |f| got.push(Received::copy(&self.mem, f)))?;
        if bus.effects.transmit && self.asleep {
            self.asleep = false;
            self.tx.disarm(&self.mem);
        }
        got.into_iter().collect()
    }

    /// The guest looks for frames without an interrupt.
    pub fn receive(&mut self) -> Result<Vec<Received>, Unmapped> {
        let mut bus = At { chip: &mut self.chip, now: self.now, effects: Effects::default() };
        let mut got = Vec::new();
        self.driver.receive(&mut bus, &self.mem, |f| got.push(Received::copy(&self.mem, f)))?;
        got.into_iter().collect()
    }

    /// A word of the driver's CSB.
    pub fn word(&self, at: u64) -> u32 {
        let w = self.mem.word32(self.base + at);
        w.map_or(0, |w| u32::from_le(w.load(Ordering::SeqCst)))
    }

    /// Writes one, as the guest.
    pub fn set_word(&self, at: u64, v: u32) {
        if let Some(w) = self.mem.word32(self.base + at) {
            w.store(v.to_le(), Ordering::SeqCst);
        }
    }

    /// Whether the worker sleeps.
    pub fn is_asleep(&self) -> bool {
        self.asleep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::e1000::regs::rctl;

    /// A bus whose writes arrive when something is read, as those of PCI may.
    struct Posts<'a>(At<'a>, Vec<(u32, u32)>);

    impl Bus for Posts<'_> {
        fn read(&mut self, at: u32) -> u32 {
            self.1.drain(..).for_each(|(at, v)| self.0.write(at, v));
            self.0.read(at)
        }

        fn write(&mut self, at: u32, v: u32) {
            self.1.push((at, v));
        }
    }

    /// Frames that lie in the CSB are seen at once; what they are sent by must have arrived before.
    #[test]
    fn a_driver_starts_when_the_card_knows_all_it_was_told() {
        let options = Options { csb: true, rctl: 1 << 6 | rctl::UPE, ..Options::default() };
        let device = Arc::new(Device::new(Settings { csb: true, ..Settings::default() }));
        let mut chip = Chip::new(device.clone());
        let mem = HeapMemory::new(&[(options.base, options.memory())]);
        let mut bus = Posts(At { chip: &mut chip, now: 0, effects: Effects::default() }, Vec::new());
        let mut driver = Driver::start(&mut bus, &mem, options).unwrap();
        assert!(driver.send(&mut bus, &mem, &Send { bytes: &[2; 60], ..Send::default() }).unwrap());
        let (mut tx, mut burst) = (TxQueue::new(device.clone()), Burst::default());
        tx.take(&mem, &mut burst, 1, 0);
        assert_eq!((burst.taken(), device.loops_back()), (0, true), "it comes back, it does not leave");
        let mut got = 0;
        driver.receive(&mut bus, &mem, |_| got += 1).unwrap();
        assert_eq!(got, 1);
    }

    /// Frames that come as fast as the driver takes them.
    #[test]
    fn a_flood_does_not_keep_the_driver_from_all_else() {
        let options = Options { descriptors: 256, rctl: rctl::UPE, ..Options::default() };
        let mut r = Rig::new(Settings::default(), options).unwrap();
        let frame = [2u8; 60];
        assert_eq!(r.deliver(&vec![frame.to_vec(); 5]), 5);
        let (mut burst, list) = (Burst::default(), [Entry { orig: 0, frame: 0 }]);
        // SAFETY: the frame outlives the burst.
        unsafe { burst.push(frame.as_ptr(), frame.len(), 1) };
        let (device, mem, mut more) = (&r.device, &r.mem, 0);
        let mut bus = At { chip: &mut r.chip, now: 0, effects: Effects::default() };
        let each = |_: &_| {
            if more < 10_000 && device.claim(mem, &burst, &list) == 1 {
                device.put(mem, &burst, &list);
                notify::settle();
                device.notify(mem, 0);
                more += 1;
            }
        };
        let got = r.driver.interrupt(&mut bus, mem, each).unwrap();
        assert!((256..512).contains(&got), "{got}");
        // What is left is told of anew.
        assert!(device.line());
    }
}
