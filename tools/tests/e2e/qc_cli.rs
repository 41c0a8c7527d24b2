//! `valecast qc send`, `recv` and `submit` as people and scripts use them: what they say, how they end, and how they go on.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use crate::harness::qc::{Sites, Small, Terminal, assert_same, link, qc};
use crate::harness::{need, wait_for, wait_long};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Far longer than anything here takes on any machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn pair() -> Sites {
    Sites::start(&[link("S", "t1", "60Mbit/s")])
}

fn fork() -> Sites {
    Sites::start(&[link("S", "t1", "60Mbit/s"), link("S", "t2", "60Mbit/s")])
}

fn events(said: &str) -> Vec<Value> {
    said.lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
}

fn event(said: &str, name: &str) -> Value {
    let all = events(said);
    let found = all.iter().find(|e| e["event"] == name);
    found.cloned().unwrap_or_else(|| panic!("no event {name:?} in {said}"))
}

#[test]
fn a_controller_that_does_not_answer_is_asked_again_for_a_while() {
    let mut sites = pair();
    let file = sites.file("data", 300_000);
    let _receiver = sites.recv("t1", &sites.folder("t1"));
    sites.kill_controller();
    let (code, said) = sites.send("S", &file, "t1", &["--patience", "700ms"]).end(PATIENCE);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the controller does not answer") && said.contains("asked for 700ms"), "{said}");

    let stopped = sites.send("S", &file, "t1", &["--json"]);
    wait_for("it to say that it waits", || stopped.said().contains("\"waiting\"").then_some(()));
    stopped.signal(Signal::SIGINT);
    assert_eq!(stopped.end(PATIENCE).0, 130);

    let send = sites.send("S", &file, "t1", &[]);
    wait_for("it to say that it tries again", || send.said().contains("trying again").then_some(()));
    sites.start_controller();
    let (code, said) = send.end(PATIENCE);
    assert_eq!((code, said.matches("trying again").count()), (0, 1), "{said}");
    assert_same(&file, &sites.folder("t1").join("data"));
    assert_eq!(sites.transfers().len(), 1, "those that gave up have asked for nothing");
    sites.daemon.stop();
}

#[test]
fn receivers_that_are_missing_are_waited_for_and_named() {
    let sites = fork();
    let file = sites.file("data", 300_000);
    let receiver = sites.recv("t1", &sites.folder("t1"));
    let (code, said) = sites.send("S", &file, "t1,t2", &["--patience", "300ms"]).end(PATIENCE);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("1 of 2 receivers have it") && said.contains("t2 does not have it"), "{said}");
    assert!(said.contains("nobody receives at t2: start `valecast qc recv` there"), "{said}");
    assert_same(&file, &sites.folder("t1").join("data"));

    // It is there already: nobody gets it, and both ends say why.
    let (code, said) = sites.send("S", &file, "t1", &["--json"]).end(PATIENCE);
    let end = event(&said, "end");
    assert_eq!((code, &end["exit"], &end["state"]), (1, &Value::from(1), &Value::from("partial")), "{said}");
    assert_eq!(end["receivers"][0]["why"], "a file of that name is there already");
    wait_for("the receiver to say why", || receiver.said().contains("is there already").then_some(()));
    sites.daemon.stop();
}

/// Nobody receives anywhere: a script gets its answer.
#[test]
fn where_nobody_receives_the_transfer_ends_when_it_was_told_to() {
    let sites = fork();
    let file = sites.file("data", 10_000);
    let send = sites.send("S", &file, "t1,t2", &["--missing-after", "2s", "--json"]);
    let (code, said) = send.end(PATIENCE);
    let end = event(&said, "end");
    assert_eq!((code, &end["state"], &end["exit"]), (1, &json!("partial"), &json!(1)), "{said}");
    let why = end["why"].as_str().expect("why");
    for site in ["t1", "t2"] {
        assert!(why.contains(&format!("{site} (nobody receives at {site}")), "{why}");
    }
    // In the background, too.
    let (file, socket) = (file.display().to_string(), sites.socket("S").display().to_string());
    let words = ["send", &file, "--to", "t1", "--missing-after", "1s", "--socket", &socket];
    assert!(qc(&words).status.success(), "accepted");
    wait_for("its end", || {
        let all = sites.transfers();
        (all.len() == 2 && all.iter().all(|t| t["state"] == "partial")).then_some(())
    });
    sites.assert_clean();
    sites.daemon.stop();
}

