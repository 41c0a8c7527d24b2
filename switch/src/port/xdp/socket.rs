//! One AF_XDP socket on one queue of an interface, with memory of its own.
//!
//! The memory is cut into chunks. The first half of them are for frames from the interface: they go round
//! fill ring, kernel, receive ring, switch. The other half are for frames to it: free list, transmit ring,
//! kernel, completion ring. As the two never mix, the directions share nothing that needs a lock.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};

use super::rings::{Consumer, Producer};

/// Bytes at a chunk's beginning that the kernel keeps for itself when it receives.
const HEADROOM: u32 = 256;
/// The smaller and the larger chunk; the kernel takes powers of two up to a page.
const CHUNKS: [u32; 2] = [2048, 4096];
/// How many frames one call may send (Linux 6.17); older kernels send 32.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
/// Memory that the kernel books for a frame under way, at most.
const BOOKED: usize = 8192;
/// A queue that is busy is asked for again this often, after such a pause.
const BUSY_TRIES: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// What a socket is to be.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Slots in each ring.
    pub slots: u32,
    /// Bytes in each chunk.
    pub chunk: u32,
    /// Frames may go over several chunks.
    pub frags: bool,
}

impl Shape {
    /// For frames of up to `longest` bytes.
    pub fn new(slots: u32, longest: usize) -> Self {
        let fits = |chunk: &u32| (*chunk - HEADROOM) as usize >= longest;
        let chunk = CHUNKS.into_iter().find(fits);
        Self { slots, chunk: chunk.unwrap_or(CHUNKS[1]), frags: chunk.is_none() }
    }

    /// Bytes of one socket's memory.
    pub fn memory(self) -> usize {
        2 * self.slots as usize * self.chunk as usize
    }
}

/// The socket and its memory.
pub struct Socket {
    fd: OwnedFd,
    memory: MmapRaw,
    shape: Shape,
}

/// From the kernel.
pub struct Receive {
    /// Frames that came.
    pub frames: Consumer<libc::xdp_desc>,
    /// Chunks to receive into.
    pub fill: Producer<u64>,
}

/// To the kernel.
pub struct Transmit {
    /// Frames to send.
    pub frames: Producer<libc::xdp_desc>,
    /// Chunks that were sent.
    pub completion: Consumer<u64>,
    /// Chunks (their addresses) free to use; the last used first, as it may still be in the cache.
    pub free: Vec<u64>,
}

/// What failed, in words that go between "cannot" and the interface's name, and how.
pub type Failure = (&'static str, Errno);

fn io(what: &'static str) -> impl Fn(std::io::Error) -> Failure {
    move |e| (what, Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))
}

impl Socket {
    /// A socket for queue `queue` of interface `index`; the frames of both directions.
    pub fn new(
        shape: Shape,
        index: i32,
        queue: u32,
        zero_copy: bool,
    ) -> Result<(Self, Receive, Transmit), Failure> {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers are involved.
        let fd = Errno::result(unsafe { libc::socket(libc::AF_XDP, kind, 0) })
            .map_err(|e| ("open an AF_XDP socket for", e))?;
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let memory = MmapOptions::new().len(shape.memory()).populate().map_anon();
        let memory: MmapRaw = memory.map_err(io("make memory for"))?.into();
        let socket = Self { fd, memory, shape };
        let (receive, transmit) = socket.rings()?;
        socket.bind(index, queue, zero_copy).map_err(|e| ("bind an AF_XDP socket to", e))?;
        Ok((socket, receive, transmit))
    }

