//! The attach sockets: takes connections, checks who asks, hands out rings, and notices who went.
//!
//! One thread. A connection has some seconds to say what it wants; after that its only use is to end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, getsockopt, listen, socket,
    sockopt::PeerCredentials,
};
use nix::unistd::{Gid, Group, Uid, User, chown};
use valecast_config::SocketAccess;
use valecast_ring::attach::{Refusal, Reply, Request, send_msg};
use zerocopy::IntoBytes;

use super::stranger::{bury, hear, refuse_descriptors};
use super::{Daemon, DaemonError};
use crate::switch::{Client, Switch, SwitchError};

/// How long a connection may take to ask.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most connections that have not asked yet.
const MAX_WAITING: usize = 256;
/// Most connections that are accepted before those that have asked are served.
const MAX_ACCEPT: usize = 64;

/// The thread behind the attach sockets. Dropping it removes them.
pub struct Listener {
    stop: Arc<AtomicBool>,
    wake: Arc<EventFd>,
    sockets: Sender<Change>,
    served: Mutex<BTreeSet<String>>,
    thread: Option<JoinHandle<()>>,
}

enum Change {
    Serve(String, OwnedFd, PathBuf),
    Only(Vec<String>),
    Attached(Lease),
}

impl Listener {
    /// Binds the attach socket of every switch and begins to serve them.
    pub(super) fn start(daemon: &Daemon) -> Result<Self, DaemonError> {
        let run_dir = daemon.run_dir().to_owned();
        let at = |what| {
            let path = run_dir.clone();
            move |source| DaemonError::Socket { path, what, source }
        };
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|e| at("eventfd")(e.into()))?;
        let (wake, stop) = (Arc::new(wake), Arc::new(AtomicBool::new(false)));
        let (sockets, changes) = channel();
        let server = Server {
            daemon: daemon.clone(),
            stop: stop.clone(),
            wake: wake.clone(),
            changes,
            listening: HashMap::new(),
            waiting: Vec::new(),
            attached: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("valecast-attach".into())
            .spawn(move || server.run())
            .map_err(at("cannot start the thread"))?;
        let me = Self { stop, wake, sockets, served: Mutex::default(), thread: Some(thread) };
        let state = daemon.lock();
        me.refresh(&state.switches, &run_dir)?;
        Ok(me)
    }

    /// Detaches a port of this process when its lifeline ends.
    pub(super) fn watch(&self, lease: Lease) {
        let _ = self.sockets.send(Change::Attached(lease));
        let _ = self.wake.write(1);
    }

    /// Serves exactly these switches.
    pub(super) fn refresh(&self, switches: &BTreeMap<String, Switch>, dir: &Path) -> Result<(), DaemonError> {
        let _ = self.sockets.send(Change::Only(switches.keys().cloned().collect()));
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.retain(|n| switches.contains_key(n));
        for (name, s) in switches {
            if served.contains(name) {
                continue;
            }
            let path = Daemon::ring_socket(dir, name);
            let sock = bind_socket(&path, s.access())?;
            let _ = self.sockets.send(Change::Serve(name.clone(), sock, path));
            served.insert(name.clone());
        }
        let _ = self.wake.write(1);
        Ok(())
    }
}

/// Makes the directory of the sockets, if it is not there.
pub(super) fn make_run_dir(run_dir: &Path) -> Result<(), DaemonError> {
    let at = |what| move |source| DaemonError::Socket { path: run_dir.to_owned(), what, source };
    std::fs::create_dir_all(run_dir).map_err(at("cannot make the directory"))?;
    let owner = std::fs::metadata(run_dir).map_err(at("cannot look at the directory"))?.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        // Its owner could put other sockets in place of ours.
        return Err(at("the directory belongs to somebody else")(
            std::io::ErrorKind::PermissionDenied.into(),
        ));
    }
    Ok(())
}

fn connects(path: &Path) -> bool {
    let Ok(s) = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None) else {
        return false;
    };
    UnixAddr::new(path).and_then(|a| nix::sys::socket::connect(s.as_raw_fd(), &a)).is_ok()
}

