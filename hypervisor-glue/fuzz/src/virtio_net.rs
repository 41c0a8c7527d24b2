//! A virtio-net device under the bare guest's driver: one that keeps to the rules, or one that writes what it likes.

use std::collections::{BTreeMap, VecDeque};

use valecast_guest::virtio::{
    BUFFER, Driver, FEATURES, Fault, HEADER, MAX_FRAME, Options, RECEIVE, TRANSMIT,
};
use valecast_hypervisor_glue::e1000::dma::{Dma, HeapMemory};

use super::virtio_around::{BASE, Bytes, Doorbells, Own, copy};
use super::virtio_device::{Half, between};

/// A frame that the driver sent: its bytes, or its length only.
type Sent = (Option<Vec<u8>>, usize);

struct Case {
    mem: Own,
    driver: Driver,
    bus: Doorbells,
    device: [Half; 2],
    /// The device keeps to the rules.
    honest: bool,
    n: u16,
    sent: VecDeque<Sent>,
    /// Frames that the device gave and the driver did not receive yet.
    given: VecDeque<Vec<u8>>,
    /// Transmit buffers that the device has, and how many were lent and taken back.
    out: Vec<bool>,
    lent: u16,
    taken: u16,
    /// Makes each frame differ from its neighbours.
    serial: u8,
    counted: BTreeMap<&'static str, u64>,
}

/// A driver's life with one device. Checks, whatever the device writes: nothing panics, every call ends, no memory but
/// the driver's is touched, no buffer is lent twice or taken back that was not lent. With an honest one besides: no
/// faults, each frame arrives once, whole and in order, and kicks and interrupts come when they were asked for and only then.
/// What was counted, so that a run can tell how far its cases got.
pub fn virtio_net_driver(data: &[u8]) -> BTreeMap<&'static str, u64> {
    let b = &mut Bytes(data);
    let shape = b.u8();
    let honest = shape & 1 == 0;
    let entries = match shape >> 1 & 7 {
        n @ 0..=5 => 2 << n,
        _ if honest => 8,
        _ => b.u8().into(),
    };
    let offered = if honest || shape & 0x10 == 0 { !0 } else { FEATURES & !(1 << (b.u8() & 63)) };
    let options = Options { base: BASE, entries, offered };
    let size = options.memory().next_multiple_of(16);
    // In two mappings, which a hostile monitor makes too small.
    let cut = (usize::from(b.u8()) << 6).min(size / 2) & !15;
    let there = if honest || shape & 0x20 == 0 { size } else { cut + usize::from(b.u16() & !15) };
    let regions = [(BASE, cut), (BASE + cut as u64, there.min(size) - cut)];
    let regions: Vec<_> = regions.into_iter().filter(|(_, len)| *len > 0).collect();
    let mem = Own { all: HeapMemory::new(&regions), end: BASE + size as u64 };
    let driver = match Driver::start(&mem, options) {
        Ok(driver) => driver,
        Err(fault) => {
            assert!(!honest, "{fault}");
            return BTreeMap::from([("refused", 1)]);
        }
    };
    let setup = driver.setup();
    let device = [RECEIVE, TRANSMIT].map(|q| Half::new(setup.queues[usize::from(q)], entries, q == RECEIVE));
    let mut c = Case {
        mem,
        driver,
        bus: Doorbells::default(),
        device,
        honest,
        n: entries,
        sent: VecDeque::new(),
        given: VecDeque::new(),
        out: vec![false; usize::from(entries)],
        lent: 0,
        taken: 0,
        serial: 0,
        counted: BTreeMap::new(),
    };
    while !b.0.is_empty() {
        c.step(b);
    }
    let did = c.driver.did();
    for (what, n) in [("sent", did.sent), ("received", did.received), ("kicks", did.tx_kicks + did.rx_kicks)]
    {
        c.count(what, n);
    }
    c.counted
}

impl Case {
    fn count(&mut self, what: &'static str, n: u64) {
        *self.counted.entry(what).or_default() += n;
    }

