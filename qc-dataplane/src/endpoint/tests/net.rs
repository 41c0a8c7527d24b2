//! A daemon with two switches and a lossy hop between them, and one that plays sites and controller.
//!
//! ```text
//! s --- [a] --- hop --- [b] --- r1
//!        |               |
//!        r3              r2
//! ```

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use valecast_config::{Config, parse_group, parse_meter, parse_port, parse_static};
use valecast_ring::client::{AttachOptions, Port};
use valecast_switch::daemon::Daemon;

use crate::address::{receiver_address, sender_address, tree_address};
use crate::control::{
    Ended, Incoming, IncomingTree, NewTransfer, Place, Progress, ReceiverState, ReceiverStatus, SiteInfo,
    TransferState, TransferStatus, TreeStatus, sender_port,
};
use crate::endpoint::local::LocalSite;
use crate::endpoint::port;
use crate::site::socket as socket_of;
use crate::traffic::rng::unit;

pub const RECEIVERS: [&str; 3] = ["r1", "r2", "r3"];

#[derive(Default)]
pub struct State {
    pub version: u64,
    pub transfers: BTreeMap<u64, TransferStatus>,
    /// Of each transfer's sender.
    pub sessions: BTreeMap<u64, u64>,
    next: u32,
    statics: [Vec<String>; 2],
    /// Sites and controller do not answer.
    pub silent: bool,
}

pub struct World {
    pub daemon: Daemon,
    dir: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    /// Part of frames that the hop loses, in millionths.
    pub loss: AtomicU32,
    /// What the trees' meters let pass.
    rate: &'static str,
    /// Whether a tree that says to have nothing left to send loses its rate, as with a controller; and whether one has.
    pub takes: AtomicBool,
    pub taken: AtomicBool,
}

pub struct Net {
    pub world: Arc<World>,
    pub dir: tempfile::TempDir,
    stop: Arc<AtomicBool>,
}

impl Drop for Net {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.world.daemon.stop();
    }
}

impl Net {
    pub fn new(rate: &'static str) -> Self {
        let dir = crate::transport::tests::temporary();
        let ring = |name: &str| format!("[[switch.port]]\nname = {name:?}\nkind = \"ring\"\n");
        let text = format!(
            "run_dir = {:?}\n[[switch]]\nname = \"a\"\n{}{}[[switch]]\nname = \"b\"\n{}{}{}",
            dir.path().join("run"),
            ring("hop"),
            ring("r3"),
            ring("hop"),
            ring("r1"),
            ring("r2")
        );
        let config = Config::parse("test.toml", &text).unwrap_or_else(|e| panic!("{e}"));
        let daemon = Daemon::start(config, None).unwrap();
        let world = Arc::new(World {
            daemon,
            dir: dir.path().join("run"),
            state: Mutex::default(),
            changed: Condvar::new(),
            loss: AtomicU32::new(0),
            rate,
            takes: AtomicBool::new(false),
            taken: AtomicBool::new(false),
        });
        let stop = Arc::new(AtomicBool::new(false));
        for site in ["s", "r1", "r2", "r3"] {
            let listener = UnixListener::bind(socket_of(&world.dir, site)).unwrap();
            let world = world.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let world = world.clone();
                    std::thread::spawn(move || world.serve(site, &stream));
                }
            });
        }
        world.clone().hop(&stop);
        Self { world, dir, stop }
    }

    pub fn site(&self, name: &str) -> LocalSite {
        LocalSite::at(socket_of(&self.world.dir, name))
    }
}

