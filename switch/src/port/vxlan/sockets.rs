//! The sockets of vxlan ports.
//!
//! Other hosts send from any UDP port to the one that everybody listens at, so a port cannot have what it gets by
//! connecting its socket. Ports that listen at the same address therefore have a socket each in one `SO_REUSEPORT` group,
//! and the kernel asks a small program, made from what the ports are for, which of them a datagram is for
//! (`SO_ATTACH_REUSEPORT_CBPF`, socket(7)). What is for none goes to the first, which counts it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nix::libc;
use quinn_udp::{UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use valecast_config::VxlanPort;

use super::egress::Sender;
use crate::port::OpenError;

/// UDP ports that flows are spread over.
const SENDERS: usize = 8;
/// Bytes that may wait in the kernel, either way.
const SOCKET_BUFFER: usize = 16 << 20;
/// Most ports that listen at one address: as long as the program may be (`BPF_MAXINSNS`).
const MOST: usize = 300;
/// Index of the kernel's drops in `SO_MEMINFO` (`SK_MEMINFO_DROPS`, linux/sock_diag.h).
const MEMINFO_DROPS: usize = 8;
/// Bytes of IP and UDP headers.
const OVER_IPV4: usize = 28;
const OVER_IPV6: usize = 48;

/// What a port's receiving end consists of.
pub struct Ends {
    /// Receives.
    pub receive: Arc<Socket>,
    /// How.
    pub state: UdpSocketState,
    /// Bytes of the longest datagram that gets to the other end in one piece, as far as is known here.
    pub one_piece: usize,
    /// Its place among those that listen at the same address.
    pub membership: Membership,
}

/// What a datagram is sorted by.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Wanted {
    remote: IpAddr,
    vni: u32,
}

/// Who listens at an address, in the kernel's order.
type Group = Vec<(Wanted, Arc<Socket>)>;
type Key = (Option<String>, SocketAddr);

fn groups() -> &'static Mutex<HashMap<Key, Group>> {
    static GROUPS: OnceLock<Mutex<HashMap<Key, Group>>> = OnceLock::new();
    GROUPS.get_or_init(Mutex::default)
}

/// Leaves the group when dropped; nobody else holds the socket then.
pub struct Membership {
    key: Key,
    wanted: Wanted,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut groups = groups().lock().unwrap_or_else(PoisonError::into_inner);
        let Some(group) = groups.get_mut(&self.key) else { return };
        if let Some(at) = group.iter().position(|(w, _)| *w == self.wanted) {
            // As the kernel does when the socket is closed, which is here (`reuseport_detach_sock`).
            drop(group.swap_remove(at));
        }
        match group.first() {
            None => drop(groups.remove(&self.key)),
            Some((_, socket)) => {
                if let Err(e) = attach(socket, group) {
                    tracing::error!(local = %self.key.1, "cannot sort VXLAN datagrams any more: {e}");
                }
            }
        }
    }
}

fn fail(what: String) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Os { what, source }
}

fn udp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// The limit of the system may be far below what is asked for; then as much as it allows.
fn set_buffer(socket: &Socket, force: libc::c_int, usual: libc::c_int) -> io::Result<()> {
    let size = SOCKET_BUFFER as libc::c_int;
    set(socket, libc::SOL_SOCKET, force, &size).or_else(|_| set(socket, libc::SOL_SOCKET, usual, &size))
}

fn set<T: Copy>(socket: &Socket, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let (p, len) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: `len` bytes are readable at `p`; what an option's value points to is the caller's, alive.
    let rc = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, p, len) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get<T: Copy>(socket: &Socket, level: libc::c_int, option: libc::c_int, mut value: T) -> io::Result<T> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `len` bytes are writable at the value, which is plain numbers here.
    let rc =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut len) };
    if rc == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Datagrams that the kernel dropped because nobody read them in time.
pub fn drops(socket: &Socket) -> u64 {
    let all = get(socket, libc::SOL_SOCKET, libc::SO_MEMINFO, [0u32; MEMINFO_DROPS + 1]);
    all.map_or(0, |m| m[MEMINFO_DROPS].into())
}

/// The receiving socket, in the network namespace of this thread.
pub fn open(cfg: &VxlanPort) -> Result<Ends, OpenError> {
    let local = cfg.local;
    let key = (cfg.netns.clone(), local);
    let wanted = Wanted { remote: cfg.remote.ip(), vni: cfg.vni };
    let mut groups = groups().lock().unwrap_or_else(PoisonError::into_inner);
    let group = groups.entry(key.clone()).or_default();
    let socket = join(cfg, group, wanted);
    if group.is_empty() {
        groups.remove(&key);
    }
    let (receive, state) = socket?;
    let membership = Membership { key, wanted };
    let over = if local.is_ipv4() { OVER_IPV4 } else { OVER_IPV6 };
    let one_piece = path_mtu(cfg).saturating_sub(over);
    Ok(Ends { receive, state, one_piece, membership })
}

