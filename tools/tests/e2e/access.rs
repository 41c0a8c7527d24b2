//! Who may attach: the socket's mode, and the port's lists of users and groups, seen by another user's process.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Daemon, need_root};

const NOBODY: u32 = 65534;

/// Sends one frame to a port as user and group `id`; what was said if it failed.
fn send_as(id: u32, exe: &Path, daemon: &Daemon, port: &str) -> Result<(), String> {
    let out = Command::new(exe)
        .args(["pkt-gen", "-f", "tx", "-n", "1", "-i", &format!("vale0:{port}"), "--run-dir"])
        .arg(daemon.run_dir())
        .current_dir("/")
        .uid(id)
        .gid(id)
        .stdin(Stdio::null())
        .output()
        .expect("run pkt-gen");
    if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned()) }
}

#[test]
fn users_and_groups_are_checked() {
    if !need_root("users_and_groups_are_checked") {
        return;
    }
    // The program where anybody may run it.
    let dir = tempfile::tempdir().expect("a folder");
    let exe = dir.path().join("valecast");
    fs::copy(env!("CARGO_BIN_EXE_valecast"), &exe).expect("copy the program");
    let open = |p: &Path| fs::set_permissions(p, fs::Permissions::from_mode(0o755)).expect("chmod");
    open(dir.path());
    open(&exe);
    let port = |name: &str, key: &str| format!("[[switch.port]]\nname = {name:?}\nkind = \"ring\"\n{key}\n");
    let ports = [
        port("any", ""),
        port("root", "allow_users = [\"root\"]"),
        port("theirs", "allow_users = [65534]"),
        port("group", "allow_groups = [65534]"),
    ]
    .concat();
    let head = "run_dir = \"{run}\"\n[[switch]]\nname = \"vale0\"\n";
    let daemon = Daemon::start(&format!("{head}socket_mode = \"0666\"\n{ports}"));
    open(daemon.run_dir().parent().expect("a folder"));
    let nobody = |port| send_as(NOBODY, &exe, &daemon, port);
    assert_eq!(nobody("any"), Ok(()));
    assert_eq!(nobody("theirs"), Ok(()));
    assert_eq!(nobody("group"), Ok(()));
    let said = nobody("root").unwrap_err();
    assert!(said.contains("user 65534 may not attach") && said.contains("allow_users"), "{said}");
    assert_eq!(send_as(0, &exe, &daemon, "root"), Ok(()));
    let said = send_as(0, &exe, &daemon, "theirs").unwrap_err();
    assert!(said.contains("user 0 may not attach"), "{said}");
    daemon.stop();

    let daemon = Daemon::start(&format!("{head}{ports}"));
    open(daemon.run_dir().parent().expect("a folder"));
    let said = send_as(NOBODY, &exe, &daemon, "any").unwrap_err();
    assert!(said.contains("Permission denied") || said.contains("EACCES"), "{said}");
    daemon.stop();
}

/// What a port or a switch may take of memory is a limit that names itself.
#[test]
fn memory_limits_hold() {
    let daemon = Daemon::start(
        "run_dir = \"{run}\"\n[[switch]]\nname = \"vale0\"\nmemory_limit = \"6MiB\"\n\
         [[switch.port]]\nname = \"a\"\nkind = \"ring\"\n[[switch.port]]\nname = \"b\"\nkind = \"ring\"\n\
         [[switch.port]]\nname = \"small\"\nkind = \"ring\"\nmemory_limit = \"1MiB\"\n",
    );
    let exe = Path::new(env!("CARGO_BIN_EXE_valecast"));
    let start = |port: &str| {
        Command::new(exe)
            .args(["pkt-gen", "-f", "rx", "-i", &format!("vale0:{port}"), "--run-dir"])
            .arg(daemon.run_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("pkt-gen")
    };
    let mut first = start("a");
    crate::harness::wait_for("the first to attach", || {
        daemon.ctl(&["stats"])["memory"].as_u64().filter(|m| *m > 4 << 20)
    });
    for (port, word) in [("b", "switch's memory_limit"), ("small", "memory_limit is 1048576")] {
        let out = start(port).wait_with_output().expect("wait");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && said.contains(word), "{said}");
    }
    first.kill().expect("kill");
    first.wait().expect("wait");
    daemon.stop();
}
