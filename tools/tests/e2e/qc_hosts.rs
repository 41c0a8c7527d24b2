//! QuickCast between hosts: daemons of their own, joined by vxlan, and a controller that they reach by TLS with keys that
//! `valecast qc keygen` made. All on this machine's loopback; nothing needs root.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::harness::qc::assert_same;
use crate::harness::wait_for;
use serde_json::Value;
use tempfile::TempDir;

const VALECAST: &str = env!("CARGO_BIN_EXE_valecast");

/// A process that ends with the value; what it said is shown when the test fails.
struct Process(Child, &'static str, std::path::PathBuf);

impl Process {
    fn start(what: &'static str, dir: &Path, words: &[&str]) -> Self {
        let log = dir.join(format!("{what}.log"));
        let file = fs::File::create(&log).expect("a log");
        let mut command = Command::new(VALECAST);
        command.args(words).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Self(command.spawn().expect("start valecast"), what, log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        if std::thread::panicking() {
            eprintln!("---- {} ----\n{}", self.1, fs::read_to_string(&self.2).unwrap_or_default());
        }
    }
}

fn valecast(dir: &Path, words: &[&str]) -> Output {
    Command::new(VALECAST).args(words).current_dir(dir).stdin(Stdio::null()).output().expect("run valecast")
}

/// An address that was free a moment ago.
fn free() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a free UDP port")
}

fn site(name: &str, to: &str, local: SocketAddr, remote: SocketAddr, controller: SocketAddr) -> String {
    let port = controller.port();
    format!(
        r#"
        run_dir = "run-{name}"
        [[switch]]
        name = "{name}"
        [[switch.port]]
        name = "to-{to}"
        kind = "vxlan"
        local = "{local}"
        remote = "{remote}"
        vni = 7
        capacity = "200Mbit/s"
        flood = false
        learn = false
        [qc]
        controller = "https://localhost:{port}"
        ca = "keys/ca.pem"
        cert = "keys/{name}.pem"
        key = "keys/{name}.key"
        [[qc.site]]
        switch = "{name}"
        [[qc.site.link]]
        port = "to-{to}"
        to = "{to}"
        "#
    )
}

#[test]
fn a_file_goes_from_host_to_host_and_strangers_are_refused() {
    let temporary = TempDir::with_prefix("valecast-hosts-").expect("a folder");
    let dir = temporary.path();
    let made = valecast(dir, &["qc", "keygen", "--dir", "keys", "localhost", "S", "t"]);
    assert!(made.status.success(), "{made:?}");
    let stranger = valecast(dir, &["qc", "keygen", "--dir", "others", "localhost", "S"]);
    assert!(stranger.status.success(), "{stranger:?}");
    let controller = TcpListener::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a free TCP port");
    let (one, other) = (free(), free());
    let te = format!(
        "state_dir = \"state\"\nsocket = \"te.sock\"\nlisten = \"{controller}\"\nca = \"keys/ca.pem\"\n\
         cert = \"keys/controller.pem\"\nkey = \"keys/controller.key\"\n"
    );
    for (file, text) in [
        ("te.toml", te),
        ("S.toml", site("S", "t", one, other, controller)),
        ("t.toml", site("t", "S", other, one, controller)),
    ] {
        fs::write(dir.join(file), text).expect("write a file");
    }
    let _controller = Process::start("controller", dir, &["qc", "serve", "te.toml"]);
    let _sites =
        [("S", "S.toml"), ("t", "t.toml")].map(|(name, file)| Process::start(name, dir, &["run", file]));
    let address = format!("https://localhost:{}", controller.port());
    let status = |keys: &str, who: &str| {
        let file = |end: &str| format!("{keys}/{who}.{end}");
        let (cert, key) = (file("pem"), file("key"));
        let at = ["--controller", &address, "--ca", "keys/ca.pem", "--cert", &cert, "--key", &key];
        valecast(dir, &[&["qc", "status", "--json"][..], &at].concat())
    };
    wait_for("both sites and their link", || {
        let all: Value = serde_json::from_slice(&status("keys", "operator").stdout).ok()?;
        let links = all["overview"]["links"].as_array()?.clone();
        (links.len() == 2 && links.iter().all(|l| l["up"] == true)).then_some(())
    });
    let refused = status("others", "operator");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("fatal alert"), "of another authority: {refused:?}");

    let _receiver =
        Process::start("receiver", dir, &["qc", "recv", "--dir", "in", "--socket", "run-t/t.qc.sock"]);
    let content: Vec<u8> =
        (0..3_000_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    fs::write(dir.join("file"), content).expect("write the file");
    let words = ["qc", "send", "file", "--to", "t", "--wait", "--socket", "run-S/S.qc.sock"];
    let sent = valecast(dir, &words);
    assert_eq!(sent.status.code(), Some(0), "{sent:?}");
    assert_same(&dir.join("file"), &dir.join("in/file"));
}
