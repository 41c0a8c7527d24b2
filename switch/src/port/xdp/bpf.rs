//! The XDP program: a few instructions, made here and loaded with `bpf(2)`.
//!
//! It hands each frame to the socket of the receive queue that the frame came in by. Frames of a queue without
//! a socket go on to the host. The program hangs on the interface by a link, which ends with its
//! descriptor: nothing stays behind, however the daemon ends.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

/// Commands of `bpf(2)`.
const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;

const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;
/// The program does not mind frames over several buffers.
const F_XDP_HAS_FRAGS: u32 = 1 << 5;
const FLAGS_SKB_MODE: u32 = 1 << 1;
const FLAGS_DRV_MODE: u32 = 1 << 2;

/// The helper `bpf_redirect_map`.
const REDIRECT_MAP: i32 = 51;
const XDP_PASS: i32 = 2;
/// Where `struct xdp_md` has `rx_queue_index`.
const RX_QUEUE_INDEX: i16 = 16;
/// Marks the immediate of a 64-bit load as a map's descriptor.
const PSEUDO_MAP_FD: u8 = 1;

const NAME: [u8; 16] = *b"valecast\0\0\0\0\0\0\0\0";

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct MapUpdate {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// `struct bpf_insn`.
#[repr(C)]
struct Insn {
    code: u8,
    /// Destination in the low half, source in the high one (on the little-endian machines there are).
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn insn(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Insn {
    let registers = if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src };
    Insn { code, registers, offset, immediate }
}

/// `bpf(2)`; `attr` is the beginning of `union bpf_attr` that `command` reads, the rest counts as zero.
fn bpf<T>(command: libc::c_int, attr: &T) -> nix::Result<libc::c_int> {
    let (p, len) = (std::ptr::from_ref(attr), size_of::<T>() as libc::c_uint);
    // SAFETY: `len` bytes are readable at `p`; what the attributes point to lives in the callers below, and
    // none of the commands used here writes to it.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, p, len) };
    Errno::result(rc).map(|rc| rc as libc::c_int)
}

fn bpf_fd<T>(command: libc::c_int, attr: &T) -> nix::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    // SAFETY: these commands return a descriptor, which is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// A map from receive queue to socket.
pub struct Sockets(OwnedFd);

impl Sockets {
    /// With room for `queues`.
    pub fn new(queues: u32) -> nix::Result<Self> {
        let attr = MapCreate {
            map_type: MAP_TYPE_XSKMAP,
            key_size: 4,
            value_size: 4,
            max_entries: queues,
            map_name: NAME,
            ..MapCreate::default()
        };
        bpf_fd(MAP_CREATE, &attr).map(Self)
    }

    /// Frames of `queue` go to `socket`.
    pub fn set(&self, queue: u32, socket: BorrowedFd<'_>) -> nix::Result<()> {
        let value = number(socket);
        let attr = MapUpdate {
            map_fd: number(self.0.as_fd()),
            key: (&raw const queue) as u64,
            value: (&raw const value) as u64,
            ..MapUpdate::default()
        };
        bpf(MAP_UPDATE_ELEM, &attr).map(drop)
    }
}

/// Loads the program that reads `sockets`. With `frags` it takes frames over several buffers.
pub fn load(sockets: &Sockets, frags: bool) -> nix::Result<OwnedFd> {
    let program = [
        // r2 = ctx->rx_queue_index
        insn(0x61, 2, 1, RX_QUEUE_INDEX, 0),
        // r1 = the map (two slots)
        insn(0x18, 1, PSEUDO_MAP_FD, 0, sockets.0.as_raw_fd()),
        insn(0, 0, 0, 0, 0),
        // r3 = what to do without a socket
        insn(0xb7, 3, 0, 0, XDP_PASS),
        // return bpf_redirect_map(r1, r2, r3)
        insn(0x85, 0, 0, 0, REDIRECT_MAP),
        insn(0x95, 0, 0, 0, 0),
    ];
    let attr = ProgLoad {
        prog_type: PROG_TYPE_XDP,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0 OR MIT".as_ptr() as u64,
        prog_flags: if frags { F_XDP_HAS_FRAGS } else { 0 },
        prog_name: NAME,
        expected_attach_type: ATTACH_TYPE_XDP,
        ..ProgLoad::default()
    };
    bpf_fd(PROG_LOAD, &attr)
}

/// Hangs a program on interface `index` of this thread's network namespace, in its driver or after it, for as
/// long as the link lives.
pub fn attach(program: BorrowedFd<'_>, index: i32, in_driver: bool) -> nix::Result<OwnedFd> {
    let attr = LinkCreate {
        prog_fd: number(program),
        target_ifindex: index as u32,
        attach_type: ATTACH_TYPE_XDP,
        flags: if in_driver { FLAGS_DRV_MODE } else { FLAGS_SKB_MODE },
    };
    bpf_fd(LINK_CREATE, &attr)
}
