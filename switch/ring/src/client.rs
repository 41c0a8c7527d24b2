//! The client API: attach to a port of a running switch, then put and take bursts.
//!
//! ```no_run
//! use valecast_ring::client::{AttachOptions, Port};
//! let port = Port::attach("/run/valecast/vale0.ring".as_ref(), "a", &AttachOptions::default())?;
//! let (_link, mut tx, mut rx) = port.split();
//! if tx[0].wait(1, None)? {
//!     tx[0].push(&[0xff; 60]);
//!     tx[0].publish();
//! }
//! while rx[0].wait(1, None)? {
//!     let n = rx[0].pending();
//!     for i in 0..n {
//!         println!("{} bytes", rx[0].frame(i).data.len());
//!     }
//!     rx[0].advance(n);
//!     rx[0].release();
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The switch is the one party that a client trusts: it writes a receive buffer only before it publishes
//! the slot and reads a transmit buffer only after the client has, which is why slots owned by the client
//! can be handed out as slices.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, ppoll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr, connect, recv, shutdown, socket,
};
use nix::sys::time::TimeSpec;
use zerocopy::IntoBytes;

use crate::abi::SlotFlags;
use crate::attach::{ProtocolError, Refusal, Reply, Request, recv_msg, send_msg};
use crate::doorbell::{Call, Kick};
use crate::layout::{Layout, RingParams, SLOTS_PER_LINE};
use crate::notify::{self, Pairing};
use crate::region::{Desc, Region, RegionError, RingView};

/// What a client may wish for; `None` takes what the port is configured with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Transmit rings.
    pub tx_rings: Option<u16>,
    /// Receive rings.
    pub rx_rings: Option<u16>,
    /// Slots per ring, a power of two.
    pub slots: Option<u32>,
    /// Least bytes per buffer.
    pub buf_size: Option<u32>,
}