impl World {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn change<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = f(&mut state);
        state.version += 1;
        let version = state.version;
        state.transfers.values_mut().for_each(|t| t.version = version);
        self.changed.notify_all();
        result
    }

    /// Passes frames between the switches, but for some.
    fn hop(self: Arc<Self>, stop: &Arc<AtomicBool>) {
        let open = |switch: &str| {
            let socket = Daemon::ring_socket(&self.dir, switch);
            Port::attach(&socket, "hop", &AttachOptions::default()).unwrap().split()
        };
        let (link_a, tx_a, rx_a) = open("a");
        let (link_b, tx_b, rx_b) = open("b");
        let links = Arc::new((link_a, link_b));
        let ways = [(rx_a, tx_b), (rx_b, tx_a)];
        for (seed, (mut rx, mut tx)) in (1..).zip(ways) {
            let (world, stop, links) = (self.clone(), stop.clone(), links.clone());
            std::thread::spawn(move || {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let mut scratch = Vec::new();
                let _links = links;
                while !stop.load(Ordering::Relaxed) {
                    if rx[0].wait(1, Some(Duration::from_millis(100))).is_err() {
                        return;
                    }
                    let loss = f64::from(world.loss.load(Ordering::Relaxed)) / 1e6;
                    port::drain(&mut rx[0], &mut scratch, 256, |frame| {
                        if unit(&mut rng) > loss {
                            tx[0].push(frame);
                        }
                    });
                    tx[0].publish();
                }
            });
        }
    }

    fn install(&self, state: &mut State, id: u64) {
        state.next += 1;
        let tree = state.next;
        let port = sender_port(tree);
        let (to, from) = (tree_address(tree), sender_address(tree));
        let d = &self.daemon;
        let ring = parse_port("t", &format!("name = {port:?}\nkind = \"ring\"\n")).unwrap();
        d.attach_port("a", ring, false).unwrap();
        let meter = parse_meter("t", &format!("name = \"m{tree}\"\nrate = {:?}\n", self.rate)).unwrap();
        d.with("a", |s| s.add_meter(meter)).unwrap().unwrap();
        let group = |more: &str| {
            let text = format!("name = \"g{tree}\"\naddress = \"{to}\"\n{more}");
            parse_group("t", &text).unwrap()
        };
        let at_a = format!(
            "ingress = {port:?}\nmeter = \"m{tree}\"\nbuckets = [{{ port = \"hop\" }}, {{ port = \"r3\" }}]"
        );
        d.with("a", |s| s.add_group(group(&at_a))).unwrap().unwrap();
        let at_b = "ingress = \"hop\"\nbuckets = [{ port = \"r1\" }, { port = \"r2\" }]";
        d.with("b", |s| s.add_group(group(at_b))).unwrap().unwrap();
        let entry = |address: String, port: &str| format!("mac = \"{address}\"\nport = {port:?}\n");
        state.statics[0].push(entry(from.to_string(), &port));
        state.statics[1].push(entry(from.to_string(), "hop"));
        for (n, at_a, at_b) in [(1, "hop", Some("r1")), (2, "hop", Some("r2")), (3, "r3", None)] {
            let address = receiver_address(tree, n).to_string();
            state.statics[0].push(entry(address.clone(), at_a));
            state.statics[1].extend(at_b.map(|port| entry(address, port)));
        }
        self.set_statics(state);
        let status = state.transfers.get_mut(&id).unwrap();
        status.state = TransferState::Running;
        status.trees = vec![TreeStatus {
            tree,
            partition: 0,
            port,
            receivers: RECEIVERS.map(String::from).to_vec(),
            hops: vec![2, 2, 1],
            links: vec![("s".into(), "b".into()), ("b".into(), "r1".into()), ("b".into(), "r2".into())],
            unicast_repairs: true,
            rate: valecast_config::units::parse_rate(self.rate).unwrap(),
        }];
    }

    /// Another rate for a tree, of which no more than a frame goes at once.
    pub fn meter(&self, tree: u32, rate: &str) {
        let meter =
            parse_meter("t", &format!("name = \"m{tree}\"\nrate = {rate:?}\nburst = \"1500B\"\n")).unwrap();
        self.daemon.with("a", |s| s.update_meter(meter)).unwrap().unwrap();
    }

    fn set_statics(&self, state: &State) {
        for (switch, list) in ["a", "b"].into_iter().zip(&state.statics) {
            let list = list.iter().map(|text| parse_static("t", text).unwrap()).collect();
            self.daemon.with(switch, |s| s.set_statics(list)).unwrap().unwrap();
        }
    }

    fn withdraw(&self, state: &mut State, id: u64) {
        let trees = std::mem::take(&mut state.transfers.get_mut(&id).unwrap().trees);
        for tree in trees {
            let n = tree.tree;
            let sender = sender_address(n).to_string();
            // Each address of a tree but for its first byte and the receiver.
            let of = |text: &String| text.contains(&sender[..11]);
            state.statics.iter_mut().for_each(|list| list.retain(|text| !of(text)));
            self.set_statics(state);
            for switch in ["a", "b"] {
                self.daemon.with(switch, |s| s.remove_group(&format!("g{n}"))).unwrap().unwrap();
            }
            self.daemon.with("a", |s| s.remove_meter(&format!("m{n}"))).unwrap().unwrap();
            self.daemon.detach_port("a", &tree.port).unwrap();
        }
    }

    /// Another tree in the place of a transfer's.
    pub fn replan(&self, id: u64) {
        self.change(|state| {
            self.withdraw(state, id);
            self.install(state, id);
        });
    }

    fn serve(&self, site: &str, mut stream: &UnixStream) {
        let mut from = BufReader::new(stream);
        let mut first = String::new();
        from.read_line(&mut first).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            from.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = n.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).unwrap();
        let words: Vec<&str> = first.split(' ').collect();
        let (status, answer) = if self.state().silent {
            (503, json!({"error": "the controller does not answer"}))
        } else {
            self.answer(site, words[0], words[1], &body).unwrap_or((404, json!({"error": "not found"})))
        };
        let text = answer.to_string();
        let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    }

    fn answer(&self, site: &str, method: &str, target: &str, body: &[u8]) -> Option<(u16, Value)> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let number = |key: &str| -> u64 {
            let value = query.split('&').find_map(|p| p.strip_prefix(key)?.strip_prefix('='));
            value.and_then(|v| v.parse().ok()).unwrap_or(0)
        };
        let wait = |version: u64| {
            let most = Duration::from_millis(number("wait_ms"));
            let state = self.state();
            self.changed.wait_timeout_while(state, most, |s| s.version == version).unwrap().0
        };
        let switch = if matches!(site, "s" | "r3") { "a" } else { "b" };
        let socket = Daemon::ring_socket(&self.dir, switch);
        let parts: Vec<&str> = path.split('/').skip(2).collect();
        let value = match (method, parts.as_slice()) {
            ("GET", ["site"]) => {
                let info = SiteInfo { site: site.into(), switch: switch.into(), socket, controller: Ok(()) };
                serde_json::to_value(info).unwrap()
            }
            ("POST", ["receive"]) => serde_json::to_value(Place { port: site.into(), socket }).unwrap(),
            ("GET", ["incoming"]) => {
                let state = wait(number("version"));
                let receiver = RECEIVERS.iter().position(|r| *r == site)? as u16 + 1;
                let trees = state.transfers.values().flat_map(|t| {
                    t.trees.iter().map(move |tree| IncomingTree {
                        tree: tree.tree,
                        transfer: t.id,
                        partition: tree.partition,
                        receiver,
                        from: t.from.clone(),
                        name: t.name.clone(),
                        bytes: t.bytes,
                    })
                });
                serde_json::to_value(Incoming { version: state.version, trees: trees.collect() }).unwrap()
            }
            ("POST", ["transfers"]) => {
                let new: NewTransfer = serde_json::from_slice(body).unwrap();
                let id = self.change(|state| {
                    let id = state.transfers.len() as u64 + 100;
                    let waiting = |site: &String| ReceiverStatus {
                        site: site.clone(),
                        have: 0,
                        rate: 0,
                        state: ReceiverState::Waiting,
                        why: None,
                        seconds: None,
                    };
                    let status = TransferStatus {
                        id,
                        version: 0,
                        state: TransferState::Planning,
                        why: None,
                        from: site.into(),
                        name: new.name.clone(),
                        bytes: new.bytes,
                        scheme: "single".into(),
                        path: new.path.clone(),
                        receivers: new.to.iter().map(waiting).collect(),
                        trees: Vec::new(),
                        created_ms: 0,
                        ended_ms: None,
                    };
                    state.transfers.insert(id, status);
                    id
                });
                json!({ "id": id })
            }
            ("GET", ["transfers"]) => {
                serde_json::to_value(self.state().transfers.values().collect::<Vec<_>>()).unwrap()
            }
            ("GET", ["transfers", id]) => {
                let state = wait(number("version"));
                serde_json::to_value(state.transfers.get(&id.parse().ok()?)?).unwrap()
            }
            ("POST", ["transfers", id, "progress"]) => {
                let progress: Progress = serde_json::from_slice(body).unwrap();
                serde_json::to_value(self.progress(id.parse().ok()?, &progress)?).unwrap()
            }
            _ => return None,
        };
        Some((200, value))
    }

    fn progress(&self, id: u64, progress: &Progress) -> Option<TransferStatus> {
        let now = self.state().transfers.get(&id)?.clone();
        for tree in &progress.trees {
            if tree.residual == 0 && self.takes.load(Ordering::Relaxed) {
                self.meter(tree.tree, "1kbit/s");
                self.taken.store(true, Ordering::Relaxed);
            }
            let mut state = self.state();
            let status = state.transfers.get_mut(&id)?;
            for (mine, theirs) in status.receivers.iter_mut().zip(&tree.receivers) {
                (mine.have, mine.rate, mine.state) = (theirs.have, theirs.rate, theirs.state);
                mine.why = theirs.why.clone();
            }
        }
        let resumes = matches!(now.state, TransferState::Planning | TransferState::Stalled);
        match &progress.ended {
            None if resumes => self.change(|state| self.install(state, id)),
            None => {}
            Some(ended) => self.change(|state| {
                self.withdraw(state, id);
                let status = state.transfers.get_mut(&id).unwrap();
                let all = status.receivers.iter().all(|r| r.state == ReceiverState::Verified);
                (status.state, status.why) = match ended {
                    Ended::Paused => (TransferState::Stalled, None),
                    Ended::Failed(why) => (TransferState::Partial, Some(why.clone())),
                    Ended::Complete if all => (TransferState::Done, None),
                    Ended::Complete | Ended::Enough => (TransferState::Partial, None),
                };
            }),
        }
        self.state().sessions.insert(id, progress.session);
        self.state().transfers.get(&id).cloned()
    }
}

/// Waits until something is so; how long does not matter.
pub fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if is() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never: {what}");
}

/// A file of bytes that follow from `seed`.
pub fn file(path: &Path, len: usize, seed: u64) -> Vec<u8> {
    crate::transport::tests::sim::write_file(path, len, seed)
}
