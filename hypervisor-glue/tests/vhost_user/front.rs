//! A front end with a guest: raw messages over the socket, and the driver of [`crate::driver`] behind them.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use valecast_switch::frame::VnetHdr;

use crate::driver::{BASE, Memory, Ring, WRITE};
use crate::rig::DEADLINE;
pub use crate::wire::*;

pub const EVENT_INDEX: u64 = 1 << 29;
pub const MERGEABLE: u64 = 1 << 15;
const HEADER: usize = 12;

/// How a guest is to be.
#[derive(Clone, Copy)]
pub struct Options {
    pub pairs: u16,
    pub size: u16,
    /// Features taken of those offered.
    pub features: u64,
    /// Bytes of each receive buffer.
    pub buffer: u32,
    /// Index that its rings begin with.
    pub base: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { pairs: 1, size: 64, features: u64::MAX, buffer: 2048, base: 0 }
    }
}

/// A pair of queues.
pub struct Pair {
    pub rx: Ring,
    pub tx: Ring,
    pub kicks: [EventFd; 2],
    pub calls: [EventFd; 2],
    rx_buffers: u64,
    tx_buffers: u64,
    tx_slot: u64,
    partial: Vec<u8>,
    left: u16,
}

/// A front end and its guest.
pub struct Front {
    pub sock: UnixStream,
    pub memory: Memory,
    pub pairs: Vec<Pair>,
    pub features: u64,
    pub offered: u64,
    options: Options,
}

/// A received frame with its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub offload: VnetHdr,
    pub bytes: Vec<u8>,
    pub buffers: u16,
}

impl Front {
    /// Connects and says nothing.
    pub fn connect(path: &Path, options: Options) -> Self {
        let sock = UnixStream::connect(path).unwrap();
        Self { sock, memory: Memory::new(), pairs: Vec::new(), features: 0, offered: 0, options }
    }

    /// Connects and sets everything up, in QEMU's order.
    pub fn start(path: &Path, options: Options) -> Self {
        let mut f = Self::connect(path, options);
        f.hello();
        f.set_up();
        f
    }

    pub fn ask(&self, request: u32, body: &[u8]) -> Vec<u8> {
        assert!(send(&self.sock, request, 0, body, &[]));
        let (answered, body) = receive(&self.sock).expect("an answer");
        assert_eq!(answered, request);
        body
    }

    pub fn ask_number(&self, request: u32) -> u64 {
        u64::from_ne_bytes(self.ask(request, &[]).try_into().unwrap())
    }

    pub fn tell(&self, request: u32, body: &[u8], fds: &[&dyn AsFd]) {
        assert!(send(&self.sock, request, 0, body, fds));
    }

    /// Sends and asks whether it was done.
    pub fn checked(&self, request: u32, body: &[u8], fds: &[&dyn AsFd]) -> bool {
        assert!(send(&self.sock, request, NEED_REPLY, body, fds));
        let (answered, body) = receive(&self.sock).expect("an answer");
        assert_eq!(answered, request);
        u64::from_ne_bytes(body.try_into().unwrap()) == 0
    }

    pub fn hello(&mut self) {
        self.offered = self.ask_number(GET_FEATURES);
        let protocol = self.ask_number(GET_PROTOCOL_FEATURES);
        self.tell(SET_PROTOCOL_FEATURES, &longs(&[protocol]), &[]);
        self.tell(SET_OWNER, &[], &[]);
        assert!(self.ask_number(GET_QUEUE_NUM) >= self.options.pairs.into());
    }

    /// Rings are enabled before features are set, as QEMU does.
    pub fn set_up(&mut self) {
        let o = self.options;
        self.features = self.offered & o.features;
        let event = self.features & EVENT_INDEX != 0;
        for p in 0..o.pairs {
            let at = BASE + u64::from(p) * 0x8_0000;
            for ring in 0..2u32 {
                self.tell(SET_VRING_ENABLE, &words(&[u32::from(2 * p) + ring, 1]), &[]);
            }
            let fd = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap();
            let area = BASE + 0x40_0000 + u64::from(p) * 0x10_0000;
            self.pairs.push(Pair {
                rx: Ring::new(at, o.size, event, o.base),
                tx: Ring::new(at + 0x1_0000, o.size, event, o.base),
                kicks: [fd(), fd()],
                calls: [fd(), fd()],
                rx_buffers: area,
                tx_buffers: area + 0x8_0000,
                tx_slot: 0,
                partial: Vec::new(),
                left: 0,
            });
        }
        self.tell(SET_FEATURES, &longs(&[self.features]), &[]);
        self.tell(SET_MEM_TABLE, &table(), &[&self.memory.fd()]);
        for p in 0..self.pairs.len() {
            for r in 0..2 {
                self.start_ring(p, r);
            }
        }
        for p in 0..self.pairs.len() {
            self.post(p, usize::MAX);
        }
    }

    pub fn start_ring(&mut self, pair: usize, r: usize) {
        let (i, p) = ((2 * pair + r) as u32, &self.pairs[pair]);
        let ring = if r == 0 { &p.rx } else { &p.tx };
        // A driver's used index is where the device left it.
        self.memory.put_u16(ring.used() + 2, ring.seen);
        self.memory.put_u16(ring.available() + 2, ring.next);
        self.tell(SET_VRING_NUM, &words(&[i, ring.size.into()]), &[]);
        self.tell(SET_VRING_BASE, &words(&[i, ring.seen.into()]), &[]);
        self.tell(SET_VRING_ADDR, &address(i, ring), &[]);
        self.tell(SET_VRING_CALL, &longs(&[i.into()]), &[&p.calls[r]]);
        self.tell(SET_VRING_KICK, &longs(&[i.into()]), &[&p.kicks[r]]);
    }

