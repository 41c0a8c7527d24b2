//! The device, and the memory behind it: the only unsafe code of netmap ports.
//!
//! The kernel is trusted with what it writes: offsets, tails, buffers of slots that are ours. It looks at head and cur
//! when a descriptor is synced, and at nothing in between; so plain volatile accesses do.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::libc;
use valecast_config::NetmapPort;
use valecast_ring::SlotFlags;
use valecast_ring::abi::{IfHeader, RingHeader, Slot};
use valecast_ring::netmap::abi::{
    NIOCCTRL, NIOCRXSYNC, NIOCTXSYNC, NmreqHeader, NmreqPortInfo, NmreqRegister, mode, req,
};
use zerocopy::IntoBytes;

use crate::frame::Bytes;
use crate::port::OpenError;

/// The API that is spoken.
const API: u16 = 14;
const TXSYNC: libc::Ioctl = NIOCTXSYNC as libc::Ioctl;
const RXSYNC: libc::Ioctl = NIOCRXSYNC as libc::Ioctl;
const CONTROL: libc::Ioctl = NIOCCTRL as libc::Ioctl;

/// A registered descriptor, with the memory of its port.
pub struct Handle {
    device: File,
    map: MmapRaw,
}

impl Handle {
    /// What becomes readable when frames have come.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    /// Sends what was put on the ring and takes slots back; `false` if the port is gone.
    pub fn txsync(&self) -> bool {
        sync(&self.device, TXSYNC)
    }

    /// Gives read slots back and takes new frames.
    pub fn rxsync(&self) -> bool {
        sync(&self.device, RXSYNC)
    }
}

fn sync(device: &File, what: libc::Ioctl) -> bool {
    // SAFETY: the request takes no argument.
    unsafe { libc::ioctl(device.as_raw_fd(), what, std::ptr::null_mut::<libc::c_void>()) == 0 }
}

/// A pair of rings.
pub struct Rings {
    pub handle: Arc<Handle>,
    pub tx: Option<TxRing>,
    pub rx: Option<RxRing>,
    /// Bytes of the memory they lie in.
    pub memory: u64,
}

/// Where a ring lies.
struct Ring {
    handle: Arc<Handle>,
    at: usize,
    slots: u32,
    bufs: usize,
    buf_size: usize,
}

impl Ring {
    fn new(handle: &Arc<Handle>, at: usize) -> Option<Self> {
        let len = handle.map.len();
        if at == 0 || at.checked_add(size_of::<RingHeader>())? > len {
            return None;
        }
        // SAFETY: a whole header lies at `at`, as just checked.
        let (bufs, slots, buf_size) = unsafe {
            let p = handle.map.as_mut_ptr().add(at);
            let word = |ofs: usize| p.add(ofs).cast::<u32>().read_volatile();
            let bufs = p.cast::<i64>().read_volatile();
            (
                bufs,
                word(std::mem::offset_of!(RingHeader, num_slots)),
                word(std::mem::offset_of!(RingHeader, nr_buf_size)),
            )
        };
        let end = at + size_of::<RingHeader>() + slots as usize * size_of::<Slot>();
        let bufs = (at as i64).checked_add(bufs).and_then(|b| usize::try_from(b).ok())?;
        let fits = slots >= 2 && end <= len && buf_size > 0 && bufs < len;
        fits.then(|| Self { handle: handle.clone(), at, slots, bufs, buf_size: buf_size as usize })
    }

    fn word(&self, ofs: usize) -> *mut u32 {
        // SAFETY: a field of the header, which lies inside the mapping.
        unsafe { self.handle.map.as_mut_ptr().add(self.at + ofs).cast() }
    }

    fn head(&self) -> u32 {
        // SAFETY: as in `word`; aligned.
        unsafe { self.word(std::mem::offset_of!(RingHeader, head)).read_volatile() }
    }

    /// Slots from head to tail, which are ours.
    fn own(&self) -> u32 {
        // SAFETY: as in `word`; aligned.
        let tail = unsafe { self.word(std::mem::offset_of!(RingHeader, tail)).read_volatile() } % self.slots;
        let head = self.head();
        if tail >= head { tail - head } else { tail + self.slots - head }
    }