/// Why attaching failed.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No switch listens there.
    #[error("cannot reach a switch at {path}: {source} (is `valecast run` up?)")]
    Connect {
        /// The socket.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The switch said no.
    #[error("{1}")]
    Refused(Refusal, String),
    /// The answer made no sense.
    #[error("answer of the switch: {0}")]
    Protocol(#[from] ProtocolError),
    /// The memory could not be mapped.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// The connection broke.
    #[error("handshake: {0}")]
    Io(#[from] io::Error),
}

/// An attached port.
#[derive(Debug)]
pub struct Port {
    link: Link,
    tx: Vec<TxRing>,
    rx: Vec<RxRing>,
}

/// Keeps a port attached; dropping it detaches, whoever still holds rings.
#[derive(Debug)]
pub struct Link {
    sock: Arc<OwnedFd>,
    params: RingParams,
}

impl Port {
    /// Attaches to port `name` of the switch that listens at `socket`.
    pub fn attach(socket_path: &Path, name: &str, want: &AttachOptions) -> Result<Self, AttachError> {
        let fail =
            |e: Errno| AttachError::Connect { path: socket_path.display().to_string(), source: e.into() };
        let sock =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).map_err(fail)?;
        let addr = UnixAddr::new(socket_path).map_err(fail)?;
        connect(std::os::fd::AsRawFd::as_raw_fd(&sock), &addr).map_err(fail)?;
        let request = Request {
            port: name.to_owned(),
            tx_rings: want.tx_rings,
            rx_rings: want.rx_rings,
            slots: want.slots,
            buf_size: want.buf_size,
            pairing: if notify::allow_barriers() { Pairing::Asymmetric } else { Pairing::Fences },
        };
        let io = |e: Errno| AttachError::Io(e.into());
        send_msg(sock.as_fd(), request.to_wire()?.as_bytes(), &[]).map_err(io)?;
        let (bytes, fds) = recv_msg(sock.as_fd(), MsgFlags::empty()).map_err(io)?;
        match Reply::parse(&bytes)? {
            Reply::Refused(why, text) => Err(AttachError::Refused(why, text)),
            Reply::Attached(layout, pairing) => Self::open(sock, layout, pairing, fds),
        }
    }

    fn open(sock: OwnedFd, layout: Layout, pairing: Pairing, fds: Vec<OwnedFd>) -> Result<Self, AttachError> {
        let want = 1 + 2 * layout.rings_total();
        if fds.len() != want {
            return Err(ProtocolError::Fds { got: fds.len(), want }.into());
        }
        let mut fds = fds.into_iter();
        let mut bells = Vec::new();
        let memfd = fds.next().ok_or(ProtocolError::Fds { got: 0, want })?;
        while let (Some(kick), Some(call)) = (fds.next(), fds.next()) {
            bells.push((Arc::new(Kick::from_fd(kick)), Call::from_fd(call)));
        }
        let region = Arc::new(Region::open(memfd, layout)?);
        Ok(Self::over(Arc::new(sock), &region, bells, pairing))
    }

    /// A client in the switch's own process (patches, pcap writers): no handshake, same rings. `lifeline`
    /// is any descriptor that becomes readable when the port goes away.
    pub fn local(region: &Arc<Region>, bells: Vec<(Arc<Kick>, Call)>, lifeline: OwnedFd) -> Self {
        Self::over(Arc::new(lifeline), region, bells, Pairing::Fences)
    }

    fn over(
        sock: Arc<OwnedFd>,
        region: &Arc<Region>,
        bells: Vec<(Arc<Kick>, Call)>,
        pairing: Pairing,
    ) -> Self {
        let params = region.layout().params();
        let (mut tx, mut rx) = (Vec::new(), Vec::new());
        for (ring, (kick, call)) in bells.into_iter().enumerate() {
            let end = End {
                _region: region.clone(),
                view: region.ring(ring),
                kick,
                call,
                pairing,
                link: sock.clone(),
            };
            let mask = params.slots - 1;
            let first_buf = region.layout().first_buf(ring, 0);
            if ring < usize::from(params.tx_rings) {
                tx.push(TxRing { end, mask, first_buf, head: 0, published: 0, tail: mask });
            } else {
                rx.push(RxRing { end, mask, first_buf, head: 0, published: 0, tail: 0 });
            }
        }
        Self { link: Link { sock, params }, tx, rx }
    }

    /// The link and the rings, one for each thread that wants one.
    pub fn split(self) -> (Link, Vec<TxRing>, Vec<RxRing>) {
        (self.link, self.tx, self.rx)
    }
}

impl Link {
    /// Whether the switch still serves this port.
    pub fn is_alive(&self) -> bool {
        alive(&self.sock)
    }

    /// What the rings look like.
    pub fn params(&self) -> RingParams {
        self.params
    }

    /// Becomes readable when the switch is gone.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.sock.as_fd()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = shutdown(std::os::fd::AsRawFd::as_raw_fd(&self.sock), Shutdown::Both);
    }
}

fn alive(sock: &OwnedFd) -> bool {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
    match recv(std::os::fd::AsRawFd::as_raw_fd(sock), &mut [0], flags) {
        Ok(n) => n > 0,
        Err(Errno::EAGAIN | Errno::EINTR) => true,
        // Not a socket: a local client's lifeline, which lives as long as the process wants.
        Err(Errno::ENOTSOCK) => true,
        Err(_) => false,
    }
}

/// How long to wait for more slots when there are some: a little more than a busy switch takes to tell that it
/// has no more for now.
const LINGER: Duration = Duration::from_micros(300);

/// What both directions have.
#[derive(Debug)]
struct End {
    /// Keeps what `view` points into mapped.
    _region: Arc<Region>,
    view: RingView,
    kick: Arc<Kick>,
    call: Call,
    /// How the switch sleeps; this side always makes its own fence before it does.
    pairing: Pairing,
    link: Arc<OwnedFd>,
}

