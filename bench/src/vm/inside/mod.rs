//! The guests' drivers without a virtual machine: at ports of a daemon, on a thread of this process. They have neither
//! exits nor halts, and so show what card, switch and driver would do with a processor that has none.
//!
//! - `card`: an e1000's driver at a port of kind `e1000`, with the CSB;
//! - `virtio`: virtio-net's at one of kind `vhost-user`.

pub(super) mod card;
mod virtio;

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memmap2::MmapRaw;
use valecast_guest::dma::{Access, Dma, Span};

use super::machine::shared_memory;
use super::monitor::{Socket, VmError};

/// Where a driver's memory begins.
const BASE: u64 = 0x20_0000;
/// Frames that are received, or queued, before it is looked at the other side.
const AT_ONCE: u32 = 256;
/// Before frames are counted.
const WARM: Duration = Duration::from_millis(40);

/// Memory of a card, from guest address 0 on.
struct Ram {
    mapping: Arc<MmapRaw>,
    /// Where it begins, and its length: read anew from behind the `Arc` for each access they would cost as much as it.
    begin: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping lives as long as `self`, and is only reached by raw copies and atomics.
unsafe impl Send for Ram {}

// SAFETY: the mapping lives as long as `self`, is page-aligned, and is only reached by raw copies and atomics.
unsafe impl Dma for Ram {
    #[inline]
    fn span(&self, addr: u64, len: usize, _: Access) -> Option<Span> {
        let at = usize::try_from(addr).ok().filter(|at| *at < self.len)?;
        // SAFETY: inside the mapping.
        let ptr = unsafe { self.begin.add(at) };
        Some(Span { ptr, len: len.min(self.len - at) })
    }
}

impl Ram {
    /// Room for `size` bytes from [`BASE`] on, and its file.
    fn new(size: usize) -> Result<(std::fs::File, Self), VmError> {
        let (file, memory) = shared_memory((BASE as usize + size).next_multiple_of(2 << 20))?;
        let begin = NonNull::new(memory.as_mut_ptr()).ok_or_else(|| VmError::Guest("no memory".into()))?;
        let len = memory.len();
        Ok((file, Self { mapping: memory, begin, len }))
    }
}

/// A driver at a port.
pub(super) trait End {
    /// Every transmit buffer holds this frame.
    fn fill(&mut self, frame: &[u8]) -> Result<(), VmError>;
    /// Sends up to `most` of those, of `len` bytes, and tells the port.
    fn send(&mut self, len: usize, most: u32) -> Result<(), VmError>;
    /// Receives what is there, up to [`AT_ONCE`] frames; a sum of their first words.
    fn receive(&mut self) -> Result<u64, VmError>;
    /// Frames received.
    fn received(&self) -> u64;
    /// The port is to let go of the rings.
    fn stop(&mut self) -> Result<(), VmError>;
}

/// Frames per second of `len` bytes (without FCS) from one port to another, sent and received in turn by this thread;
/// `macs`: the ports' addresses.
///
/// # Errors
/// A port that cannot be had, or fails meanwhile.
pub fn run(
    sockets: [Socket<'_>; 2],
    macs: [[u8; 6]; 2],
    descriptors: u32,
    len: usize,
    time: Duration,
) -> Result<f64, VmError> {
    let end = |socket| -> Result<Box<dyn End>, VmError> {
        Ok(match socket {
            Socket::VfioUser(path) => Box::new(card::Card::new(path, descriptors)?),
            Socket::VhostUser(path) => Box::new(virtio::Virtio::new(path, descriptors)?),
        })
    };
    let [mut a, mut b] = [end(sockets[0])?, end(sockets[1])?];
    let mut bytes = vec![0; len];
    bytes[..6].copy_from_slice(&macs[1]);
    bytes[6..12].copy_from_slice(&macs[0]);
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    a.fill(&bytes)?;
    // So that the switch knows where the receiver is.
    let (to, from) = bytes.split_at_mut(6);
    to.swap_with_slice(&mut from[..6]);
    b.fill(&bytes)?;
    b.send(len, 1)?;
    let mut words = 0;
    let mut spend = |time: Duration| -> Result<f64, VmError> {
        let (begun, before) = (Instant::now(), b.received());
        while begun.elapsed() < time {
            a.send(len, AT_ONCE)?;
            words ^= b.receive()?;
        }
        Ok((b.received() - before) as f64 / begun.elapsed().as_secs_f64())
    };
    spend(WARM)?;
    let rate = spend(time)?;
    std::hint::black_box(words);
    a.stop()?;
    b.stop()?;
    Ok(rate)
}
