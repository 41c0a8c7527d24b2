//! The two faces of a port, and its kinds.
//!
//! A port *gives* frames by reference ([`Ingress`], owned by one worker) and *takes* them by copy
//! ([`Egress`], used by any worker). Every kind has one folder or file here with the same three things:
//! an ingress, an egress, and an `open` that makes both from the configuration.

use std::os::fd::BorrowedFd;

use crate::frame::{Burst, Entry, VnetHdr};

pub(crate) mod inline;
pub mod line;
pub mod netmap;
pub mod null;
pub mod outside;
pub mod packet;
pub(crate) mod patch;
pub mod pcap;
pub mod ring;
pub(crate) mod sys;
pub mod tap;
pub mod vxlan;
pub mod xdp;

/// A source of frames.
pub trait Ingress: Send {
    /// Puts up to `max` waiting frames into `burst`, which is empty. They stay the source's until
    /// [`Ingress::complete`]; what is not completed is given again.
    fn take(&mut self, burst: &mut Burst, max: usize, now: u64);

    /// The client's ring that this is, if it is one and nothing else: its frames may go straight into another
    /// ([`Egress::ring`]).
    fn ring(&mut self) -> Option<&mut ring::RingIngress> {
        None
    }

    /// The first `n` frames of `burst` are done with.
    fn complete(&mut self, burst: &Burst, n: usize);

    /// Tells the sender what was completed, if that was not done yet. Comes a while after [`Ingress::complete`],
    /// once for many bursts.
    fn publish(&mut self) {}

    /// Wakes a sender that waits for as much room as there is; comes after [`Ingress::publish`] and a
    /// [`valecast_ring::notify::settle`].
    fn wake(&mut self) {}

    /// Asks to be woken by [`Ingress::fd`]; `false` if there is work already.
    fn arm(&mut self) -> bool;

    /// While armed: whether there is work whose sender missed that; `None` if that cannot be. Asked once,
    /// [`valecast_ring::notify::DOUBT`] after [`Ingress::arm`].
    fn missed(&self) -> Option<bool> {
        None
    }

    /// No wake-ups are needed for now.
    fn disarm(&mut self) {}

    /// What becomes readable (edge-triggered) when there is work.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// When (ns) there will be work, for sources that go by the clock.
    fn due(&self) -> Option<u64> {
        None
    }
}

/// What an egress can do.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Takes offload headers, so that frames need no segmentation or checksums.
    pub vnet: bool,
    /// Longest frame in bytes (with a header that asks for segmentation: longest segment).
    pub max_frame: usize,
    /// Most frames made of one (segments) that it can take at once.
    pub max_run: usize,
    /// Queues; frames of one source stay in `lane % queues`.
    pub queues: usize,
}

/// What happened to delivered copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Copies delivered.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Copies that the system refused.
    pub tx_error: u64,
}

/// What a port tells of itself when somebody asks; never on the data path.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// `up`, `down` or `gone`, of ports on an interface that may be any of these.
    pub state: Option<&'static str>,
    /// Which way of several its frames take.
    pub mode: Option<&'static str>,
    /// Bytes that the kernel shares with it.
    pub memory: u64,
    /// Bytes of its rings that lie in huge pages.
    pub huge_memory: u64,
    /// Frames that the kernel dropped before the switch had them or after it gave them, by cause.
    pub kernel_drops: Vec<(&'static str, u64)>,
    /// What its device counts, of ports that have one.
    pub counters: Vec<(&'static str, u64)>,
}

/// A destination of frames.
pub trait Egress: Send + Sync {
    /// What it can do.
    fn caps(&self) -> Caps;

    /// The client's rings that this is, if it is that and nothing else.
    fn ring(&self) -> Option<&ring::RingEgress> {
        None
    }

    /// The same destination as it is to be from now on, if that is another than when this was made. A turn goes
    /// through with the one it began with, so what it claims by is what it writes by.
    fn renewed(&self) -> Option<std::sync::Arc<dyn Egress>> {
        None
    }

    /// What there is to know about the port besides.
    fn about(&self) -> About {
        About::default()
    }

    /// Whether it takes this offload header, given [`Caps::vnet`]; if not, the switch does the work.
    fn takes(&self, offload: VnetHdr) -> bool {
        let _ = offload;
        true
    }

    /// Claims room for as many of `list`, from its beginning, as there is; how many. `lane` keeps frames of one
    /// source in one queue.
    fn claim(&self, burst: &Burst, list: &[Entry], lane: usize) -> usize {
        let _ = (burst, lane);
        list.len()
    }

    /// Gives back what was claimed for `list`.
    fn unclaim(&self, burst: &Burst, list: &[Entry], lane: usize) {
        let _ = (burst, list, lane);
    }

    /// Copies claimed frames and tells the receiver.
    fn put(&self, burst: &Burst, list: &[Entry], lane: usize, now: u64) -> Tally;

    /// Wakes receivers that wait for as many frames as there are. Comes a while after [`Egress::put`], once for many
    /// bursts, with a [`valecast_ring::notify::settle`] before it.
    fn wake(&self) {}

    /// The worker runs dry: wakes receivers that wait for more than there is.
    fn wake_patient(&self) {}

    /// Asks to be told of room, on any of [`Egress::room_fds`]; `false` if there is some.
    fn arm_room(&self, lane: usize) -> bool {
        let _ = lane;
        false
    }

    /// While armed: whether there is room whose receiver missed that; as [`Ingress::missed`].
    fn missed_room(&self, lane: usize) -> Option<bool> {
        let _ = lane;
        None
    }

    /// What becomes readable (edge-triggered) when a full receiver made room.
    fn room_fds(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }
}

/// What opening a port yields.
pub struct Opened {
    /// Its sources, one per queue.
    pub ingress: Vec<Box<dyn Ingress>>,
    /// Its destination.
    pub egress: std::sync::Arc<dyn Egress>,
    /// Lives as long as the port (threads, lifelines).
    pub keep: Vec<Box<dyn std::any::Any + Send>>,
}

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refused.
    #[error("{what}: {source}")]
    Os {
        /// What was being done, and to what.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is wrong.
    #[error("{0}")]
    File(String),
    /// No memory for rings.
    #[error(transparent)]
    Endpoint(#[from] valecast_ring::host::EndpointError),
    /// Ring parameters.
    #[error(transparent)]
    Layout(#[from] valecast_ring::layout::LayoutError),
}

/// For `map_err` on system calls.
pub(crate) fn os(what: impl Into<String>) -> impl FnOnce(nix::Error) -> OpenError {
    let what = what.into();
    move |e| OpenError::Os { what, source: e.into() }
}
