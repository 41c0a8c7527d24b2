//! Network namespaces, what runs in them, and the cables between them.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait_for;

/// A network namespace that lives as long as this value.
pub struct Netns {
    name: String,
    owned: bool,
}

impl Netns {
    /// Makes a namespace with a name that no other test has; its loopback is up.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vc-{}-{count}-{name}", std::process::id());
        ip(&["netns", "add", &name]);
        let netns = Self { name, owned: true };
        ip(&["-n", &netns.name, "link", "set", "lo", "up"]);
        netns
    }

    /// A namespace that somebody else makes and removes.
    pub fn existing(name: &str) -> Self {
        Self { name: name.to_owned(), owned: false }
    }

    /// Its name under /run/netns.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run in it.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(words).stdin(Stdio::null());
        command
    }

    /// Runs a command in it to its end.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap_or_else(|e| panic!("{words:?}: {e}"))
    }

    /// Runs a command in it that must succeed; returns what it printed.
    #[track_caller]
    pub fn run_ok(&self, words: &[&str]) -> String {
        succeeded(words, &self.run(words))
    }

    /// Starts a command in it; it is killed when the value goes.
    #[track_caller]
    pub fn spawn(&self, words: &[&str]) -> Background {
        let output = tempfile::tempfile().expect("a temporary file");
        let mut command = self.command(words);
        let copy = |file: &File| file.try_clone().expect("dup");
        command.stdout(copy(&output)).stderr(copy(&output)).process_group(0);
        let child = command.spawn().unwrap_or_else(|e| panic!("{words:?}: {e}"));
        Background { child, output, words: words.join(" ") }
    }

    /// Calls `work` on a thread that is in the namespace; sockets made there stay there.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name);
        let namespace = File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let inside = || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).expect("enter the network namespace");
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|p| std::panic::resume_unwind(p))
    }

    /// Waits until a device is there, up, and its addresses may be used (IPv6 checks for duplicates first).
    #[track_caller]
    pub fn wait_ready(&self, device: &str) {
        wait_for(&format!("{device} in {} to be up with usable addresses", self.name), || {
            let output = self.run(&["ip", "addr", "show", "dev", device, "up"]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (text.contains("inet ") && !text.contains("tentative")).then_some(())
        });
    }

    /// A counter of a device, as under /sys/class/net/DEVICE/statistics.
    #[track_caller]
    pub fn device_counter(&self, device: &str, counter: &str) -> u64 {
        let path = format!("/sys/class/net/{device}/statistics/{counter}");
        self.run_ok(&["cat", &path]).trim().parse().expect("a number")
    }

    /// Datagrams the kernel dropped because a socket's buffer was full, by IPv4 and by IPv6.
    #[track_caller]
    pub fn socket_overflows(&self) -> u64 {
        let six = self.run_ok(&["cat", "/proc/net/snmp6"]);
        let six =
            six.lines().find_map(|line| line.strip_prefix("Udp6RcvbufErrors")).expect("Udp6RcvbufErrors");
        let six: u64 = six.trim().parse().expect("a number");
        let text = self.run_ok(&["cat", "/proc/net/snmp"]);
        let mut udp = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = (udp.next().expect("names"), udp.next().expect("values"));
        let pair = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "RcvbufErrors");
        six + pair.expect("RcvbufErrors").1.parse::<u64>().expect("a number")
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if self.owned {
            let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
        }
    }
}

/// A cable between two namespaces; the devices are up.
#[track_caller]
pub fn veth(a: &Netns, a_device: &str, b: &Netns, b_device: &str) {
    let peer = ["peer", "name", b_device, "netns", b.name()];
    let words = ["link", "add", a_device, "netns", a.name(), "type", "veth"];
    ip(&[&words[..], &peer[..]].concat());
    ip(&["-n", a.name(), "link", "set", a_device, "up"]);
    ip(&["-n", b.name(), "link", "set", b_device, "up"]);
}

/// Runs `ip`, which must succeed.
#[track_caller]
pub fn ip(words: &[&str]) -> String {
    let output = Command::new("ip").args(words).output().expect("the command `ip`");
    succeeded(words, &output)
}

#[track_caller]
fn succeeded(words: &[&str], output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// A command that runs in the background, its output in a file.
pub struct Background {
    child: Child,
    output: File,
    words: String,
}

impl Background {
    /// Starts a command of this machine, outside every namespace.
    #[track_caller]
    pub fn command(command: &mut Command) -> Self {
        let output = tempfile::tempfile().expect("a temporary file");
        let copy = |file: &File| file.try_clone().expect("dup");
        let words = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(copy(&output)).stderr(copy(&output)).process_group(0);
        let child = command.spawn().unwrap_or_else(|e| panic!("{words}: {e}"));
        Self { child, output, words }
    }

    /// Its process (`ip netns exec` becomes the command, so the number is the command's own).
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// What it has printed so far.
    pub fn printed(&mut self) -> String {
        let mut text = Vec::new();
        self.output.rewind().expect("rewind");
        self.output.read_to_end(&mut text).expect("read");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Ends it by a signal, and returns all that it printed.
    #[track_caller]
    pub fn end(mut self, signal: Signal) -> String {
        if !self.runs() {
            panic!("`{}` ended before it was told to:\n{}", self.words.clone(), self.printed());
        }
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("kill");
        self.child.wait().expect("wait");
        self.printed()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