    fn rings(&self) -> Result<(Receive, Transmit), Failure> {
        let Shape { slots, chunk, .. } = self.shape;
        let registration = libc::xdp_umem_reg {
            addr: self.memory.as_ptr() as u64,
            len: self.memory.len() as u64,
            chunk_size: chunk,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        self.set(libc::XDP_UMEM_REG, &registration).map_err(|e| ("register memory for", e))?;
        let sizes =
            [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING, libc::XDP_TX_RING];
        for ring in sizes {
            self.set(ring, &slots).map_err(|e| ("make rings for", e))?;
        }
        // What cannot be had costs a call more now and then.
        let _ = self.set(XDP_MAX_TX_SKB_BUDGET, &slots.min(256));
        let room = slots as usize * BOOKED;
        if setsockopt(&self.fd, sockopt::SndBufForce, &room).is_err() {
            setsockopt(&self.fd, sockopt::SndBuf, &room).map_err(|e| ("set the send buffer of", e))?;
        }
        // SAFETY: the offsets are plain data, for which zeros are a value.
        let mut at: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
        self.get(libc::XDP_MMAP_OFFSETS, &mut at).map_err(|e| ("ask for the rings of", e))?;
        let failed = io("map the rings of");
        let mut fill =
            Producer::map(&self.fd, libc::XDP_UMEM_PGOFF_FILL_RING, &at.fr, slots).map_err(&failed)?;
        let completion = Consumer::map(&self.fd, libc::XDP_UMEM_PGOFF_COMPLETION_RING, &at.cr, slots);
        let (rx, tx) = (libc::XDP_PGOFF_RX_RING as u64, libc::XDP_PGOFF_TX_RING as u64);
        let chunks = |range: std::ops::Range<u32>| range.map(move |i| u64::from(i) * u64::from(chunk));
        for address in chunks(0..slots) {
            fill.push(address);
        }
        fill.publish();
        let receive = Receive { frames: Consumer::map(&self.fd, rx, &at.rx, slots).map_err(&failed)?, fill };
        let transmit = Transmit {
            frames: Producer::map(&self.fd, tx, &at.tx, slots).map_err(&failed)?,
            completion: completion.map_err(&failed)?,
            free: chunks(slots..2 * slots).rev().collect(),
        };
        Ok((receive, transmit))
    }

    fn bind(&self, index: i32, queue: u32, zero_copy: bool) -> nix::Result<()> {
        let how = if zero_copy { libc::XDP_ZEROCOPY } else { libc::XDP_COPY };
        let frags = if self.shape.frags { libc::XDP_USE_SG } else { 0 };
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: how | frags | libc::XDP_USE_NEED_WAKEUP,
            sxdp_ifindex: index as u32,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
        let bind = || {
            // SAFETY: `len` bytes are readable at the address.
            let rc = unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), len) };
            Errno::result(rc).map(drop)
        };
        // The kernel frees a queue some time after its socket was closed, which matters when a port is replaced.
        for _ in 0..BUSY_TRIES {
            match bind() {
                Err(Errno::EBUSY) => std::thread::sleep(BUSY_PAUSE),
                done => return done,
            }
        }
        bind()
    }

    fn set<T>(&self, option: libc::c_int, value: &T) -> nix::Result<()> {
        let (p, len) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
        // SAFETY: `len` bytes are readable at `p`. The memory that XDP_UMEM_REG names belongs to `self`, and
        // the kernel holds its pages by itself.
        let rc = unsafe { libc::setsockopt(self.fd.as_raw_fd(), libc::SOL_XDP, option, p, len) };
        Errno::result(rc).map(drop)
    }

    /// `T` is plain integers.
    fn get<T>(&self, option: libc::c_int, value: &mut T) -> nix::Result<()> {
        let (p, mut len) = (std::ptr::from_mut(value).cast(), size_of::<T>() as libc::socklen_t);
        // SAFETY: `len` bytes are writable at `p`, and any bits are integers.
        let rc = unsafe { libc::getsockopt(self.fd.as_raw_fd(), libc::SOL_XDP, option, p, &raw mut len) };
        Errno::result(rc).map(drop)
    }

    /// What the kernel counted.
    pub fn statistics(&self) -> nix::Result<libc::xdp_statistics> {
        // SAFETY: plain data, for which zeros are a value.
        let mut all: libc::xdp_statistics = unsafe { std::mem::zeroed() };
        self.get(libc::XDP_STATISTICS, &mut all)?;
        Ok(all)
    }

    /// Has the kernel look at the transmit ring.
    pub fn wake_transmit(&self) -> nix::Result<()> {
        send(self.fd.as_raw_fd(), &[], MsgFlags::MSG_DONTWAIT).map(drop)
    }

    /// Has the kernel look at the fill ring.
    pub fn wake_fill(&self) {
        // What it cannot do now, it does at the next call.
        let _ = recv(self.fd.as_raw_fd(), &mut [], MsgFlags::MSG_DONTWAIT);
    }

    /// What the socket was made as.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Where the `len` bytes at `address` lie; `None` if they are not in the socket's memory.
    #[inline]
    pub fn bytes(&self, address: u64, len: usize) -> Option<*mut u8> {
        let address = usize::try_from(address).ok()?;
        let inside = address.checked_add(len)? <= self.memory.len();
        // SAFETY: inside the memory, as just checked.
        inside.then(|| unsafe { self.memory.as_mut_ptr().add(address) })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
