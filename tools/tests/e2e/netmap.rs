//! Programs written for netmap, under the preload library. The program is our own (`netmap/client.c`), written in C
//! against the ABI: each of its rules is run here against a daemon of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::harness::{Background, Daemon, assert_books, need, wait_for};
use nix::sys::signal::Signal;
use valecast_ring::client::{AttachOptions, Port};

const VALECAST: &str = env!("CARGO_BIN_EXE_valecast");
/// A switch that programs may add ports to: the default for a socket that only its owner may open.
const OPEN: &str = "run_dir = \"{run}\"\n[[switch]]\nname = \"vale0\"\n";

/// The library, built as this program was.
fn library() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let dir = Path::new(VALECAST).parent().expect("a folder").to_owned();
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--quiet", "--package", "valecast-netmap"])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        if dir.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("run cargo").success(), "the preload library was not built");
        dir.join("libvalecast_netmap.so")
    };
    BUILT.get_or_init(build).clone()
}

/// The C program, compiled once.
fn client() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/netmap/client.c");
        let program =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("netmap-client-{}", std::process::id()));
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]).arg(&program).arg(source);
        let out = cc.output().expect("run cc");
        assert!(out.status.success(), "cc: {}", String::from_utf8_lossy(&out.stderr));
        program
    };
    BUILT.get_or_init(build).clone()
}

/// `valecast netmap -- client RULE`, on this daemon.
fn command(daemon: &Daemon, rule: &str) -> Command {
    let mut c = Command::new(VALECAST);
    c.arg("netmap").arg("--library").arg(library()).arg("--socket").arg(daemon.run_dir());
    c.arg("--").arg(client()).arg(rule).stdin(Stdio::null());
    c
}

