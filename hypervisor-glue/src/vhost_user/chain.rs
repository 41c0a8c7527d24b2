//! Chains of descriptors: a guest's list of buffers, which may lead anywhere and go round.

use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};

use super::counters::Counters;
use super::ring::{DESCRIPTOR, Descriptor, Ring};
use crate::memory::{Fault, Snapshot};

const NEXT: u16 = VRING_DESC_F_NEXT as u16;
const WRITE: u16 = VRING_DESC_F_WRITE as u16;
const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;

/// Most descriptors of a chain, in the ring's table or one of its own; as in QEMU. Rings may have more entries, but a worker
/// follows a chain with everybody else waiting.
const MAX_CHAIN: u32 = 1024;

/// Why a chain cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// There is no such descriptor.
    #[error("descriptor {0} is outside the table")]
    Outside(u16),
    /// It has more descriptors than there are, or than one may have.
    #[error("the chain goes round, or is too long")]
    Loop,
    /// An indirect descriptor where none may be, or its table has no whole number of entries, none, or too many.
    #[error("bad indirect descriptor of {0} bytes")]
    Indirect(u32),
    /// A buffer for the device to read where one to write is due, or the other way round.
    #[error("a buffer of the wrong direction")]
    Direction,
    /// Too short or too long for a frame with its header.
    #[error("{0} bytes are no frame with its header")]
    Length(u64),
    /// The offload header contradicts itself, the frame, or what was negotiated.
    #[error("bad offload header")]
    Offload,
    /// Not the guest's memory.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Bad {
    /// Counts it.
    pub fn count(self, counters: &Counters) {
        match self {
            Self::Fault(_) => counters.memory_errors.add(1),
            _ => counters.bad_descriptors.add(1),
        }
    }
}

/// Who may use a chain's buffers for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The device reads them (a transmit queue).
    Read,
    /// The device writes them (a receive queue).
    Write,
}

impl Use {
    fn check(self, d: &Descriptor) -> Result<(), Bad> {
        if (d.flags & WRITE != 0) == (self == Self::Write) { Ok(()) } else { Err(Bad::Direction) }
    }
}

/// A chain that is one buffer, which most are; otherwise it must be [`walk`]ed.
#[inline]
pub fn single(ring: &Ring<'_>, head: u16, what: Use) -> Option<Descriptor> {
    let d = ring.descriptor(head)?;
    (d.flags & (NEXT | INDIRECT) == 0 && what.check(&d).is_ok()).then_some(d)
}

/// Calls `f` with address and length of each buffer of the chain that begins at `head`. `indirect`: it was negotiated.
pub fn walk(
    ring: &Ring<'_>,
    memory: &Snapshot,
    indirect: bool,
    head: u16,
    what: Use,
    mut f: impl FnMut(u64, u32) -> Result<(), Bad>,
) -> Result<(), Bad> {
    let mut at = head;
    for _ in 0..u32::from(ring.size()).min(MAX_CHAIN) {
        let d = ring.descriptor(at).ok_or(Bad::Outside(at))?;
        if d.flags & INDIRECT != 0 {
            if !indirect || d.flags & NEXT != 0 {
                return Err(Bad::Indirect(d.len));
            }
            return table(memory, d, what, f);
        }
        what.check(&d)?;
        f(d.address, d.len)?;
        if d.flags & NEXT == 0 {
            return Ok(());
        }
        at = d.next;
    }
    Err(Bad::Loop)
}

/// The chain that lies in a table of its own.
fn table(
    memory: &Snapshot,
    d: Descriptor,
    what: Use,
    mut f: impl FnMut(u64, u32) -> Result<(), Bad>,
) -> Result<(), Bad> {
    let entries = d.len / DESCRIPTOR as u32;
    if !d.len.is_multiple_of(DESCRIPTOR as u32) || !(1..=MAX_CHAIN).contains(&entries) {
        return Err(Bad::Indirect(d.len));
    }
    let mut at = 0u16;
    for _ in 0..entries {
        let mut b = [0; DESCRIPTOR];
        let place = d.address.checked_add(u64::from(at) * DESCRIPTOR as u64);
        memory.read(place.ok_or(Fault::Unmapped(d.address))?, &mut b)?;
        let e = Descriptor::from_bytes(b);
        if e.flags & INDIRECT != 0 {
            return Err(Bad::Indirect(e.len));
        }
        what.check(&e)?;
        f(e.address, e.len)?;
        if e.flags & NEXT == 0 {
            return Ok(());
        }
        at = e.next;
        if u32::from(at) >= entries {
            return Err(Bad::Outside(at));
        }
    }
    Err(Bad::Loop)
}
