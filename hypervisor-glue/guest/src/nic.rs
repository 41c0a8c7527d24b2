//! What a program needs of a network card, whichever it is: the e1000's [`driver`] and that of
//! [`virtio`] both have it.

use core::fmt;

use crate::dma::{Dma, Unmapped};
use crate::driver::{self, Bus, Did, Send};
use crate::mailbox::Mailbox;
use crate::virtio;

/// Bytes of the FCS that the e1000 leaves behind received frames.
const FCS: usize = 4;

/// A frame that was received, until the next one is looked at.
pub trait Received {
    /// Its bytes, without FCS or header.
    fn len(&self) -> usize;

    /// Whether it has none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its first eight bytes as a word, 0 if it has fewer.
    fn word(&self, mem: &impl Dma) -> u64;

    /// Copies as much of it as `to` has room for; how much that was, 0 if it is not there.
    fn copy(&self, mem: &impl Dma, to: &mut [u8]) -> usize;
}

impl Received for driver::Frame {
    fn len(&self) -> usize {
        self.len.saturating_sub(FCS)
    }

    #[inline]
    fn word(&self, mem: &impl Dma) -> u64 {
        let first = if Received::len(self) < 8 { None } else { mem.eight(self.at()) };
        first.map_or(0, u64::from_le_bytes)
    }

    #[inline]
    fn copy(&self, mem: &impl Dma, to: &mut [u8]) -> usize {
        let n = to.len().min(Received::len(self));
        Self::copy(self, mem, &mut to[..n]).unwrap_or(0)
    }
}

impl Received for virtio::Frame {
    fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn word(&self, mem: &impl Dma) -> u64 {
        let first = if self.len < 8 { None } else { self.at().and_then(|at| mem.eight(at)) };
        first.map_or(0, u64::from_le_bytes)
    }

    #[inline]
    fn copy(&self, mem: &impl Dma, to: &mut [u8]) -> usize {
        Self::copy(self, mem, to).unwrap_or(0)
    }
}

/// A driver. Its functions do as those of both drivers do that have their names.
#[expect(missing_docs, reason = "see both drivers")]
pub trait Nic {
    type Frame: Received;
    type Fault: fmt::Display + From<Unmapped>;

    /// Frames are looked for; otherwise an interrupt tells of them.
    fn polls(&self) -> bool;
    fn did(&self) -> Did;
    fn stop(&mut self, bus: &mut impl Bus);
    fn fill(&mut self, mem: &impl Dma, bytes: &[u8]) -> Result<(), Self::Fault>;
    fn queue_filled(&mut self, mem: &impl Dma, len: usize, most: u32) -> Result<u32, Self::Fault>;
    fn flush(&mut self, bus: &mut impl Bus, mem: &impl Dma) -> Result<(), Self::Fault>;
    fn send(&mut self, bus: &mut impl Bus, mem: &impl Dma, bytes: &[u8]) -> Result<bool, Self::Fault>;
    fn interrupt(
        &mut self,
        bus: &mut impl Bus,
        mem: &impl Dma,
        each: impl FnMut(&Self::Frame),
    ) -> Result<u32, Self::Fault>;
    fn poll(
        &mut self,
        bus: &mut impl Bus,
        mem: &impl Dma,
        max: u32,
        each: impl FnMut(&Self::Frame),
    ) -> Result<u32, Self::Fault>;
    fn awake(&mut self, mem: &impl Dma) -> Result<(), Self::Fault>;
    fn may_sleep(&mut self, mem: &impl Dma) -> Result<bool, Self::Fault>;
}

/// The functions that both drivers have alike. By their paths, which lead to the drivers' own and not back here.
macro_rules! alike {
    () => {
        fn did(&self) -> Did {
            Self::did(self)
        }

        fn fill(&mut self, mem: &impl Dma, bytes: &[u8]) -> Result<(), Self::Fault> {
            Self::fill(self, mem, bytes)
        }

        #[inline]
        fn queue_filled(&mut self, mem: &impl Dma, len: usize, most: u32) -> Result<u32, Self::Fault> {
            Self::queue_filled(self, mem, len, most)
        }

        #[inline]
        fn flush(&mut self, bus: &mut impl Bus, mem: &impl Dma) -> Result<(), Self::Fault> {
            Self::flush(self, bus, mem)
        }

        fn interrupt(
            &mut self,
            bus: &mut impl Bus,
            mem: &impl Dma,
            each: impl FnMut(&Self::Frame),
        ) -> Result<u32, Self::Fault> {
            Self::interrupt(self, bus, mem, each)
        }

        #[inline]
        fn poll(
            &mut self,
            bus: &mut impl Bus,
            mem: &impl Dma,
            max: u32,
            each: impl FnMut(&Self::Frame),
        ) -> Result<u32, Self::Fault> {
            Self::poll(self, bus, mem, max, each)
        }

        fn awake(&mut self, mem: &impl Dma) -> Result<(), Self::Fault> {
            Self::awake(self, mem)
        }

        fn may_sleep(&mut self, mem: &impl Dma) -> Result<bool, Self::Fault> {
            Self::may_sleep(self, mem)
        }
    };
}

impl Nic for driver::Driver {
    type Frame = driver::Frame;
    type Fault = Unmapped;

    alike!();

    fn polls(&self) -> bool {
        self.has_csb()
    }

    fn stop(&mut self, bus: &mut impl Bus) {
        Self::stop(self, bus);
    }

    fn send(&mut self, bus: &mut impl Bus, mem: &impl Dma, bytes: &[u8]) -> Result<bool, Unmapped> {
        Self::send(self, bus, mem, &Send { bytes, ..Send::default() })
    }
}

impl Nic for virtio::Driver {
    type Frame = virtio::Frame;
    type Fault = virtio::Fault;

    alike!();

    fn polls(&self) -> bool {
        true
    }

    fn stop(&mut self, bus: &mut impl Bus) {
        bus.write(virtio::STATUS, 0);
    }

    fn send(&mut self, bus: &mut impl Bus, mem: &impl Dma, bytes: &[u8]) -> Result<bool, virtio::Fault> {
        Self::send(self, bus, mem, bytes)
    }
}

/// Sets up a bare guest's virtio-net: the monitor hears of the rings by `mailbox`, and has told the device of them when
/// this returns.
pub fn start_virtio(
    bus: &mut impl Bus,
    mem: &impl Dma,
    mailbox: &Mailbox,
    options: virtio::Options,
) -> Result<virtio::Driver, virtio::Fault> {
    let d = virtio::Driver::start(mem, options)?;
    mailbox.virtio.say(&d.setup());
    bus.write(virtio::STATUS, virtio::DRIVER_OK);
    Ok(d)
}
