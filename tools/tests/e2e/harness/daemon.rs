//! A daemon that a test started, and its books.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::{DEADLINE, wait_for};

const VALECAST: &str = env!("CARGO_BIN_EXE_valecast");

/// `valecast run` with a configuration of the test's own.
pub struct Daemon {
    child: Child,
    dir: TempDir,
    switches: Vec<String>,
    ended: bool,
}

impl Daemon {
    /// Starts the daemon with this TOML, in which `{run}` stands for a folder of the test's own: give
    /// `run_dir = "{run}"`. Returns when every switch answers on its socket.
    #[track_caller]
    pub fn start(toml_text: &str) -> Self {
        Self::start_with(toml_text, &[])
    }

    /// As [`Daemon::start`], with more in its environment.
    #[track_caller]
    pub fn start_with(toml_text: &str, env: &[(&str, &str)]) -> Self {
        let dir = TempDir::with_prefix("valecast-test-").expect("a temporary folder");
        let stderr = File::create(dir.path().join("stderr")).expect("create a file");
        let config = dir.path().join("valecast.toml");
        let text = fill(toml_text, dir.path());
        fs::write(&config, &text).expect("write the configuration");
        let mut command = Command::new(VALECAST);
        command.envs(env.iter().copied());
        command.arg("run").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = command.spawn().unwrap_or_else(|e| panic!("{VALECAST}: {e}"));
        let mut daemon = Self { child, dir, switches: switch_names(&text), ended: false };
        for switch in daemon.switches.clone() {
            wait_for(&format!("switch {switch} to answer"), || {
                if let Some(status) = daemon.exited() {
                    panic!("the daemon ended at its start: {status}");
                }
                let answers =
                    daemon.socket(&switch).exists() && daemon.try_ctl_on(&switch, &["ports"]).is_ok();
                answers.then_some(())
            });
        }
        daemon
    }

    /// The folder that `{run}` stood for.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// A switch's control socket.
    pub fn socket(&self, switch: &str) -> PathBuf {
        self.run_dir().join(format!("{switch}.sock"))
    }

    /// A switch's attach socket.
    pub fn attach_socket(&self, switch: &str) -> PathBuf {
        self.run_dir().join(format!("{switch}.ring"))
    }

    /// `valecast ctl WORDS..` to the first switch; must succeed.
    #[track_caller]
    pub fn ctl(&self, words: &[&str]) -> Value {
        self.ctl_on(&self.switches[0], words)
    }

    /// `valecast ctl WORDS..` to one switch; must succeed.
    #[track_caller]
    pub fn ctl_on(&self, switch: &str, words: &[&str]) -> Value {
        self.try_ctl_on(switch, words).unwrap_or_else(|wrong| panic!("ctl {words:?}: {wrong}"))
    }

    /// `valecast ctl WORDS..`; `Err` holds what it said when it failed.
    pub fn try_ctl_on(&self, switch: &str, words: &[&str]) -> Result<Value, String> {
        let (verb, rest) = words.split_first().expect("a word");
        let mut command = Command::new(VALECAST);
        command.args(["ctl", verb, "--json", "--socket"]).arg(self.socket(switch)).args(rest);
        let output = command.stdin(Stdio::null()).output().expect("run valecast ctl");
        if !output.status.success() {
            return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
        }
        if output.stdout.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|e| format!("not JSON ({e}): {}", String::from_utf8_lossy(&output.stdout)))
    }

    /// The first switch's statistics.
    #[track_caller]
    pub fn stats(&self) -> Value {
        self.ctl(&["stats"])
    }

    /// One counter of one port of the first switch.
    #[track_caller]
    pub fn port_counter(&self, port: &str, counter: &str) -> u64 {
        let stats = self.stats();
        let found = ports(&stats).iter().find(|p| p["name"] == port);
        found.unwrap_or_else(|| panic!("no port {port} in {stats}"))[counter].as_u64().expect("a counter")
    }

    /// One of the counts that a VM port's device keeps.
    #[track_caller]
    pub fn device_counter(&self, port: &str, counter: &str) -> u64 {
        let stats = self.stats();
        let found = ports(&stats).iter().find(|p| p["name"] == port);
        let port = found.unwrap_or_else(|| panic!("no port {port} in {stats}"));
        port["device"][counter].as_u64().unwrap_or_else(|| panic!("no {counter} in {port}"))
    }

    /// Waits until `more` frames have come in at a port from now on: traffic flows.
    #[track_caller]
    pub fn wait_for_frames(&self, port: &str, more: u64) {
        let from = self.port_counter(port, "in_frames");
        wait_for(&format!("{more} frames into port {port}"), || {
            (self.port_counter(port, "in_frames") >= from + more).then_some(())
        });
    }

    /// Replaces the configuration file and tells the daemon to read it again.
    pub fn reload(&self, toml_text: &str) {
        let text = fill(toml_text, self.dir.path());
        // As an editor does it: the daemon must never read half a file.
        let new = self.dir.path().join("valecast.toml.new");
        fs::write(&new, text).expect("write the configuration");
        fs::rename(&new, self.dir.path().join("valecast.toml")).expect("rename");
        self.signal(Signal::SIGHUP);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.nix_pid(), signal).expect("kill");
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn nix_pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Processor time of all its threads so far. The process's own clock counts nanoseconds, where
    /// /proc/PID/stat counts ticks of 10 ms, too coarse to see an idle daemon.
    pub fn cpu_seconds(&self) -> f64 {
        let clock = ClockId::pid_cpu_clock_id(self.nix_pid()).expect("the process's clock");
        Duration::from(clock_gettime(clock).expect("clock_gettime")).as_secs_f64()
    }

    /// What it has written to its standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }

    /// Whether it has ended by itself.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("wait");
        self.ended |= status.is_some();
        status
    }

    /// Asks it to end (SIGTERM), and sees that it ends well: status 0, no panic, no socket left behind.
    #[track_caller]
    pub fn stop(mut self) {
        assert_eq!(self.exited(), None, "the daemon ended before it was told to");
        self.signal(Signal::SIGTERM);
        let status = wait_for("the daemon to end after SIGTERM", || self.exited());
        assert!(status.success(), "the daemon ended with {status}");
        assert!(!self.stderr().contains("panicked"), "the daemon panicked");
        let left: Vec<PathBuf> =
            self.switches.iter().map(|s| self.socket(s)).filter(|p| p.exists()).collect();
        assert!(left.is_empty(), "sockets left behind: {left:?}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.ended {
            let stats = self.try_ctl_on(&self.switches[0], &["stats"]);
            eprintln!("---- its statistics ----\n{}", stats.unwrap_or_default());
        }
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("---- the daemon's stderr ----\n{}---- end ----", self.stderr());
        }
    }
}

