//! The socket: listening, one client at a time, and a loop over epoll.
//!
//! Everything waits in one epoll set, so a server can have a thread of its own ([`Server::run`]) or be one descriptor
//! in another's loop ([`AsFd`], [`Server::turn`]).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::connection::{Connection, Gone};
use super::device::{Device, Peer};
use super::session::Session;

const LISTENER: u64 = 0;
pub(super) const CLIENT: u64 = 1;
pub(super) const RESAMPLE: u64 = 2;
const STOP: u64 = 3;

/// The socket could not be had or waited for.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Somebody listens there.
    #[error("{0}: another process listens on this socket; give the port another `socket`")]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{0}: exists and is not a socket; remove it or give the port another `socket`")]
    NotASocket(PathBuf),
    /// The system said no.
    #[error("{what}: {source}")]
    Os {
        /// What was being done, to what.
        what: String,
        /// What it said.
        source: io::Error,
    },
}

fn os<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> ServerError {
    move |e| ServerError::Os { what: what.into(), source: e.into() }
}

/// A device behind a socket.
#[derive(Debug)]
pub struct Server<D> {
    listener: UnixListener,
    bound: Option<(PathBuf, u64)>,
    epoll: Epoll,
    session: Session<D>,
    client: Option<Connection>,
}

impl<D: Device> Server<D> {
    /// Listens at `path`; a socket left there by a process that is gone is replaced.
    pub fn bind(path: &Path, session: Session<D>) -> Result<Self, ServerError> {
        let listener = match UnixListener::bind(path) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                clear_stale(path)?;
                UnixListener::bind(path)
            }
            other => other,
        };
        let listener = listener.map_err(os(format!("listen on {}", path.display())))?;
        let inode = std::fs::symlink_metadata(path).map_err(os(format!("{}", path.display())))?.ino();
        let mut server = Self::from_listener(listener, session)?;
        server.bound = Some((path.to_owned(), inode));
        Ok(server)
    }

    /// Serves who connects to `listener`, whose path is the caller's business.
    pub fn from_listener(listener: UnixListener, session: Session<D>) -> Result<Self, ServerError> {
        listener.set_nonblocking(true).map_err(os("make the listening socket non-blocking"))?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(os("epoll_create"))?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER)).map_err(os("epoll_ctl"))?;
        Ok(Self { listener, bound: None, epoll, session, client: None })
    }

    /// The conversation and its device.
    pub fn session(&mut self) -> &mut Session<D> {
        &mut self.session
    }

    /// Whether a client is connected.
    pub fn connected(&self) -> bool {
        self.client.is_some()
    }

    /// Who is.
    pub fn peer(&self) -> Option<Peer> {
        self.client.as_ref().map(Connection::peer)
    }

    /// Ends the connection, if there is one, as if the client had.
    pub fn hang_up(&mut self) {
        if let Some(mut client) = self.client.take() {
            client.leave(&self.epoll);
            self.session.detach();
        }
    }

    /// Serves until `stop` is readable.
    pub fn run(&mut self, stop: BorrowedFd<'_>) -> Result<(), ServerError> {
        self.epoll.add(stop, EpollEvent::new(EpollFlags::EPOLLIN, STOP)).map_err(os("epoll_ctl"))?;
        let ended = loop {
            match self.turn(EpollTimeout::NONE) {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(e) => break Err(e),
            }
        };
        self.epoll.delete(stop).map_err(os("epoll_ctl"))?;
        ended
    }

    /// Waits for at most `timeout` and does what there is to do; true if told to stop.
    pub fn turn(&mut self, timeout: EpollTimeout) -> Result<bool, ServerError> {
        let mut events = [EpollEvent::empty(); 4];
        let n = match self.epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            other => other.map_err(os("epoll_wait"))?,
        };
        let ready = |token| events[..n].iter().any(|e| e.data() == token);
        // In this order: an interrupt's end before what follows it; a client's end before the next one's arrival.
        if ready(RESAMPLE) {
            self.session.resampled();
        }
        if ready(CLIENT) {
            self.serve();
        }
        if ready(LISTENER) {
            self.accept();
        }
        Ok(ready(STOP))
    }

    fn accept(&mut self) {
        let sock = match self.listener.accept() {
            Ok((sock, _)) => sock,
            Err(e) => {
                if e.kind() != io::ErrorKind::WouldBlock {
                    tracing::warn!(%e, "a VM could not connect");
                }
                return;
            }
        };
        if self.client.is_some() {
            self.session.bus().counters().turned_away.add(1);
            tracing::warn!("a second VM was turned away: this port already has one");
            return;
        }
        let peer = match getsockopt(&sock, PeerCredentials) {
            Ok(c) => Peer { pid: c.pid(), uid: c.uid(), gid: c.gid() },
            Err(e) => {
                tracing::warn!(%e, "a VM could not connect");
                return;
            }
        };
        if let Err(why) = self.session.device().admit(&peer) {
            self.session.bus().counters().turned_away.add(1);
            tracing::warn!(pid = peer.pid, "a VM was turned away: {why}");
            return;
        }
        let event = EpollEvent::new(EpollFlags::EPOLLIN, CLIENT);
        let added = sock.set_nonblocking(true).and_then(|()| Ok(self.epoll.add(&sock, event)?));
        if let Err(e) = added {
            tracing::warn!(%e, "a VM could not connect");
            return;
        }
        self.session.bus().counters().clients.add(1);
        self.client = Some(Connection::new(sock, peer));
    }

    /// Serves the client; if it is gone, or makes no sense, makes room for the next.
    fn serve(&mut self) {
        let Some(mut client) = self.client.take() else { return };
        match client.serve(&mut self.session).and_then(|()| client.rearm(&self.epoll, &self.session)) {
            Ok(()) => self.client = Some(client),
            Err(why) => {
                match why {
                    Gone::Closed => tracing::info!("the VM disconnected"),
                    Gone::Broken(what) => {
                        self.session.bus().counters().broken.add(1);
                        tracing::warn!("connection to the VM cut: {what}");
                    }
                }
                client.leave(&self.epoll);
                self.session.detach();
            }
        }
    }
}

impl<D> AsFd for Server<D> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl<D> Drop for Server<D> {
    fn drop(&mut self) {
        if let Some((path, inode)) = &self.bound {
            // Only if it is still ours.
            if std::fs::symlink_metadata(path).is_ok_and(|m| m.ino() == *inode) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// Removes a socket that nobody listens on.
fn clear_stale(path: &Path) -> Result<(), ServerError> {
    let meta = std::fs::symlink_metadata(path).map_err(os(format!("{}", path.display())))?;
    if !meta.file_type().is_socket() {
        return Err(ServerError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(os(format!("remove the old socket {}", path.display())))
        }
        _ => Err(ServerError::InUse(path.to_owned())),
    }
}
