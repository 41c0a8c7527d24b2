//! What the driver has around it: its memory, its doorbells, and a case's bytes.

use valecast_guest::driver::Bus;
use valecast_guest::virtio::{Frame, HEADER, doorbell};
use valecast_hypervisor_glue::e1000::dma::{Access, Dma, HeapMemory, Span};

pub use super::e1000::Bytes;

/// Where the driver's memory begins.
pub const BASE: u64 = 0x10_0000;

/// Guest memory as the driver sees it, which has no business outside of its own.
pub struct Own {
    pub all: HeapMemory,
    pub end: u64,
}

// SAFETY: it only passes on what `HeapMemory` gives.
unsafe impl Dma for Own {
    fn span(&self, addr: u64, len: usize, access: Access) -> Option<Span> {
        assert!((BASE..self.end).contains(&addr), "the driver reaches for {addr:#x}");
        self.all.span(addr, len, access)
    }
}

/// Doorbells rung, by queue.
#[derive(Default)]
pub struct Doorbells(pub [usize; 2]);

impl Bus for Doorbells {
    fn read(&mut self, at: u32) -> u32 {
        panic!("the driver has nothing to read, at {at:#x} or elsewhere")
    }

    fn write(&mut self, at: u32, v: u32) {
        assert!(v < 2 && at == doorbell(v as u16), "{v} written to {at:#x}");
        self.0[v as usize] += 1;
    }
}

/// A frame's bytes; none, if there is memory missing under it.
pub fn copy(mem: &Own, honest: bool, f: &Frame) -> Vec<u8> {
    let (mut some, mut all) = (vec![0; f.len / 2], vec![0; f.len + 1]);
    let copied = (f.copy(mem, &mut some), f.copy(mem, &mut all), f.header(mem));
    let (Ok(first), Ok(len), Ok(header)) = copied else {
        assert!(!honest, "{copied:?}");
        return Vec::new();
    };
    assert_eq!((first, len), (some.len(), f.len), "as long as it says");
    all.truncate(f.len);
    assert!(all.starts_with(&some));
    assert!(!honest || header[..HEADER - 2] == [0; HEADER - 2]);
    all
}