fn fill(toml_text: &str, dir: &Path) -> String {
    toml_text.replace("{run}", &dir.join("run").display().to_string())
}

/// The names in a configuration's `[[switch]]` tables.
fn switch_names(text: &str) -> Vec<String> {
    let (mut names, mut table) = (Vec::new(), "");
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            table = line;
        } else if let Some(value) = line.strip_prefix("name").filter(|_| table == "[[switch]]") {
            let name = value.trim_start().strip_prefix('=').and_then(|v| v.split('"').nth(1));
            names.extend(name.map(str::to_owned));
        }
    }
    assert!(!names.is_empty(), "the test's TOML has no [[switch]] with a name");
    names
}

/// The ports in an answer of `ctl stats` or `ctl ports`.
#[track_caller]
fn ports(answer: &Value) -> &[Value] {
    let list = answer["ports"].as_array().or_else(|| answer.as_array());
    list.unwrap_or_else(|| panic!("no ports in {answer}"))
}

/// How many ports an answer lists.
#[track_caller]
pub fn port_count(answer: &Value) -> usize {
    ports(answer).len()
}

fn causes(port: &Value, key: &str) -> u64 {
    port[key].as_object().map_or(0, |causes| causes.values().filter_map(Value::as_u64).sum())
}

/// All drops, in and out, of all ports in an answer.
#[track_caller]
pub fn drops(stats: &Value) -> u64 {
    ports(stats).iter().map(|port| causes(port, "in_drops") + causes(port, "out_drops")).sum()
}

/// The statistics at a quiet moment: two readings that do not differ.
#[track_caller]
pub fn settle(daemon: &Daemon) -> Value {
    let switch = &daemon.switches[0];
    let mut last = daemon.ctl_on(switch, &["stats"]);
    wait_for("traffic to come to rest", || {
        std::thread::sleep(Duration::from_millis(50));
        let now = daemon.ctl_on(switch, &["stats"]);
        let frames = |stats: &Value| {
            let one = |p: &Value| [p["in_frames"].clone(), p["copies"].clone(), p["out_frames"].clone()];
            ports(stats).iter().map(one).collect::<Vec<_>>()
        };
        let quiet = frames(&now) == frames(&last);
        last = now;
        quiet.then(|| last.clone())
    })
}

/// Every frame that came in was forwarded or dropped under a name; every copy went out or was dropped under a name.
#[track_caller]
pub fn assert_books(daemon: &Daemon) {
    let stats = settle(daemon);
    let sum: u64 = ports(&stats).iter().map(|p| p["in_frames"].as_u64().unwrap_or(0)).sum();
    let retired = stats["retired"]["in_frames"].as_u64().unwrap_or(0);
    assert!(
        sum + retired > 0,
        "no frame ever came in:\n{}",
        serde_json::to_string_pretty(&stats).unwrap_or_default()
    );
    check_books(&stats, &daemon.switches[0]);
}

/// The same of a switch's statistics.
#[track_caller]
pub fn check_books(stats: &Value, switch: &str) {
    if let Some(why) = unbalanced(stats, switch) {
        panic!("{why}");
    }
}

/// What of a switch's statistics does not add up.
#[track_caller]
pub fn unbalanced(stats: &Value, switch: &str) -> Option<String> {
    // Ports that were detached left their sums behind.
    let all = || ports(stats).iter().chain([&stats["retired"]]);
    let sum = |key: &str| -> u64 { all().map(|p| p[key].as_u64().unwrap_or(0)).sum() };
    let dropped = |key: &str| -> u64 { all().map(|port| causes(port, key)).sum() };
    let (came, went) = (sum("in_frames"), sum("forwarded") + dropped("in_drops"));
    let (copied, out) = (sum("copies"), sum("out_frames") + dropped("out_drops"));
    let what = if came != went {
        format!("{came} frames came in at {switch}, {went} are accounted for")
    } else if copied != out {
        format!("{copied} copies were made at {switch}, {out} are accounted for")
    } else {
        return None;
    };
    Some(format!("{what}:\n{}", serde_json::to_string_pretty(stats).unwrap_or_default()))
}
