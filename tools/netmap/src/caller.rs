//! The way to the daemon: where its socket is, and one call at a time over connections of their own.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, socket};
use valecast_ring::attach::send_msg;
use valecast_ring::netmap::SOCKET;
use valecast_ring::netmap::call::{Answer, BODY, Call, MAGIC, Token, VERSION, Welcome, receive};
use zerocopy::IntoBytes;

/// How long the daemon may take to answer.
const PATIENCE: u16 = 10_000;
/// The program's own descriptors are numbered from the bottom, and `select` reaches no further than 1024.
const ABOVE: libc::c_int = 512;

/// The daemon's socket: what `VALECAST_SOCKET` names (the run directory, or a socket in it), else that of the default run
/// directory.
pub fn socket_path() -> PathBuf {
    let named = std::env::var_os("VALECAST_SOCKET").filter(|v| !v.is_empty()).map(PathBuf::from);
    let dir = named.unwrap_or_else(run_dir);
    if dir.is_dir() || !dir.exists() && dir.extension().is_none() && dir.file_name() != Some(SOCKET.as_ref())
    {
        return dir.join(SOCKET);
    }
    dir.with_file_name(SOCKET)
}

/// As the daemon has it.
fn run_dir() -> PathBuf {
    // SAFETY: the call only tells a number.
    let uid = unsafe { libc::geteuid() };
    if uid == 0 {
        return PathBuf::from("/run/valecast");
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|d| !d.is_empty()) {
        Some(dir) => Path::new(&dir).join("valecast"),
        None => PathBuf::from(format!("/tmp/valecast-{uid}")),
    }
}

/// A connection to the daemon. There being none is what netmap says of a device without a driver.
pub fn dial(path: &Path, cloexec: bool) -> Result<OwnedFd, i32> {
    let flags = if cloexec { SockFlag::SOCK_CLOEXEC } else { SockFlag::empty() };
    let sock = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).map_err(|e| e as i32)?;
    let addr = UnixAddr::new(path).map_err(|_| libc::ENXIO)?;
    loop {
        match connect(sock.as_raw_fd(), &addr) {
            Ok(()) => return Ok(sock),
            Err(Errno::EINTR) => {}
            Err(e @ (Errno::EACCES | Errno::EPERM)) => return Err(e as i32),
            Err(_) => return Err(libc::ENXIO),
        }
    }
}

/// Where a connection leads.
pub fn peer(fd: BorrowedFd<'_>) -> Option<PathBuf> {
    let addr: UnixAddr = nix::sys::socket::getpeername(fd.as_raw_fd()).ok()?;
    addr.path().map(Path::to_owned).filter(|p| p.as_os_str().as_bytes().ends_with(SOCKET.as_bytes()))
}

/// Waits for the daemon to say something.
fn ready(fd: BorrowedFd<'_>) -> Result<(), i32> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    loop {
        match nix::poll::poll(&mut fds, PollTimeout::from(PATIENCE)) {
            Err(Errno::EINTR) => {}
            Ok(n) if n > 0 => return Ok(()),
            _ => return Err(libc::ENXIO),
        }
    }
}

/// The token of a descriptor, which stays in it for whoever asks next.
pub fn token(fd: BorrowedFd<'_>) -> Result<Token, i32> {
    ready(fd)?;
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    receive::<Welcome>(fd, flags).map(|(w, _)| w.token).map_err(|_| libc::ENXIO)
}

/// Makes one call about the descriptor with this token.
pub fn call(
    path: &Path,
    token: &Token,
    reqtype: u16,
    name: &[u8; 64],
    body: &[u8],
) -> Result<(Box<Answer>, Vec<OwnedFd>), i32> {
    let sock = dial(path, true)?;
    ready(sock.as_fd())?;
    receive::<Welcome>(sock.as_fd(), MsgFlags::empty()).map_err(|_| libc::ENXIO)?;
    let mut padded = [0u8; BODY];
    padded.get_mut(..body.len()).ok_or(libc::EMSGSIZE)?.copy_from_slice(body);
    let call = Call { magic: MAGIC, version: VERSION, reqtype, token: *token, name: *name, body: padded };
    send_msg(sock.as_fd(), call.as_bytes(), &[]).map_err(|_| libc::ENXIO)?;
    ready(sock.as_fd())?;
    let (answer, fds) = receive::<Answer>(sock.as_fd(), MsgFlags::empty()).map_err(|_| libc::ENXIO)?;
    Ok((Box::new(answer), fds.into_iter().map(out_of_the_way).collect()))
}

/// A descriptor that the program did not ask for, numbered where it is not in its way.
fn out_of_the_way(fd: OwnedFd) -> OwnedFd {
    // SAFETY: the call makes a new descriptor of one that is ours.
    let high = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, ABOVE) };
    if high < 0 {
        return fd;
    }
    // SAFETY: just made, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(high) }
}
