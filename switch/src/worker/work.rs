//! What a worker serves: frames that enter the switch, and lines by which they leave it.

use std::os::fd::BorrowedFd;

use crate::port::Ingress;
use crate::port::line::Outlet;

/// What a source is.
pub(super) enum Work {
    /// Frames that enter the switch.
    In(Box<dyn Ingress>),
    /// Frames that leave it by a line.
    Out(Box<Outlet>),
}

impl Work {
    pub fn arm(&mut self) -> bool {
        match self {
            Self::In(ingress) => ingress.arm(),
            Self::Out(outlet) => outlet.arm(),
        }
    }

    pub fn disarm(&mut self) {
        match self {
            Self::In(ingress) => ingress.disarm(),
            Self::Out(outlet) => outlet.disarm(),
        }
    }

    pub fn missed(&self) -> Option<bool> {
        match self {
            Self::In(ingress) => ingress.missed(),
            Self::Out(_) => None,
        }
    }

    pub fn due(&self) -> Option<u64> {
        match self {
            Self::In(ingress) => ingress.due(),
            Self::Out(_) => None,
        }
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::In(ingress) => ingress.fd(),
            Self::Out(outlet) => Some(outlet.fd()),
        }
    }
}
