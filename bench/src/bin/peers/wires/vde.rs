//! A port of vde_switch: datagrams on Unix sockets, after a request on its control socket (VDE's protocol, version 3).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, recv, send, setsockopt, socket,
    sockopt::SndBuf,
};

use super::datagram::Datagrams;
use crate::frames::Frames;
use crate::peer::{Trouble, Wire};

const MAGIC: u32 = 0xfeed_face;
const VERSION: u32 = 3;
/// "Any free port."
const NEW_PORT: u32 = 0;
/// A Unix address: family and path.
const ADDRESS: usize = 2 + 108;
const DESCRIPTION: usize = 128;

/// One port.
pub struct VdeWire {
    data: Datagrams,
    own: PathBuf,
    _control: OwnedFd,
}

/// The request for a port whose frames go to the socket at `own`.
fn request(own: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    [MAGIC, VERSION, NEW_PORT].iter().for_each(|n| bytes.extend(n.to_le_bytes()));
    bytes.extend((AddressFamily::Unix as u16).to_le_bytes());
    bytes.extend(own.as_os_str().as_encoded_bytes());
    bytes.resize(12 + ADDRESS, 0);
    bytes.extend(b"valecast-bench");
    bytes.resize(12 + ADDRESS + DESCRIPTION, 0);
    bytes
}

/// The path in a Unix address.
fn path_in(address: &[u8]) -> Option<PathBuf> {
    let path: Vec<u8> = address.get(2..)?.iter().copied().take_while(|b| *b != 0).collect();
    (!path.is_empty()).then(|| PathBuf::from(String::from_utf8_lossy(&path).into_owned()))
}

impl VdeWire {
    /// Asks the switch whose control folder is `folder` for a port.
    pub fn open(folder: &Path) -> Result<Self, Trouble> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let control = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        connect(control.as_raw_fd(), &UnixAddr::new(&folder.join("ctl"))?)?;
        let name = format!("end-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let own = folder.join(name);
        let data = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&data, SndBuf, &(1 << 20))?;
        bind(data.as_raw_fd(), &UnixAddr::new(&own)?)?;
        send(control.as_raw_fd(), &request(&own), MsgFlags::MSG_NOSIGNAL)?;
        if poll(&mut [PollFd::new(control.as_fd(), PollFlags::POLLIN)], PollTimeout::from(5_000u16))? == 0 {
            return Err("vde_switch does not answer".into());
        }
        let mut answer = [0; ADDRESS];
        let n = recv(control.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let theirs = path_in(&answer[..n]).ok_or("vde_switch gives no address")?;
        connect(data.as_raw_fd(), &UnixAddr::new(&theirs)?)?;
        Ok(Self { data: Datagrams::new(data), own, _control: control })
    }
}

impl Drop for VdeWire {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.own);
    }
}

impl Wire for VdeWire {
    fn load(&mut self, frames: &Frames) -> Result<(), Trouble> {
        self.data.load(frames)
    }

    fn send(&mut self, n: u32) -> u32 {
        self.data.send(n)
    }

    fn recv(&mut self, max: u32) -> u32 {
        self.data.recv(max)
    }

    fn send_stamp(&mut self, stamp: u64) -> bool {
        self.data.send_stamp(stamp)
    }

    fn recv_stamps(&mut self, max: u32, found: &mut dyn FnMut(u64)) -> u32 {
        self.data.recv_stamps(max, found)
    }

    fn wait_recv(&mut self, many: u32, timeout: Duration) {
        self.data.wait_recv(many, timeout);
    }

    fn wait_send(&mut self, timeout: Duration) {
        self.data.wait_send(timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_protocol_s_form() {
        let b = request("/tmp/x".as_ref());
        assert_eq!(b[..12], [0xce, 0xfa, 0xed, 0xfe, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(b[12..14], [1, 0]);
        assert_eq!(path_in(&b[12..12 + ADDRESS]), Some("/tmp/x".into()));
        assert_eq!(path_in(&[1, 0]), None);
    }
}
