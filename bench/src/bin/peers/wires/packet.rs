//! An interface, through a packet socket: what a program without special rights to a switch has.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt::RcvBuf,
};

use super::datagram::Datagrams;
use crate::peer::Trouble;

/// Opens a socket on an interface in a namespace.
pub fn open(netns: &str, ifname: &str) -> Result<Datagrams, Trouble> {
    let fd = inside(netns, || {
        let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
        setsockopt(&fd, RcvBuf, &(8 << 20))?;
        let address = getifaddrs()?
            .filter(|i| i.interface_name == ifname)
            .find_map(|i| i.address.and_then(|a| a.as_link_addr().copied()))
            .ok_or_else(|| format!("no interface {ifname} in {netns}"))?;
        bind(fd.as_raw_fd(), &address)?;
        Ok(fd)
    })?;
    Ok(Datagrams::new(fd))
}

/// Calls `work` on a thread that is in the namespace; what it opens stays there.
pub fn inside<T: Send>(netns: &str, work: impl FnOnce() -> Result<T, Trouble> + Send) -> Result<T, Trouble> {
    let path = format!("/run/netns/{netns}");
    let namespace = File::open(&path).map_err(|e| format!("{path}: {e}"))?;
    let enter = || {
        setns(&namespace, CloneFlags::CLONE_NEWNET)?;
        work()
    };
    std::thread::scope(|scope| scope.spawn(enter).join())
        .map_err(|_| "the thread in the namespace panicked")?
}