impl End {
    /// Sleeps until `min` slots are available, as `count` tells; a switch that runs dry wakes earlier if `less`
    /// will do.
    fn wait(
        &self,
        min: u32,
        less: bool,
        timeout: Option<Duration>,
        count: impl Fn() -> u32,
    ) -> io::Result<bool> {
        if count() >= min {
            return Ok(true);
        }
        let until = timeout.map(|t| Instant::now() + t);
        let v = &self.view;
        self.tell_wish(min);
        loop {
            self.call.drain();
            if !notify::arm(v.atok_need_kick(), Pairing::Fences, || count() >= min) {
                return Ok(true);
            }
            let mut left = until.map(|u| u.saturating_duration_since(Instant::now()));
            if less && count() > 0 {
                // The switch may have said already that there is no more.
                left = Some(left.map_or(LINGER, |l| l.min(LINGER)));
            }
            let polled = self.sleep(left);
            notify::disarm(v.atok_need_kick());
            let now = count();
            match polled {
                _ if now >= min => return Ok(true),
                Err(Errno::EINTR) => return Ok(false),
                Err(e) => return Err(e.into()),
                Ok(true) if !alive(&self.link) => {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "the switch detached this port",
                    ));
                }
                Ok(_) if less && now > 0 => return Ok(false),
                // A kick that belonged to an earlier wait.
                Ok(_) if left.is_none_or(|l| !l.is_zero()) => {}
                Ok(_) => return Ok(false),
            }
        }
    }

    /// Whether the link stirred.
    fn sleep(&self, left: Option<Duration>) -> nix::Result<bool> {
        let (call, link) = (self.call.fd(), self.link.as_fd());
        let mut fds = [PollFd::new(call, PollFlags::POLLIN), PollFd::new(link, PollFlags::POLLIN)];
        match left {
            Some(t) => ppoll(&mut fds, Some(TimeSpec::from_duration(t)), None)?,
            None => nix::poll::poll(&mut fds, PollTimeout::NONE)?,
        };
        Ok(fds[1].any().unwrap_or(false))
    }

    /// Before this side sleeps: how many slots it waits for, and netmap's place for the same, which the switch does not look at.
    fn tell_wish(&self, min: u32) {
        let v = &self.view;
        v.atok_cur().store(v.atok_head().load(Ordering::Relaxed), Ordering::Relaxed);
        v.atok_wake_slots().store(min, Ordering::Relaxed);
    }

    /// Publishes `head` and kicks the switch if it sleeps.
    #[inline]
    fn publish(&self, head: u32) {
        let v = &self.view;
        // ORDERING: Release: slots and buffers are visible to a switch that reads head with Acquire.
        v.atok_head().store(head, Ordering::Release);
        if notify::wanted(v.ktoa_need_kick(), self.pairing) {
            self.kick.ring();
        }
    }

    /// The switch's tail, held to the ring.
    #[inline]
    fn tail(&self, mask: u32) -> u32 {
        // ORDERING: Acquire pairs with the switch's Release of hwtail.
        self.view.ktoa_hwtail().load(Ordering::Acquire) & mask
    }
}

/// A transmit ring.
#[derive(Debug)]
pub struct TxRing {
    end: End,
    mask: u32,
    first_buf: u32,
    head: u32,
    published: u32,
    tail: u32,
}

impl TxRing {
    /// Slots in the ring; one always stays empty.
    pub fn slots(&self) -> u32 {
        self.mask + 1
    }

    /// Most bytes in one slot.
    pub fn buf_size(&self) -> usize {
        self.end.view.max_len as usize
    }

    /// Free slots.
    #[inline]
    pub fn room(&mut self) -> u32 {
        self.tail = self.end.tail(self.mask);
        self.tail.wrapping_sub(self.head) & self.mask
    }

    /// Free slots, at least; the switch is asked only if fewer than `enough` are known of. Its answer comes from
    /// another core.
    #[inline]
    pub fn room_for(&mut self, enough: u32) -> u32 {
        let known = self.tail.wrapping_sub(self.head) & self.mask;
        if known >= enough { known } else { self.room() }
    }

    /// Slot number (0 to [`Self::slots`]) of the `i`-th free slot, to know what its buffer still holds.
    #[inline]
    pub fn slot_number(&self, i: u32) -> u32 {
        self.head.wrapping_add(i) & self.mask
    }

    /// The buffer of the `i`-th free slot. It keeps what was last put there.
    ///
    /// # Panics
    /// If `i` is not below the last [`Self::room`].
    #[inline]
    pub fn buffer(&mut self, i: u32) -> &mut [u8] {
        assert!(i < (self.tail.wrapping_sub(self.head) & self.mask), "slot {i} is not free");
        let idx = self.first_buf + self.slot_number(i);
        let len = self.buf_size();
        match self.end.view.buf(idx) {
            // SAFETY: `len` bytes of a buffer in the mapping. The slot is free, so until it is published only
            // this client uses the buffer, and `&mut self` lends it out once.
            Some(p) => unsafe { std::slice::from_raw_parts_mut(p.as_ptr(), len) },
            None => &mut [],
        }
    }

