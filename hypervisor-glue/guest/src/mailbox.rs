//! The page by which a monitor and a bare guest talk. Both run on one host: numbers are in its byte order.
//!
//! The monitor fills in a job, then raises its number; the guest does it until it is told to stop, counts in the page
//! while it runs, and says in the end that it is done.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::driver::{Did, Options};
use crate::virtio;

/// Guest address of the page. The payload lies below it, from 1 MiB on; what is above is the driver's.
pub const AT: u64 = 0x1f_f000;
/// Guest address of the driver's memory: rings, buffers, what else it has.
pub const MEMORY: u64 = 0x20_0000;

/// Most descriptors of an e1000's ring that a job may ask for. (TDLEN and RDLEN have room for four times as many.)
pub const MOST_DESCRIPTORS: u32 = 16_384;

/// What card a guest has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Card {
    /// The e1000.
    #[default]
    E1000 = 0,
    /// Virtio-net.
    Virtio = 1,
}

/// What a guest does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Role {
    /// Sends one frame again and again.
    #[default]
    Send = 1,
    /// Receives, and looks at each frame's first word.
    Receive = 2,
    /// Sends back what it gets, addresses swapped.
    Echo = 3,
    /// Sends a frame, waits for one, and so on.
    Ping = 4,
    /// Tests the card from inside; tells what came of it by the console, and that a test failed by its state.
    Test = 5,
}

impl Role {
    /// From its number.
    pub fn from_number(n: u32) -> Option<Self> {
        [Role::Send, Role::Receive, Role::Echo, Role::Ping, Role::Test].into_iter().find(|r| *r as u32 == n)
    }
}

/// What a guest is to do, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Job {
    /// What.
    pub role: Role,
    /// Bytes of the frames that it sends, without FCS.
    pub len: u32,
    /// Frames that are queued before the card is told.
    pub batch: u32,
    /// Looks for work before it sleeps.
    pub polls: u32,
    /// Descriptors per ring.
    pub descriptors: u32,
    /// ITR.
    pub itr: u32,
    /// Send Combining.
    pub send_combining: bool,
    /// The CSB.
    pub csb: bool,
    /// Where frames go to.
    pub to: [u8; 6],
    /// Where they come from.
    pub from: [u8; 6],
}

const SEND_COMBINING: u32 = 1;
const CSB: u32 = 2;

impl Job {
    /// How the e1000's driver is set up for it.
    pub fn options(&self) -> Options {
        Options {
            base: MEMORY,
            descriptors: self.descriptors.clamp(8, MOST_DESCRIPTORS) & !7,
            itr: self.itr,
            send_combining: self.send_combining,
            csb: self.csb,
            ..Options::default()
        }
    }

    /// How that of virtio-net is, whose device offers so much.
    pub fn virtio(&self, offered: u64) -> virtio::Options {
        let n = self.descriptors.clamp(8, virtio::MAX_ENTRIES.into());
        virtio::Options { base: MEMORY, entries: 1 << n.ilog2(), offered }
    }
}

/// How it is with a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// It has not come up.
    Off = 0,
    /// It waits for a job.
    Ready = 1,
    /// It is at one.
    Running = 2,
    /// Something went wrong: see [`Mailbox::fault`].
    Failed = 3,
}

/// The page.
#[repr(C, align(64))]
pub struct Mailbox {
    /// Monitor: number of the job.
    pub job: AtomicU32,
    /// Monitor: number of the last job that is to stop.
    pub stop: AtomicU32,
    role: AtomicU32,
    len: AtomicU32,
    batch: AtomicU32,
    polls: AtomicU32,
    descriptors: AtomicU32,
    itr: AtomicU32,
    flags: AtomicU32,
    card: AtomicU32,
    to: AtomicU64,
    from: AtomicU64,
    /// Monitor: where the card's registers are; for virtio-net, those of [`virtio`].
    pub bar0: AtomicU64,
    /// Monitor: end of memory.
    pub end: AtomicU64,
    /// Monitor: where the guest writes what it has to say, byte by byte.
    pub console: AtomicU64,
    /// Guest: a [`State`].
    pub state: Line<AtomicU32>,
    /// Guest: vector, error code, address of the instruction, address that it wanted.
    pub fault: Line<[AtomicU64; 4]>,
    /// Guest: what it did so far.
    pub counts: Line<Counts>,
    /// Both: what is said about virtio-net.
    pub virtio: virtio::setup::Shared,
}

/// A cache line of its own.
#[repr(C, align(64))]
pub struct Line<T>(pub T);

/// What a guest did since the job began.
#[repr(C)]
pub struct Counts {
    /// Frames queued.
    pub sent: AtomicU64,
    /// Frames received.
    pub received: AtomicU64,
    /// Writes of TDT, or of the transmit queue's doorbell.
    pub tx_kicks: AtomicU64,
    /// Writes of RDT, or of the receive queue's.
    pub rx_kicks: AtomicU64,
    /// Interrupts in which the card had something to say.
    pub interrupts: AtomicU64,
    /// Interrupts taken.
    pub vectors: AtomicU64,
    /// Times it halted.
    pub sleeps: AtomicU64,
    /// Frames that came back to [`Role::Ping`].
    pub round_trips: AtomicU64,
}