    /// Moves head and cur on; `n` is at most [`Ring::own`].
    fn advance(&self, n: u32) {
        let to = (self.head() + n) % self.slots;
        // SAFETY: as in `word`; aligned.
        unsafe {
            self.word(std::mem::offset_of!(RingHeader, cur)).write_volatile(to);
            self.word(std::mem::offset_of!(RingHeader, head)).write_volatile(to);
        }
    }

    /// The `i`-th of our slots.
    fn slot(&self, i: u32) -> *mut u64 {
        let at =
            self.at + size_of::<RingHeader>() + ((self.head() + i) % self.slots) as usize * size_of::<Slot>();
        // SAFETY: below the number of slots, all of which lie inside the mapping.
        unsafe { self.handle.map.as_mut_ptr().add(at).cast() }
    }

    /// A slot's buffer.
    fn buf(&self, idx: u32) -> Option<*mut u8> {
        let at = (idx as usize).checked_mul(self.buf_size)?.checked_add(self.bufs)?;
        // SAFETY: the whole buffer lies inside the mapping.
        (at.checked_add(self.buf_size)? <= self.handle.map.len())
            .then(|| unsafe { self.handle.map.as_mut_ptr().add(at) })
    }
}

/// A receive ring.
pub struct RxRing(Ring);

impl RxRing {
    /// Slots that wait to be read.
    pub fn pending(&self) -> u32 {
        self.0.own()
    }

    /// The `i`-th waiting slot.
    pub fn slot(&self, i: u32) -> Option<(*mut u8, usize, SlotFlags)> {
        // SAFETY: see `Ring::slot`; aligned.
        let v = unsafe { self.0.slot(i).read_volatile() };
        let len = usize::from((v >> 32) as u16);
        let buf = self.0.buf(v as u32).filter(|_| len <= self.0.buf_size)?;
        Some((buf, len, SlotFlags::from_bits_retain((v >> 48) as u16)))
    }

    /// Done with `n` slots; netmap hears of it at the next sync.
    pub fn advance(&self, n: u32) {
        self.0.advance(n.min(self.0.own()));
    }
}

/// A transmit ring.
pub struct TxRing(Ring);

impl TxRing {
    /// Free slots.
    pub fn room(&self) -> u32 {
        self.0.own()
    }

    /// Slots in all.
    pub fn slots(&self) -> u32 {
        self.0.slots
    }

    /// Bytes in a buffer.
    pub fn buf_size(&self) -> usize {
        self.0.buf_size.min(usize::from(u16::MAX))
    }

    /// Copies a frame of `len` bytes into free slots, `chunk` bytes each; `false` if there are too few.
    pub fn push(&mut self, bytes: Bytes<'_>, len: usize, chunk: usize) -> bool {
        let n = len.div_ceil(chunk).max(1);
        if (self.room() as usize) < n {
            return false;
        }
        for i in 0..n {
            let (from, to) = (i * chunk, ((i + 1) * chunk).min(len));
            let slot = self.0.slot(i as u32);
            // SAFETY: see `Ring::slot`; aligned.
            let idx = unsafe { slot.read_volatile() } as u32;
            let Some(p) = self.0.buf(idx) else { return false };
            let more = if i + 1 < n { SlotFlags::MORE_FRAG } else { SlotFlags::empty() };
            let v = u64::from(idx) | ((to - from) as u64) << 32 | u64::from(more.bits()) << 48;
            // SAFETY: the slot is ours and its buffer holds `chunk` bytes.
            unsafe {
                bytes.copy(from, to - from, p);
                slot.write_volatile(v);
            }
        }
        self.0.advance(n as u32);
        true
    }
}

fn os(what: String) -> impl FnOnce(Errno) -> OpenError {
    crate::port::os(what)
}

