//! The port kind `vhost-user`: a socket, a thread that talks to one front end at a time, and the rings' way into the
//! switch.

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::{io, thread};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use valecast_config::{Port, PortKind, VhostUserPort};
use valecast_switch::daemon::SocketFile;
use valecast_switch::port::outside::{Kind, Served, Site};
use valecast_switch::port::{About, Egress, Ingress, OpenError, Opened};
use valecast_switch::switch::Client;

use super::connection::{Connection, Gone};
use super::counters::Counters;
use super::features::Shape;
use super::rx::Receiver;
use super::session::{Pair, Plug, Session};
use super::tx::Transmit;
use crate::e1000_port::default_mac;

const LISTENER: u64 = 0;
const FRONT_END: u64 = 1;
const STOP: u64 = 2;

/// How long (ms) after the last message rings are joined: a front end sets up one after another.
const SETTLE: u16 = 2;
/// Longest frame there is, in bytes: 64 KiB of IP, an Ethernet header, two tags.
const ANY_FRAME: usize = 65535 + LINK;
/// Bytes before the IP packet: an Ethernet header and two tags.
const LINK: usize = 22;

/// The kind `vhost-user`.
#[derive(Debug, Default)]
pub struct VhostUser;

/// A port that is being served.
struct Running {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
    _socket: SocketFile,
}

impl Kind for VhostUser {
    fn name(&self) -> &'static str {
        "vhost-user"
    }

    fn serve(&self, port: &Port, site: Site) -> Result<Box<dyn Served>, OpenError> {
        let PortKind::VhostUser(cfg) = &port.kind else {
            return Err(OpenError::File(format!("port {:?} is no vhost-user port", port.name)));
        };
        let (socket, listener) = site.listen()?;
        let os = |what: &str| {
            let what = format!("port {:?}: {what}", port.name);
            move |source: io::Error| OpenError::Os { what, source }
        };
        listener.set_nonblocking(true).map_err(os("make its socket non-blocking"))?;
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let stop = Arc::new(stop.map_err(|e| os("make an eventfd")(e.into()))?);
        let counters = Arc::new(Counters::default());
        let door = Door::new(cfg, site, listener, stop.clone(), counters.clone());
        let mut door = door.map_err(|e| os("make an epoll set")(e.into()))?;
        let thread = thread::Builder::new().name(format!("vhost-{}", port.name)).spawn(move || door.run());
        let thread = thread.map_err(os("start its thread"))?;
        Ok(Box::new(Running { stop, thread: Some(thread), counters, _socket: socket }))
    }
}

impl Served for Running {
    fn about(&self) -> About {
        About { counters: self.counters.all(), ..About::default() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of a vhost-user port panicked");
        }
    }
}

/// The rings' way into the switch.
struct Socket {
    site: Site,
    exclusive: bool,
    front_end: Option<Client>,
    joined: Option<u64>,
}

impl Plug for Socket {
    fn join(&mut self, pairs: &[Pair], mtu: Option<u16>) -> bool {
        let ingress = pairs.iter().map(|p| Box::new(Transmit::new(p.transmit.clone())) as Box<dyn Ingress>);
        let max_frame = mtu.map_or(ANY_FRAME, |m| usize::from(m) + LINK);
        let receive = pairs.iter().map(|p| p.receive.clone()).collect();
        let egress: Arc<dyn Egress> = Arc::new(Receiver::new(receive, self.exclusive, max_frame));
        let opened = Opened { ingress: ingress.collect(), egress, keep: Vec::new() };
        // The guest's memory is not the switch's to count.
        match self.site.connect(opened, self.front_end, 0) {
            Ok(number) => {
                self.joined = Some(number);
                let features = pairs.first().map_or(0, |p| p.receive.parts.features.0);
                tracing::info!(
                    port = self.site.port(),
                    pairs = pairs.len(),
                    "VM is up (features {features:#x})"
                );
                true
            }
            Err(e) => {
                tracing::warn!(port = self.site.port(), "the VM cannot be joined: {e}");
                false
            }
        }
    }

    fn part(&mut self) {
        if let Some(number) = self.joined.take() {
            self.site.disconnect(number);
        }
    }
}

