//! Connections from anybody.
//!
//! A message may carry descriptors, and the last close of a descriptor may take as long as its maker likes (a
//! TCP connection that lingers, a FUSE file). The kernel is asked to refuse them (Linux 6.16 and later). Where
//! it cannot, a message that carries some is never taken, and connections are closed by threads of their own.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::libc;
use nix::sys::socket::{MsgFlags, recv, recvmsg};

/// `SO_PASSRIGHTS` (asm-generic/socket.h).
const SO_PASSRIGHTS: libc::c_int = 83;
/// Most threads that close at one time.
const MAX_CLOSING: usize = 64;
/// How many there are, and what waits for one of them.
static CLOSING: Mutex<(usize, Vec<OwnedFd>)> = Mutex::new((0, Vec::new()));

/// Asks the kernel to refuse descriptors on connections to `sock`; older ones do not know how.
pub fn refuse_descriptors(sock: &OwnedFd) {
    let no: libc::c_int = 0;
    // SAFETY: the option's value is an int, and its size is told.
    let _ = unsafe {
        let size = size_of_val(&no) as libc::socklen_t;
        libc::setsockopt(sock.as_raw_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, (&raw const no).cast(), size)
    };
}

/// Takes one message; `None` if there is none, if the peer has closed, or if descriptors came along.
pub(crate) fn hear(conn: &OwnedFd) -> Option<Vec<u8>> {
    let mut buf = [0u8; 512];
    {
        let mut iov = [IoSliceMut::new(&mut buf)];
        // Without room for control data, descriptors show as truncation; and peeking leaves them where they are.
        let peek = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        let seen = recvmsg::<()>(conn.as_raw_fd(), &mut iov, None, peek).ok()?;
        if seen.bytes == 0 || seen.flags.contains(MsgFlags::MSG_CTRUNC) {
            return None;
        }
    }
    let n = recv(conn.as_raw_fd(), &mut buf, MsgFlags::MSG_DONTWAIT).ok()?;
    Some(buf[..n].to_vec())
}

fn closing() -> MutexGuard<'static, (usize, Vec<OwnedFd>)> {
    CLOSING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes a connection, without waiting for it.
pub(crate) fn bury(conn: OwnedFd) {
    let mut c = closing();
    c.1.push(conn);
    if c.0 >= MAX_CLOSING {
        return;
    }
    let work = || loop {
        let next = {
            let mut c = closing();
            let next = c.1.pop();
            c.0 -= usize::from(next.is_none());
            next
        };
        match next {
            Some(conn) => drop(conn),
            None => return,
        }
    };
    // On a machine without threads to spare it waits for the next one.
    if std::thread::Builder::new().name("valecast-close".into()).spawn(work).is_ok() {
        c.0 += 1;
    }
}