    /// Asks for the buffer of the `i`-th free slot, to be written soon: the switch has read it last.
    #[inline]
    pub fn prefetch(&self, i: u32) {
        // Beyond the free slots lies what the switch reads just now.
        if i < self.tail.wrapping_sub(self.head) & self.mask {
            self.end.view.prefetch_buf_write(self.first_buf + self.slot_number(i));
        }
    }

    /// Fills the descriptor of the `i`-th free slot; `len` beyond the buffer is cut to it.
    #[inline]
    pub fn set(&mut self, i: u32, len: usize, flags: SlotFlags) {
        let slot = self.slot_number(i);
        if slot.is_multiple_of(SLOTS_PER_LINE) {
            // The switch has read these last: bring them back before they are written, one after the other.
            self.end.view.prefetch_desc_write(slot.wrapping_add(4 * SLOTS_PER_LINE) & self.mask);
        }
        let len = len.min(self.buf_size()) as u16;
        self.end.view.put_desc(slot, Desc { buf_idx: self.first_buf + slot, len, flags: flags.bits() });
    }

    /// Hands over `n` slots, visible at the next [`Self::publish`].
    ///
    /// # Panics
    /// If there are not so many free ones.
    #[inline]
    pub fn advance(&mut self, n: u32) {
        assert!(n <= (self.tail.wrapping_sub(self.head) & self.mask), "advance beyond the free slots");
        self.head = self.head.wrapping_add(n) & self.mask;
    }

    /// Makes the handed-over slots visible and kicks the switch if it sleeps.
    #[inline]
    pub fn publish(&mut self) {
        if self.head != self.published {
            self.published = self.head;
            self.end.publish(self.head);
        }
    }

    /// Copies one frame in, over as many slots as it takes; `false` if there is no room. Call
    /// [`Self::publish`] after the last.
    pub fn push(&mut self, frame: &[u8]) -> bool {
        let size = self.buf_size();
        let slots = frame.len().div_ceil(size).max(1) as u32;
        if (self.tail.wrapping_sub(self.head) & self.mask) < slots && self.room() < slots {
            return false;
        }
        for (i, part) in (0..slots).zip(frame.chunks(size)) {
            self.buffer(i)[..part.len()].copy_from_slice(part);
            let more = if i + 1 < slots { SlotFlags::MORE_FRAG } else { SlotFlags::empty() };
            self.set(i, part.len(), more);
        }
        self.advance(slots);
        true
    }

    /// Slots published and not yet consumed.
    pub fn pending(&mut self) -> u32 {
        self.mask - (self.end.tail(self.mask).wrapping_sub(self.published) & self.mask)
    }

    /// Sleeps until `min` slots are free, without polling. `Ok(false)` after the timeout or a signal.
    pub fn wait(&mut self, min: u32, timeout: Option<Duration>) -> io::Result<bool> {
        let (mask, head) = (self.mask, self.head);
        let min = min.min(mask);
        let end = &self.end;
        let ok = end.wait(min, false, timeout, || end.tail(mask).wrapping_sub(head) & mask)?;
        self.room();
        Ok(ok)
    }

    /// Raises need_kick without sleeping, as [`RxRing::arm`]: `true` means that fewer than `min` slots are free, and
    /// [`Self::call_fd`] becomes readable when so many are.
    pub fn arm(&mut self, min: u32) -> bool {
        self.end.call.drain();
        let (mask, head) = (self.mask, self.head);
        let min = min.clamp(1, mask);
        let end = &self.end;
        end.tell_wish(min);
        notify::arm(end.view.atok_need_kick(), Pairing::Fences, || {
            end.tail(mask).wrapping_sub(head) & mask >= min
        })
    }

    /// Lowers need_kick again.
    pub fn disarm(&self) {
        notify::disarm(self.end.view.atok_need_kick());
    }

    /// Readable while there is a call from the switch.
    pub fn call_fd(&self) -> BorrowedFd<'_> {
        self.end.call.fd()
    }
}

/// One slot's share of a received frame.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    /// The bytes.
    pub data: &'a [u8],
    /// [`SlotFlags::MORE_FRAG`]: the frame goes on in the next slot.
    pub flags: SlotFlags,
}

