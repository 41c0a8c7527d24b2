//! A guest's driver ([`valecast_guest::driver`]), as tests, fuzzers and benches use it: the other side of everything
//! in [`super`]. [`rig`] puts it and a card together in one process.

use super::dma::{Dma, Unmapped};

pub mod rig;

pub use valecast_guest::driver::{Bus, Did, Driver, Flags, Frame, Options, Segmentation, Send, TX_BUFFER};

/// A frame as the driver got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its bytes, FCS included if the card leaves it.
    pub bytes: Vec<u8>,
    /// Descriptors it took.
    pub descriptors: u32,
    /// What the last of them said.
    pub last: Flags,
}

impl Received {
    /// Copies a frame out of the driver's buffers.
    pub fn copy(mem: &impl Dma, f: &Frame) -> Result<Self, Unmapped> {
        let mut bytes = vec![0; f.len];
        f.copy(mem, &mut bytes)?;
        Ok(Self { bytes, descriptors: f.descriptors, last: f.last })
    }
}
