//! A stream socket in the file system.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use valecast_config::SocketAccess;

use super::{DaemonError, set_access};

/// The socket's file. Dropping it removes the file.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds a socket; one that nobody listens at any more is replaced. Nobody can connect before it has its mode and owner.
///
/// # Errors
/// When somebody listens there, what is there is no socket, or the system refuses.
pub fn bind_stream(path: &Path, access: &SocketAccess) -> Result<(SocketFile, UnixListener), DaemonError> {
    let at = |what| move |e: Errno| fail(path, what, e.into());
    if UnixStream::connect(path).is_ok() {
        return Err(at("another process listens there")(Errno::EADDRINUSE));
    }
    if std::fs::symlink_metadata(path).is_ok_and(|m| !m.file_type().is_socket()) {
        return Err(at("what is there is no socket")(Errno::EEXIST));
    }
    let _ = std::fs::remove_file(path);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let sock: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(at("socket"))?;
    let addr = UnixAddr::new(path).map_err(at("the path is too long for a socket"))?;
    bind(sock.as_raw_fd(), &addr).map_err(at("bind"))?;
    let file = SocketFile(path.to_owned());
    set_access(path, access)?;
    listen(&sock, Backlog::new(128).map_err(at("listen"))?).map_err(at("listen"))?;
    Ok((file, UnixListener::from(sock)))
}

/// An error about something at a path or address.
pub(crate) fn fail(path: impl Into<PathBuf>, what: &'static str, source: io::Error) -> DaemonError {
    DaemonError::Socket { path: path.into(), what, source }
}
