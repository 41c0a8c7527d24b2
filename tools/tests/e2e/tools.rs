//! Looking from outside with programs we did not write: captures, replays, metrics, and wrong files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Daemon, Netns, assert_books, need, settle, veth, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pcap_file::pcap::PcapReader;
use valecast_ring::client::{AttachOptions, Port};

const VALECAST: &str = env!("CARGO_BIN_EXE_valecast");

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let out = command.stdin(Stdio::null()).output().expect("run a command");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

/// What Wireshark's dissectors say of each frame in a file.
fn tshark(file: &Path, field: &str) -> Vec<String> {
    let mut c = Command::new("tshark");
    c.args(["-n", "-r"]).arg(file).args(["-T", "fields", "-e", field]);
    let (code, out, err) = output(&mut c);
    assert_eq!(code, Some(0), "tshark: {err}");
    out.lines().map(str::to_owned).collect()
}

#[test]
fn a_wrong_file_is_told_all_its_mistakes() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("wrong.toml");
    let text = "[[switch]]\nname = \"vale0\"\nworkerz = 2\n\n[[switch.port]]\nname = \"a\"\nkind = \"rong\"\n\
                [[switch.port]]\nname = \"b\"\nkind = \"ring\"\nslots = 1000\n";
    fs::write(&file, text).expect("write");
    for words in [&["--check"][..], &[]] {
        let (code, _, err) = output(Command::new(VALECAST).arg("run").arg(&file).args(words));
        assert_eq!(code, Some(2), "{err}");
        for part in ["wrong.toml:3:1", "workerz", "wrong.toml:7:8", "rong", "wrong.toml:11:9", "1000", "^"] {
            assert!(err.contains(part), "{part} is missing:\n{err}");
        }
    }
    fs::write(&file, "[[switch]]\nname = \"vale0\"\n").expect("write");
    let (code, out, err) = output(Command::new(VALECAST).arg("run").arg(&file).arg("--check"));
    assert_eq!(code, Some(0), "{out}{err}");
}

/// Pings of several sizes between two namespaces, recorded by tcpdump.
fn recording(dir: &Path) -> PathBuf {
    let taken = dir.join("taken.pcap");
    let (left, right) = (Netns::new("left"), Netns::new("right"));
    veth(&left, "v0", &right, "v0");
    left.run_ok(&["ip", "addr", "add", "10.9.0.1/24", "dev", "v0"]);
    right.run_ok(&["ip", "addr", "add", "10.9.0.2/24", "dev", "v0"]);
    left.wait_ready("v0");
    right.wait_ready("v0");
    let file = taken.display().to_string();
    let dump = left.spawn(&["tcpdump", "-i", "v0", "-U", "-Z", "root", "-w", &file]);
    wait_for("tcpdump to begin", || fs::metadata(&taken).ok().filter(|m| m.len() >= 24));
    for size in ["0", "56", "1400"] {
        left.run_ok(&["ping", "-c", "3", "-i", "0.02", "-s", size, "10.9.0.2"]);
    }
    // 3 x 3 requests and answers, whatever ARP adds.
    wait_for("tcpdump to write", || (tshark(&taken, "frame.len").len() >= 18).then_some(()));
    drop(dump);
    taken
}

/// The bytes of all frames in a file.
fn frames(file: &Path) -> Vec<Vec<u8>> {
    let mut reader = PcapReader::new(fs::File::open(file).expect("open")).expect("a pcap file");
    let mut all = Vec::new();
    while let Some(packet) = reader.next_packet() {
        all.push(packet.expect("a frame").data.into_owned());
    }
    all
}

