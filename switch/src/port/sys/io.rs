//! Frames in and out of the kernel, gathered from where they lie.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

use super::merge::Run;
use crate::frame::{Burst, Entry, Frame, MAX_PIECES, VnetHdr};

/// Most frames in one call.
pub const BATCH: usize = 32;

/// Where a received frame begins in its buffer: behind the offload header, and room for a VLAN tag.
pub const FRAME_AT: usize = 16;

/// Bytes of a VLAN tag.
pub const TAG: usize = 4;

/// `struct cmsghdr` and a `tpacket_auxdata`, with some to spare, as aligned as it must be.
type Control = [u64; 8];

fn frame(burst: &Burst, e: Entry) -> (&Frame, [u8; VnetHdr::LEN]) {
    let f = &burst.frames[usize::from(e.frame)];
    (f, burst.vnet(f).unwrap_or_default().to_bytes())
}

fn part(p: *const u8, len: usize) -> libc::iovec {
    libc::iovec { iov_base: p.cast_mut().cast(), iov_len: len }
}

/// Most pieces of a frame for the kernel: offload header, head, and the rest as one or as several.
const MOST: usize = 3 + MAX_PIECES;

/// Most pieces of a run: frames have one or two each, but a guest's, of which fewer go together then.
const RUN: usize = 256;

/// Puts what the kernel reads into `parts`: offload header, head, rest. How many there are.
fn parts(burst: &Burst, f: &Frame, vnet: &[u8; VnetHdr::LEN], parts: &mut [libc::iovec]) -> usize {
    let pieces = burst.bytes_of(f).pieces().map(|p| part(p.at, p.len));
    let all = std::iter::once(part(vnet.as_ptr(), vnet.len())).chain(pieces);
    parts.iter_mut().zip(all).map(|(to, p)| *to = p).count()
}

/// Writes one frame, with its offload header before it.
pub fn write_frame(fd: BorrowedFd<'_>, burst: &Burst, e: Entry) -> nix::Result<()> {
    let (f, vnet) = frame(burst, e);
    let mut vector = [part(std::ptr::null(), 0); MOST];
    let n = parts(burst, f, &vnet, &mut vector);
    // SAFETY: the header lives here; a frame's parts are readable while its burst lives.
    unsafe { write(fd, &vector[..n]) }
}

/// Writes a run of frames as one.
pub fn write_run(fd: BorrowedFd<'_>, burst: &Burst, list: &[Entry], run: &Run) -> nix::Result<()> {
    let vnet = run.vnet.to_bytes();
    let mut vector = [part(std::ptr::null(), 0); RUN];
    vector[0] = part(vnet.as_ptr(), vnet.len());
    let mut n = 1;
    run.pieces(burst, list, |p| {
        if let Some(to) = vector.get_mut(n) {
            *to = part(p.at, p.len);
        }
        n += 1;
    });
    // SAFETY: as in `write_frame`; the run's headers live as long as it.
    if n > RUN { Err(Errno::EMSGSIZE) } else { unsafe { write(fd, &vector[..n]) } }
}

/// # Safety
/// What `vector` points to must be readable.
unsafe fn write(fd: BorrowedFd<'_>, vector: &[libc::iovec]) -> nix::Result<()> {
    loop {
        // SAFETY: the caller vouches for it.
        let rc = unsafe { libc::writev(fd.as_raw_fd(), vector.as_ptr(), vector.len() as libc::c_int) };
        match Errno::result(rc) {
            Err(Errno::EINTR) => {}
            r => return r.map(drop),
        }
    }
}

/// Appends a frame to `to`.
pub fn append(to: &mut Vec<u8>, burst: &Burst, e: Entry) {
    let f = &burst.frames[usize::from(e.frame)];
    let (at, len) = (to.len(), f.len());
    to.reserve(len);
    // SAFETY: the room was reserved, and what was copied there is what the length is raised by.
    unsafe {
        let n = burst.bytes_of(f).copy(0, len, to.as_mut_ptr().add(at));
        to.set_len(at + n);
    }
}

