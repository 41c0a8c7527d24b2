//! Adds IP addresses to an interface: one `RTM_NEWADDR` each.

use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// `struct nlmsghdr` and `struct ifaddrmsg`.
const HEADERS: usize = 16 + 8;

/// Sets `addr`/`prefix` on interface `index` of this thread's network namespace; an address that is there
/// already stays.
pub fn add_address(index: i32, addr: IpAddr, prefix: u8) -> nix::Result<()> {
    let fd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let message = message(index, addr, prefix);
    // Unbound and unconnected: the kernel is where it goes, and a number is given to us.
    send(fd.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0u8; 1024];
    let n = recv(fd.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    match acknowledged(&answer[..n]) {
        Some(0) => Ok(()),
        Some(error) => Err(Errno::from_raw(error.wrapping_neg())),
        None => Err(Errno::EPROTO),
    }
}

/// The error code (0 is none) of an `NLMSG_ERROR`, which is also how the kernel says yes.
fn acknowledged(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let code = i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?);
    (i32::from(kind) == libc::NLMSG_ERROR).then_some(code)
}

fn message(index: i32, addr: IpAddr, prefix: u8) -> Vec<u8> {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let (family, octets) = match addr {
        IpAddr::V4(a) => (libc::AF_INET, a.octets().to_vec()),
        IpAddr::V6(a) => (libc::AF_INET6, a.octets().to_vec()),
    };
    // A TAP's peer is this process, so looking for duplicates would only make the address late.
    let nodad = if addr.is_ipv6() { libc::IFA_F_NODAD as u8 } else { 0 };
    let mut m = Vec::with_capacity(HEADERS + 3 * 20);
    m.extend([0; 4]);
    m.extend(libc::RTM_NEWADDR.to_ne_bytes());
    m.extend((flags as u16).to_ne_bytes());
    m.extend(1u32.to_ne_bytes());
    m.extend(0u32.to_ne_bytes());
    m.extend([family as u8, prefix, nodad, libc::RT_SCOPE_UNIVERSE]);
    m.extend(index.to_ne_bytes());
    attribute(&mut m, libc::IFA_LOCAL, &octets);
    attribute(&mut m, libc::IFA_ADDRESS, &octets);
    if let IpAddr::V4(a) = addr
        && prefix < 31
    {
        let host = u32::MAX >> prefix;
        attribute(&mut m, libc::IFA_BROADCAST, &(a.to_bits() | host).to_be_bytes());
    }
    let len = m.len() as u32;
    m[..4].copy_from_slice(&len.to_ne_bytes());
    m
}

/// Values are 4 or 16 bytes long, so that nothing needs padding.
fn attribute(m: &mut Vec<u8>, kind: u16, value: &[u8]) {
    m.extend((4 + value.len() as u16).to_ne_bytes());
    m.extend(kind.to_ne_bytes());
    m.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lays_out_an_address() {
        let m = message(7, "10.1.2.3".parse().unwrap(), 24);
        assert_eq!(m.len(), HEADERS + 3 * 8);
        assert_eq!(m[..4], (m.len() as u32).to_ne_bytes());
        assert_eq!(m[16..24], [&[2, 24, 0, 0][..], &7u32.to_ne_bytes()].concat());
        assert_eq!(m[m.len() - 4..], [10, 1, 2, 255]);
        assert_eq!(message(7, "fd00::1".parse().unwrap(), 64).len(), HEADERS + 2 * 20);
    }

    #[test]
    fn reads_an_answer() {
        let mut a = vec![0; 36];
        a[4..6].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(acknowledged(&a), Some(0));
        a[16..20].copy_from_slice(&(-13i32).to_ne_bytes());
        assert_eq!(acknowledged(&a), Some(-13));
        assert_eq!(acknowledged(&a[..10]), None);
    }
}
