//! `valecast qc serve` as a user runs it, with sites that are threads of the test, killed in the middle of its work, and
//! looked at by a browser.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use valecast_qc_dataplane::control::{LinkReport, SitePlan, SiteReport};
use valecast_switch::api::client;

const VALECAST: &str = env!("CARGO_BIN_EXE_valecast");
const EDGE: [&str; 5] = ["S", "t1", "t2", "t3", "t4"];

/// One request; none if nobody answers, or not to the end.
fn ask(socket: &Path, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    let body = (!body.is_null()).then(|| body.to_string());
    let answer = client::ask(socket, method, path, body.as_deref()).ok()?;
    Some((answer.status, serde_json::from_str(&answer.body).ok()?))
}

/// A site: does whatever it is told, whoever tells it, and checks that it makes sense.
struct Site {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Site {
    fn start(socket: &Path, name: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, socket) = (stop.clone(), socket.to_owned());
        let to: Vec<&str> = if name == "hub" { EDGE.to_vec() } else { vec!["hub"] };
        let link = |to: &str| LinkReport {
            port: format!("to-{to}"),
            to: to.to_owned(),
            capacity: 1_000_000_000,
            up: true,
            bytes: 0,
            peer: None,
        };
        let links: Vec<LinkReport> = to.into_iter().map(link).collect();
        let thread = std::thread::spawn(move || {
            let (mut plan, mut plans) = (SitePlan::default(), 0);
            while !told.load(Ordering::Relaxed) {
                let report = SiteReport {
                    session: 1,
                    links: links.clone(),
                    max_groups: 200,
                    max_buckets: 4,
                    generation: plan.generation,
                    failed: BTreeMap::new(),
                    receives: true,
                    wait_ms: 200,
                };
                let Some((status, body)) =
                    ask(&socket, "POST", &format!("/v1/sites/{name}/sync"), &json!(report))
                else {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                };
                assert_eq!(status, 200, "{body}");
                let next: SitePlan = serde_json::from_value(body).expect("a plan");
                assert!(next.generation >= plan.generation, "the generation of {name} fell");
                if next.generation == plan.generation {
                    assert_eq!(next, plan, "{name}: another plan of one generation");
                } else {
                    plans += 1;
                }
                let groups = next.trees.iter().filter(|t| t.receiver.is_some() || t.out.len() > 1).count();
                assert!(groups <= 200, "{name} is to have {groups} groups");
                for tree in &next.trees {
                    assert!(tree.out.len() + usize::from(tree.receiver.is_some()) <= 4);
                    // A tree that is there never becomes another one, over restarts neither.
                    if let Some(old) = plan.trees.iter().find(|t| t.tree == tree.tree) {
                        let shape = |t: &valecast_qc_dataplane::control::TreeHere| {
                            (t.ingress.clone(), t.out.clone(), t.receiver)
                        };
                        assert_eq!(shape(old), shape(tree));
                    }
                }
                plan = next;
            }
            plans
        });
        Self { stop, thread: Some(thread) }
    }

    /// How many plans it got.
    fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it was started").join().expect("it did not panic")
    }
}

struct Controller {
    dir: TempDir,
    child: Child,
}

impl Controller {
    fn new(more: &str) -> Self {
        let dir = TempDir::with_prefix("valecast-qc-").expect("a directory");
        std::fs::write(
            dir.path().join("te.toml"),
            format!("state_dir = \"state\"\nsocket = \"qc-controller.sock\"\n{more}"),
        )
        .expect("write te.toml");
        let child = Self::spawn(dir.path());
        Self { dir, child }
    }

