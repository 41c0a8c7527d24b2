//! The load tools against a running daemon: pkt-gen in its modes, and the demo.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::harness::{Daemon, assert_books, drops, wait_for};
use serde_json::Value;

const RINGS: &str = "run_dir = \"{run}\"\n[[switch]]\nname = \"vale0\"\n\
    [[switch.port]]\nname = \"a\"\nkind = \"ring\"\noverflow = \"backpressure\"\ntx_rings = 2\nrx_rings = 2\n\
    [[switch.port]]\nname = \"c\"\nkind = \"ring\"\n\
    [[switch.port]]\nname = \"b\"\nkind = \"ring\"\noverflow = \"backpressure\"\n";

/// `valecast pkt-gen -i vale0:PORT WORDS.. --json`.
fn start(daemon: &Daemon, port: &str, words: &[&str]) -> Child {
    let mut c = Command::new(env!("CARGO_BIN_EXE_valecast"));
    c.args(["pkt-gen", "-i", &format!("vale0:{port}"), "--json", "--run-dir"]).arg(daemon.run_dir());
    c.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    c.spawn().expect("start pkt-gen")
}

#[track_caller]
fn end(child: Child) -> Value {
    let out: Output = child.wait_with_output().expect("wait");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "pkt-gen: {}: {said}", out.status);
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {said}"))
}

/// A receiver that is attached before anything is sent.
fn receiver(daemon: &Daemon, words: &[&str]) -> Child {
    let rx = start(daemon, "b", words);
    wait_for("the receiver to attach", || {
        let stats = daemon.stats();
        let up = stats["ports"].as_array()?.iter().any(|p| p["name"] == "b" && p["state"] == "up");
        up.then_some(())
    });
    rx
}

#[test]
fn all_that_is_sent_arrives_and_is_measured() {
    let daemon = Daemon::start(RINGS);
    let dir = tempfile::tempdir().expect("a folder");
    let (hlog, svg) = (dir.path().join("l.hlog"), dir.path().join("l.svg"));
    let path = |p: &Path| p.display().to_string();
    let rx = receiver(&daemon, &["-f", "rx", "-W", "--hlog", &path(&hlog), "--plot", &path(&svg)]);
    let tx = end(start(&daemon, "a", &["-f", "tx", "-n", "300000", "-p", "2", "--probe", "5000"]));
    let rx = end(rx);
    assert!(tx["packets"].as_u64() >= Some(300_000), "{tx}");
    assert_eq!(tx["packets"], rx["packets"]);
    assert_eq!((&rx["drops"], &rx["lost"]), (&0.into(), &0.into()));
    let l = &rx["latency_ns"];
    let p = |k: &str| l[k].as_u64().expect("a percentile");
    assert!(p("count") > 0 && p("p50") > 0, "{rx}");
    assert!(p("p50") <= p("p90") && p("p90") <= p("p99") && p("p99") <= p("p999") && p("p999") <= p("max"));
    let log = std::fs::read_to_string(&hlog).expect("the log");
    assert!(log.contains("Histogram log format") && log.lines().count() > 4, "{log}");
    assert!(std::fs::read_to_string(&svg).expect("the picture").contains("<svg"));
    assert_books(&daemon);
    assert_eq!(drops(&daemon.stats()), 0);
    daemon.stop();
}

#[test]
fn numbered_frames_are_all_there() {
    let daemon = Daemon::start(RINGS);
    let rx = receiver(&daemon, &["-f", "rxseq", "-W"]);
    // One ring: the order of two is not kept.
    end(start(&daemon, "c", &["-f", "txseq", "-n", "100000"]));
    let rx = end(rx);
    assert_eq!(rx["packets"], 100_000, "{rx}");
    assert_eq!((&rx["lost"], &rx["reordered"], &rx["duplicates"]), (&0.into(), &0.into(), &0.into()));
    daemon.stop();
}

#[test]
fn pings_come_back_under_load() {
    let daemon = Daemon::start(RINGS);
    let pong = receiver(&daemon, &["-f", "pong"]);
    let ping = end(start(&daemon, "a", &["-f", "ping", "-n", "2000", "-R", "2000", "--load", "20000"]));
    assert_eq!((&ping["packets"], &ping["lost"]), (&2000.into(), &0.into()), "{ping}");
    assert_eq!(ping["latency_ns"]["count"], 2000);
    assert!(ping["load"].as_u64() > Some(0));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pong.id() as i32), nix::sys::signal::Signal::SIGTERM)
        .expect("stop pong");
    end(pong);
    daemon.stop();
}

/// The schedule decides how many frames a span has, however late each is sent.
#[test]
fn rates_are_exact() {
    let daemon = Daemon::start(RINGS);
    let rx = receiver(&daemon, &["-f", "rx"]);
    for (rate, n) in [(1_000u64, 1_500u64), (50_000, 75_000), (500_000, 750_000)] {
        let words = ["-f", "tx", "-R", &rate.to_string(), "-n", &n.to_string()];
        let tx = end(start(&daemon, "a", &words));
        let pps = tx["pps"].as_f64().expect("a rate");
        // A machine that cannot keep up sends late and says so; it must never send too fast.
        assert!(pps <= rate as f64 * 1.01, "{rate}: {tx}");
        if tx["skipped"] == 0 {
            assert!(pps >= rate as f64 * 0.9, "{rate}: {tx}");
        }
        assert_eq!(tx["packets"], n);
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(rx.id() as i32), nix::sys::signal::Signal::SIGINT)
        .expect("stop rx");
    end(rx);
    daemon.stop();
}

#[test]
fn wrong_options_are_refused() {
    let run = |words: &[&str]| {
        let out =
            Command::new(env!("CARGO_BIN_EXE_valecast")).arg("pkt-gen").args(words).output().expect("run");
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (code, said) = run(&["-i", "vale0:a", "-f", "sideways"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("sideways"), "{said}");
    let (code, said) = run(&["-i", "vale0:a", "--run-dir", "/nonexistent", "-n", "1", "-f", "tx"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("/nonexistent/vale0.ring"), "{said}");
}

#[test]
fn the_demo_loses_nothing() {
    let out = Command::new(env!("CARGO_BIN_EXE_valecast"))
        .args(["demo", "--seconds", "1", "--json"])
        .output()
        .expect("run the demo");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    let v: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
    assert_eq!((&v["drops"], &v["sent"]), (&0.into(), &v["packets"]), "{v}");
    assert!(v["packets"].as_u64() > Some(10_000) && v["latency_ns"]["count"].as_u64() > Some(0), "{v}");
    let text = Command::new(env!("CARGO_BIN_EXE_valecast")).args(["demo", "--seconds", "1"]).output();
    let text = String::from_utf8(text.expect("run the demo").stdout).expect("text");
    for word in ["Mpps", "Gbit/s", "drops", "p50", "p99.9", "max", "█"] {
        assert!(text.contains(word), "{word} is missing:\n{text}");
    }
}
