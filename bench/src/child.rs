//! Processes under test. They die with the harness, however that ends.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cpu;

/// Whatever keeps something from being measured.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// A process that is ended when the value goes; what it says is in a file.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, free to use all cores; its output goes to `log`. Its standard input stays open
    /// and empty: testpmd ends when that does.
    pub fn spawn(mut command: Command, log: &Path) -> Result<Self, Trouble> {
        let out = File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
        let err = out.try_clone()?;
        let parent = nix::unistd::getpid();
        command.stdin(Stdio::piped()).stdout(out).stderr(err);
        // A group of its own: Ctrl-C is for the harness, which then ends everything in order.
        command.process_group(0);
        let die_with_us = move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have ended before that.
            if nix::unistd::getppid() == parent { Ok(()) } else { Err(nix::errno::Errno::ESRCH.into()) }
        };
        // SAFETY: runs between fork and exec; it makes two system calls and allocates nothing.
        unsafe { command.pre_exec(die_with_us) };
        let shown = shown(&command);
        // Not tied to the core that this thread is tied to.
        let tied = cpu::unpin();
        let child = command.spawn();
        cpu::tie(tied);
        let child = child.map_err(|e| format!("{shown}: {e}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has said `word`; fails if it ends first.
    pub fn wait_for(&mut self, word: &str, patience: Duration) -> Result<(), Trouble> {
        let begin = Instant::now();
        loop {
            if self.said().contains(word) {
                return Ok(());
            }
            self.alive()?;
            if begin.elapsed() > patience {
                return Err(
                    format!("did not say `{word}` within {patience:?}; it said:\n{}", self.tail()).into()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Fails with its last words if it has ended.
    pub fn alive(&mut self) -> Result<(), Trouble> {
        match self.child.try_wait()? {
            Some(status) => Err(format!("ended with {status}; it said:\n{}", self.tail()).into()),
            None => Ok(()),
        }
    }

    /// Whether it has ended; fails with its last words if it did not end well.
    pub fn ended(&mut self) -> Result<bool, Trouble> {
        match self.child.try_wait()? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => Err(format!("ended with {status}; it said:\n{}", self.tail()).into()),
        }
    }

    /// Waits for its end, up to `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<(), Trouble> {
        let begin = Instant::now();
        loop {
            match self.child.try_wait()? {
                Some(s) if s.success() => return Ok(()),
                Some(s) => return Err(format!("ended with {s}; it said:\n{}", self.tail()).into()),
                None if begin.elapsed() > patience => {
                    return Err(format!("still runs after {patience:?}").into());
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn tail(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A frozen process takes no other signal before it goes on.
        let _ = kill(self.pid(), Signal::SIGCONT);
        let _ = kill(self.pid(), Signal::SIGTERM);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(1) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process is there and has not ended. One that has ended stays in the system's table, as a zombie, until it
/// is waited for.
pub fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// A command as one would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs a command to its end; returns what it printed.
pub fn run(program: &str, args: &[&str]) -> Result<String, Trouble> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    let out = command.output().map_err(|e| format!("{program}: {e}"))?;
    let text = |b: &[u8]| String::from_utf8_lossy(b).trim().to_owned();
    if out.status.success() {
        return Ok(text(&out.stdout));
    }
    Err(format!("{}: {}: {}", shown(&command), out.status, text(&out.stderr)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_ended_is_told_from_one_that_runs() {
        assert!(runs(nix::unistd::getpid()));
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        let begin = Instant::now();
        while runs(pid) && begin.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!runs(pid), "a zombie");
        child.wait().unwrap();
        assert!(!runs(pid), "gone");
    }
}