/// The port's thread.
struct Door {
    listener: UnixListener,
    epoll: Epoll,
    stop: Arc<EventFd>,
    session: Session<Socket>,
    front_end: Option<Connection>,
    users: Vec<String>,
    groups: Vec<String>,
}

impl Door {
    fn new(
        cfg: &VhostUserPort,
        site: Site,
        listener: UnixListener,
        stop: Arc<EventFd>,
        counters: Arc<Counters>,
    ) -> Result<Self, Errno> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        epoll.add(stop.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
        let exclusive = site.is_exclusive();
        let shape = Shape {
            pairs: cfg.queues,
            offload: cfg.offload,
            mtu: cfg.mtu.and_then(|m| u16::try_from(m).ok()),
            mac: default_mac(site.switch(), site.port()),
            exclusive,
        };
        let socket = Socket { site, exclusive, front_end: None, joined: None };
        let session = Session::new(shape, socket, counters);
        let (users, groups) = (cfg.allow_users.clone(), cfg.allow_groups.clone());
        Ok(Self { listener, epoll, stop, session, front_end: None, users, groups })
    }

    fn run(&mut self) {
        loop {
            let wait = if self.session.is_dirty() { EpollTimeout::from(SETTLE) } else { EpollTimeout::NONE };
            let mut events = [EpollEvent::empty(); 4];
            let n = match self.epoll.wait(&mut events, wait) {
                Ok(n) => n,
                Err(Errno::EINTR) => continue,
                Err(e) => {
                    tracing::error!("a vhost-user port cannot wait for its VM any more: {e}");
                    break;
                }
            };
            let ready = |what| events[..n].iter().any(|e| e.data() == what);
            if ready(STOP) {
                break;
            }
            if n == 0 {
                self.session.settle();
            }
            // The end of one front end before the beginning of the next.
            if ready(FRONT_END) {
                self.serve();
            }
            if ready(LISTENER) {
                self.accept();
            }
        }
        let _ = self.stop.read();
        self.session.reset();
    }

    fn accept(&mut self) {
        let sock = match self.listener.accept() {
            Ok((sock, _)) => sock,
            Err(e) => {
                if e.kind() != io::ErrorKind::WouldBlock {
                    tracing::warn!("a VM could not connect: {e}");
                }
                return;
            }
        };
        let port = self.session.plug().site.port().to_owned();
        let client = match client(&sock) {
            Ok(c) => c,
            Err(e) => return tracing::warn!(port, "a VM could not connect: {e}"),
        };
        let turned_away = &self.session.counters().turned_away;
        if self.front_end.is_some() {
            turned_away.add(1);
            return tracing::warn!(port, pid = client.pid, "a second VM was turned away: the port has one");
        }
        if !Site::admits(&self.users, &self.groups, client) {
            turned_away.add(1);
            return tracing::warn!(
                port,
                uid = client.uid,
                "user turned away: not in allow_users or allow_groups"
            );
        }
        let event = EpollEvent::new(EpollFlags::EPOLLIN, FRONT_END);
        let added = sock.set_nonblocking(true).and_then(|()| Ok(self.epoll.add(&sock, event)?));
        if let Err(e) = added {
            return tracing::warn!(port, "a VM could not connect: {e}");
        }
        self.session.counters().clients.add(1);
        self.session.plug().front_end = Some(client);
        self.front_end = Some(Connection::new(sock));
    }

    /// Serves the front end; if it is gone, or makes no sense, makes room for the next.
    fn serve(&mut self) {
        let Some(mut front_end) = self.front_end.take() else { return };
        let Err(gone) = front_end.serve(&mut self.session) else {
            self.front_end = Some(front_end);
            return;
        };
        let port = self.session.plug().site.port().to_owned();
        match gone {
            Gone::Closed => tracing::info!(port, "the VM disconnected"),
            Gone::Broken(why) => {
                self.session.counters().broken.add(1);
                tracing::warn!(port, "connection to the VM cut: {why}");
            }
        }
        let _ = self.epoll.delete(front_end.as_fd());
        self.session.reset();
        self.session.plug().front_end = None;
    }
}

fn client(sock: &UnixStream) -> Result<Client, Errno> {
    let c = getsockopt(sock, PeerCredentials)?;
    Ok(Client { pid: c.pid(), uid: c.uid(), gid: c.gid() })
}
