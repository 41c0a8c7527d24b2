//! What TAP, packet and xdp ports ask of Linux and nix has no words for: namespaces, interfaces, frames.
//!
//! - [`in_netns`] and [`Iface`]: find and configure an interface, wherever it lives;
//! - [`tun_queue`], [`packet_socket`]: open file descriptors that frames come from;
//! - [`io`]: frames in and out of them;
//! - [`merge`]: TCP segments that go to the kernel as one;
//! - [`slots`] and [`packed`]: frames that were read and are not done with yet;
//! - [`netlink`]: IP addresses.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::{OpenError, os};

pub mod io;
pub mod merge;
pub mod netlink;
pub mod packed;
pub mod slots;

/// Longest frame that the kernel hands out: a 64 KiB segment with its Ethernet header and VLAN tags.
pub const MAX_FRAME: usize = 65536 + 64;

/// Bytes of a frame that its interface's MTU does not count: Ethernet header and one VLAN tag.
pub const OVER_MTU: usize = 18;

/// The ethtool command that asks for queues.
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// For `map_err`: what was tried, and what would help against the usual refusals.
pub fn refused(what: impl Into<String>, capability: &'static str) -> impl FnOnce(Errno) -> OpenError {
    let what = what.into();
    move |e| {
        let what = match e {
            Errno::EPERM | Errno::EACCES => format!("{what} (needs {capability}: run as root)"),
            _ => what,
        };
        os(what)(e)
    }
}