/// A receive ring.
#[derive(Debug)]
pub struct RxRing {
    end: End,
    mask: u32,
    first_buf: u32,
    head: u32,
    published: u32,
    tail: u32,
}

impl RxRing {
    /// Slots in the ring.
    pub fn slots(&self) -> u32 {
        self.mask + 1
    }

    /// Slots that wait to be read.
    #[inline]
    pub fn pending(&mut self) -> u32 {
        let tail = self.end.tail(self.mask);
        let waiting = tail.wrapping_sub(self.head) & self.mask;
        if tail != self.tail {
            self.tail = tail;
            self.end.view.prefetch_first_descs(self.head, waiting);
        }
        waiting
    }

    /// The `i`-th waiting slot.
    ///
    /// # Panics
    /// If `i` is not below the last [`Self::pending`].
    #[inline]
    pub fn frame(&self, i: u32) -> Slot<'_> {
        assert!(i < (self.tail.wrapping_sub(self.head) & self.mask), "slot {i} holds no frame");
        let d = self.end.view.desc(self.head.wrapping_add(i) & self.mask);
        let len = usize::from(d.len).min(self.end.view.max_len as usize);
        let data = match self.end.view.buf(d.buf_idx) {
            // SAFETY: `len` bytes of a buffer in the mapping. The switch has published this slot and does not
            // write its buffer until it is released, which takes `&mut self`.
            Some(p) => unsafe { std::slice::from_raw_parts(p.as_ptr(), len) },
            None => &[],
        };
        Slot { data, flags: d.flags() }
    }

    /// Asks for the buffer of the `i`-th waiting slot to be fetched.
    #[inline]
    pub fn prefetch(&self, i: u32) {
        // Beyond the tail lies what the switch writes just now: asking for it would only take it away.
        let waiting = self.tail.wrapping_sub(self.head) & self.mask;
        if i >= waiting {
            return;
        }
        let slot = self.head.wrapping_add(i) & self.mask;
        if slot.is_multiple_of(SLOTS_PER_LINE) {
            self.end.view.prefetch_next_descs(slot, 1, waiting - i);
        }
        // A slot of this ring always has the same buffer, so its descriptor, which comes from another core, too, is not
        // waited for.
        self.end.view.prefetch_buf(self.first_buf + slot);
    }

    /// Done with `n` slots; the switch hears of it at the next [`Self::release`].
    ///
    /// # Panics
    /// If fewer are waiting.
    #[inline]
    pub fn advance(&mut self, n: u32) {
        assert!(n <= (self.tail.wrapping_sub(self.head) & self.mask), "advance beyond the waiting slots");
        self.head = self.head.wrapping_add(n) & self.mask;
    }

    /// Gives slots back to the switch, and kicks it if it waits for room.
    #[inline]
    pub fn release(&mut self) {
        if self.head != self.published {
            self.published = self.head;
            self.end.publish(self.head);
        }
    }

    /// Sleeps until `min` slots wait, without polling. `Ok(false)` after the timeout or a signal, or when the
    /// switch has nothing more to deliver for now and fewer wait.
    pub fn wait(&mut self, min: u32, timeout: Option<Duration>) -> io::Result<bool> {
        let (mask, head) = (self.mask, self.head);
        let min = min.clamp(1, mask);
        let end = &self.end;
        let ok = end.wait(min, true, timeout, || end.tail(mask).wrapping_sub(head) & mask)?;
        self.pending();
        Ok(ok)
    }

    /// Raises need_kick without sleeping, for a caller with an event loop of its own: `true` means nothing
    /// waits, and [`Self::call_fd`] becomes readable when something does.
    pub fn arm(&mut self) -> bool {
        self.end.call.drain();
        let (mask, head) = (self.mask, self.head);
        let end = &self.end;
        end.tell_wish(1);
        notify::arm(end.view.atok_need_kick(), Pairing::Fences, || end.tail(mask) != head)
    }

    /// Lowers need_kick again.
    pub fn disarm(&self) {
        notify::disarm(self.end.view.atok_need_kick());
    }

    /// Readable while there is a call from the switch.
    pub fn call_fd(&self) -> BorrowedFd<'_> {
        self.end.call.fd()
    }
}
