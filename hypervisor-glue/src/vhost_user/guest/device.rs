//! The driver with a device that is not ours: one that works out of order, or makes no sense.

use valecast_guest::virtio::{BUFFER, HEADER, Places};

use super::*;
use crate::e1000::dma::HeapMemory;

const N: u16 = 8;

struct Other {
    mem: HeapMemory,
    driver: Driver,
    bus: Doorbells,
    /// Used indices.
    used: [u16; 2],
}

impl Other {
    fn new() -> Self {
        let o = Options { base: BASE, entries: N, offered: offered() };
        let mem = HeapMemory::new(&[(BASE, o.memory())]);
        let driver = Driver::start(&mem, o).unwrap();
        Self { mem, driver, bus: Doorbells([event(), event()]), used: [0; 2] }
    }

    fn places(&self, queue: u16) -> Places {
        self.driver.setup().queues[usize::from(queue)]
    }

    /// The head at an index of the available ring, and its buffer.
    fn head(&self, queue: u16, index: u16) -> (u16, u64) {
        let p = self.places(queue);
        let (mut id, mut at) = ([0; 2], [0; 8]);
        self.mem.read(p.available + 4 + 2 * u64::from(index % N), &mut id).unwrap();
        let id = u16::from_le_bytes(id);
        self.mem.read(p.descriptors + 16 * u64::from(id), &mut at).unwrap();
        (id, u64::from_le_bytes(at))
    }

    /// Uses a buffer.
    fn give(&mut self, queue: u16, id: u32, len: u32) {
        let (p, used) = (self.places(queue), &mut self.used[usize::from(queue)]);
        let at = p.used + 4 + 8 * u64::from(*used % N);
        self.mem.write(at, &(u64::from(id) | u64::from(len) << 32).to_le_bytes()).unwrap();
        *used = used.wrapping_add(1);
        self.mem.write(p.used + 2, &used.to_le_bytes()).unwrap();
    }

    fn poll(&mut self) -> Result<Vec<Vec<u8>>, Fault> {
        let (mut got, mem) = (Vec::new(), &self.mem);
        self.driver.poll(&mut self.bus, mem, 64, |f| {
            let mut b = vec![0; f.len];
            f.copy(mem, &mut b).unwrap();
            got.push(b);
        })?;
        Ok(got)
    }

    /// A received frame in these buffers, which says that it has `says` of them.
    fn receive(&mut self, heads: &[(u16, u64)], says: u16, len: usize) -> Vec<u8> {
        let bytes = frame(heads[0].1, len);
        let mut all = vec![0; HEADER - 2];
        all.extend(says.to_le_bytes());
        all.extend(&bytes);
        let mut pieces = all.chunks(BUFFER);
        for (id, at) in heads {
            let piece = pieces.next().unwrap_or_default();
            self.mem.write(*at, piece).unwrap();
            self.give(RECEIVE, (*id).into(), piece.len() as u32);
        }
        bytes
    }
}

#[test]
fn buffers_come_back_in_any_order() {
    let mut o = Other::new();
    for lap in 0..10_000u16 {
        let heads = |o: &Other, queue| -> Vec<_> {
            (0..N).map(|k| o.head(queue, lap.wrapping_mul(N).wrapping_add(k))).collect()
        };
        for k in 0..N {
            assert!(o.driver.send(&mut o.bus, &o.mem, &frame(k.into(), 60)).unwrap());
        }
        let sent = heads(&o, TRANSMIT);
        for k in 0..usize::from(N) {
            let (id, at) = sent[(k * 5 + usize::from(lap)) % sent.len()];
            let mut b = [0; 60];
            o.mem.read(at + HEADER as u64, &mut b).unwrap();
            let number = sent.iter().position(|h| h.0 == id).unwrap();
            assert_eq!(b[..], frame(number as u64, 60), "each frame is in a buffer of its own");
            o.give(TRANSMIT, id.into(), 0);
        }
        assert_eq!(o.driver.reclaim(&o.mem), Ok(N));
        // As many are received, out of order.
        let free = heads(&o, RECEIVE);
        let mut got: Vec<_> = [3, 0, 1, 2, 7, 6].iter().map(|k| o.receive(&[free[*k]], 1, 99)).collect();
        got.push(o.receive(&free[4..6], 2, 3000));
        assert_eq!(o.poll(), Ok(got));
    }
}

#[test]
fn buffers_that_come_back_empty_are_lent_again() {
    let mut o = Other::new();
    let first = o.head(RECEIVE, 0).0;
    o.give(RECEIVE, first.into(), 0);
    let second = o.head(RECEIVE, 1).0;
    o.give(RECEIVE, second.into(), HEADER as u32 - 1);
    let there = o.receive(&[o.head(RECEIVE, 2)], 1, 60);
    assert_eq!(o.poll(), Ok(vec![there]));
    assert_eq!(o.driver.did().received, 1);
    // All eight are the device's.
    let all: std::collections::BTreeSet<_> = (3..3 + N).map(|i| o.head(RECEIVE, i).0).collect();
    assert_eq!(all.len(), usize::from(N));
}

#[test]
fn what_a_device_may_not_say_is_a_fault() {
    let fault = |what: fn(&mut Other)| {
        let mut o = Other::new();
        what(&mut o);
        o.poll().unwrap_err()
    };
    assert_eq!(fault(|o| o.give(RECEIVE, 8, 60)), Fault::Entry(RECEIVE, 8, 60), "no such buffer");
    assert_eq!(
        fault(|o| o.give(RECEIVE, 1, BUFFER as u32 + 1)),
        Fault::Entry(RECEIVE, 1, 1997),
        "more than it holds"
    );
    let jump = |o: &mut Other| o.mem.write(o.places(RECEIVE).used + 2, &9u16.to_le_bytes()).unwrap();
    assert_eq!(fault(jump), Fault::Index(RECEIVE, 9));
    let says = |o: &mut Other, n, says| {
        let heads: Vec<_> = (0..n).map(|i| o.head(RECEIVE, i)).collect();
        o.receive(&heads, says, 60);
        o.poll()
    };
    assert_eq!(says(&mut Other::new(), 1, 0), Err(Fault::Buffers(0)));
    assert_eq!(says(&mut Other::new(), 2, 3), Err(Fault::Buffers(3)));
    // The same one twice.
    let mut o = Other::new();
    for _ in 0..2 {
        assert!(o.driver.send(&mut o.bus, &o.mem, &[0; 60]).unwrap());
        o.give(TRANSMIT, 0, 0);
    }
    assert_eq!(o.driver.reclaim(&o.mem), Err(Fault::Entry(TRANSMIT, 0, 0)));
    // One that the device has, where the driver keeps those that it does not.
    let mut o = Other::new();
    assert!(o.driver.send(&mut o.bus, &o.mem, &[0; 60]).unwrap());
    o.mem.write(o.places(TRANSMIT).available + 4 + 2, &[0; 2]).unwrap();
    assert_eq!(o.driver.send(&mut o.bus, &o.mem, &[1; 60]), Err(Fault::Entry(TRANSMIT, 0, 0)));
}