/// Runs `f` in a network namespace: a name under `/run/netns`, a path, or (`None`) the caller's own.
///
/// File descriptors opened there keep working from anywhere.
pub fn in_netns<T: Send>(
    netns: Option<&str>,
    f: impl FnOnce() -> Result<T, OpenError> + Send,
) -> Result<T, OpenError> {
    let Some(netns) = netns else { return f() };
    let path =
        if netns.starts_with('/') { PathBuf::from(netns) } else { PathBuf::from("/run/netns").join(netns) };
    let file = File::open(&path).map_err(|source| {
        let hint = if source.kind() == ErrorKind::NotFound { " (create it with `ip netns add`)" } else { "" };
        OpenError::Os { what: format!("cannot open network namespace {}{hint}", path.display()), source }
    })?;
    // A thread of its own, because a namespace belongs to a thread and this one needs to stay in its.
    let run = || {
        let what = format!("cannot enter network namespace {}", path.display());
        setns(&file, CloneFlags::CLONE_NEWNET).map_err(|e| match e {
            Errno::EINVAL => os(format!("{what} (the file is not a network namespace)"))(e),
            e => refused(what, "CAP_SYS_ADMIN")(e),
        })?;
        f()
    };
    std::thread::scope(|s| match s.spawn(run).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// An interface by name, in the network namespace where this value was made.
pub struct Iface {
    socket: OwnedFd,
    name: [libc::c_char; libc::IFNAMSIZ],
}

/// Finds interface `name` of this thread's network namespace (`netns` is what messages call it): the interface,
/// its number and its MTU. It must be Ethernet.
pub fn find(
    name: &str,
    netns: Option<&str>,
    capability: &'static str,
) -> Result<(Iface, i32, usize), OpenError> {
    let what = |text: &str| refused(format!("cannot {text} interface {name}"), capability);
    let iface = Iface::new(name).map_err(what("look for"))?;
    let index = iface.index().map_err(|e| match (e, netns) {
        (Errno::ENODEV, Some(ns)) => os(format!("cannot find interface {name} in {ns}"))(e),
        (e, _) => what("find")(e),
    })?;
    if !iface.is_ethernet().map_err(what("find the type of"))? {
        return Err(OpenError::File(format!("interface {name} is not Ethernet")));
    }
    let mtu = iface.mtu().map_err(what("find the MTU of"))?;
    Ok((iface, index, mtu))
}

impl Iface {
    /// The interface need not exist yet.
    pub fn new(name: &str) -> nix::Result<Self> {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        Ok(Self { socket, name: request(name)?.ifr_name })
    }

    fn request(&self) -> libc::ifreq {
        // SAFETY: `ifreq` is plain data, for which zeros are a value.
        let mut r: libc::ifreq = unsafe { std::mem::zeroed() };
        r.ifr_name = self.name;
        r
    }

    fn ioctl(&self, op: libc::Ioctl, request: &mut libc::ifreq) -> nix::Result<()> {
        // SAFETY: every `op` in this file that comes here reads and writes one `ifreq`, and what that points to.
        Errno::result(unsafe { libc::ioctl(self.socket.as_raw_fd(), op, std::ptr::from_mut(request)) })
            .map(drop)
    }

    fn get(&self, op: libc::Ioctl) -> nix::Result<libc::ifreq> {
        let mut r = self.request();
        self.ioctl(op, &mut r)?;
        Ok(r)
    }

    /// Its number.
    pub fn index(&self) -> nix::Result<i32> {
        let r = self.get(libc::SIOCGIFINDEX)?;
        // SAFETY: SIOCGIFINDEX filled this field; any bits are an integer.
        Ok(unsafe { r.ifr_ifru.ifru_ifindex })
    }

    /// Its MTU.
    pub fn mtu(&self) -> nix::Result<usize> {
        let r = self.get(libc::SIOCGIFMTU)?;
        // SAFETY: SIOCGIFMTU filled this field; any bits are an integer.
        Ok(usize::try_from(unsafe { r.ifr_ifru.ifru_mtu }).unwrap_or(0))
    }

    /// Whether it is up.
    pub fn is_up(&self) -> nix::Result<bool> {
        let r = self.get(libc::SIOCGIFFLAGS)?;
        // SAFETY: SIOCGIFFLAGS filled this field; any bits are an integer.
        Ok(i32::from(unsafe { r.ifr_ifru.ifru_flags }) & libc::IFF_UP != 0)
    }

    /// Its receive and transmit queues in use; one each when the driver does not say.
    pub fn queues(&self) -> (u32, u32) {
        // `struct ethtool_channels`: command, four maxima, then rx, tx, other and combined.
        let mut channels = [0u32; 9];
        channels[0] = ETHTOOL_GCHANNELS;
        let mut r = self.request();
        r.ifr_ifru.ifru_data = channels.as_mut_ptr().cast();
        // The ioctl writes to `channels`, which the request points to and which outlives it.
        if self.ioctl(libc::SIOCETHTOOL, &mut r).is_err() {
            return (1, 1);
        }
        let [rx, tx, _, combined] = channels[5..] else { return (1, 1) };
        ((rx + combined).max(1), (tx + combined).max(1))
    }

    /// Sets its MTU.
    pub fn set_mtu(&self, mtu: u32) -> nix::Result<()> {
        let mut r = self.request();
        r.ifr_ifru.ifru_mtu = i32::try_from(mtu).map_err(|_| Errno::EINVAL)?;
        self.ioctl(libc::SIOCSIFMTU, &mut r)
    }

    /// Whether its frames are Ethernet (a loopback interface's are).
    pub fn is_ethernet(&self) -> nix::Result<bool> {
        let r = self.get(libc::SIOCGIFHWADDR)?;
        // SAFETY: SIOCGIFHWADDR filled this field; any bits are an integer.
        let family = unsafe { r.ifr_ifru.ifru_hwaddr.sa_family };
        Ok(family == libc::ARPHRD_ETHER || family == libc::ARPHRD_LOOPBACK)
    }

    /// Sets its Ethernet address.
    pub fn set_mac(&self, mac: [u8; 6]) -> nix::Result<()> {
        let mut r = self.request();
        let mut address = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
        for (to, from) in address.sa_data.iter_mut().zip(mac) {
            *to = from as libc::c_char;
        }
        r.ifr_ifru.ifru_hwaddr = address;
        self.ioctl(libc::SIOCSIFHWADDR, &mut r)
    }

    /// Brings it up.
    pub fn set_up(&self) -> nix::Result<()> {
        let mut r = self.get(libc::SIOCGIFFLAGS)?;
        // SAFETY: SIOCGIFFLAGS filled this field; any bits are an integer.
        let flags = unsafe { r.ifr_ifru.ifru_flags };
        r.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
        self.ioctl(libc::SIOCSIFFLAGS, &mut r)
    }
}

fn request(name: &str) -> nix::Result<libc::ifreq> {
    // SAFETY: `ifreq` is plain data, for which zeros are a value.
    let mut r: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays 0.
    if name.is_empty() || name.len() >= r.ifr_name.len() || name.contains('\0') {
        return Err(Errno::EINVAL);
    }
    for (to, from) in r.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(r)
}

/// Opens one queue of TAP interface `name`, which is made unless it exists. `device` is `/dev/net/tun`, open.
pub fn tun_queue(device: &File, name: &str, flags: libc::c_int) -> nix::Result<()> {
    let mut r = request(name)?;
    r.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`.
    Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut r) }).map(drop)
}

/// Sets the length of the offload header that goes before each frame of a TAP.
pub fn tun_set_header_len(queue: BorrowedFd<'_>, len: usize) -> nix::Result<()> {
    let len = len as libc::c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one `int`.
    Errno::result(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) }).map(drop)
}

/// Tells the kernel which work on frames it may leave to the reader of a TAP.
pub fn tun_set_offload(queue: BorrowedFd<'_>, features: libc::c_uint) -> nix::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    let rc = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(features)) };
    Errno::result(rc).map(drop)
}

/// A packet socket that is bound to nothing and so gets nothing yet.
pub fn packet_socket() -> nix::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers are involved.
    let fd = Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets an option of level `SOL_PACKET`.
fn set_packet_option<T: Copy>(socket: BorrowedFd<'_>, option: libc::c_int, value: &T) -> nix::Result<()> {
    let (p, len) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: `len` bytes are readable at `p`.
    Errno::result(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, p, len) }).map(drop)
}

/// Switches on a `PACKET_*` option.
pub fn packet_enable(socket: BorrowedFd<'_>, option: libc::c_int) -> nix::Result<()> {
    set_packet_option(socket, option, &1)
}

/// The interface takes frames for any address for as long as the socket is open.
pub fn packet_promiscuous(socket: BorrowedFd<'_>, index: i32) -> nix::Result<()> {
    let membership = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_packet_option(socket, libc::PACKET_ADD_MEMBERSHIP, &membership)
}

/// From here on the socket gets the frames of interface `index`.
pub fn packet_bind(socket: BorrowedFd<'_>, index: i32) -> nix::Result<()> {
    // SAFETY: `sockaddr_ll` is plain data, for which zeros are a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index;
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `len` bytes are readable at the address.
    let rc = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    Errno::result(rc).map(drop)
}

/// Frames the kernel dropped because nobody read them in time, since the last call.
pub fn packet_drops(socket: BorrowedFd<'_>) -> nix::Result<u32> {
    // SAFETY: `tpacket_stats` is plain data, for which zeros are a value.
    let mut stats: libc::tpacket_stats = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    let (fd, p) = (socket.as_raw_fd(), (&raw mut stats).cast());
    // SAFETY: `len` bytes are writable at `p`.
    Errno::result(unsafe {
        libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, p, &raw mut len)
    })?;
    Ok(stats.tp_drops)
}