fn device(cfg: &NetmapPort) -> Result<File, OpenError> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open(&cfg.device).map_err(
        |source| {
            let hint = match source.kind() {
                ErrorKind::NotFound => " (load the kernel module `netmap`)",
                ErrorKind::PermissionDenied => " (needs read and write access)",
                _ if source.raw_os_error() == Some(libc::ENXIO) => " (there is no driver behind it)",
                _ => "",
            };
            OpenError::Os { what: format!("cannot open {}{hint}", cfg.device.display()), source }
        },
    )
}

/// One request about the port, with its body.
fn control<B: IntoBytes + zerocopy::FromBytes>(
    device: &File,
    cfg: &NetmapPort,
    reqtype: u16,
    body: &mut B,
) -> nix::Result<()> {
    let mut name = [0u8; 64];
    let n = cfg.interface.len().min(63);
    name[..n].copy_from_slice(&cfg.interface.as_bytes()[..n]);
    let at = body.as_mut_bytes().as_mut_ptr() as u64;
    let mut header = NmreqHeader { version: API, reqtype, reserved: 0, name, options: 0, body: at };
    // SAFETY: the header is as netmap expects it, and points to a body of the request's size.
    let rc = unsafe { libc::ioctl(device.as_raw_fd(), CONTROL, &raw mut header) };
    Errno::result(rc).map(drop)
}

/// Opens every pair of rings of the port.
pub fn open(cfg: &NetmapPort) -> Result<Vec<Rings>, OpenError> {
    let port = &cfg.interface;
    let first = device(cfg)?;
    let mut info = NmreqPortInfo::default();
    control(&first, cfg, req::PORT_INFO_GET, &mut info).map_err(os(format!("netmap port {port}")))?;
    drop(first);
    let pairs = info.tx_rings.max(info.rx_rings);
    (0..pairs).map(|i| register(cfg, i)).collect()
}

fn register(cfg: &NetmapPort, ringid: u16) -> Result<Rings, OpenError> {
    let what = format!("netmap port {}, ring {ringid}", cfg.interface);
    let device = device(cfg)?;
    let mut reg = NmreqRegister { mode: mode::ONE_NIC, ringid, ..NmreqRegister::default() };
    control(&device, cfg, req::REGISTER, &mut reg).map_err(os(what.clone()))?;
    let len = usize::try_from(reg.memsize).unwrap_or(0);
    let nifp = usize::try_from(reg.offset).unwrap_or(usize::MAX);
    let map = MmapOptions::new().len(len).map_raw(&device);
    let map =
        map.map_err(|source| OpenError::Os { what: format!("{what}: memory of {len} bytes"), source })?;
    let handle = Arc::new(Handle { device, map });
    let rings = usize::from(reg.tx_rings) + usize::from(reg.rx_rings);
    let hosts = usize::from(reg.host_tx_rings) + usize::from(reg.host_rx_rings);
    let table = nifp.checked_add(size_of::<IfHeader>());
    let Some(table) = table.filter(|t| t + 8 * (rings + hosts) <= len) else {
        return Err(OpenError::File(format!("{what}: its description lies outside its memory")));
    };
    // netmap says how many rings of the host there are in the description itself, if it says so at all.
    let ring = |n: usize| {
        // SAFETY: entry `n` of the table lies inside the mapping, as just checked; aligned.
        let ofs = unsafe { handle.map.as_mut_ptr().add(table).cast::<i64>().add(n).read_volatile() };
        let at = (nifp as i64).checked_add(ofs).filter(|_| ofs != 0)?;
        Ring::new(&handle, usize::try_from(at).ok()?)
    };
    let i = usize::from(ringid);
    let tx = (ringid < reg.tx_rings).then(|| ring(i)).flatten().map(TxRing);
    let first_rx = usize::from(reg.tx_rings) + usize::from(reg.host_tx_rings).max(1);
    let rx = (ringid < reg.rx_rings && first_rx + i < rings + hosts.max(2))
        .then(|| ring(first_rx + i))
        .flatten()
        .map(RxRing);
    if tx.is_none() && rx.is_none() {
        return Err(OpenError::File(format!("{what}: its rings lie outside its memory")));
    }
    Ok(Rings { handle, tx, rx, memory: reg.memsize })
}
