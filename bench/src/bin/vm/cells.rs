//! What is measured.

use std::fmt;

use serde::Serialize;

/// How guests drive the card: the rows of the paper's Figure 1, and virtio-net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Mode {
    /// A register write per frame, an interrupt per event.
    Base,
    /// Interrupts at most every 100 units of ITR (25.6 us).
    Itr,
    /// And Send Combining.
    Sc,
    /// The CSB.
    Csb,
    /// The CSB, and interrupts at most every 100 units.
    CsbItr,
    /// Virtio-net at ports of kind `vhost-user`.
    Virtio,
}

impl Mode {
    /// All, in the paper's order.
    pub const ALL: [Self; 6] = [Self::Base, Self::Itr, Self::Sc, Self::Csb, Self::CsbItr, Self::Virtio];

    /// As the paper has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "itr=0 BASE",
            Self::Itr => "itr=100",
            Self::Sc => "itr=100 SC",
            Self::Csb => "itr=0 CSB",
            Self::CsbItr => "itr=100 CSB",
            Self::Virtio => "vhost-user",
        }
    }

    /// ITR.
    pub fn itr(self) -> u32 {
        if matches!(self, Self::Itr | Self::Sc | Self::CsbItr) { 100 } else { 0 }
    }

    /// The CSB is in use.
    pub fn csb(self) -> bool {
        matches!(self, Self::Csb | Self::CsbItr)
    }
}

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Way {
    /// Guest to a ring client of the host.
    GuestHost,
    /// The other way.
    HostGuest,
    /// Guest to guest.
    GuestGuest,
    /// Guest to guest and back, one frame at a time.
    RoundTrip,
}

impl Way {
    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::GuestHost => "guest to host",
            Self::HostGuest => "host to guest",
            Self::GuestGuest => "guest to guest",
            Self::RoundTrip => "round trip",
        }
    }
}

/// One cell of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The way.
    pub way: Way,
    /// The driver.
    pub mode: Mode,
    /// Bytes of a frame, without FCS.
    pub len: u32,
    /// Frames between two looks at whether the card must be told: 1 as a socket does, more as pkt-gen does.
    pub batch: u32,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} B batch {}", self.way.name(), self.mode.name(), self.len, self.batch)
    }
}

/// Shortest frame, without FCS: 64 bytes with it.
pub const SHORT: u32 = 60;
/// A datagram of 1460 bytes in UDP, IPv4 and Ethernet.
pub const LONG: u32 = 1502;
/// pkt-gen's long frame.
pub const FULL: u32 = 1500;
/// pkt-gen's frames at once.
pub const BATCH: u32 = 256;

/// Modes that pkt-gen's rows have.
pub const PKT_GEN: [Mode; 2] = [Mode::Csb, Mode::Virtio];

/// All cells.
pub fn all() -> Vec<Cell> {
    let mut all = Vec::new();
    for way in [Way::GuestHost, Way::HostGuest, Way::GuestGuest] {
        for mode in Mode::ALL {
            // Send Combining changes nothing for who receives.
            if way == Way::HostGuest && mode == Mode::Sc {
                continue;
            }
            all.extend([SHORT, LONG].map(|len| Cell { way, mode, len, batch: 1 }));
        }
        if way != Way::HostGuest {
            for mode in PKT_GEN {
                all.extend([SHORT, FULL].map(|len| Cell { way, mode, len, batch: BATCH }));
            }
        }
    }
    all.extend(Mode::ALL.map(|mode| Cell { way: Way::RoundTrip, mode, len: SHORT, batch: 1 }));
    all
}
