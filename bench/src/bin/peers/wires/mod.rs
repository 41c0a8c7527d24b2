//! Wires: one file for each way into a switch. `ring` and `inline` are Valecast's own, `memif` that of DPDK and OVS, `packet` and
//! `tap` the kernel's, `vde` that of vde_switch.

pub mod datagram;
pub mod inline;
pub mod memif;
pub mod packet;
pub mod ring;
pub mod tap;
pub mod vde;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::peer::{Trouble, Wire};

/// How to attach to a port, from whichever process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Endpoint {
    /// Valecast's ring socket and the port's name.
    Ring {
        /// The socket.
        socket: PathBuf,
        /// The port.
        port: String,
    },
    /// A memif whose switch listens, and whose buffers are ours.
    Memif {
        /// The socket.
        socket: PathBuf,
        /// The interface's number on that socket.
        id: u32,
        /// The switch's transmit queue that frames come from.
        queue: u16,
    },
    /// An interface in a namespace, through a packet socket.
    Packet {
        /// The namespace.
        netns: String,
        /// The interface.
        ifname: String,
    },
    /// A TAP interface in a namespace.
    Tap {
        /// The namespace.
        netns: String,
        /// The interface.
        ifname: String,
    },
    /// vde_switch's control folder.
    Vde {
        /// The folder.
        folder: PathBuf,
    },
}

impl Endpoint {
    /// Attaches.
    pub fn open(&self) -> Result<Box<dyn Wire>, Trouble> {
        Ok(match self {
            Endpoint::Ring { socket, port } => Box::new(ring::RingWire::open(socket, port)?),
            Endpoint::Memif { socket, id, queue } => Box::new(memif::MemifWire::open(socket, *id, *queue)?),
            Endpoint::Packet { netns, ifname } => Box::new(packet::open(netns, ifname)?),
            Endpoint::Tap { netns, ifname } => Box::new(tap::TapWire::open(netns, ifname)?),
            Endpoint::Vde { folder } => Box::new(vde::VdeWire::open(folder)?),
        })
    }
}

/// Tries until it works, for as long as a switch may take to start.
pub fn retry<T, E: std::fmt::Display>(
    what: &str,
    patience: Duration,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, Trouble> {
    let begin = Instant::now();
    loop {
        match attempt() {
            Ok(t) => return Ok(t),
            Err(e) if begin.elapsed() > patience => {
                return Err(format!("{what}: not within {patience:?}: {e}").into());
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Slots whose prepared frame carries a stamp that must go before the slot is used for an ordinary frame.
#[derive(Debug, Default)]
pub struct Stamped {
    /// By slot: a list would grow to a ring's length where nothing but stamps is sent, and be gone through for each.
    slots: Vec<bool>,
    count: usize,
}

impl Stamped {
    /// This slot carries one now.
    pub fn note(&mut self, slot: u32) {
        let slot = slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, false);
        }
        self.count += usize::from(!self.slots[slot]);
        self.slots[slot] = true;
    }

    /// Whether there are stamped ones.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.count > 0
    }

    /// Calls `clear` for the stamped ones among the `n` slots from `first` on, of a ring of `mask + 1`.
    pub fn clean(&mut self, first: u32, n: u32, mask: u32, mut clear: impl FnMut(u32)) {
        for i in 0..n {
            let slot = first.wrapping_add(i) & mask;
            if self.slots.get_mut(slot as usize).is_some_and(std::mem::take) {
                self.count -= 1;
                clear(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamped_slots_are_cleaned_once() {
        let mut s = Stamped::default();
        [5, 1023, 0].iter().for_each(|i| s.note(*i));
        let mut seen = Vec::new();
        s.clean(1022, 3, 1023, |i| seen.push(i));
        s.clean(1022, 3, 1023, |i| seen.push(i));
        assert_eq!(seen, [1023, 0]);
        assert!(s.any());
        s.note(5);
        s.clean(5, 1, 1023, |i| seen.push(i));
        assert_eq!(seen, [1023, 0, 5]);
        assert!(!s.any());
    }

    #[test]
    fn endpoints_survive_the_way_to_another_process() {
        let e = Endpoint::Memif { socket: "s".into(), id: 3, queue: 1 };
        let text = serde_json::to_string(&e).unwrap();
        assert!(matches!(serde_json::from_str(&text).unwrap(), Endpoint::Memif { id: 3, queue: 1, .. }));
    }
}