    /// Bytes before each frame.
    pub fn header(&self) -> usize {
        if self.features & (1 << 32 | MERGEABLE) == 0 { 10 } else { HEADER }
    }

    /// Offers up to `most` receive buffers.
    pub fn post(&mut self, pair: usize, most: usize) {
        let size = self.options.buffer;
        let p = &mut self.pairs[pair];
        for _ in 0..most.min(p.rx.free()) {
            // The descriptor's number tells its buffer.
            let slot = u64::from(p.rx.next % p.rx.size);
            p.rx.add(&self.memory, &[(p.rx_buffers + slot * u64::from(size), size, WRITE)]);
        }
        if p.rx.publish(&self.memory) {
            p.kicks[0].write(1).unwrap();
        }
    }

    /// A buffer that is not in use, of 70 KiB.
    fn tx_buffer(&mut self, pair: usize) -> u64 {
        let p = &mut self.pairs[pair];
        p.tx_slot = (p.tx_slot + 1) % 7;
        p.tx_buffers + p.tx_slot * 0x1_1800
    }

    /// Sends a frame in pieces of these sizes, the last of which takes the rest; the header counts as part of it.
    pub fn send(&mut self, pair: usize, frame: &[u8], offload: VnetHdr, sizes: &[usize]) {
        let at = self.tx_buffer(pair);
        let mut bytes = offload.to_bytes().to_vec();
        bytes.resize(self.header(), 0);
        bytes.extend(frame);
        self.memory.write(at, &bytes);
        let (mut from, mut pieces) = (0, Vec::new());
        for n in sizes.iter().copied().chain([usize::MAX]) {
            let n = n.min(bytes.len() - from);
            if n > 0 {
                pieces.push((at + from as u64, n as u32, 0));
            }
            from += n;
        }
        self.pairs[pair].tx.add(&self.memory, &pieces);
        self.kick(pair);
    }

    /// Publishes what was added to the transmit ring.
    pub fn kick(&mut self, pair: usize) {
        let p = &mut self.pairs[pair];
        if p.tx.publish(&self.memory) {
            p.kicks[1].write(1).unwrap();
        }
    }

    /// Waits until the device has used everything that was sent; the heads.
    #[track_caller]
    pub fn sent(&mut self, pair: usize) -> Vec<u16> {
        let end = Instant::now() + DEADLINE;
        let p = &mut self.pairs[pair];
        let mut heads = Vec::new();
        while p.tx.seen != p.tx.next {
            match p.tx.take(&self.memory) {
                Some((head, len)) => {
                    assert_eq!(len, 0, "nothing is written there");
                    heads.push(head);
                }
                None => {
                    assert!(Instant::now() < end, "{} of {} used", p.tx.seen, p.tx.next);
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
        }
        heads
    }

    /// A frame, if one is there. Its buffers are offered again.
    pub fn take(&mut self, pair: usize) -> Option<Got> {
        let header = self.header();
        let mut used = 0;
        let mut got = None;
        let p = &mut self.pairs[pair];
        let (mut bytes, mut left) = (std::mem::take(&mut p.partial), p.left);
        while let Some((head, len)) = p.rx.take(&self.memory) {
            used += 1;
            bytes.extend(self.memory.read(p.rx.buffer(&self.memory, head), len as usize));
            if left == 0 {
                if len == 0 {
                    continue;
                }
                let n = if header == HEADER { u16::from_le_bytes([bytes[10], bytes[11]]) } else { 1 };
                left = n;
            }
            left -= 1;
            if left == 0 {
                let offload = VnetHdr::from_bytes(bytes[..10].try_into().unwrap());
                let buffers = if header == HEADER { u16::from_le_bytes([bytes[10], bytes[11]]) } else { 1 };
                got = Some(Got { offload, bytes: bytes.split_off(header), buffers });
                bytes.clear();
                break;
            }
        }
        (p.partial, p.left) = (bytes, left);
        if used > 0 {
            self.post(pair, usize::MAX);
        }
        got
    }

    /// Waits for a frame, asleep until an interrupt comes, as a driver is.
    #[track_caller]
    pub fn wait(&mut self, pair: usize) -> Got {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(got) = self.take(pair) {
                return got;
            }
            let p = &self.pairs[pair];
            p.rx.arm(&self.memory, p.rx.seen);
            if p.rx.used_index(&self.memory) == p.rx.seen {
                assert!(Instant::now() < end, "no frame came");
                let mut fds = [PollFd::new(p.calls[0].as_fd(), PollFlags::POLLIN)];
                let n = poll(&mut fds, PollTimeout::from(20_000u16)).unwrap();
                let p = &self.pairs[pair];
                let rx = (p.rx.seen, p.rx.used_index(&self.memory), p.rx.next, p.rx.event(&self.memory));
                assert!(
                    n > 0,
                    "no interrupt came (lost, if used has passed seen): (seen, used, next, event) {rx:?}"
                );
                let _ = p.calls[0].read();
            }
            self.pairs[pair].rx.disarm(&self.memory);
        }
    }

    /// GET_VRING_BASE: stops a ring; its next index.
    pub fn stop_ring(&self, index: u32) -> u16 {
        let body = self.ask(GET_VRING_BASE, &words(&[index, 0]));
        u32::from_ne_bytes(body[4..8].try_into().unwrap()) as u16
    }
}
