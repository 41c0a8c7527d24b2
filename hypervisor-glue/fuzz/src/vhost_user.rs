//! A front end and its guest, or who poses as them: messages, rings in memory, and a worker that serves them.

use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::uio::pwrite;
use valecast_hypervisor_glue::vhost_user::counters::Counters;
use valecast_hypervisor_glue::vhost_user::features::Shape;
use valecast_hypervisor_glue::vhost_user::rx::Receiver;
use valecast_hypervisor_glue::vhost_user::tx::Transmit;
use valecast_hypervisor_glue::vhost_user::wire::{HEADER, NEED_REPLY, Stream};
use valecast_hypervisor_glue::vhost_user::{Pair, Plug, Session};
use valecast_switch::frame::{Burst, Entry};
use valecast_switch::port::{Egress, Ingress};

const MEMORY: u64 = 1 << 16;
const BASE: u64 = 0x10_0000;
const USER: u64 = 0x7000_0000;

/// Takes bytes from the front of a script; zeros once it is used up.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Mostly small, in or about guest memory, or at the end of what 64 bits hold.
    fn number(&mut self) -> u64 {
        let b = self.byte();
        let n = u64::from(b & 15);
        match b >> 4 {
            0..4 => n,
            4..8 => BASE + (n << 12),
            8..11 => USER + (n << 12),
            11 => 1 << (n * 4),
            12 => u64::MAX - n,
            13 => n << 12,
            14 => BASE + MEMORY - n,
            _ => 16 << n,
        }
    }
}

/// A switch of one port: what comes from the guest goes back to it.
#[derive(Default)]
struct Mirror {
    sources: Vec<Transmit>,
    receiver: Option<Receiver>,
}

impl Plug for Mirror {
    fn join(&mut self, pairs: &[Pair], mtu: Option<u16>) -> bool {
        assert!(!pairs.is_empty() && self.receiver.is_none());
        self.sources = pairs.iter().map(|p| Transmit::new(p.transmit.clone())).collect();
        let queues = pairs.iter().map(|p| p.receive.clone()).collect();
        self.receiver = Some(Receiver::new(queues, mtu.is_some(), 1600));
        true
    }

    fn part(&mut self) {
        self.sources.clear();
        self.receiver = None;
    }
}

impl Mirror {
    /// A worker's turn.
    fn turn(&mut self, burst: &mut Burst, most: usize, cut: usize) {
        let Some(r) = &self.receiver else { return };
        for (lane, source) in self.sources.iter_mut().enumerate() {
            // Pointers into guest memory are good while it is pinned.
            let _guard = crossbeam::epoch::pin();
            burst.clear();
            source.take(burst, most, 0);
            let all: Vec<_> = (0..burst.taken() as u16)
                .filter(|i| burst.frames[usize::from(*i)].reject.is_none())
                .map(|i| Entry { orig: i, frame: i })
                .collect();
            let got = r.claim(burst, &all, lane);
            assert!(got <= all.len());
            let keep = got.min(cut);
            if got > keep {
                r.unclaim(burst, &all[keep..got], lane);
            }
            if keep > 0 {
                let tally = r.put(burst, &all[..keep], lane, 0);
                assert_eq!(tally.frames + tally.tx_error, keep as u64, "each frame has one fate");
            }
            source.complete(burst, burst.taken());
            source.publish();
            valecast_ring::notify::settle();
            source.wake();
            r.wake();
            let _ = (r.arm_room(lane), source.arm());
            source.disarm();
        }
    }
}

struct Client {
    session: Session<Mirror>,
    stream: Stream,
    out: Vec<u8>,
    memory: OwnedFd,
}

/// One front end's life as a script says, with each answer checked; what was counted.
pub fn vhost_user_session(data: &[u8]) -> Vec<(&'static str, u64)> {
    let mut script = Script(data);
    let Ok(memory) = memfd_create(c"guest", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING) else {
        return Vec::new();
    };
    if nix::unistd::ftruncate(&memory, MEMORY as i64).is_err() {
        return Vec::new();
    }
    let how = script.byte();
    let counters = Arc::new(Counters::default());
    let mtu = (how & 1 != 0).then_some(1500);
    let shape = Shape { pairs: 2, offload: true, mtu, mac: [2; 6], exclusive: false };
    let session = Session::new(shape, Mirror::default(), counters.clone());
    let mut c = Client { session, stream: Stream::default(), out: Vec::new(), memory };
    let going = how & 0x80 == 0 || c.set_up(how);
    if going {
        while !script.0.is_empty() && c.step(&mut script) {}
    }
    c.session.reset();
    assert!(c.session.plug().receiver.is_none() && c.session.memory() == 0);
    counters.all()
}

