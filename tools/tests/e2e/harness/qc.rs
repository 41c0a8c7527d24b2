//! QuickCast in one daemon: a switch for each site, patch ports for links, the controller, and endpoints. Nothing needs root.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use valecast_switch::api::client::ask;

use super::daemon::unbalanced;
pub use super::process::{Running, Small, Terminal};
use super::{Daemon, wait_for};

const VALECAST: &str = env!("CARGO_BIN_EXE_valecast");
/// How long books may take to balance.
const BOOKS: Duration = Duration::from_secs(20);

/// A link, both ways.
#[derive(Clone, Debug)]
pub struct Link {
    a: &'static str,
    b: &'static str,
    capacity: &'static str,
    /// Further keys of the ports at a and at b.
    keys: [String; 2],
    /// A switch in between that is no site.
    via: Option<&'static str>,
}

/// A link without faults.
pub fn link(a: &'static str, b: &'static str, capacity: &'static str) -> Link {
    Link { a, b, capacity, keys: Default::default(), via: None }
}

/// Two ways from S to each receiver, which have nothing in common.
pub fn diamond() -> Vec<Link> {
    vec![
        link("S", "a", "50Mbit/s").via("wire-a"),
        link("S", "b", "50Mbit/s").via("wire-b"),
        link("a", "t1", "50Mbit/s"),
        link("b", "t1", "50Mbit/s"),
        link("a", "t2", "50Mbit/s"),
        link("b", "t2", "50Mbit/s"),
    ]
}

impl Link {
    /// With faults in both directions, such as `loss = 0.01`.
    #[must_use]
    pub fn faults(mut self, faults: &str) -> Self {
        for (i, keys) in self.keys.iter_mut().enumerate() {
            // The two directions lose other frames.
            *keys = format!("faults = {{ {faults}, seed = {} }}\n", i + 1);
        }
        self
    }

    /// With a switch in between that is no site and knows nothing of trees: it floods what it does not know.
    #[must_use]
    pub fn via(mut self, switch: &'static str) -> Self {
        self.via = Some(switch);
        self
    }

    /// The switch and the port at the other end of the port at `here`.
    fn peer(&self, here: &str) -> String {
        let there = if here == self.a { self.b } else { self.a };
        match self.via {
            Some(via) => format!("{via}:{}", port(here)),
            None => format!("{there}:{}", port(here)),
        }
    }
}

