//! Virtual machines with a stock Linux: QEMU ([`qemu`]), User-Mode Linux ([`uml`]), and the shell that tests have in
//! them ([`shell`]). What they run is made by `cargo xtask guests`.

mod load;
mod qemu;
mod shell;
mod uml;

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

pub use load::{
    VIRTIO, VLAN, bytes_per_frame, carrier, carry_tcp, carry_udp, counter, ethtool_counters, frames_of,
    guest_ping_exact, iperf3_serve, iperf3_to, udp_counter, udp_losses, up, vale0, vm_socket,
};
pub use qemu::{Qemu, bare};
pub use shell::Ran;
use shell::Shell;
pub use uml::Uml;

/// Far longer than a boot takes with the processor emulated on a loaded machine.
const BOOT: Duration = Duration::from_secs(180);

/// Where `cargo xtask guests` put everything.
fn folder() -> PathBuf {
    // The tests' program lies in target/PROFILE.
    let built = PathBuf::from(env!("CARGO_BIN_EXE_valecast"));
    built.ancestors().nth(2).expect("a target folder").join("guests")
}

/// Whether there are guests to be had; if not, the test must return at once, as with [`super::need`].
#[must_use = "return from the test when this is false"]
pub fn need_guests(test: &str, commands: &[&str]) -> bool {
    if !super::need(test, commands) {
        return false;
    }
    ["initrd", "kernel"].iter().all(|file| folder().join(file).exists())
        || super::skip(test, "needs guests (`cargo xtask guests` makes them)")
}

/// How a machine is started: the command, and the name of the guest's terminal for our shell.
pub trait Monitor {
    /// For the machine's messages.
    fn name(&self) -> &str;
    /// The command; its standard input and output are the guest's terminal, the kernel's messages go to `console`.
    fn command(&self, dir: &std::path::Path, console: &std::path::Path) -> Command;
}

/// A machine that runs, until this value goes.
pub struct Guest {
    name: String,
    child: Child,
    shell: Shell,
    dir: TempDir,
}

impl Guest {
    /// Starts a machine; it may be asked for things after [`Guest::wait_ready`].
    #[track_caller]
    pub fn start(monitor: &impl Monitor) -> Self {
        let dir = TempDir::with_prefix("valecast-guest-").expect("a temporary folder");
        let console = dir.path().join("console");
        let mut command = monitor.command(dir.path(), &console);
        let stderr = File::create(dir.path().join("stderr")).expect("create a file");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let (input, output) = (child.stdin.take().expect("stdin"), child.stdout.take().expect("stdout"));
        Self { name: monitor.name().to_owned(), child, shell: Shell::new(input, output), dir }
    }

    /// Waits until it has booted (again).
    #[track_caller]
    pub fn wait_ready(&mut self) {
        let begun = Instant::now();
        while !self.shell.is_ready(Duration::from_millis(100)) {
            if let Some(status) = self.child.try_wait().expect("wait") {
                panic!("the machine {} ended instead of booting: {status}\n{}", self.name, self.said());
            }
            assert!(begun.elapsed() < BOOT, "{} did not boot in {BOOT:?}\n{}", self.name, self.said());
        }
    }

    /// Starts machines at once and waits for all of them.
    #[track_caller]
    pub fn boot<const N: usize>(monitors: [&dyn Fn() -> Guest; N]) -> [Guest; N] {
        let mut guests = monitors.map(|start| start());
        guests.iter_mut().for_each(Guest::wait_ready);
        guests
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a shell command in it to its end.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> Ran {
        match self.shell.run(command) {
            Ok(ran) => ran,
            Err(wrong) => panic!("{}: `{command}`: {wrong}\n{}", self.name, self.said()),
        }
    }

    /// Runs a command that must succeed; returns what it printed.
    #[track_caller]
    pub fn ok(&mut self, command: &str) -> String {
        let ran = self.run(command);
        let name = &self.name;
        assert_eq!(ran.status, 0, "{name}: `{command}` failed:\n{}\n{}", ran.output, self.said());
        ran.output
    }

    /// Looks in the guest again and again until a command succeeds.
    #[track_caller]
    pub fn until(&mut self, what: &str, command: &str) -> String {
        let begun = Instant::now();
        loop {
            let ran = self.run(command);
            if ran.status == 0 {
                return ran.output;
            }
            if begun.elapsed() > super::DEADLINE {
                let name = &self.name;
                panic!("{name}: waited in vain for: {what} (`{command}`)\n{}\n{}", ran.output, self.said());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Tells it to boot again and waits for that.
    #[track_caller]
    pub fn reboot(&mut self) {
        self.shell.forget();
        self.shell.send("reboot -f");
        self.wait_ready();
    }

    /// The guest's kernel has seen nothing wrong in itself since its first process began: what it says before that (User-Mode
    /// Linux warns of a self-test of its cryptography now and then) is none of ours.
    #[track_caller]
    pub fn healthy(&mut self) {
        let log = self.ok("dmesg");
        let log = log.split_once("Run /init as init process").map_or(&*log, |(_, since)| since);
        let wrong = ["BUG:", "WARNING:", "Oops", "Call Trace", "transmit queue", "Detected Tx Unit Hang"];
        let line = log.lines().find(|line| wrong.iter().any(|w| line.contains(w)));
        assert!(line.is_none(), "{}: {}\n{log}", self.name, line.unwrap_or_default());
    }

    /// Whether the machine runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// The monitor's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the machine as a fault of its host would.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        let _ = self.child.wait();
    }

    /// The kernel's messages and the monitor's.
    pub fn said(&self) -> String {
        let read = |file: &str| fs::read(self.dir.path().join(file)).unwrap_or_default();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        format!(
            "---- console of {} ----\n{}\n---- its monitor ----\n{}\n---- end ----",
            self.name,
            text(read("console")),
            text(read("stderr"))
        )
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("{}", self.said());
        }
    }
}
