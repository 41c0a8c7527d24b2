//! Processes that tests start, and what they need: a terminal, a small disk.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait_long;

const VALECAST: &str = env!("CARGO_BIN_EXE_valecast");

/// A process of the test's, killed when the value goes. What it says is in files.
pub struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Starts `valecast WORDS..`; what it says goes to files in `dir`.
    #[track_caller]
    pub fn start_with(words: &[&str], dir: &Path, more: impl FnOnce(&mut Command)) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = |end: &str| dir.join(format!("{}-{n}.{end}", words.get(1).unwrap_or(&"")));
        let (out, err) = (file("out"), file("err"));
        let mut command = Command::new(VALECAST);
        command.args(words).stdin(Stdio::null());
        command
            .stdout(fs::File::create(&out).expect("a file"))
            .stderr(fs::File::create(&err).expect("a file"));
        more(&mut command);
        let child = command.spawn().unwrap_or_else(|e| panic!("{VALECAST} {words:?}: {e}"));
        Self { child, out, err }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("kill");
    }

    /// Whether a signal that was sent is not waiting any more to be looked at.
    pub fn has_taken(&self, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let mask = status.lines().find_map(|l| l.strip_prefix("ShdPnd:")).map(str::trim).unwrap_or_default();
        u64::from_str_radix(mask, 16).is_ok_and(|mask| mask & (1 << (signal as i32 - 1)) == 0)
    }

    /// SIGKILL, and it is gone.
    pub fn kill(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.said()
    }

    /// All that it has said.
    pub fn said(&self) -> String {
        let read = |p: &Path| fs::read_to_string(p).unwrap_or_default();
        format!("{}{}", read(&self.out), read(&self.err))
    }

    /// What it has printed to its standard output.
    pub fn printed(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// Waits for its end; returns its exit status and what it said.
    #[track_caller]
    pub fn end(mut self, patience: Duration) -> (i32, String) {
        let status =
            wait_long(&format!("the end of a process that said:\n{}", self.said()), patience, || {
                self.ended()
            });
        (status.code().unwrap_or(-1), self.said())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- {} ----\n{}", self.err.display(), self.said());
        }
    }
}

/// A terminal of 120 columns, and what was drawn on it.
pub struct Terminal {
    end: OwnedFd,
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Vec<u8>>,
}

impl Terminal {
    /// Opens one.
    pub fn open() -> Self {
        let size = nix::pty::Winsize { ws_row: 30, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = nix::pty::openpty(&size, None).expect("a terminal");
        let stop = Arc::new(AtomicBool::new(false));
        let (told, mut from) = (stop.clone(), fs::File::from(pair.master));
        // It is not read to its end: other processes that tests start may have it, too.
        let reader = std::thread::spawn(move || {
            let (mut all, mut some) = (Vec::new(), [0; 4096]);
            loop {
                let last = told.load(Ordering::Relaxed);
                let mut fds = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
                let ready = poll(&mut fds, PollTimeout::from(20u8)).expect("poll");
                let n = if ready > 0 { from.read(&mut some).unwrap_or(0) } else { 0 };
                all.extend_from_slice(&some[..n]);
                if n == 0 && last {
                    return all;
                }
            }
        });
        Self { end: pair.slave, stop, reader }
    }

    /// The end that a process draws on.
    pub fn end(&self) -> OwnedFd {
        self.end.try_clone().expect("a descriptor")
    }

    /// All that was drawn, once those who drew have ended.
    pub fn drawn(self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        String::from_utf8_lossy(&self.reader.join().expect("the reader")).into_owned()
    }
}

/// A small file system in memory, until the value goes.
pub struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    /// Mounts one there; needs root.
    pub fn mount(at: &'a Path, size: &str) -> Self {
        let option = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &option, "tmpfs"]).arg(at).status();
        assert!(mounted.expect("mount").success());
        Self(at)
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}
