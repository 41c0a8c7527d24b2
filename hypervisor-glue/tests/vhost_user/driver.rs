//! A guest's side of virtio-net, for tests and fuzzers: memory, split rings in it, and a driver that uses them honestly
//! (or is told not to). Memory is reached by system calls, each of them a barrier, so nothing here is unsafe.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::uio::{pread, pwrite};

/// Bytes of guest memory.
pub const MEMORY: u64 = 8 << 20;
/// Guest address of its first byte.
pub const BASE: u64 = 0x10_0000;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// Guest memory.
pub struct Memory(OwnedFd);

impl Memory {
    pub fn new() -> Self {
        let fd = memfd_create(c"guest", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
        nix::unistd::ftruncate(&fd, MEMORY as i64).unwrap();
        Self(fd)
    }

    /// In a file of this length.
    pub fn over(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub fn write(&self, at: u64, bytes: &[u8]) {
        assert_eq!(pwrite(&self.0, bytes, (at - BASE) as i64).unwrap(), bytes.len());
    }

    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        assert_eq!(pread(&self.0, &mut bytes, (at - BASE) as i64).unwrap(), len);
        bytes
    }

    pub fn u16(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.read(at, 2).try_into().unwrap())
    }

    pub fn put_u16(&self, at: u64, v: u16) {
        self.write(at, &v.to_le_bytes());
    }
}

/// One ring, of up to 2048 entries: 64 KiB of memory for itself, and as much as it wants for buffers elsewhere.
pub struct Ring {
    pub at: u64,
    pub size: u16,
    pub event_index: bool,
    /// Next index of the available ring, and how far it was when the device was last considered.
    pub next: u16,
    told: u16,
    /// Used entries seen.
    pub seen: u16,
    free: Vec<u16>,
}

/// A descriptor to be: address, length, flags without NEXT.
pub type Piece = (u64, u32, u16);

impl Ring {
    pub fn new(at: u64, size: u16, event_index: bool, base: u16) -> Self {
        let free = (0..size).rev().collect();
        Self { at, size, event_index, next: base, told: base, seen: base, free }
    }

    pub fn descriptors(&self) -> u64 {
        self.at
    }

    pub fn available(&self) -> u64 {
        self.at + 0x8000
    }

    pub fn used(&self) -> u64 {
        self.at + 0xa000
    }

    /// Descriptors that are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    pub fn descriptor(&self, m: &Memory, n: u16, (address, len, flags): Piece, next: u16) {
        let mut d = address.to_le_bytes().to_vec();
        d.extend(len.to_le_bytes());
        d.extend(flags.to_le_bytes());
        d.extend(next.to_le_bytes());
        m.write(self.descriptors() + 16 * u64::from(n), &d);
    }

    /// Makes a chain of these, and its head available at the next index; not published.
    pub fn add(&mut self, m: &Memory, pieces: &[Piece]) -> u16 {
        let numbers: Vec<u16> = pieces.iter().map(|_| self.free.pop().expect("a free descriptor")).collect();
        for (i, (n, piece)) in numbers.iter().zip(pieces).enumerate() {
            let next = numbers.get(i + 1);
            let flags = piece.2 | if next.is_some() { NEXT } else { 0 };
            self.descriptor(m, *n, (piece.0, piece.1, flags), next.copied().unwrap_or(0));
        }
        self.offer(m, numbers[0]);
        numbers[0]
    }

    /// A head at the next index, whatever it is the head of.
    pub fn offer(&mut self, m: &Memory, head: u16) {
        let slot = u64::from(self.next % self.size);
        m.put_u16(self.available() + 4 + 2 * slot, head);
        self.next = self.next.wrapping_add(1);
    }

    /// Publishes what was added; whether the device wants a kick.
    pub fn publish(&mut self, m: &Memory) -> bool {
        m.put_u16(self.available() + 2, self.next);
        let (old, new) = (std::mem::replace(&mut self.told, self.next), self.next);
        if self.event_index {
            let event = m.u16(self.used() + 4 + 8 * u64::from(self.size));
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            m.u16(self.used()) & 1 == 0
        }
    }

    /// The index at which the device wants a kick.
    pub fn event(&self, m: &Memory) -> u16 {
        m.u16(self.used() + 4 + 8 * u64::from(self.size))
    }

    /// The used ring's index.
    pub fn used_index(&self, m: &Memory) -> u16 {
        m.u16(self.used() + 2)
    }

    /// The next used entry: head and length. Its chain's descriptors are free again.
    pub fn take(&mut self, m: &Memory) -> Option<(u16, u32)> {
        if self.used_index(m) == self.seen {
            return None;
        }
        let e = m.read(self.used() + 4 + 8 * u64::from(self.seen % self.size), 8);
        self.seen = self.seen.wrapping_add(1);
        let head = u32::from_le_bytes(e[..4].try_into().unwrap()) as u16;
        let len = u32::from_le_bytes(e[4..].try_into().unwrap());
        let mut n = head;
        loop {
            self.free.push(n);
            let d = m.read(self.descriptors() + 16 * u64::from(n), 16);
            if u16::from_le_bytes([d[12], d[13]]) & NEXT == 0 {
                return Some((head, len));
            }
            n = u16::from_le_bytes([d[14], d[15]]);
        }
    }

    /// Address of a head's first buffer.
    pub fn buffer(&self, m: &Memory, head: u16) -> u64 {
        u64::from_le_bytes(m.read(self.descriptors() + 16 * u64::from(head), 8).try_into().unwrap())
    }

    /// Asks for an interrupt when the used ring passes `index`, or not (without event indices).
    pub fn arm(&self, m: &Memory, index: u16) {
        if self.event_index {
            m.put_u16(self.available() + 4 + 2 * u64::from(self.size), index);
        } else {
            m.put_u16(self.available(), 0);
        }
    }

    /// Asks for none.
    pub fn disarm(&self, m: &Memory) {
        if self.event_index {
            m.put_u16(self.available() + 4 + 2 * u64::from(self.size), self.seen.wrapping_sub(1));
        } else {
            m.put_u16(self.available(), 1);
        }
    }
}