    fn spawn(dir: &Path) -> Child {
        let log = File::options().create(true).append(true).open(dir.join("log")).expect("open the log");
        let mut command = Command::new(VALECAST);
        command
            .args(["qc", "serve"])
            .arg(dir.join("te.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command.spawn().expect("start the controller")
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("qc-controller.sock")
    }

    /// SIGKILL, and up again.
    fn kill(&mut self) {
        self.child.kill().expect("kill the controller");
        self.child.wait().expect("wait for the controller");
        self.child = Self::spawn(self.dir.path());
    }

    /// Asks until it answers.
    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        loop {
            if let Some(answer) = ask(&self.socket(), method, path, body) {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(VALECAST);
        command.arg("qc").args(words).arg("--run-dir").arg(self.dir.path());
        command.output().expect("run valecast")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn sites(&self) -> Vec<Site> {
        let socket = self.socket();
        let all = EDGE.into_iter().chain(["hub"]).map(|name| Site::start(&socket, name)).collect();
        while self.get("/v1/overview")["sites"]
            .as_array()
            .expect("an answer")
            .iter()
            .filter(|s| s["state"] == "up")
            .count()
            < 6
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        all
    }

    /// The sender of a transfer: all receivers have all as soon as it runs.
    fn finish(&self, id: u64) {
        loop {
            let status = self.get(&format!("/v1/transfers/{id}"));
            if status["state"] == "done" {
                return;
            }
            let done = json!({"have": status["bytes"], "rate": 0, "state": "verified"});
            let tree = |t: &Value| {
                let receivers = vec![done.clone(); t["receivers"].as_array().expect("receivers").len()];
                json!({"tree": t["tree"], "residual": 0, "receivers": receivers})
            };
            let trees: Vec<Value> = status["trees"].as_array().expect("trees").iter().map(tree).collect();
            let served: usize =
                trees.iter().map(|t| t["receivers"].as_array().expect("receivers of a tree").len()).sum();
            let all = served == status["receivers"].as_array().expect("receivers of a transfer").len();
            let ended = if all { json!("complete") } else { Value::Null };
            let progress = json!({"session": id, "trees": trees, "ended": ended});
            self.ask("POST", &format!("/v1/transfers/{id}/progress"), &progress);
            if !all {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the controller's log:\n{}", self.log());
        }
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn killed_in_the_middle_of_a_hundred_transfers_it_loses_none() {
    let mut controller = Controller::new("scheme = \"quickcast\"\nmax_transfers = 30\n");
    let sites = controller.sites();
    let to = [&["t1", "t2"][..], &["t3"], &["t1", "t2", "t3", "t4"], &["t4", "t2"]];
    let (mut acknowledged, mut asked) = (Vec::new(), 0);
    for n in 0..100usize {
        let new = json!({"from": "S", "to": to[n % 4], "bytes": 1_000_000, "name": format!("file-{n}"), "overhead": 1.02});
        asked += 1;
        match ask(&controller.socket(), "POST", "/v1/transfers", &new) {
            Some((201, created)) => acknowledged.push((created["id"].as_u64().unwrap(), format!("file-{n}"))),
            Some((status, why)) => panic!("{status}: {why}"),
            None => {}
        }
        if n % 3 == 2 {
            let (id, _) = acknowledged[acknowledged.len() / 2];
            controller.finish(id);
        }
        // At once after an answer, when what it says has just been written and trees are being installed.
        if n % 10 == 9 {
            controller.kill();
            controller.get("/v1/overview");
        }
    }
    assert_eq!((acknowledged.len(), asked), (100, 100));
    for (id, name) in &acknowledged {
        assert_eq!(controller.get(&format!("/v1/transfers/{id}"))["name"], json!(name));
        controller.finish(*id);
    }
    controller.kill();
    let list = controller.get("/v1/transfers");
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 100);
    for t in list {
        assert_eq!(t["state"], "done", "{t}");
        assert!(
            t["receivers"]
                .as_array()
                .unwrap()
                .iter()
                .all(|r| r["state"] == "verified" && r["seconds"].is_number())
        );
    }
    // Nothing stays behind in any switch.
    loop {
        let o = controller.get("/v1/overview");
        assert_eq!(o["trees"], json!([]));
        if o["sites"]
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["state"] == "up" && s["generation"] == s["in_force"])
        {
            assert_eq!(o["run"], 12);
            assert!(o["sites"].as_array().unwrap().iter().all(|s| s["trees"] == 0 && s["groups"] == 0));
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(sites.into_iter().map(Site::stop).sum::<u64>() > 100);
}

#[test]
fn commands_show_and_change() {
    let controller = Controller::new("");
    let nobody = controller.run(&["status", "--site", "S"]);
    assert_eq!(nobody.status.code(), Some(3), "{}", text(&nobody));
    let sites = controller.sites();
    let submitted = controller.run(&[
        "submit",
        "--from",
        "S",
        "--to",
        "t1,t2",
        "--path",
        "/data/model.bin",
        "--bytes",
        "4GiB",
    ]);
    assert_eq!((text(&submitted).as_str(), submitted.status.code()), ("1\n", Some(0)));
    while controller.get("/v1/transfers/1")["state"] != "running" {
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = text(&controller.run(&["status"]));
    for part in ["hub", "S -> hub", "1.00 Gbit/s", "model.bin", "running", "0/2", "in force"] {
        assert!(status.contains(part), "{part} in\n{status}");
    }
    let one = text(&controller.run(&["status", "1"]));
    assert!(one.contains("to be sent from /data/model.bin") && one.contains("S-hub hub-t1 hub-t2"), "{one}");
    let all: Value = serde_json::from_slice(&controller.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(
        (&all["transfers"][0]["bytes"], all["overview"]["sites"].as_array().unwrap().len()),
        (&json!(4u64 << 30), 6)
    );
    let slip = controller.run(&["submit", "--from", "S", "--to", "t5", "--path", "/x", "--bytes", "1"]);
    assert!(
        slip.status.code() == Some(1) && text(&slip).contains("there is no site \"t5\""),
        "{}",
        text(&slip)
    );
    let cancelled = controller.run(&["cancel", "1"]);
    assert_eq!(text(&cancelled), "transfer 1 is cancelled\n");
    assert_eq!(controller.get("/v1/transfers/1")["state"], "cancelled");
    assert_eq!(controller.run(&["status", "7"]).status.code(), Some(1));
    // What is wrong is said, and is the exit status. It is the first thing that is, as all sites are gone.
    assert_eq!(controller.run(&["status"]).status.code(), Some(0));
    for site in sites {
        site.stop();
    }
    loop {
        let status = controller.run(&["status"]);
        if status.status.code() == Some(1) {
            assert!(
                text(&status).contains("! site S has been silent for") || text(&status).contains("! site"),
                "{}",
                text(&status)
            );
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn its_file_is_checked() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("te.toml");
    let check = |text_of_file: &str| {
        std::fs::write(&file, text_of_file).unwrap();
        Command::new(VALECAST).args(["qc", "serve", "--check"]).arg(&file).output().unwrap()
    };
    assert_eq!(check("").status.code(), Some(0));
    let wrong = check("scheme = \"wurst\"\nrates = \"unfair\"\nheadrom = 1\n");
    let said = text(&wrong);
    assert_eq!(wrong.status.code(), Some(2));
    for part in [
        "te.toml:1:10",
        "`scheme` is \"wurst\"",
        "quickcast2",
        "te.toml:2:9",
        "did you mean `headroom`?",
        "^^^^^^^",
        "3 mistakes",
    ] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    let topology = check("topology = \"no-such-network\"\n");
    assert!(topology.status.code() == Some(2) && text(&topology).contains("no-such-network"));
    assert_eq!(check("topology = \"geant\"\n").status.code(), Some(0), "a built-in network");
    // Keys that are not there; then they are.
    let tls = "listen = \"127.0.0.1:0\"\nca = \"keys/ca.pem\"\ncert = \"keys/controller.pem\"\nkey = \"keys/controller.key\"\n";
    let none = check(tls);
    assert!(none.status.code() == Some(2) && text(&none).contains("ca.pem"), "{}", text(&none));
    let keys = dir.path().join("keys");
    let made = Command::new(VALECAST)
        .args(["qc", "keygen", "te.example,127.0.0.1", "S", "--dir"])
        .arg(&keys)
        .output()
        .unwrap();
    assert_eq!(text(&made).lines().count(), 8, "{}", text(&made));
    assert_eq!(check(tls).status.code(), Some(0));
}

#[test]
fn the_page_shows_it_to_a_browser() {
    // `cargo xtask test` brings it where it may; elsewhere there may be none.
    if !std::env::var_os("PATH")
        .is_some_and(|p| std::env::split_paths(&p).any(|d| d.join("chromium").exists()))
    {
        eprintln!("skipped: there is no chromium");
        return;
    }
    let controller = Controller::new("dashboard = \"127.0.0.1:0\"\nscheme = \"single\"\n");
    let _sites = controller.sites();
    let new = |name: &str| json!({"from": "S", "to": ["t1", "t2"], "bytes": 1_000_000, "name": name});
    let done = controller.ask("POST", "/v1/transfers", &new("<b>done")).1["id"].as_u64().unwrap();
    controller.finish(done);
    controller.ask("POST", "/v1/transfers", &new("going"));
    while controller.get("/v1/transfers/2")["state"] != "running" {
        std::thread::sleep(Duration::from_millis(5));
    }
    let progress = json!({"session": 9, "trees": [{"tree": controller.get("/v1/transfers/2")["trees"][0]["tree"], "residual": 580_000,
        "receivers": [{"have": 420_000, "rate": 1000, "state": "receiving"}, {"have": 0, "rate": 0, "state": "silent", "why": "no answer"}]}]});
    assert_eq!(controller.ask("POST", "/v1/transfers/2/progress", &progress).0, 200);
    let log = controller.log();
    let address = log.split("page and metrics at ").nth(1).and_then(|s| s.split_whitespace().next()).unwrap();
    let profile = TempDir::new().unwrap();
    let shown = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--virtual-time-budget=3000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(address)
        .env("HOME", profile.path())
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&shown.stdout);
    let count = |part: &str| dom.matches(part).count();
    assert_eq!(
        (count("class=\"site\""), count("class=\"link\""), count("class=\"tree\"")),
        (6, 10, 3),
        "{dom}"
    );
    assert_eq!(count("data-transfer=\"2\""), 3);
    for part in [
        "6 sites, 10 links, 1 trees; 1 done, 1 running; scheme single",
        "t1 42% receiving",
        "t2 0% silent",
        "t1 100% verified after",
        "2 receivers done: mean",
        "S → hub",
        "&lt;b&gt;done",
    ] {
        assert!(dom.contains(part), "{part} in\n{dom}");
    }
}