/// A copy of [`Counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in Counts")]
pub struct Counted {
    pub sent: u64,
    pub received: u64,
    pub tx_kicks: u64,
    pub rx_kicks: u64,
    pub interrupts: u64,
    pub vectors: u64,
    pub sleeps: u64,
    pub round_trips: u64,
}

fn put(w: &AtomicU64, v: u64) {
    // ORDERING: Relaxed: a count, read by those who watch.
    w.store(v, Ordering::Relaxed);
}

impl Counts {
    /// Takes over what the driver did.
    pub fn driver(&self, did: &Did) {
        put(&self.sent, did.sent);
        put(&self.received, did.received);
        put(&self.tx_kicks, did.tx_kicks);
        put(&self.rx_kicks, did.rx_kicks);
        put(&self.interrupts, did.interrupts);
    }

    /// A job begins.
    pub fn clear(&self) {
        self.driver(&Did::default());
        [&self.vectors, &self.sleeps, &self.round_trips].into_iter().for_each(|w| put(w, 0));
    }

    /// All of them, each as of some moment now.
    pub fn all(&self) -> Counted {
        // ORDERING: Relaxed; see `put`.
        let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
        Counted {
            sent: get(&self.sent),
            received: get(&self.received),
            tx_kicks: get(&self.tx_kicks),
            rx_kicks: get(&self.rx_kicks),
            interrupts: get(&self.interrupts),
            vectors: get(&self.vectors),
            sleeps: get(&self.sleeps),
            round_trips: get(&self.round_trips),
        }
    }
}

fn pack(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

fn unpack(v: u64) -> [u8; 6] {
    let [a, b, c, d, e, f, ..] = v.to_le_bytes();
    [a, b, c, d, e, f]
}

impl Mailbox {
    /// Monitor: what card there is.
    pub fn set_card(&self, c: Card) {
        // ORDERING: Relaxed: before the guest is started.
        self.card.store(c as u32, Ordering::Relaxed);
    }

    /// Guest: what card there is.
    pub fn card(&self) -> Card {
        if self.card.load(Ordering::Relaxed) == Card::Virtio as u32 { Card::Virtio } else { Card::E1000 }
    }

    /// Monitor: starts a job; its number.
    pub fn start(&self, j: &Job) -> u32 {
        // ORDERING: Relaxed for its parts, Release for the number that tells of them.
        let put = |w: &AtomicU32, v: u32| w.store(v, Ordering::Relaxed);
        put(&self.role, j.role as u32);
        put(&self.len, j.len);
        put(&self.batch, j.batch);
        put(&self.polls, j.polls);
        put(&self.descriptors, j.descriptors);
        put(&self.itr, j.itr);
        let flags = if j.send_combining { SEND_COMBINING } else { 0 } | if j.csb { CSB } else { 0 };
        put(&self.flags, flags);
        self.to.store(pack(j.to), Ordering::Relaxed);
        self.from.store(pack(j.from), Ordering::Relaxed);
        let number = self.job.load(Ordering::Relaxed).wrapping_add(1);
        self.job.store(number, Ordering::Release);
        number
    }

    /// Monitor: stops it.
    pub fn end_job(&self, number: u32) {
        // ORDERING: Release; nothing hangs on it.
        self.stop.store(number, Ordering::Release);
    }

    /// Guest: the job with a number other than `last`, if there is one.
    pub fn take(&self, last: u32) -> Option<(u32, Job)> {
        // ORDERING: Acquire pairs with `start`.
        let number = self.job.load(Ordering::Acquire);
        if number == last {
            return None;
        }
        let get = |w: &AtomicU32| w.load(Ordering::Relaxed);
        let flags = get(&self.flags);
        let job = Job {
            role: Role::from_number(get(&self.role))?,
            len: get(&self.len),
            batch: get(&self.batch),
            polls: get(&self.polls),
            descriptors: get(&self.descriptors),
            itr: get(&self.itr),
            send_combining: flags & SEND_COMBINING != 0,
            csb: flags & CSB != 0,
            to: unpack(self.to.load(Ordering::Relaxed)),
            from: unpack(self.from.load(Ordering::Relaxed)),
        };
        Some((number, job))
    }

    /// Guest: whether it is to stop.
    pub fn stops(&self, number: u32) -> bool {
        // ORDERING: Relaxed; as above.
        self.stop.load(Ordering::Relaxed) == number
    }

    /// Guest: how it is.
    pub fn say(&self, s: State) {
        // ORDERING: Release: counts before the word that they are final.
        self.state.0.store(s as u32, Ordering::Release);
    }

    /// Monitor: how it is with the guest.
    pub fn state(&self) -> State {
        // ORDERING: Acquire; see `say`.
        match self.state.0.load(Ordering::Acquire) {
            0 => State::Off,
            1 => State::Ready,
            2 => State::Running,
            _ => State::Failed,
        }
    }
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<Mailbox>() <= 4096);
    // As `boot.s` has them.
    assert!(offset_of!(Mailbox, state) == 128 && offset_of!(Mailbox, fault) == 192);
};