impl Client {
    /// Two rings in use, as by a driver of good will.
    fn set_up(&mut self, how: u8) -> bool {
        let features =
            [0x1_7000_bb83u64, 0x1_5000_bb83, 0x1_7000_3b83, 0x4000_0000][usize::from(how >> 1 & 3)];
        let eventfd = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC).ok().map(OwnedFd::from);
        let mut ok = self.message(2, 0, &longs(&[features]), Vec::new());
        ok &= self.message(5, 0, &[words(&[1, 0]), longs(&[BASE, MEMORY, USER, 0])].concat(), self.shared());
        for ring in 0..2u32 {
            let at = USER + u64::from(ring) * 0x4000;
            let places = [words(&[ring, 0]), longs(&[at, at + 0x2000, at + 0x1000, 0])].concat();
            ok &= self.message(8, 0, &words(&[ring, 16]), Vec::new());
            ok &= self.message(9, 0, &places, Vec::new());
            ok &= self.message(13, 0, &longs(&[ring.into()]), eventfd().into_iter().collect());
            ok &= self.message(12, 0, &longs(&[ring.into()]), eventfd().into_iter().collect());
            ok &= self.message(18, 0, &words(&[ring, 1]), Vec::new());
        }
        // Receive buffers behind the rings, and one frame in each descriptor of the other ring.
        for n in 0..16u64 {
            self.descriptor(0, n as u16, BASE + 0x8000 + n * 0x400, 0x400, 2, 0);
            // In pairs, for some.
            let flags = u16::from(how & 8 != 0 && n % 2 == 0);
            self.descriptor(1, n as u16, BASE + 0xc000 + n * 0x80, 0x80, flags, n as u16 + 1);
            self.poke(0x1004 + 2 * n, &(n as u16).to_le_bytes());
            self.poke(0x5004 + 2 * n, &(n as u16).to_le_bytes());
        }
        self.poke(0x1002, &16u16.to_le_bytes());
        self.poke(0x5002, &4u16.to_le_bytes());
        self.session.settle();
        assert!(ok && self.session.plug().receiver.is_some(), "a good front end is joined");
        true
    }

    fn shared(&self) -> Vec<OwnedFd> {
        self.memory.as_fd().try_clone_to_owned().into_iter().collect()
    }

    fn poke(&self, at: u64, bytes: &[u8]) {
        let _ = pwrite(&self.memory, bytes, (at % MEMORY) as i64);
    }

    fn descriptor(&self, ring: u64, n: u16, address: u64, len: u32, flags: u16, next: u16) {
        let mut d = address.to_le_bytes().to_vec();
        let _ = d.write(&len.to_le_bytes());
        let _ = d.write(&flags.to_le_bytes());
        let _ = d.write(&next.to_le_bytes());
        self.poke(ring * 0x4000 + 16 * u64::from(n % 16), &d);
    }

    /// False: the connection would be cut.
    fn step(&mut self, script: &mut Script<'_>) -> bool {
        match script.byte() {
            kind @ 0..0x30 => {
                let request = [1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 24, 34, 36, 37, 38];
                let request = request.get(usize::from(kind)).copied().unwrap_or(u32::from(kind));
                let n = usize::from(script.byte() % 7);
                let mut body: Vec<u8> = (0..n).flat_map(|_| script.number().to_ne_bytes()).collect();
                if script.byte() < 8 {
                    body.truncate(body.len().saturating_sub(4));
                }
                let fds = match script.byte() % 4 {
                    0 => self.shared(),
                    1 => EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map(OwnedFd::from).into_iter().collect(),
                    _ => Vec::new(),
                };
                let flags = if script.byte() < 200 { NEED_REPLY } else { 0 };
                return self.message(request, flags, &body, fds);
            }
            0x30..0x38 => self.session.settle(),
            0x38..0x70 => {
                let (most, cut) = (usize::from(script.byte() % 40), usize::from(script.byte() % 20));
                self.session.plug().turn_all(most, cut);
            }
            0x70..0x90 => {
                let (ring, n) = (u64::from(script.byte() & 1), script.byte().into());
                let address = script.number();
                let len = match script.byte() {
                    b @ 0..0xc0 => b.into(),
                    _ => script.number() as u32,
                };
                let flags = u16::from(script.byte() % 8);
                self.descriptor(ring, n, address, len, flags, u16::from(script.byte() % 18));
            }
            0x90..0xb0 => {
                // More is made available, as many as were used or as many as it says.
                let ring = u64::from(script.byte() & 1) * 0x4000;
                self.poke(ring + 0x1002, &u16::from(script.byte() % 64).to_le_bytes());
            }
            0xb0..0xd0 => {
                // An offload header, or another part of a frame.
                let at = 0xc000 + u64::from(script.byte()) * 8;
                let bytes: Vec<u8> = (0..10).map(|_| script.byte() % 6).collect();
                self.poke(at, &bytes);
            }
            _ => {
                let at = u64::from(script.byte()) << 7 | u64::from(script.byte());
                self.poke(at, &script.number().to_le_bytes());
            }
        }
        true
    }

    fn message(&mut self, request: u32, flags: u32, body: &[u8], fds: Vec<OwnedFd>) -> bool {
        let m = [words(&[request, 1 | flags, body.len() as u32]), body.to_vec()].concat();
        assert_eq!(self.stream.feed(&m, fds), m.len(), "room for a message");
        let mut going = true;
        while let Ok(Some(m)) = self.stream.message() {
            going &= self.session.handle(m, &mut self.out).is_ok();
        }
        // Answers are whole, and say so.
        let mut rest = &self.out[..];
        while !rest.is_empty() {
            let word = |i: usize| u32::from_ne_bytes([rest[i], rest[i + 1], rest[i + 2], rest[i + 3]]);
            assert_eq!((word(0), word(4)), (request, 5));
            rest = &rest[HEADER + word(8) as usize..];
        }
        self.out.clear();
        going
    }
}

impl Mirror {
    fn turn_all(&mut self, most: usize, cut: usize) {
        // As a worker's, made once.
        thread_local!(static BURST: std::cell::RefCell<Burst> = std::cell::RefCell::default());
        BURST.with_borrow_mut(|burst| self.turn(burst, most, cut));
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

fn longs(longs: &[u64]) -> Vec<u8> {
    longs.iter().flat_map(|w| w.to_ne_bytes()).collect()
}