/// What tcpdump recorded goes through a `pcap` port into a client's ring and into another file: the same
/// frames, byte for byte and in order.
#[test]
fn a_recording_is_replayed_byte_for_byte() {
    if !need("a_recording_is_replayed_byte_for_byte", &["tcpdump", "tshark", "ping"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let taken = recording(dir.path());
    let written = dir.path().join("written.pcap");
    let daemon = Daemon::start(&format!(
        "run_dir = \"{{run}}\"\n[[switch]]\nname = \"vale0\"\n[[switch.port]]\nname = \"ring\"\nkind = \"ring\"\n\
         overflow = \"backpressure\"\n[[switch.port]]\nname = \"out\"\nkind = \"pcap\"\nwrite = {written:?}\n"
    ));
    let socket = daemon.run_dir().join("vale0.ring");
    let port = Port::attach(&socket, "ring", &AttachOptions::default()).expect("attach");
    let (_link, _tx, mut rx) = port.split();
    daemon.ctl(&["attach", "vale0:in", "kind=pcap", &format!("read={taken:?}"), "timing=asap"]);
    let want = frames(&taken);
    let mut got = Vec::new();
    while got.len() < want.len() {
        assert!(
            rx[0].wait(1, Some(crate::harness::DEADLINE)).expect("wait"),
            "{} of {}",
            got.len(),
            want.len()
        );
        let n = rx[0].pending();
        got.extend((0..n).map(|i| rx[0].frame(i).data.to_vec()));
        rx[0].advance(n);
        rx[0].release();
    }
    assert!(got == want, "the ring got other bytes");
    settle(&daemon);
    assert_books(&daemon);
    daemon.stop();
    assert!(frames(&written) == want, "the file holds other bytes");
    assert_eq!(tshark(&written, "frame.len"), tshark(&taken, "frame.len"));
}

#[test]
fn a_capture_is_read_by_wireshark() {
    if !need("a_capture_is_read_by_wireshark", &["tshark"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("a.pcapng");
    let daemon = Daemon::start(
        "run_dir = \"{run}\"\n[[switch]]\nname = \"vale0\"\n[[switch.port]]\nname = \"a\"\nkind = \"ring\"\n\
         [[switch.port]]\nname = \"b\"\nkind = \"null\"\n",
    );
    let mut capture = Command::new(VALECAST)
        .args(["ctl", "--socket"])
        .arg(daemon.socket("vale0"))
        .args(["capture", "vale0:a", "-w"])
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the capture");
    wait_for("the mirror", || {
        let m = daemon.ctl(&["mirrors"]).to_string();
        m.contains("cap-").then_some(())
    });
    let sent = Command::new(VALECAST)
        .args(["pkt-gen", "-i", "vale0:a", "-f", "tx", "-n", "500", "-R", "5000", "-l", "128", "--json"])
        .arg("--run-dir")
        .arg(daemon.run_dir())
        .output()
        .expect("pkt-gen");
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    settle(&daemon);
    kill(Pid::from_raw(capture.id() as i32), Signal::SIGINT).expect("stop the capture");
    assert!(capture.wait().expect("wait").success());
    let lens = tshark(&file, "frame.len");
    assert_eq!(lens.len(), 500);
    assert!(lens.iter().all(|l| l == "128"));
    wait_for("the capture's port to go", || {
        (!daemon.ctl(&["ports"]).to_string().contains("cap-")).then_some(())
    });
    assert_books(&daemon);
    daemon.stop();
}

#[test]
fn metrics_please_promtool_and_curl_reads_the_api() {
    if !need("metrics_please_promtool_and_curl_reads_the_api", &["promtool", "curl"]) {
        return;
    }
    let daemon = Daemon::start(
        "run_dir = \"{run}\"\n[[switch]]\nname = \"vale0\"\n[[switch.port]]\nname = \"a\"\nkind = \"null\"\n",
    );
    let curl = |path: &str| {
        let mut c = Command::new("curl");
        c.args(["-sSf", "--unix-socket"]).arg(daemon.socket("vale0")).arg(format!("http://x{path}"));
        let (code, out, err) = output(&mut c);
        assert_eq!(code, Some(0), "{path}: {err}");
        out
    };
    let metrics = curl("/metrics");
    assert!(metrics.contains("valecast_port_in_frames_total"), "{metrics}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    std::io::Write::write_all(&mut promtool.stdin.take().expect("stdin"), metrics.as_bytes()).expect("write");
    let said = promtool.wait_with_output().expect("wait");
    let text = String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{text}\n{metrics}");
    let api: serde_json::Value = serde_json::from_str(&curl("/openapi.json")).expect("JSON");
    assert!(api["openapi"].as_str().is_some_and(|v| v.starts_with('3')));
    daemon.stop();
}

/// Groups and meters come and go by `ctl`; limits and wrong names are refused with a reason.
#[test]
fn groups_and_meters_by_ctl() {
    let daemon = Daemon::start(
        "run_dir = \"{run}\"\n[[switch]]\nname = \"vale0\"\nmax_groups = 1\n[[switch.port]]\nname = \"a\"\n\
         kind = \"null\"\n",
    );
    daemon.ctl(&["meter-add", "vale0", "name=m", "rate=10Mbit/s"]);
    let group =
        ["group-add", "vale0", "name=g", "address=01:00:5e:00:00:01", "meter=m", "buckets=[{port=\"a\"}]"];
    daemon.ctl(&group);
    assert!(daemon.ctl(&["groups"]).to_string().contains("01:00:5e:00:00:01"));
    assert!(daemon.ctl(&["meters"]).to_string().contains("10000000"));
    let again = group.map(|w| w.replace("name=g", "name=h").replace("00:01", "00:02"));
    let refused = daemon.try_ctl_on("vale0", &again.each_ref().map(String::as_str)).unwrap_err();
    assert!(refused.contains("max_groups"), "{refused}");
    let refused = daemon.try_ctl_on("vale0", &["meter-del", "vale0", "m"]).unwrap_err();
    assert!(refused.contains("in use by group"), "{refused}");
    daemon.ctl(&["group-del", "vale0", "g"]);
    daemon.ctl(&["meter-del", "vale0", "m"]);
    let refused = daemon.try_ctl_on("vale0", &["detach", "vale0:nobody"]).unwrap_err();
    assert!(refused.contains("nobody") && refused.contains('a'), "{refused}");
    daemon.stop();
}