fn join(
    cfg: &VxlanPort,
    group: &mut Group,
    wanted: Wanted,
) -> Result<(Arc<Socket>, UdpSocketState), OpenError> {
    let local = cfg.local;
    if group.iter().any(|(w, _)| *w == wanted) {
        return Err(OpenError::File(format!(
            "another port takes frames of VNI {} from {} at {local} already",
            wanted.vni, wanted.remote
        )));
    }
    if group.len() >= MOST {
        return Err(OpenError::File(format!("at most {MOST} ports can listen at {local}")));
    }
    let what = format!("cannot listen at UDP {local}");
    if group.is_empty() {
        // A stranger's socket at this address would get a share of the datagrams: refused by not asking to share.
        let hint = " (if the address is in use: by another program, or an interface of the kernel's; \
                    or as another spelling of this address or namespace)";
        udp(local).and_then(|s| s.bind(&local.into())).map_err(fail(what.clone() + hint))?;
    }
    let listen = || {
        let socket = udp(local)?;
        socket.set_reuse_port(true)?;
        set_buffer(&socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        socket.bind(&local.into())?;
        Ok((Arc::new(socket), state))
    };
    let (socket, state) = listen().map_err(fail(what))?;
    group.push((wanted, socket.clone()));
    if let Err(e) = attach(&socket, group) {
        group.pop();
        return Err(fail(format!("cannot sort what arrives at UDP {local}"))(e));
    }
    Ok((socket, state))
}

/// Tells the kernel which of a group's sockets each datagram is for.
fn attach(socket: &Socket, group: &Group) -> io::Result<()> {
    let program = program(group.iter().map(|(w, _)| *w));
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: `SockFilter` is `repr(transparent)` over `sock_filter`; the kernel only reads.
    let fprog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &fprog)
}

/// The program: for each port, in the order of the group, compares network and sender and returns its number. Offsets
/// count from the UDP payload, and from `SKF_NET_OFF` those of the IP header (linux/filter.h). Where a datagram is too
/// short to be looked at, the kernel takes the first socket.
fn program(wanted: impl Iterator<Item = Wanted>) -> Vec<SockFilter> {
    let op = |code: u32, jt: u8, jf: u8, k: u32| SockFilter::new(code as u16, jt, jf, k);
    let load = |at: u32| op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let net = libc::SKF_NET_OFF as u32;
    let mut code = Vec::new();
    for (i, w) in (0u32..).zip(wanted) {
        let sender: Vec<(u32, u32)> = match w.remote {
            IpAddr::V4(ip) => vec![(12, ip.to_bits())],
            IpAddr::V6(ip) => (0..4).map(|n| (8 + 4 * n, (ip.to_bits() >> (96 - 32 * n)) as u32)).collect(),
        };
        // Instructions that are left before the next port's.
        let mut left = 2 + 2 * sender.len() as u8;
        code.push(load(4));
        code.push(op(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 0, 0, 8));
        let mut equal = |code: &mut Vec<SockFilter>, value| {
            left -= 1;
            code.push(op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, left, value));
            left = left.saturating_sub(1);
        };
        equal(&mut code, w.vni);
        for (at, value) in sender {
            code.push(load(net.wrapping_add(at)));
            equal(&mut code, value);
        }
        code.push(op(libc::BPF_RET | libc::BPF_K, 0, 0, i));
    }
    code.push(op(libc::BPF_RET | libc::BPF_K, 0, 0, 0));
    code
}

/// The sockets that send, each from a UDP port of its own; in the network namespace of this thread.
pub fn senders(cfg: &VxlanPort) -> Result<Vec<Sender>, OpenError> {
    let one = || {
        let socket = udp(cfg.local)?;
        set_buffer(&socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)?;
        // Nothing is to come back by it.
        socket.attach_filter(&[SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0)])?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        if !cfg.dont_fragment {
            // Of the two that it has set.
            let dont = libc::IP_PMTUDISC_DONT;
            if cfg.local.is_ipv4() {
                set(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &dont)?;
            } else {
                set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &dont)?;
                set(&socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, &0)?;
            }
        }
        match cfg.ttl {
            Some(ttl) if cfg.local.is_ipv4() => socket.set_ttl_v4(ttl.into())?,
            Some(ttl) => socket.set_unicast_hops_v6(ttl.into())?,
            None => {}
        }
        socket.bind(&SocketAddr::new(cfg.local.ip(), 0).into())?;
        Ok(Sender { socket, state })
    };
    let what = || format!("cannot send from {}", cfg.local.ip());
    (0..SENDERS).map(|_| one().map_err(fail(what()))).collect()
}

/// The MTU of the way to the other end, as far as the kernel knows; Ethernet's while there is no way.
fn path_mtu(cfg: &VxlanPort) -> usize {
    let ask = || {
        let socket = udp(cfg.local)?;
        socket.bind(&SocketAddr::new(cfg.local.ip(), 0).into())?;
        socket.connect(&cfg.remote.into())?;
        match cfg.local.is_ipv4() {
            true => get(&socket, libc::IPPROTO_IP, libc::IP_MTU, 0i32),
            false => get(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU, 0i32),
        }
    };
    ask().ok().and_then(|mtu| usize::try_from(mtu).ok()).unwrap_or(1500)
}
