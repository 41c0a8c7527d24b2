//! The thread that serves a port: its socket, the guest's accesses, late interrupts, and who comes and goes.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use valecast_switch::clock::now_ns;
use valecast_switch::port::Opened;
use valecast_switch::port::outside::Site;
use valecast_switch::switch::Client;

use super::egress::E1000Egress;
use super::ingress::E1000Ingress;
use super::registers::Registers;
use super::shared::Shared;
use crate::vfio_user::{Peer, Server, ServerError};

const SERVER: u64 = 0;
const TIMER: u64 = 1;
const STOP: u64 = 2;
/// How long a connection may take to say that it is a VM monitor.
const PATIENCE: Duration = Duration::from_secs(5);

/// A port and its thread's state.
pub struct Serving {
    /// The bus, with the card's registers on it.
    pub server: Server<Registers>,
    /// The rest of the card.
    pub shared: Arc<Shared>,
    /// The port's place.
    pub site: Site,
}

/// Whoever is at the socket as the switch names them.
pub fn client(peer: Peer) -> Client {
    Client { pid: peer.pid, uid: peer.uid, gid: peer.gid }
}

impl Serving {
    /// Serves until `stop` is readable.
    pub fn run(mut self, stop: BorrowedFd<'_>) {
        if let Err(e) = self.serve(stop) {
            tracing::error!("the port is not served any more: {e}");
        }
    }

    fn serve(&mut self, stop: BorrowedFd<'_>) -> Result<(), ServerError> {
        let os = |source: Errno| ServerError::Os { what: "epoll".into(), source: source.into() };
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(os)?;
        for (fd, token) in [(self.server.as_fd(), SERVER), (self.shared.timer.as_fd(), TIMER), (stop, STOP)] {
            epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token)).map_err(os)?;
        }
        let (mut joined, mut silent) = (None, None);
        let ended = loop {
            let mut events = [EpollEvent::empty(); 3];
            let n = match epoll.wait(&mut events, timeout(silent)) {
                Ok(n) => n,
                Err(Errno::EINTR) => 0,
                Err(e) => break Err(os(e)),
            };
            let ready = |token| events[..n].iter().any(|e| e.data() == token);
            if ready(STOP) {
                break Ok(());
            }
            if ready(TIMER) {
                self.shared.tick(now_ns());
            }
            if ready(SERVER)
                && let Err(e) = self.server.turn(EpollTimeout::ZERO)
            {
                break Err(e);
            }
            // One client at most has gone or come in a turn: a gone one's successor is heard in the next.
            let plugged = self.server.session().device().is_plugged();
            match (plugged, joined) {
                (true, None) => joined = self.join(),
                (false, Some(number)) => {
                    self.site.disconnect(number);
                    joined = None;
                    tracing::info!("the VM has gone; waiting for the next");
                }
                _ => {}
            }
            silent = match (self.server.connected() && !plugged, silent) {
                (false, _) => None,
                (true, None) => Some(Instant::now()),
                (true, since) => since,
            };
            if silent.is_some_and(|since| since.elapsed() >= PATIENCE) {
                tracing::warn!("a connection that said nothing for {PATIENCE:?} was closed");
                self.server.hang_up();
                silent = None;
            }
        };
        if let Some(number) = joined {
            self.site.disconnect(number);
        }
        ended
    }

    /// A VM has come.
    fn join(&mut self) -> Option<u64> {
        let client = self.server.peer().map(client);
        let opened = Opened {
            ingress: vec![Box::new(E1000Ingress::new(self.shared.clone()))],
            egress: Arc::new(E1000Egress::new(self.shared.clone())),
            keep: Vec::new(),
        };
        let pid = client.map(|c| c.pid);
        match self.site.connect(opened, client, 0) {
            Ok(number) => {
                tracing::info!(pid, "a VM has come");
                Some(number)
            }
            Err(e) => {
                tracing::error!(pid, "a VM was turned away: {e}");
                self.server.hang_up();
                None
            }
        }
    }
}

fn timeout(silent: Option<Instant>) -> EpollTimeout {
    let left = silent.map(|since| PATIENCE.saturating_sub(since.elapsed()).as_millis() as u16 + 1);
    left.map_or(EpollTimeout::NONE, EpollTimeout::from)
}
