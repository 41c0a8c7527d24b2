//! netmap's control side, for programs that run under the preload library.
//!
//! In netmap this is the kernel's part: which descriptor has registered which rings of which port, who has them
//! for himself, which pipes and monitors there are, and what goes when the last descriptor is closed. Frames
//! never come by here: programs sync their rings with the workers, and with one another, in shared memory.
//!
//! - [`Service`] is the thread behind the socket; a connection is a program's descriptor, or makes one call;
//! - `calls` does what a call asks for;
//! - `files`: descriptors and what they have registered;
//! - `ports`: ports of switches, interfaces, persistent ports; `opening`: how they come to be; `memory`: what they lie in;
//! - `derived`: pipes and monitors, which live in the memory of the port they belong to.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{Shutdown, SockFlag, accept4, getsockopt, shutdown, sockopt::PeerCredentials};
use valecast_ring::attach::send_msg;
use valecast_ring::netmap::call::{Answer, Call, MAGIC, Token, VERSION, Welcome, parse};
use valecast_ring::netmap::{SOCKET, mem::Mem};
use zerocopy::IntoBytes;

use crate::daemon::{Daemon, DaemonError, bind_socket, bury, hear};
use crate::switch::Client;

mod calls;
mod derived;
mod files;
mod memory;
mod opening;
mod ports;
#[cfg(test)]
mod tests;

use files::Reg;
use ports::{Persistent, Port};

/// What a call comes to: an `errno`.
type Errno = i32;

/// Most descriptors that are open at a time.
const MAX_FILES: usize = 16384;
/// How often and after what time it is looked whether a process that is ending has ended.
const EXIT_TRIES: u32 = 200;
const EXIT_TRY: std::time::Duration = std::time::Duration::from_millis(5);
/// Most connections that are accepted in a row.
const MAX_ACCEPT: usize = 64;

/// The thread behind the socket. Dropping it removes the socket.
pub struct Service {
    stop: Arc<AtomicBool>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Binds the socket in the run directory and begins to serve it.
    pub(crate) fn start(daemon: &Daemon) -> Result<Self, DaemonError> {
        let path = daemon.run_dir().join(SOCKET);
        let at = |what| {
            let path = path.clone();
            move |source| DaemonError::Socket { path, what, source }
        };
        let cfg = daemon.loaded().netmap;
        let socket = bind_socket(&path, &cfg.socket)?;
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|e| at("eventfd")(e.into()))?;
        let (wake, stop) = (Arc::new(wake), Arc::new(AtomicBool::new(false)));
        let state = State {
            daemon: daemon.clone(),
            cfg,
            files: HashMap::new(),
            ports: BTreeMap::new(),
            mems: BTreeMap::new(),
            persistent: BTreeMap::new(),
            polled: BTreeMap::new(),
            ids: BTreeMap::new(),
            made: Vec::new(),
            next: 1,
        };
        let server = Server { state, socket, path: path.clone(), stop: stop.clone(), wake: wake.clone() };
        let thread = std::thread::Builder::new()
            .name("valecast-netmap".into())
            .spawn(move || server.run())
            .map_err(at("cannot start the thread"))?;
        Ok(Self { stop, wake, thread: Some(thread) })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.wake.write(1);
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}

/// A program's descriptor, or a connection that makes a call.
struct File {
    conn: OwnedFd,
    client: Client,
    reg: Option<Reg>,
}

/// Everything that is open. Port numbers are this module's own.
struct State {
    daemon: Daemon,
    cfg: valecast_config::Netmap,
    files: HashMap<Token, File>,
    ports: BTreeMap<u32, Port>,
    mems: BTreeMap<u16, Mem>,
    /// Ports made by `NETMAP_REQ_VALE_NEWIF`.
    persistent: BTreeMap<String, Persistent>,
    /// Interfaces of switches for which polling was asked, with how.
    polled: BTreeMap<String, (u32, u32, u32)>,
    /// Memory numbers of ports that are there whether they are open or not.
    ids: BTreeMap<String, u16>,
    /// Switches made because a program named them.
    made: Vec<String>,
    next: u32,
}

struct Server {
    state: State,
    socket: OwnedFd,
    path: PathBuf,
    stop: Arc<AtomicBool>,
    wake: Arc<EventFd>,
}

/// What may become readable.
enum Source {
    Other,
    File(Token),
    Lifeline(u32),
}

