//! The hostile side: a client that does the handshake by hand, maps its region itself and then writes
//! whatever it likes wherever it likes.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, socket};
use valecast_ring::attach::{Refusal, Reply, Request, recv_msg, send_msg};
use valecast_ring::layout::Layout;
use valecast_ring::notify::Pairing;
use zerocopy::IntoBytes;

/// SplitMix64: seeded, so that a failure can be had again.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

/// A connection to an attach socket that has not said anything.
pub fn dial(path: &Path) -> nix::Result<OwnedFd> {
    let s = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(s.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(s)
}

pub fn request(port: &str) -> Request {
    Request {
        port: port.to_owned(),
        tx_rings: None,
        rx_rings: None,
        slots: None,
        buf_size: None,
        pairing: Pairing::Fences,
    }
}

pub struct Raw {
    pub sock: OwnedFd,
    pub memfd: OwnedFd,
    /// What the client rings, one per ring.
    pub kicks: Vec<OwnedFd>,
    /// What the switch rings, never read.
    pub calls: Vec<OwnedFd>,
    pub map: MmapRaw,
    pub layout: Layout,
    /// Offset of slot 0 of each ring.
    slots: Vec<usize>,
    bufs: usize,
}

impl Raw {
    pub fn attach(path: &Path, request: &Request) -> Result<Self, (Refusal, String)> {
        let sock = dial(path).unwrap();
        send_msg(sock.as_fd(), request.to_wire().unwrap().as_bytes(), &[]).unwrap();
        let (bytes, fds) = recv_msg(sock.as_fd(), MsgFlags::empty()).unwrap();
        let layout = match Reply::parse(&bytes).unwrap() {
            Reply::Attached(l, _) => l,
            Reply::Refused(why, text) => return Err((why, text)),
        };
        assert_eq!(fds.len(), 1 + 2 * layout.rings_total(), "descriptors: a memfd, then two for each ring");
        let mut fds = fds.into_iter();
        let memfd = fds.next().unwrap();
        let (mut kicks, mut calls) = (Vec::new(), Vec::new());
        while let (Some(kick), Some(call)) = (fds.next(), fds.next()) {
            kicks.push(kick);
            calls.push(call);
        }
        let map = MmapOptions::new().len(layout.total()).map_raw(&memfd).unwrap();
        let mut raw = Self { sock, memfd, kicks, calls, map, layout, slots: vec![], bufs: 0 };
        raw.find_rings();
        Ok(raw)
    }

    /// Finds its way as a netmap client does: netmap_if, ring_ofs, buf_ofs.
    fn find_rings(&mut self) {
        let nif = self.layout.netmap_if();
        let tx = usize::from(self.layout.params().tx_rings);
        for ring in 0..self.layout.rings_total() {
            let entry = if ring < tx { ring } else { ring + 1 };
            let ofs = self.word64(nif + 56 + 8 * entry).load(Ordering::Relaxed) as usize;
            self.slots.push(nif + ofs + 256);
            self.bufs = nif + ofs + self.word64(nif + ofs).load(Ordering::Relaxed) as usize;
        }
    }

    pub fn word32(&self, at: usize) -> &AtomicU32 {
        assert!(at + 4 <= self.layout.total() && at.is_multiple_of(4));
        // SAFETY: inside the mapping and aligned; shared memory is only touched as atomics.
        unsafe { &*self.map.as_mut_ptr().add(at).cast() }
    }

    pub fn word64(&self, at: usize) -> &AtomicU64 {
        assert!(at + 8 <= self.layout.total() && at.is_multiple_of(8));
        // SAFETY: as in `word32`.
        unsafe { &*self.map.as_mut_ptr().add(at).cast() }
    }

    /// The descriptor word of slot 0 of `ring`.
    pub fn first_slot(&self, ring: usize) -> &AtomicU64 {
        self.word64(self.slots[ring])
    }

    /// Puts a frame into slot `i` of `ring`.
    pub fn fill(&self, ring: usize, i: usize, frame: &[u8]) {
        let slot = self.word64(self.slots[ring] + 16 * i);
        let buffer = slot.load(Ordering::Relaxed) & 0xffff_ffff;
        slot.store(buffer | (frame.len() as u64) << 32, Ordering::Relaxed);
        let at = self.bufs + self.layout.stride() * buffer as usize;
        for (k, word) in frame.chunks(8).enumerate() {
            let mut bytes = [0; 8];
            bytes[..word.len()].copy_from_slice(word);
            self.word64(at + 8 * k).store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
        }
    }

    /// A copy of the whole region.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut all = vec![0; self.layout.total()];
        // SAFETY: the mapping has that many bytes. A racing writer only makes the copy a mixture.
        unsafe { std::ptr::copy(self.map.as_ptr(), all.as_mut_ptr(), all.len()) };
        all
    }

    pub fn contains(&self, needle: &[u8]) -> bool {
        let all = self.snapshot();
        let mut at = 0;
        while let Some(i) = all[at..].iter().position(|b| *b == needle[0]) {
            at += i;
            if all[at..].starts_with(needle) {
                return true;
            }
            at += 1;
        }
        false
    }

    /// Any word, anywhere.
    pub fn noise(&self, rng: &mut Rng) {
        let at = rng.below(self.layout.total() / 8) * 8;
        if rng.next() & 1 == 0 {
            self.word64(at).store(rng.next(), Ordering::Relaxed);
        } else {
            self.word32(at).store(rng.next() as u32, Ordering::Relaxed);
        }
    }

    /// Where it hurts: both CSB pages, slots, and headers that the switch will accept, so that it keeps working.
    pub fn aimed(&self, rng: &mut Rng, macs: &[[u8; 6]], own: [u8; 6]) {
        let (slots, rings) = (self.layout.params().slots, self.layout.rings_total());
        let ring = rng.below(rings);
        let ktoa = (rings * 64).next_multiple_of(4096);
        let odd = |rng: &mut Rng, limit: u32| match rng.below(6) {
            0 => rng.next() as u32,
            1 => limit.wrapping_add(rng.below(3) as u32).wrapping_sub(1),
            2 => [0, 1, u32::MAX, 1 << 31][rng.below(4)],
            _ => rng.next() as u32 % limit.max(1),
        };
        match rng.below(8) {
            0 | 1 => self.word32(64 * ring).store(odd(rng, slots), Ordering::Release),
            2 => self.word32(64 * ring + 4 * rng.below(16)).store(odd(rng, slots), Ordering::Relaxed),
            3 => self.word32(ktoa + 64 * ring + 4 * rng.below(16)).store(odd(rng, slots), Ordering::Relaxed),
            4 | 5 => {
                let at = self.slots[ring] + 16 * rng.below(slots as usize);
                let len = u64::from(odd(rng, self.layout.stride() as u32) as u16);
                let flags = [0, 0, 0, 0x20, rng.next() as u16][rng.below(5)];
                let idx = u64::from(odd(rng, self.layout.buffers()));
                let desc = idx | len << 32 | u64::from(flags) << 48;
                self.word64(at).store(desc, Ordering::Relaxed);
                self.word64(at + 8).store(rng.next(), Ordering::Relaxed);
            }
            _ => {
                let dst = macs[rng.below(macs.len())];
                let mut head = [0u8; 16];
                head[..6].copy_from_slice(&dst);
                head[6..12].copy_from_slice(&own);
                let kind: [u8; 2] = [[0x88, 0xb5], [0x81, 0], [8, 0], [0x86, 0xdd]][rng.below(4)];
                head[12..14].copy_from_slice(&kind);
                head[15] = rng.next() as u8;
                let buf = self.bufs + self.layout.stride() * rng.below(self.layout.buffers() as usize);
                for (i, w) in head.chunks_exact(8).enumerate() {
                    let w = u64::from_ne_bytes(w.try_into().unwrap());
                    self.word64(buf + 8 * i).store(w, Ordering::Relaxed);
                }
            }
        }
    }

    /// Rings the doorbell of some ring; never blocks, unless [`Raw::jam`] was used on that one.
    pub fn ring_some(&self, rng: &mut Rng, from: usize) {
        let k = from + rng.below(self.kicks.len() - from);
        let _ = nix::unistd::write(&self.kicks[k], &(1 + rng.next() % 3).to_ne_bytes());
    }

    /// Makes doorbell `k` one that blocks whoever writes it.
    pub fn jam(&self, k: usize) {
        let fd = &self.kicks[k];
        let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL).unwrap());
        let _ = nix::unistd::write(fd, &(u64::MAX - 1).to_ne_bytes());
        fcntl(fd, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK)).unwrap();
    }
}
