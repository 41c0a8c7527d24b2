//! Large TCP segments: whole between ports that understand them, cut and checksummed for one that does not;
//! and the same traffic over several queues and workers.

use std::process::{Command, Stdio};

use crate::harness::{Daemon, Netns, assert_books, drops, iperf3_tcp, need, settle, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Two namespaces on TAP ports `a` (10.77.0.1) and `b` (10.77.0.2), with more keys for the switch and ports.
fn pair(switch: &str, port: &str) -> (Daemon, Netns, Netns) {
    let (a, b) = (Netns::new("a"), Netns::new("b"));
    let mut toml = format!("run_dir = \"{{run}}\"\n[[switch]]\nname = \"vale0\"\n{switch}\n");
    for (n, (name, host)) in (1..).zip([("a", &a), ("b", &b)]) {
        toml += &format!(
            "[[switch.port]]\nname = {name:?}\nkind = \"tap\"\nifname = \"vc0\"\nnetns = {:?}\n\
             addresses = [\"10.77.0.{n}/24\"]\n{port}\n",
            host.name()
        );
    }
    let daemon = Daemon::start(&toml);
    a.wait_ready("vc0");
    b.wait_ready("vc0");
    (daemon, a, b)
}

fn average(daemon: &Daemon, port: &str) -> u64 {
    daemon.port_counter(port, "in_bytes") / daemon.port_counter(port, "in_frames").max(1)
}

/// A capture is a ring, which takes no offload headers: it sees what would be on a wire, and Wireshark finds
/// every checksum right. The receiving namespace meanwhile gets the same segments whole.
#[test]
fn segments_are_cut_only_for_those_who_need_it() {
    if !need("segments_are_cut_only_for_those_who_need_it", &["iperf3", "tshark", "ping"]) {
        return;
    }
    let (daemon, a, b) = pair("", "");
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("a.pcapng");
    let mut capture = Command::new(env!("CARGO_BIN_EXE_valecast"))
        .args(["ctl", "--socket"])
        .arg(daemon.socket("vale0"))
        .args(["capture", "vale0:a", "-c", "20000", "-w"])
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .expect("start the capture");
    wait_for("the mirror", || daemon.ctl(&["mirrors"]).to_string().contains("cap-").then_some(()));
    let run = iperf3_tcp(&a, &b, "10.77.0.2", 2);
    assert!(run.bytes > 1 << 20, "{run:?}");
    let _ = kill(Pid::from_raw(capture.id() as i32), Signal::SIGINT);
    assert!(capture.wait().expect("wait").success());
    assert!(average(&daemon, "a") > 2000, "segments did not enter whole: {} bytes", average(&daemon, "a"));
    settle(&daemon);
    assert_books(&daemon);
    let tshark = |filter: &str| {
        let out = Command::new("tshark")
            .args(["-n", "-r"])
            .arg(&file)
            .args(["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-Y", filter])
            .args(["-T", "fields", "-e", "frame.len"])
            .output()
            .expect("tshark");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).lines().count()
    };
    assert!(tshark("tcp.len > 1000") > 100, "the capture holds no data");
    assert_eq!(tshark("frame.len > 1514"), 0, "a segment was not cut");
    assert_eq!(tshark("tcp.checksum.status == 0 || ip.checksum.status == 0"), 0, "a checksum is wrong");
    daemon.stop();
}

#[test]
fn several_queues_and_workers_carry_tcp() {
    if !need("several_queues_and_workers_carry_tcp", &["iperf3", "ping"]) {
        return;
    }
    let (daemon, a, b) = pair("workers = 2", "queues = 2");
    // An interface speaks as soon as it is up (IPv6), and port `a` is up before there is a port `b`.
    let before = drops(&daemon.stats());
    let run = iperf3_tcp(&a, &b, "10.77.0.2", 2);
    assert!(run.bytes > 1 << 20, "{run:?}");
    let stats = settle(&daemon);
    assert_books(&daemon);
    assert_eq!(drops(&stats), before, "{stats}");
    assert_eq!(stats["ports"][0]["rings"].as_array().map(Vec::len), Some(2));
    daemon.stop();
}

/// Without offloads the kernel cuts and sums by itself, and nothing of it reaches the switch.
#[test]
fn without_offloads_frames_are_small() {
    if !need("without_offloads_frames_are_small", &["iperf3", "ping"]) {
        return;
    }
    let (daemon, a, b) = pair("", "offload = false");
    let run = iperf3_tcp(&a, &b, "10.77.0.2", 1);
    assert!(run.bytes > 1 << 20 && average(&daemon, "a") <= 1514, "{run:?}");
    assert_books(&daemon);
    daemon.stop();
}