pub(crate) fn bind_socket(path: &Path, access: &SocketAccess) -> Result<OwnedFd, DaemonError> {
    let at = |what| move |e: Errno| DaemonError::Socket { path: path.to_owned(), what, source: e.into() };
    if connects(path) {
        return Err(at("another daemon serves this switch")(Errno::EADDRINUSE));
    }
    let _ = std::fs::remove_file(path);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let sock = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).map_err(at("socket"))?;
    let addr = UnixAddr::new(path).map_err(at("the path is too long for a socket"))?;
    bind(sock.as_raw_fd(), &addr).map_err(at("bind"))?;
    set_access(path, access)?;
    refuse_descriptors(&sock);
    listen(&sock, Backlog::new(128).map_err(at("listen"))?).map_err(at("listen"))?;
    Ok(sock)
}

/// Gives a socket the mode and owner from the configuration.
pub(crate) fn set_access(path: &Path, access: &SocketAccess) -> Result<(), DaemonError> {
    let fail = |what, source| DaemonError::Socket { path: path.to_owned(), what, source };
    let mode = std::fs::Permissions::from_mode(access.mode);
    std::fs::set_permissions(path, mode).map_err(|e| fail("cannot set socket_mode", e))?;
    let unknown = |what| fail(what, std::io::Error::from(std::io::ErrorKind::NotFound));
    let uid = match &access.owner {
        None => None,
        Some(o) => Some(match o.parse() {
            Ok(n) => Uid::from_raw(n),
            Err(_) => {
                let user = User::from_name(o).ok().flatten();
                user.ok_or_else(|| unknown("socket_owner is no user of this system"))?.uid
            }
        }),
    };
    let gid = match &access.group {
        None => None,
        Some(g) => Some(match g.parse() {
            Ok(n) => Gid::from_raw(n),
            Err(_) => {
                let group = Group::from_name(g).ok().flatten();
                group.ok_or_else(|| unknown("socket_group is no group of this system"))?.gid
            }
        }),
    };
    if uid.is_some() || gid.is_some() {
        chown(path, uid, gid).map_err(|e| fail("cannot set socket_owner or socket_group", e.into()))?;
    }
    Ok(())
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.wake.write(1);
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}

/// A port in a client's hands.
pub(super) struct Lease {
    pub switch: String,
    pub port: String,
    /// Which attachment of that port.
    pub number: u64,
    pub conn: OwnedFd,
}

struct Server {
    daemon: Daemon,
    stop: Arc<AtomicBool>,
    wake: Arc<EventFd>,
    changes: Receiver<Change>,
    listening: HashMap<String, (OwnedFd, PathBuf)>,
    waiting: Vec<(String, OwnedFd, Instant)>,
    attached: Vec<Lease>,
}

impl Server {
    fn run(mut self) {
        let mut last_tick = Instant::now();
        while !self.stop.load(Ordering::Acquire) {
            self.obey();
            let ready = self.poll();
            self.expire();
            let _ = self.wake.read();
            self.gone(&ready);
            self.asked(&ready);
            self.accept(&ready);
            if last_tick.elapsed() >= Duration::from_secs(1) {
                last_tick = Instant::now();
                self.daemon.tick();
            }
        }
        for (_, path) in self.listening.values() {
            let _ = std::fs::remove_file(path);
        }
    }

    fn obey(&mut self) {
        while let Ok(c) = self.changes.try_recv() {
            match c {
                Change::Serve(name, sock, path) => {
                    self.listening.insert(name, (sock, path));
                }
                Change::Attached(lease) => self.attached.push(lease),
                Change::Only(names) => self.listening.retain(|n, (_, path)| {
                    let keep = names.contains(n);
                    if !keep {
                        let _ = std::fs::remove_file(path);
                    }
                    keep
                }),
            }
        }
    }

    /// Descriptors that have something to say.
    fn poll(&self) -> Vec<i32> {
        let wake = self.wake.as_fd();
        let all = [wake]
            .into_iter()
            .chain(self.listening.values().map(|(s, _)| s.as_fd()))
            .chain(self.waiting.iter().map(|(_, s, _)| s.as_fd()))
            .chain(self.attached.iter().map(|l| l.conn.as_fd()));
        let mut fds: Vec<_> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let _ = poll(&mut fds, PollTimeout::from(1000u16));
        fds.iter().filter(|f| f.any().unwrap_or(false)).map(|f| f.as_fd().as_raw_fd()).collect()
    }