#[test]
fn ctrl_c_pauses_and_resume_finishes() {
    let mut sites = pair();
    let bytes = 24_000_000;
    let file = sites.file("data", bytes);
    let _receiver = sites.recv("t1", &sites.folder("t1"));
    let send = sites.send("S", &file, "t1", &[]);
    wait_for("a quarter of it", || (sites.have("t1") >= bytes as u64 / 4).then_some(()));
    send.signal(Signal::SIGINT);
    let (code, said) = send.end(PATIENCE);
    assert_eq!(code, 130, "{said}");
    let path = file.display();
    assert!(
        said.contains(&format!("paused; go on with: valecast qc send {path} --resume 1 --wait")),
        "{said}"
    );
    let paused = sites.wait_state("stalled");
    let had = paused["receivers"][0]["have"].as_u64().expect("bytes");
    assert!((bytes as u64 / 4..bytes as u64).contains(&had), "{paused:#}");
    sites.assert_clean();

    // Something else is not taken for it.
    let other = sites.file("other", 1_000);
    let (code, said) = sites.resume("S", &other, "1").end(PATIENCE);
    assert!(code == 1 && said.contains("it is another transfer"), "{code}: {said}");

    // Told twice, it does not even say good-bye: the controller hangs, and would be waited for.
    let send = sites.resume("S", &file, "1");
    sites.wait_state("running");
    sites.signal_controller(Signal::SIGSTOP);
    send.signal(Signal::SIGINT);
    wait_for("the first signal to be taken", || send.has_taken(Signal::SIGINT).then_some(()));
    send.signal(Signal::SIGINT);
    let (code, said) = send.end(PATIENCE);
    assert!(code == 130 && !said.contains("paused"), "{code}: {said}");
    sites.signal_controller(Signal::SIGCONT);

    let (code, said) = sites.resume("S", &file, "1").end(PATIENCE);
    assert_eq!(code, 0, "{said}");
    assert_same(&file, &sites.folder("t1").join("data"));
    let (code, said) = sites.resume("S", &file, "1").end(PATIENCE);
    assert!(code == 1 && said.contains("is over (done); send it anew"), "{code}: {said}");
    sites.kill_controller();
    sites.daemon.stop();
}

#[test]
fn what_is_submitted_is_sent_by_who_serves_it_and_received_once() {
    let sites = pair();
    let root = sites.folder("out");
    let file = sites.file("out-file", 400_000);
    fs::rename(&file, root.join("data")).expect("move it");
    fs::write(sites.dir().join("secret"), "x").expect("a file");
    let words = ["send", "--serve", "--json", "--root", &root.display().to_string()];
    let server = sites.at("S", &words);
    let once = sites.recv_with("t1", &sites.folder("t1"), &["--once"]);
    let controller = format!("unix:{}", sites.daemon.run_dir().join("qc-controller.sock").display());
    let submit = |path: &str, bytes: &str| {
        let words =
            ["submit", "--controller", &controller, "--from", "S", "--to", "t1", "--path", path, "--bytes"];
        let out = qc(&[&words[..], &[bytes]].concat());
        assert!(out.status.success(), "{out:?}");
        String::from_utf8_lossy(&out.stdout).trim().parse::<u64>().expect("the transfer's number")
    };
    assert_eq!(submit("data", "400000"), 1);
    let (code, said) = once.end(PATIENCE);
    assert!(code == 0 && said.contains("data from S: here"), "{code}: {said}");
    assert_same(&root.join("data"), &sites.folder("t1").join("data"));
    assert!(!sites.folder("t1").join(".valecast").exists(), "something is kept");
    wait_for("the server to know", || server.printed().contains("\"done\"").then_some(()));

    // What is not below its root, or is not what was asked for, is refused by its name.
    for (path, bytes, why) in
        [("../secret", "1", "not below"), ("data", "7", "400000 bytes, 7 were asked for")]
    {
        let id = submit(path, bytes);
        let over = wait_for("its end", || {
            sites.transfers().into_iter().find(|t| t["id"] == id && t["state"] == "partial")
        });
        let said = over["why"].as_str().unwrap_or_default();
        assert!(said.contains("the sender: ") && said.contains(why), "{said}");
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(server.end(PATIENCE).0, 130);

    // Once, and it cannot be had: that is told by the exit status.
    let once = sites.recv_with("t1", &sites.folder("t1"), &["--once"]);
    let (code, _) = sites.send("S", &root.join("data"), "t1", &[]).end(PATIENCE);
    assert_eq!(code, 1);
    let (code, said) = once.end(PATIENCE);
    assert!(code == 1 && said.contains("is there already"), "{code}: {said}");
    sites.daemon.stop();
}

#[test]
fn bars_are_drawn_on_a_terminal_only() {
    let sites = fork();
    let file = sites.file("data", 24_000_000);
    let receivers = ["t1", "t2"].map(|t| sites.recv(t, &sites.folder(t)));
    let terminal = Terminal::open();
    let send = sites.send_on(&terminal, "S", &file, "t1,t2");
    assert_eq!(send.end(PATIENCE).0, 0);
    let drawn = terminal.drawn();
    for t in ["t1", "t2"] {
        let of = |has: &dyn Fn(&str) -> bool| {
            drawn
                .split('\r')
                .flat_map(|l| l.split('\n'))
                .any(|l| l.contains(t) && l.contains("[=") && l.contains('%') && has(l))
        };
        assert!(
            of(&|l| l.contains(" of 22.89 MiB, ") && l.contains("iB/s, ") && l.contains(" left")),
            "{drawn}"
        );
    }
    assert!(drawn.contains('\x1b'));
    for receiver in receivers {
        receiver.signal(Signal::SIGTERM);
        let (code, said) = receiver.end(PATIENCE);
        assert_eq!(code, 130);
        assert!(said.contains("data from S: here") && !said.contains('\x1b'), "{said:?}");
    }
    sites.daemon.stop();
}

#[test]
fn a_full_disk_is_named_at_both_ends() {
    if !need("a_full_disk_is_named_at_both_ends", &["mount"]) {
        return;
    }
    let sites = pair();
    let file = sites.file("data", 6_000_000);
    let full = sites.folder("t1");
    let _small = Small::mount(&full, "2m");
    let receiver = sites.recv_with("t1", &full, &["--json"]);
    let (code, said) = sites.send("S", &file, "t1", &[]).end(PATIENCE);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("t1 does not have it: failed: disk full") && !said.contains('\x1b'), "{said}");
    let failed = wait_for("the receiver to say so", || {
        events(&receiver.printed()).into_iter().find(|e| e["event"] == "failed")
    });
    let why = failed["why"].as_str().unwrap_or_default();
    assert!(why.contains("/data: cannot make room for it: No space left"), "{failed}");
    // It gives its room back at once.
    wait_for("nothing to be left", || (fs::read_dir(&full).ok()?.count() == 0).then_some(()));
    drop(receiver);
    sites.daemon.stop();
}