impl Server {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            let ready = self.poll();
            let _ = self.wake.read();
            for source in ready {
                match source {
                    Source::Other => self.accept(),
                    Source::File(token) => self.hear(token),
                    Source::Lifeline(port) => self.state.taken_away(port),
                }
            }
        }
        let tokens: Vec<_> = self.state.files.keys().copied().collect();
        for t in tokens {
            self.state.close(&t);
        }
        let _ = std::fs::remove_file(&self.path);
    }

    fn poll(&self) -> Vec<Source> {
        let own = [self.wake.as_fd(), self.socket.as_fd()].map(|fd| (Source::Other, fd));
        let files = self.state.files.iter().map(|(t, f)| (Source::File(*t), f.conn.as_fd()));
        let lifelines =
            self.state.ports.iter().filter_map(|(n, p)| Some((Source::Lifeline(*n), p.lifeline()?.as_fd())));
        let (sources, mut fds): (Vec<_>, Vec<_>) = own
            .into_iter()
            .chain(files)
            .chain(lifelines)
            .map(|(s, fd)| (s, PollFd::new(fd, PollFlags::POLLIN)))
            .unzip();
        let _ = poll(&mut fds, PollTimeout::NONE);
        sources.into_iter().zip(&fds).filter(|(_, f)| f.any().unwrap_or(false)).map(|(s, _)| s).collect()
    }

    fn accept(&mut self) {
        for _ in 0..MAX_ACCEPT {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let Ok(fd) = accept4(self.socket.as_raw_fd(), flags) else { break };
            // SAFETY: the kernel has just made this descriptor for us.
            let conn = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
            if self.state.files.len() >= MAX_FILES {
                tracing::warn!("more than {MAX_FILES} netmap descriptors: one more was refused");
                bury(conn);
                continue;
            }
            let (Ok(creds), Some(token)) = (getsockopt(&conn, PeerCredentials), fresh_token()) else {
                bury(conn);
                continue;
            };
            let client = Client { pid: creds.pid(), uid: creds.uid(), gid: creds.gid() };
            let welcome = Welcome { magic: MAGIC, version: VERSION, pad: 0, token };
            if send_msg(conn.as_fd(), welcome.as_bytes(), &[]).is_ok() {
                self.state.files.insert(token, File { conn, client, reg: None });
            } else {
                bury(conn);
            }
        }
    }

    /// Answers a call. What is in use only by a process that is about to be gone is waited for: its memory is taken apart
    /// before its descriptors are closed, and whoever saw it end need not know.
    fn call(&mut self, token: &Token, call: &Call, client: Client) -> (Answer, Vec<Arc<OwnedFd>>) {
        let mut tries = 0;
        loop {
            let answer = self.state.call(call, client);
            let busy = answer.0.errno == nix::libc::EBUSY;
            if !busy || tries == EXIT_TRIES || !self.state.files.values().any(|f| is_exiting(f.client.pid)) {
                return answer;
            }
            tries += 1;
            std::thread::sleep(EXIT_TRY);
            self.sweep(token);
        }
    }

    /// Closes what has ended, except `but`.
    fn sweep(&mut self, but: &Token) {
        let (tokens, mut fds): (Vec<_>, Vec<_>) = (self.state.files.iter())
            .filter(|(t, _)| *t != but)
            .map(|(t, f)| (*t, PollFd::new(f.conn.as_fd(), PollFlags::empty())))
            .unzip();
        let _ = poll(&mut fds, PollTimeout::ZERO);
        let ended: Vec<_> =
            tokens.into_iter().zip(&fds).filter(|(_, f)| f.any().unwrap_or(false)).map(|(t, _)| t).collect();
        ended.iter().for_each(|t| self.state.close(t));
    }

    /// One message, or the end.
    fn hear(&mut self, token: Token) {
        let Some(file) = self.state.files.get(&token) else { return };
        match hear(&file.conn) {
            Some(bytes) => {
                // What was closed before this was asked is closed before it is answered, as in a kernel.
                self.sweep(&token);
                let Some(file) = self.state.files.get(&token) else { return };
                let client = file.client;
                let (answer, fds) = match parse::<Call>(&bytes) {
                    Some(call) => self.call(&token, &call, client),
                    None => (Answer::errno(nix::libc::EPROTO), Vec::new()),
                };
                let raw: Vec<RawFd> = fds.iter().map(|f| f.as_raw_fd()).collect();
                let Some(file) = self.state.files.get(&token) else { return };
                if send_msg(file.conn.as_fd(), answer.as_bytes(), &raw).is_err() {
                    self.state.close(&token);
                }
            }
            None => self.state.close(&token),
        }
    }
}

/// Whether a process has begun to end (`PF_EXITING` in its flags), or has ended.
fn is_exiting(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    // The command before may hold anything, but for the last bracket.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    let state = fields.next().unwrap_or_default();
    let flags: u64 = fields.nth(5).and_then(|f| f.parse().ok()).unwrap_or(0);
    matches!(state, "Z" | "X") || flags & 4 != 0
}

/// 128 bits that nobody can guess.
fn fresh_token() -> Option<Token> {
    let mut token = [0; 16];
    std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut token)).ok()?;
    Some(token)
}

impl State {
    /// A descriptor was closed by all who held it.
    fn close(&mut self, token: &Token) {
        self.unregister(token);
        if let Some(file) = self.files.remove(token) {
            bury(file.conn);
        }
    }

    /// A port was taken away from its switch, or its switch has stopped.
    fn taken_away(&mut self, number: u32) {
        let Some(port) = self.ports.get_mut(&number) else { return };
        port.lost();
        let mem = port.mem;
        if let Some(m) = self.mems.get(&mem) {
            m.bury();
        }
        // Whoever waits for the port's rings, or for those derived from it, hears of it.
        for file in self.files.values() {
            let of = file.reg.as_ref().and_then(|r| self.ports.get(&r.port));
            if of.is_some_and(|p| p.mem == mem) {
                let _ = shutdown(file.conn.as_raw_fd(), Shutdown::Write);
            }
        }
    }

    fn fresh_number(&mut self) -> u32 {
        loop {
            let n = self.next;
            self.next = self.next.wrapping_add(1).max(1);
            if !self.ports.contains_key(&n) {
                return n;
            }
        }
    }
}