    fn step(&mut self, b: &mut Bytes<'_>) {
        match b.u8() % 16 {
            0..=2 => self.send(usize::from(b.u16()) % (MAX_FRAME + 2)),
            3 => self.queue(usize::from(b.u16()) % MAX_FRAME, b.u8()),
            4 => {
                self.guest(|c| c.driver.reclaim(&c.mem));
            }
            5 => self.poll(b.u8()),
            6 => self.receive(b.u8() & 1 == 0),
            7 => self.sleep(b.u8() & 1 == 0),
            8 | 9 => self.transmit(b),
            10 | 11 => self.deliver(b),
            12 => self.device[usize::from(b.u8() & 1)].listen(&self.mem.all, b.u8() & 3 != 0),
            13 => self.give_back(b),
            14 if b.u8() < 4 => (0..u16::from(b.u8()) * 16).for_each(|_| self.round()),
            _ if self.honest => {}
            _ => {
                let half = &mut self.device[usize::from(b.u8() & 1)];
                half.scribble(&self.mem.all, b);
                self.count("scribbles", 1);
            }
        }
    }

    /// The driver does something: then the books are looked at.
    fn guest<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Option<T> {
        let before = [0, 1].map(|q| (self.device[q].shown(&self.mem.all), self.bus.0[q]));
        let did = f(self);
        let sent = self.driver.did().sent as u16;
        let taken = sent.wrapping_sub(self.n - self.driver.tx_room());
        let tx = &self.device[usize::from(TRANSMIT)];
        for k in between(self.taken, taken) {
            let id = tx.used_id(&self.mem.all, k);
            assert!(std::mem::take(&mut self.out[id]), "buffer {id} was taken back and not out");
        }
        for k in between(self.lent, sent) {
            let id = tx.available_id(&self.mem.all, k);
            assert!(!std::mem::replace(&mut self.out[id], true), "buffer {id} was lent twice");
        }
        if taken != self.taken {
            self.device[usize::from(TRANSMIT)].wanted = None;
        }
        (self.lent, self.taken) = (sent, taken);
        if self.honest {
            for (q, (shown, rung)) in before.into_iter().enumerate() {
                let half = &self.device[q];
                let passed = between(shown, half.shown(&self.mem.all)).any(|k| k == half.event);
                assert_eq!(self.bus.0[q] - rung, usize::from(passed), "doorbells of queue {q}");
            }
        }
        match did {
            Ok(done) => Some(done),
            Err(Fault::TooLong(n)) if n > MAX_FRAME => None,
            Err(fault) => {
                assert!(!self.honest, "{fault}");
                assert!(!fault.to_string().is_empty());
                self.count("faults", 1);
                None
            }
        }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        self.serial = self.serial.wrapping_add(1);
        (0..len).map(|i| self.serial.wrapping_add(i as u8)).collect()
    }

    /// No room: an interrupt is due when half of the ring was used.
    fn wait_for_room(&mut self) {
        assert!(!self.honest || self.driver.tx_room() == 0);
        self.device[usize::from(TRANSMIT)].wanted = Some(self.taken.wrapping_add(self.n / 2 - 1));
        self.count("full", 1);
    }

    fn send(&mut self, len: usize) {
        let bytes = self.bytes(len);
        match self.guest(|c| c.driver.send(&mut c.bus, &c.mem, &bytes)) {
            Some(true) => self.sent.push_back((Some(bytes), len)),
            Some(false) => self.wait_for_room(),
            None => {}
        }
    }

    fn queue(&mut self, len: usize, how: u8) {
        if how & 7 == 0 && self.lent == self.taken {
            let bytes = self.bytes(len);
            self.guest(|c| c.driver.fill(&c.mem, &bytes));
        }
        match self.guest(|c| c.driver.queue_filled(&c.mem, len, 1 + u32::from(how >> 4))) {
            Some(0) => self.wait_for_room(),
            Some(n) => self.sent.extend((0..n).map(|_| (None, len))),
            None => {}
        }
        if how & 1 == 0 {
            self.guest(|c| c.driver.flush(&mut c.bus, &c.mem));
        }
    }

    /// What arrives, checked against what was given.
    fn arrive(&mut self, got: Vec<Vec<u8>>, most: usize) {
        if !self.honest {
            return;
        }
        assert_eq!(got.len(), self.given.len().min(most));
        for frame in got {
            assert_eq!(Some(frame), self.given.pop_front(), "a frame");
        }
    }

    fn poll(&mut self, most: u8) {
        let mut got = Vec::new();
        let n = self.guest(|c| {
            c.driver.poll(&mut c.bus, &c.mem, most.into(), |f| got.push(copy(&c.mem, c.honest, f)))
        });
        assert!(n.is_none_or(|n| n as usize == got.len()));
        self.arrive(got, most.into());
    }