/// Sends frames from the beginning of `list`, at most [`BATCH`], each with its offload header before it. How
/// many were sent; an error is that of the first.
pub fn send_batch(socket: BorrowedFd<'_>, burst: &Burst, list: &[Entry]) -> nix::Result<usize> {
    let mut headers = [[0u8; VnetHdr::LEN]; BATCH];
    let mut vectors = [part(std::ptr::null(), 0); 3 * BATCH + MOST];
    // SAFETY: `mmsghdr` is plain data, for which zeros are a value.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    let (mut n, mut used) = (0, 0);
    for (i, e) in list.iter().take(BATCH).enumerate() {
        let (f, vnet) = frame(burst, *e);
        headers[i] = vnet;
        if vectors.len() - used < if f.is_in_pieces() { MOST } else { 3 } {
            // In the next batch.
            break;
        }
        let k = parts(burst, f, &headers[i], &mut vectors[used..]);
        messages[i].msg_hdr.msg_iov = vectors[used..].as_mut_ptr();
        messages[i].msg_hdr.msg_iovlen = k as _;
        used += k;
        n += 1;
    }
    loop {
        let (fd, p) = (socket.as_raw_fd(), messages.as_mut_ptr());
        // SAFETY: `n` messages are filled in; what they point to lives in this function, or in the burst.
        let rc = unsafe { libc::sendmmsg(fd, p, n as libc::c_uint, libc::MSG_DONTWAIT as _) };
        match Errno::result(rc) {
            Err(Errno::EINTR) => {}
            r => return r.map(|n| n as usize),
        }
    }
}

/// What was received into one buffer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received {
    /// Bytes of the frame, from [`FRAME_AT`].
    pub len: usize,
    /// What was in the offload header, at the buffer's beginning.
    pub vnet: VnetHdr,
    /// The VLAN tag that the kernel took out: TPID and TCI.
    pub tag: Option<(u16, u16)>,
    /// The buffer was too short.
    pub cut: bool,
}

/// Receives into buffers of `stride` bytes that `slab` consists of, at most [`BATCH`]; how many frames.
pub fn receive_batch(
    socket: BorrowedFd<'_>,
    slab: &mut [u8],
    stride: usize,
    got: &mut [Received; BATCH],
) -> nix::Result<usize> {
    let n = (slab.len() / stride).min(BATCH);
    if n == 0 {
        return Ok(0);
    }
    let mut vectors = [[part(std::ptr::null(), 0); 2]; BATCH];
    let mut controls: [Control; BATCH] = [[0; 8]; BATCH];
    // SAFETY: `mmsghdr` is plain data, for which zeros are a value.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    for (i, buffer) in slab.chunks_exact_mut(stride).take(n).enumerate() {
        let (before, frame) = buffer.split_at_mut(FRAME_AT);
        let vector = |b: &mut [u8]| libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() };
        vectors[i] = [vector(&mut before[..VnetHdr::LEN]), vector(frame)];
        let h = &mut messages[i].msg_hdr;
        h.msg_iov = vectors[i].as_mut_ptr();
        h.msg_iovlen = 2;
        h.msg_control = controls[i].as_mut_ptr().cast();
        h.msg_controllen = size_of::<Control>() as _;
    }
    let (fd, p) = (socket.as_raw_fd(), messages.as_mut_ptr());
    let flags = libc::MSG_DONTWAIT as _;
    // SAFETY: `n` messages are filled in and point to buffers that are borrowed here, or live here.
    let rc = unsafe { libc::recvmmsg(fd, p, n as libc::c_uint, flags, std::ptr::null_mut()) };
    let n = Errno::result(rc)? as usize;
    for (i, m) in messages[..n].iter().enumerate() {
        let mut header = [0; VnetHdr::LEN];
        header.copy_from_slice(&slab[i * stride..][..VnetHdr::LEN]);
        got[i] = Received {
            len: (m.msg_len as usize).saturating_sub(VnetHdr::LEN),
            vnet: VnetHdr::from_bytes(header),
            tag: tag(&m.msg_hdr),
            cut: m.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
    }
    Ok(n)
}

/// The VLAN tag in a received message's `PACKET_AUXDATA`.
fn tag(h: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: the kernel filled the control buffer that `h` points to, which is alive.
    let mut c = unsafe { libc::CMSG_FIRSTHDR(h) };
    while !c.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return whole, aligned headers inside the buffer, or null.
        let header = unsafe { &*c };
        let whole =
            header.cmsg_len as usize >= size_of::<libc::cmsghdr>() + size_of::<libc::tpacket_auxdata>();
        if header.cmsg_level == libc::SOL_PACKET && header.cmsg_type == libc::PACKET_AUXDATA && whole {
            // SAFETY: as many bytes follow this header, as just checked.
            let aux: libc::tpacket_auxdata =
                unsafe { libc::CMSG_DATA(c).cast::<libc::tpacket_auxdata>().read_unaligned() };
            if aux.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
                return None;
            }
            let known = aux.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
            return Some((if known { aux.tp_vlan_tpid } else { 0x8100 }, aux.tp_vlan_tci));
        }
        // SAFETY: `c` is a header of `h`.
        c = unsafe { libc::CMSG_NXTHDR(h, c) };
    }
    None
}
