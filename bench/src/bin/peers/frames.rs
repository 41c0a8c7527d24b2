//! The frames of a job, made once and kept in buffers.

use crate::job::{Pattern, Size};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Where a frame carries a stamp: 8 bytes behind the Ethernet header, in the first cache line. 0 is none.
pub const STAMP_AT: usize = 16;
/// The address that selects a job's group.
pub const GROUP: Mac = [1, 0, 0x5e, 0, 0, 1];
/// Source address of the ends that are not one of the unicast pair, and everybody.
const ALL: Mac = [0xff; 6];
/// So many frames are prepared: as many as the rings have slots.
pub const PREPARED: usize = 1024;
/// EtherType for local experiments (IEEE 802).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// The `i`-th address behind port `port`.
pub fn mac(port: usize, i: usize) -> Mac {
    let b = (i as u32).to_be_bytes();
    [2, port as u8, b[0], b[1], b[2], b[3]]
}

/// One frame's prepared bytes, and headers to be written for each frame where there are more than are prepared.
#[derive(Clone, Debug)]
pub struct Frames {
    /// A power of two of them, at most [`PREPARED`].
    pub list: Vec<Vec<u8>>,
    /// Destination and source of frame after frame; empty: the prepared ones do.
    pub headers: Vec<[u8; 12]>,
}

fn make(dst: Mac, src: Mac, size: usize) -> Vec<u8> {
    let mut f: Vec<u8> = (0..size).map(|i| i as u8).collect();
    f[..6].copy_from_slice(&dst);
    f[6..12].copy_from_slice(&src);
    f[12..14].copy_from_slice(&ETHERTYPE);
    f[STAMP_AT..STAMP_AT + 8].fill(0);
    f
}

/// Sizes in the order of sending: IMIX is spread evenly.
fn size_of(size: Size, i: usize) -> usize {
    match size {
        Size::Fixed(n) => n,
        Size::Imix => match i * 5 % 12 {
            0..7 => 64,
            7..11 => 570,
            _ => 1500,
        },
    }
}

impl Frames {
    /// What `from` sends to `to` in a job.
    pub fn new(pattern: Pattern, size: Size, from: usize, to: usize) -> Self {
        let address = |i: usize| match pattern {
            Pattern::Unicast { macs } => (mac(to, i % macs), mac(from, i % macs)),
            Pattern::Broadcast => (ALL, mac(from, 0)),
            Pattern::Replicate => (GROUP, mac(from, 0)),
        };
        let list = (0..PREPARED).map(|i| {
            let (dst, src) = address(i);
            make(dst, src, size_of(size, i))
        });
        let headers = match pattern {
            Pattern::Unicast { macs } if macs > PREPARED => (0..macs)
                .map(|i| {
                    // A stride that shares no divisor with the count, so that neighbours in time are no neighbours in a table.
                    let (dst, src) = address(i * 37 % macs);
                    let mut h = [0; 12];
                    h[..6].copy_from_slice(&dst);
                    h[6..].copy_from_slice(&src);
                    h
                })
                .collect(),
            _ => Vec::new(),
        };
        Self { list: list.collect(), headers }
    }

    /// Tells the switch where addresses are: `port` speaks from each of its `macs` to port `to`.
    pub fn hello(port: usize, to: usize, macs: usize) -> Vec<Vec<u8>> {
        let one = |i| make(if i == 0 { ALL } else { mac(to, i) }, mac(port, i), 64);
        (0..macs).map(one).collect()
    }
}

/// Which header the next frame gets.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    list: Vec<[u8; 12]>,
    next: usize,
}

impl Headers {
    /// From the start of the list.
    pub fn new(frames: &Frames) -> Self {
        Self { list: frames.headers.clone(), next: 0 }
    }

    /// Whether frames need one at all.
    #[inline]
    pub fn needed(&self) -> bool {
        !self.list.is_empty()
    }

    /// The next one.
    #[inline]
    pub fn next(&mut self) -> &[u8; 12] {
        let i = self.next;
        self.next = if i + 1 == self.list.len() { 0 } else { i + 1 };
        &self.list[i]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_address_has_its_turn() {
        let f = Frames::new(Pattern::Unicast { macs: 10_000 }, Size::Fixed(64), 0, 1);
        assert_eq!(f.headers.iter().collect::<BTreeSet<_>>().len(), 10_000);
        let f = Frames::new(Pattern::Unicast { macs: 100 }, Size::Fixed(64), 0, 1);
        assert!(f.headers.is_empty());
        assert_eq!(f.list.iter().map(|f| &f[..12]).collect::<BTreeSet<_>>().len(), 100);
    }

    #[test]
    fn imix_is_seven_four_one() {
        let count = |want| (0..12).filter(|i| size_of(Size::Imix, *i) == want).count();
        assert_eq!((count(64), count(570), count(1500)), (7, 4, 1));
    }

    #[test]
    fn prepared_frames_carry_no_stamp() {
        let f = Frames::new(Pattern::Broadcast, Size::Fixed(64), 0, 1);
        assert!(f.list.iter().all(|f| f[STAMP_AT..STAMP_AT + 8] == [0; 8] && f[..6] == ALL));
    }
}