#[track_caller]
fn assert_ok(rule: &str, out: &Output) {
    assert!(out.status.success(), "{rule}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr));
}

/// Runs rules one after another; nothing of one may be left to the next.
#[track_caller]
fn holds(test: &str, toml: &str, rules: &[&str]) {
    if !need(test, &["cc"]) {
        return;
    }
    let daemon = Daemon::start(toml);
    for rule in rules {
        let out = command(&daemon, rule).output().expect("run the client");
        assert_ok(rule, &out);
    }
    wait_for("all ports of the programs to be gone", || {
        let ports = daemon.ctl(&["ports"]);
        ports["ports"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    daemon.stop();
}

#[test]
fn errors_are_netmaps() {
    holds("errors_are_netmaps", OPEN, &["errors", "errors"]);
}

#[test]
fn memory_is_laid_out_as_programs_expect() {
    holds("memory_is_laid_out_as_programs_expect", OPEN, &["layout"]);
}

#[test]
fn frames_arrive_whole_and_in_order() {
    holds("frames_arrive_whole_and_in_order", OPEN, &["sends", "frames", "buffers"]);
}

#[test]
fn poll_select_and_epoll() {
    holds("poll_select_and_epoll", OPEN, &["waits"]);
}

#[test]
fn rings_are_set_back() {
    holds("rings_are_set_back", OPEN, &["resets"]);
}

#[test]
fn pipes_and_monitors() {
    holds("pipes_and_monitors", OPEN, &["pipes", "monitors"]);
}

#[test]
fn virtio_net_headers() {
    holds("virtio_net_headers", OPEN, &["headers"]);
}

#[test]
fn senders_steer_and_keep_from_learning() {
    holds("senders_steer_and_keep_from_learning", OPEN, &["steering"]);
}

#[test]
fn descriptors_travel() {
    holds("descriptors_travel", OPEN, &["descriptors"]);
}

#[test]
fn the_older_api() {
    holds("the_older_api", OPEN, &["legacy"]);
}

#[test]
fn switches_are_managed() {
    holds("switches_are_managed", OPEN, &["switches"]);
}

#[test]
fn csb_mode_and_its_loop() {
    holds("csb_mode_and_its_loop", OPEN, &["csb"]);
}

#[test]
fn nothing_is_made_that_the_configuration_does_not_allow() {
    const TEST: &str = "nothing_is_made_that_the_configuration_does_not_allow";
    if !need(TEST, &["cc"]) {
        return;
    }
    let closed = "run_dir = \"{run}\"\n[netmap]\nauto_create = false\n[[switch]]\nname = \"vale0\"\n\
                  [[switch.port]]\nname = \"a\"\nkind = \"ring\"\n";
    let daemon = Daemon::start(closed);
    let out = command(&daemon, "denied").output().expect("run the client");
    assert_ok("denied", &out);
    for part in ["vale9", "port=\"new\"", "auto_create = true"] {
        assert!(daemon.stderr().contains(part), "{part} is missing: {}", daemon.stderr());
    }
    daemon.stop();
}

#[test]
fn without_a_daemon_there_is_no_device() {
    if !need("without_a_daemon_there_is_no_device", &["cc"]) {
        return;
    }
    let empty = tempfile::tempdir().expect("a folder");
    let mut c = Command::new(client());
    c.arg("layout").env("LD_PRELOAD", library()).env("VALECAST_SOCKET", empty.path());
    let out = c.output().expect("run the client");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("No such device or address"), "{said}");
}

#[test]
fn a_program_outlives_its_daemon() {
    if !need("a_program_outlives_its_daemon", &["cc"]) {
        return;
    }
    let daemon = Daemon::start(OPEN);
    let mut c = command(&daemon, "survives");
    let mut child = c.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run the client");
    let mut said = std::io::BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).expect("read");
    assert_eq!(line, "ready\n");
    daemon.signal(Signal::SIGKILL);
    let out = child.wait_with_output().expect("wait");
    assert_ok("survives", &out);
}

/// The far side is a client of ours: what an unmodified program sends comes to it, and the reverse.
#[test]
fn both_kinds_of_clients_meet() {
    if !need("both_kinds_of_clients_meet", &["cc"]) {
        return;
    }
    let toml = format!("{OPEN}[[switch.port]]\nname = \"native\"\nkind = \"ring\"\n");
    let daemon = Daemon::start(&toml);
    let socket = daemon.run_dir().join("vale0.ring");
    let port = Port::attach(&socket, "native", &AttachOptions::default()).expect("attach");
    let (_link, _tx, mut rx) = port.split();
    let out = command(&daemon, "sends").output().expect("run the client");
    assert_ok("sends", &out);
    // 40 rounds of 100 broadcasts, the nth of a round being 60 + n bytes of the same value.
    let mut seen = 0u32;
    let ring = &mut rx[0];
    while ring.wait(1, Some(Duration::from_secs(1))).expect("wait") {
        for i in 0..ring.pending() {
            let frame = ring.frame(i).data;
            let n = seen % 100;
            assert_eq!(frame.len(), 60 + n as usize, "frame {seen}");
            assert!(frame[20..].iter().all(|b| u32::from(*b) == (seen / 100) ^ n), "frame {seen}: {frame:?}");
            seen += 1;
        }
        let n = ring.pending();
        ring.advance(n);
        ring.release();
    }
    let stats = daemon.stats();
    let full: u64 = stats["ports"]
        .as_array()
        .and_then(|p| p.iter().find(|p| p["name"] == "native"))
        .map_or(0, |p| p["out_drops"]["ring_full"].as_u64().unwrap_or(0));
    assert_eq!(u64::from(seen) + full, 4000);
    assert!(seen >= 1000, "{seen} frames");
    drop(rx);
    assert_books(&daemon);
    daemon.stop();
}

/// A second daemon has a port of the first's switch, as if that were the netmap of a kernel.
#[test]
fn a_netmap_port_reaches_another_netmap() {
    if !need("a_netmap_port_reaches_another_netmap", &["cc"]) {
        return;
    }
    let near = Daemon::start(OPEN);
    let toml = "run_dir = \"{run}\"\n[[switch]]\nname = \"lab\"\n\
                [[switch.port]]\nname = \"up\"\nkind = \"netmap\"\ninterface = \"vale0:lab\"\n\
                [[switch.port]]\nname = \"c\"\nkind = \"ring\"\n";
    let near_dir = near.run_dir().display().to_string();
    let library = library().display().to_string();
    let far = Daemon::start_with(toml, &[("LD_PRELOAD", &library), ("VALECAST_SOCKET", &near_dir)]);
    let words = |mode: &'static str, count: &'static str| {
        ["pkt-gen", "-i", "lab:c", "-f", mode, "-n", count, "--json"]
    };
    // A pong of the far switch answers a ping at the near one, both ways through the port.
    let pong = Background::command(
        Command::new(VALECAST).args(words("pong", "0")).arg("--run-dir").arg(far.run_dir()),
    );
    wait_for("the pong to be attached", || {
        far.ctl(&["ports"])["ports"]
            .as_array()?
            .iter()
            .find(|p| p["name"] == "c" && !p["pid"].is_null())
            .map(drop)
    });
    let attach = ["attach", "vale0:ping", "kind=ring"];
    near.ctl(&attach);
    let mut ping = Command::new(VALECAST);
    ping.args(["pkt-gen", "-i", "vale0:ping", "-f", "ping", "-n", "500", "--json", "--run-dir"])
        .arg(near.run_dir());
    let out = ping.stdin(Stdio::null()).output().expect("run valecast pkt-gen");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let said: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(said["latency_ns"]["count"], 500, "{said}");
    drop(pong);
    assert_eq!(far.port_counter("up", "in_frames"), far.port_counter("up", "out_frames"));
    assert_books(&far);
    assert_books(&near);
    near.stop();
    // A port whose netmap is gone is no work: what is used is processor time, not time.
    std::thread::sleep(Duration::from_millis(500));
    let before = far.cpu_seconds();
    std::thread::sleep(Duration::from_secs(1));
    let used = far.cpu_seconds() - before;
    assert!(used < 0.5, "{used} s of processor time in an idle second");
    far.stop();
}