/// A running network of sites.
pub struct Sites {
    /// The daemon with all switches.
    pub daemon: Daemon,
    controller: Option<Running>,
    links: Vec<Link>,
    names: Vec<&'static str>,
    dir: TempDir,
    /// More in the environment of all processes.
    env: Vec<(&'static str, String)>,
}

fn port(to: &str) -> String {
    format!("to-{to}")
}

/// The daemon's configuration.
fn text(links: &[Link], names: &[&'static str]) -> String {
    let mut text = "run_dir = \"{run}\"\n".to_owned();
    // A client of the test's own, for what does not belong on a tree.
    let other = "[[switch.port]]\nname = \"other\"\nkind = \"ring\"\n";
    let ends = |l: &Link| [(l.a, l.b, l.keys[0].clone()), (l.b, l.a, l.keys[1].clone())];
    for name in names {
        let _ = writeln!(text, "[[switch]]\nname = \"{name}\"\n{other}");
        for (l, (here, there, keys)) in links.iter().flat_map(|l| ends(l).map(|e| (l, e))) {
            if here == *name {
                let _ = write!(
                    text,
                    "[[switch.port]]\nname = \"{}\"\nkind = \"patch\"\npeer = \"{}\"\ncapacity = \"{}\"\n\
                     flood = false\nlearn = false\n{keys}",
                    port(there),
                    l.peer(here),
                    l.capacity
                );
            }
        }
    }
    for l in links {
        let Some(via) = l.via else { continue };
        let _ = writeln!(text, "[[switch]]\nname = \"{via}\"\n{other}");
        for (near, far) in [(l.a, l.b), (l.b, l.a)] {
            let (name, peer) = (port(near), port(far));
            let _ = writeln!(
                text,
                "[[switch.port]]\nname = \"{name}\"\nkind = \"patch\"\npeer = \"{near}:{peer}\""
            );
        }
    }
    text += "[qc]\n";
    for name in names {
        let _ = writeln!(text, "[[qc.site]]\nswitch = \"{name}\"");
        for (here, there, _) in links.iter().flat_map(ends) {
            if here == *name {
                let _ = writeln!(text, "[[qc.site.link]]\nport = \"{}\"\nto = \"{there}\"", port(there));
            }
        }
    }
    text
}

impl Sites {
    /// Starts a daemon with these links' sites, and a controller.
    #[track_caller]
    pub fn start(links: &[Link]) -> Self {
        Self::start_with(links, Vec::new())
    }

    /// As [`Sites::start`], with more in the environment of all processes.
    #[track_caller]
    pub fn start_with(links: &[Link], env: Vec<(&'static str, String)>) -> Self {
        let mut names: Vec<&'static str> = links.iter().flat_map(|l| [l.a, l.b]).collect();
        names.sort_unstable();
        names.dedup();
        let more: Vec<(&str, &str)> = env.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let daemon = Daemon::start_with(&text(links, &names), &more);
        let dir = TempDir::with_prefix("valecast-qc-").expect("a temporary folder");
        let mut sites = Self { daemon, controller: None, links: links.to_vec(), names, dir, env };
        sites.start_controller();
        let count = 2 * links.len();
        wait_for("all links to be up", || {
            let links = sites.overview()?["links"].as_array().cloned()?;
            (links.iter().filter(|l| l["up"] == true).count() == count).then_some(())
        });
        sites
    }

    /// What the controller shows; none if it does not answer.
    pub fn overview(&self) -> Option<Value> {
        let answer =
            ask(&self.daemon.run_dir().join("qc-controller.sock"), "GET", "/v1/overview", None).ok()?;
        serde_json::from_str(&answer.body).ok()
    }

    /// A folder of the test's own.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the controller, with the state that it has left.
    #[track_caller]
    pub fn start_controller(&mut self) {
        let file = self.dir.path().join("te.toml");
        let run = self.daemon.run_dir();
        let state = self.dir.path().join("te-state");
        fs::write(
            &file,
            format!(
                "socket = \"{}\"\nstate_dir = \"{}\"\nsender_timeout = \"3s\"\n",
                run.join("qc-controller.sock").display(),
                state.display()
            ),
        )
        .expect("write te.toml");
        self.controller = Some(self.run(&["qc", "serve", &file.display().to_string()]));
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> Running {
        Running::start_with(words, self.dir.path(), |command| {
            command.envs(self.env.iter().map(|(key, value)| (key, value)));
        })
    }

    /// SIGKILLs the controller.
    pub fn kill_controller(&mut self) {
        drop(self.controller.take());
    }

    /// Sends the controller a signal.
    pub fn signal_controller(&self, signal: Signal) {
        self.controller.as_ref().expect("a controller").signal(signal);
    }

    /// `valecast qc WORDS..` at a site.
    #[track_caller]
    pub fn at(&self, site: &str, words: &[&str]) -> Running {
        let socket = self.socket(site).display().to_string();
        self.run(&[&["qc"][..], words, &["--socket", &socket]].concat())
    }

    /// `valecast qc send FILE --to .. --wait`, which thinks that it is on a terminal.
    #[track_caller]
    pub fn send_on(&self, terminal: &Terminal, from: &str, file: &Path, to: &str) -> Running {
        let (file, socket) = (file.display().to_string(), self.socket(from).display().to_string());
        let words = ["qc", "send", &file, "--to", to, "--wait", "--socket", &socket];
        let end = terminal.end();
        Running::start_with(&words, self.dir.path(), |command| {
            command.stderr(end).env("TERM", "xterm");
        })
    }

    /// `valecast qc send FILE --to .. --wait`, with more words.
    #[track_caller]
    pub fn send(&self, from: &str, file: &Path, to: &str, more: &[&str]) -> Running {
        let (file, socket) = (file.display().to_string(), self.socket(from).display().to_string());
        let words = ["qc", "send", &file, "--to", to, "--wait", "--socket", &socket];
        self.run(&[&words[..], more].concat())
    }

    /// `valecast qc send --resume ID FILE --wait`.
    #[track_caller]
    pub fn resume(&self, from: &str, file: &Path, id: &str) -> Running {
        let (file, socket) = (file.display().to_string(), self.socket(from).display().to_string());
        let words = ["qc", "send", "--resume", id, &file, "--wait", "--socket", &socket];
        self.run(&words)
    }

    /// `valecast qc recv --dir DIR`.
    #[track_caller]
    pub fn recv(&self, site: &str, dir: &Path) -> Running {
        self.recv_with(site, dir, &[])
    }

    /// As [`Sites::recv`], with more words.
    #[track_caller]
    pub fn recv_with(&self, site: &str, dir: &Path, more: &[&str]) -> Running {
        let dir = dir.display().to_string();
        let receiver = self.at(site, &[&["recv", "--dir", &dir][..], more].concat());
        wait_for(&format!("a receiver at {site}"), || {
            let sites = self.overview()?["sites"].as_array().cloned()?;
            sites.iter().any(|s| s["name"] == site && s["receives"] == true).then_some(())
        });
        receiver
    }

    /// A site's folder for what it receives, made.
    pub fn folder(&self, site: &str) -> PathBuf {
        let dir = self.dir.path().join(format!("at-{site}"));
        fs::create_dir_all(&dir).expect("a folder");
        dir
    }

    /// A file of random bytes, the same each time.
    pub fn file(&self, name: &str, bytes: usize) -> PathBuf {
        let path = self.dir.path().join(name);
        let mut word = bytes as u64 | 1;
        let mut content = Vec::with_capacity(bytes + 8);
        while content.len() < bytes {
            // xorshift64
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            content.extend_from_slice(&word.to_le_bytes());
        }
        content.truncate(bytes);
        fs::write(&path, content).expect("write a file");
        path
    }

    #[track_caller]
    fn link(&self, a: &str, b: &str) -> &Link {
        let found = self.links.iter().find(|l| (l.a, l.b) == (a, b));
        found.unwrap_or_else(|| panic!("no link {a}-{b}"))
    }

    /// Cuts a link that goes by a switch in between: nothing goes either way. (A site's own port cannot be detached while
    /// trees use it.)
    #[track_caller]
    pub fn cut(&self, a: &str, b: &str) {
        let via = self.link(a, b).via.unwrap_or_else(|| panic!("the link {a}-{b} goes by no switch"));
        self.daemon.ctl_on(via, &["detach", &port(a)]);
    }

    /// Brings a link back that was cut.
    #[track_caller]
    pub fn mend(&self, a: &str, b: &str) {
        let via = self.link(a, b).via.unwrap_or_else(|| panic!("the link {a}-{b} goes by no switch"));
        let peer = format!("peer={a}:{}", port(b));
        self.daemon.ctl_on(via, &["attach", &port(a), "kind=patch", &peer]);
    }

    /// A site's local socket.
    pub fn socket(&self, site: &str) -> PathBuf {
        self.daemon.run_dir().join(format!("{site}.qc.sock"))
    }

    /// All transfers that the controller knows, those that are over, too.
    pub fn transfers(&self) -> Vec<Value> {
        let socket = self.daemon.run_dir().join("qc-controller.sock");
        let answer = ask(&socket, "GET", "/v1/transfers", None).ok().filter(|a| a.status == 200);
        let list = answer.and_then(|a| serde_json::from_str::<Value>(&a.body).ok());
        list.and_then(|v| v.as_array().cloned()).unwrap_or_default()
    }

    /// Waits until the only transfer is in a state.
    #[track_caller]
    pub fn wait_state(&self, state: &str) -> Value {
        wait_for(&format!("a transfer that is {state}; there are {:#?}", self.transfers()), || {
            self.transfers().into_iter().find(|t| t["state"] == state)
        })
    }

    /// Bytes of content that a receiver of the only transfer has, as far as the controller knows.
    pub fn have(&self, site: &str) -> u64 {
        let transfers = self.transfers();
        let receivers =
            transfers.first().and_then(|t| t["receivers"].as_array().cloned()).unwrap_or_default();
        receivers.iter().find(|r| r["site"] == site).and_then(|r| r["have"].as_u64()).unwrap_or(0)
    }

    /// Bytes that a port of a site has sent.
    #[track_caller]
    pub fn sent(&self, site: &str, port: &str) -> u64 {
        let stats = self.daemon.ctl_on(site, &["stats"]);
        let ports = stats["ports"].as_array().cloned().unwrap_or_default();
        ports.iter().find(|p| p["name"] == port).and_then(|p| p["out_bytes"].as_u64()).expect("a counter")
    }

    /// At each switch every frame that came in was forwarded or dropped under a name, and every copy went out or was dropped under one.
    #[track_caller]
    pub fn assert_books(&self) {
        // Probes of links never rest: the books are looked at until they are caught between two of them.
        for name in &self.names {
            let mut last = None;
            let begun = Instant::now();
            while begun.elapsed() < BOOKS {
                last = unbalanced(&self.daemon.ctl_on(name, &["stats"]), name);
                if last.is_none() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            assert_eq!(last, None);
        }
    }

    /// Nothing of any tree is left at any switch.
    #[track_caller]
    pub fn assert_clean(&self) {
        for name in &self.names {
            wait_for(&format!("switch {name} to have no trees' groups"), || {
                let groups = self.daemon.ctl_on(name, &["groups"]);
                let list =
                    groups["groups"].as_array().or_else(|| groups.as_array()).cloned().unwrap_or_default();
                // The agents' probes have a group of their own, which stays.
                let of_tree = |g: &Value| {
                    g["address"]
                        .as_str()
                        .is_some_and(|a| a.starts_with("03:") && !a.starts_with("03:ff:ff:ff"))
                };
                (!list.iter().any(of_tree)).then_some(())
            });
        }
    }
}

/// The exit status and the output of a command that runs to its end.
#[track_caller]
pub fn qc(words: &[&str]) -> Output {
    Command::new(VALECAST).arg("qc").args(words).stdin(Stdio::null()).output().expect("run valecast qc")
}

/// Fails unless a file holds the same bytes as another.
#[track_caller]
pub fn assert_same(sent: &Path, got: &Path) {
    let (a, b) = (
        fs::read(sent).expect("what was sent"),
        fs::read(got).unwrap_or_else(|e| panic!("{}: {e}", got.display())),
    );
    assert_eq!(a.len(), b.len(), "{}", got.display());
    let differs = a.iter().zip(&b).position(|(x, y)| x != y);
    assert_eq!(differs, None, "{} differs", got.display());
}