    fn accept(&mut self, ready: &[i32]) {
        for (name, (sock, _)) in &self.listening {
            if !ready.contains(&sock.as_raw_fd()) {
                continue;
            }
            for _ in 0..MAX_ACCEPT {
                let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
                let Ok(fd) = accept4(sock.as_raw_fd(), flags) else { break };
                // SAFETY: the kernel has just made this descriptor for us.
                let conn = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
                // Whoever means it asks at once: those that have waited longest make room.
                if self.waiting.len() >= MAX_WAITING {
                    let (_, old, _) = self.waiting.remove(0);
                    bury(old);
                }
                self.waiting.push((name.clone(), conn, Instant::now()));
            }
        }
    }

    /// Connections that have not asked in time are ended.
    fn expire(&mut self) {
        let late = |since: &Instant| since.elapsed() >= PATIENCE;
        let (old, wait): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(|(.., since)| late(since));
        self.waiting = wait;
        old.into_iter().for_each(|(_, conn, _)| bury(conn));
    }

    /// Whoever is attached and says anything, or nothing any more, is detached.
    fn gone(&mut self, ready: &[i32]) {
        let (gone, here): (Vec<_>, Vec<_>) =
            self.attached.drain(..).partition(|l| ready.contains(&l.conn.as_raw_fd()));
        self.attached = here;
        for l in gone {
            let _ = self.daemon.with(&l.switch, |s| s.client_gone(&l.port, l.number));
            bury(l.conn);
        }
    }

    fn asked(&mut self, ready: &[i32]) {
        let (ask, wait): (Vec<_>, Vec<_>) =
            self.waiting.drain(..).partition(|(_, c, _)| ready.contains(&c.as_raw_fd()));
        self.waiting = wait;
        for (switch, conn, _) in ask {
            match self.serve(&switch, &conn) {
                Some((port, number)) => self.attached.push(Lease { switch, port, number, conn }),
                None => bury(conn),
            }
        }
    }

    /// Answers one request; the port if it was granted.
    fn serve(&self, switch: &str, conn: &OwnedFd) -> Option<(String, u64)> {
        let bytes = hear(conn)?;
        let refuse = |why, text: String| {
            tracing::debug!(switch, "attach refused: {text}");
            let reply = Reply::Refused(why, text).to_wire();
            let _ = send_msg(conn.as_fd(), reply.as_bytes(), &[]);
        };
        let request = match Request::parse(&bytes) {
            Ok(r) => r,
            Err(e) => {
                refuse(Refusal::BadRequest, e.to_string());
                return None;
            }
        };
        let creds = getsockopt(conn, PeerCredentials).ok()?;
        let client = Client { pid: creds.pid(), uid: creds.uid(), gid: creds.gid() };
        let keep = conn.try_clone().ok()?;
        let (end, number) = match self.daemon.with(switch, |s| s.attach_client(&request, client, keep)) {
            Ok(Ok(granted)) => granted,
            Ok(Err(e)) => {
                refuse(why(&e), e.to_string());
                return None;
            }
            Err(e) => {
                refuse(Refusal::NoSuchPort, e.to_string());
                return None;
            }
        };
        let mut fds = vec![end.region.fd().as_raw_fd()];
        for (kick, call) in &end.bells {
            fds.push(kick.fd().as_raw_fd());
            fds.push(call.fd().as_raw_fd());
        }
        let reply = Reply::Attached(*end.region.layout(), end.pairing()).to_wire();
        if send_msg(conn.as_fd(), reply.as_bytes(), &fds).is_err() {
            let _ = self.daemon.with(switch, |s| s.client_gone(&request.port, number));
            return None;
        }
        tracing::debug!(switch, port = request.port, pid = client.pid, "attached");
        Some((request.port, number))
    }
}

fn why(e: &SwitchError) -> Refusal {
    match e {
        SwitchError::Missing { .. } | SwitchError::NotARing { .. } => Refusal::NoSuchPort,
        SwitchError::Busy { .. } => Refusal::Busy,
        SwitchError::Denied { .. } => Refusal::Denied,
        SwitchError::Limit(_) => Refusal::Limit,
        _ => Refusal::Internal,
    }
}
