//! Standard output and standard error that cannot be written: a pipe whose reader has left, a full disk.

use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::wait_for;

const VALECAST: &str = env!("CARGO_BIN_EXE_valecast");
const STEINER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../qc-dataplane/data/steiner/steinlib-b/b01.stp");

const SWITCH: &str = "[[switch]]\nname = \"vale0\"\n[[switch.port]]\nname = \"a\"\nkind = \"ring\"\n";

/// A pipe that nobody reads any more.
fn abandoned() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    Stdio::from(OwnedFd::from(writer))
}

/// Commands that print to standard output and end by themselves, with this switch file.
fn printing(file: &str) -> Vec<Vec<&str>> {
    let simulation =
        "qc sim --topology gscale --traffic constant --lambda 1 --receivers 2 --transfers 5 --seeds 1";
    vec![
        vec!["demo", "--seconds", "1"],
        vec!["demo", "--seconds", "1", "--json"],
        vec!["run", file, "--check"],
        vec!["pkt-gen", "-h"],
        vec!["vm-args", "vale0:vm1", "--config", file],
        vec!["qc", "tree", STEINER, "--algorithm", "exact"],
        simulation.split_whitespace().collect(),
    ]
}

/// How a command ends that prints to there, and what it says.
fn end(words: &[&str], out: Stdio) -> (Option<i32>, String) {
    let mut command = Command::new(VALECAST);
    command.args(words).stdin(Stdio::null()).stdout(out).stderr(Stdio::piped());
    let done = command.spawn().and_then(|child| child.wait_with_output()).expect("run valecast");
    (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
}

fn switch_file(dir: &tempfile::TempDir) -> String {
    let file = dir.path().join("vale.toml");
    let vm = "[[switch.port]]\nname = \"vm1\"\nkind = \"e1000\"\n";
    fs::write(&file, format!("run_dir = {:?}\n{SWITCH}{vm}", dir.path())).expect("write");
    file.display().to_string()
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = switch_file(&dir);
    for words in printing(&file) {
        let (code, said) = end(&words, abandoned());
        assert_eq!(code, Some(0), "{words:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("pipe"), "{words:?}: {said}");
    }
}

#[test]
fn output_that_is_lost_fails_the_command() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = switch_file(&dir);
    for words in printing(&file) {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let (code, said) = end(&words, Stdio::from(full));
        assert_eq!(code, Some(1), "{words:?}: {said}");
        assert_eq!(said.matches("valecast: standard output: No space left on device").count(), 1, "{said}");
        assert!(!said.contains("panicked"), "{words:?}: {said}");
    }
}

#[test]
fn mistakes_that_nobody_reads_keep_their_exit_status() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("wrong.toml");
    fs::write(&file, "[[switch]]\nname = 7\n").expect("write");
    let file = file.display().to_string();
    for (words, code) in [
        (vec!["run", &file], 2),
        (vec!["pkt-gen", "-i", "vale0:a", "-f", "rong"], 2),
        (vec!["ctl", "ports", "--socket", "/nonexistent/vale0.sock"], 3),
    ] {
        let mut command = Command::new(VALECAST);
        command.args(&words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(abandoned());
        assert_eq!(command.status().expect("run valecast").code(), Some(code), "{words:?}");
    }
}

/// The log goes nowhere: the switch goes on.
#[test]
fn a_daemon_outlives_the_reader_of_its_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = switch_file(&dir);
    let mut command = Command::new(VALECAST);
    command.args(["run", &file]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(abandoned());
    let mut daemon = command.spawn().expect("run the daemon");
    let socket = dir.path().join("vale0.sock").display().to_string();
    let ports = || {
        let mut ctl = Command::new(VALECAST);
        let out = ctl.args(["ctl", "ports", "--json", "--socket", &socket]).output().expect("run valecast");
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
    };
    wait_for("the switch to answer", || {
        assert_eq!(daemon.try_wait().expect("wait"), None, "the daemon ended");
        ports()
    });
    let pid = Pid::from_raw(i32::try_from(daemon.id()).expect("a process number"));
    let (dir_text, more) = (dir.path(), "[[switch.port]]\nname = \"b\"\nkind = \"ring\"\n");
    fs::write(&file, format!("run_dir = {dir_text:?}\n{SWITCH}{more}")).expect("write");
    kill(pid, Signal::SIGHUP).expect("signal");
    wait_for("the reload", || {
        assert_eq!(daemon.try_wait().expect("wait"), None, "the daemon ended");
        ports().filter(|p| p.contains("\"b\""))
    });
    kill(pid, Signal::SIGTERM).expect("signal");
    assert_eq!(daemon.wait().expect("wait").code(), Some(0));
}