    fn receive(&mut self, interrupted: bool) {
        let mut got = Vec::new();
        self.guest(|c| {
            let each = |f: &_| got.push(copy(&c.mem, c.honest, f));
            match interrupted {
                true => c.driver.interrupt(&mut c.bus, &c.mem, each),
                false => c.driver.receive(&mut c.bus, &c.mem, each),
            }
        });
        let rx = &mut self.device[usize::from(RECEIVE)];
        rx.wanted = Some(rx.used);
        self.arrive(got, usize::MAX);
    }

    fn sleep(&mut self, awake: bool) {
        let asleep = match awake {
            true => self.guest(|c| c.driver.awake(&c.mem)).map(|()| false),
            false => self.guest(|c| c.driver.may_sleep(&c.mem)),
        };
        let rx = &mut self.device[usize::from(RECEIVE)];
        rx.wanted = (asleep == Some(true)).then_some(rx.used);
    }

    /// The device sends some of what the driver gave it.
    fn transmit(&mut self, b: &mut Bytes<'_>) {
        let tx = &mut self.device[usize::from(TRANSMIT)];
        let fresh = tx.fetch(&self.mem.all);
        for (addr, len, flags) in fresh {
            let sent = self.sent.pop_front();
            if !self.honest {
                continue;
            }
            let Some((bytes, size)) = sent else { panic!("a frame that nobody sent") };
            assert_eq!((len as usize, flags), (HEADER + size, 0));
            let mut there = vec![0; len as usize];
            assert_eq!(self.mem.read(addr, &mut there), Ok(()));
            assert!(bytes.is_none_or(|bytes| bytes == there[HEADER..]));
            assert!(there[..HEADER].iter().all(|b| *b == 0));
        }
        for _ in 0..=b.u8() & 15 {
            let Some(head) = tx.pick(b.u8()) else { break };
            tx.give(&self.mem.all, head.id, 0);
        }
        let interrupts = tx.publish(&self.mem.all, self.honest);
        self.count("interrupts", interrupts);
    }

    /// The device receives a frame for the driver, over some buffers.
    fn deliver(&mut self, b: &mut Bytes<'_>) {
        let bytes = self.bytes(usize::from(b.u16()) % MAX_FRAME);
        let rx = &mut self.device[usize::from(RECEIVE)];
        for (_, len, flags) in rx.fetch(&self.mem.all) {
            assert!(!self.honest || (len as usize, flags) == (BUFFER, 2));
        }
        let buffers = (1 + usize::from(b.u8() & 3)).min(rx.held());
        let mut at = 0;
        for k in 0..buffers {
            let Some(head) = rx.pick(b.u8()) else { break };
            let mut piece = Vec::new();
            if k == 0 {
                piece = [&[0; HEADER - 2][..], &(buffers as u16).to_le_bytes()].concat();
            }
            let rest = &bytes[at..];
            let most = if k + 1 == buffers { rest.len() } else { rest.len() >> (b.u8() & 7) };
            let part = &rest[..most.min(BUFFER - piece.len())];
            piece.extend_from_slice(part);
            at += part.len();
            let _ = self.mem.all.write(head.addr, &piece);
            rx.give(&self.mem.all, head.id, piece.len() as u32);
        }
        let interrupts = rx.publish(&self.mem.all, self.honest);
        if buffers > 0 {
            self.given.push_back(bytes[..at].to_vec());
        }
        self.count("interrupts", interrupts);
        self.count("buffers", buffers as u64);
    }

    /// The device gives a receive buffer back, with less than a header in it.
    fn give_back(&mut self, b: &mut Bytes<'_>) {
        let rx = &mut self.device[usize::from(RECEIVE)];
        rx.fetch(&self.mem.all);
        let Some(head) = rx.pick(b.u8()) else { return };
        rx.give(&self.mem.all, head.id, u32::from(b.u8()) % HEADER as u32);
        let interrupts = rx.publish(&self.mem.all, self.honest);
        self.count("interrupts", interrupts);
    }

    /// A frame each way, so that indices come round.
    fn round(&mut self) {
        self.send(20);
        self.transmit(&mut Bytes(&[1]));
        self.deliver(&mut Bytes(&[30]));
        self.poll(2);
    }
}