fn listing(dir: &Path) -> Vec<(String, u32, String)> {
    let mut all = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).expect("a directory").flatten() {
            let path = entry.path();
            let found = path.symlink_metadata().expect("something");
            let name = path.strip_prefix(dir).expect("below it").display().to_string();
            let what = if found.is_symlink() {
                fs::read_link(&path).expect("a link").display().to_string()
            } else if found.is_dir() {
                open.push(path.clone());
                String::new()
            } else {
                format!("{:x}", crc32c::crc32c(&fs::read(&path).expect("a file")))
            };
            all.push((name, if found.is_symlink() { 0 } else { found.permissions().mode() }, what));
        }
    }
    all.sort();
    all
}

#[test]
fn a_directory_and_many_transfers_at_once() {
    let sites = fork();
    let from = sites.folder("out").join("models");
    fs::create_dir_all(from.join("a/b")).expect("directories");
    fs::create_dir(from.join("empty")).expect("a directory");
    for (name, bytes) in [("one", 1), ("a/two", 70_000), ("a/b/none", 0), ("a/b/three", 200_001)] {
        fs::rename(sites.file("part", bytes), from.join(name)).expect("move it");
    }
    fs::set_permissions(from.join("a/two"), fs::Permissions::from_mode(0o640)).expect("a mode");
    symlink("b/three", from.join("a/link")).expect("a link");

    let _receivers = ["t1", "t2"].map(|t| sites.recv(t, &sites.folder(t)));
    let files: Vec<_> = (0..12).map(|n| sites.file(&format!("file-{n}"), 100_000 + n)).collect();
    // In the background: each ends as soon as it is accepted.
    for (n, file) in files.iter().enumerate() {
        let to = ["t1", "t2", "t1,t2"][n % 3];
        let words = ["send", &file.display().to_string(), "--to", to];
        let (code, said) = sites.at("S", &words).end(PATIENCE);
        assert!(code == 0 && said.contains("sends it"), "{code}: {said}");
    }
    let (code, said) = sites.send("S", &from, "t1,t2", &["--fec", "16,4,1"]).end(PATIENCE);
    assert_eq!(code, 0, "{said}");
    for t in ["t1", "t2"] {
        assert_eq!(listing(&sites.folder(t).join("models")), listing(&from));
    }
    wait_long("all transfers to be done", PATIENCE, || {
        let all = sites.transfers();
        (all.len() == 13 && all.iter().all(|t| t["state"] == "done")).then_some(())
    });
    for (n, file) in files.iter().enumerate() {
        for t in [&["t1"][..], &["t2"], &["t1", "t2"]][n % 3] {
            assert_same(file, &sites.folder(t).join(format!("file-{n}")));
        }
    }
    sites.assert_clean();
    sites.daemon.stop();
}
