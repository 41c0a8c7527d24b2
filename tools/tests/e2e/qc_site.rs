//! Sites of a real `valecast run`, against a controller that says what the test wants.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::harness::wait_for;
use serde_json::{Value, json};
use valecast_switch::api::client;

type BySite = BTreeMap<String, Value>;

/// Plans by site, and the last report of each.
#[derive(Clone, Default)]
struct Controller(Arc<Mutex<(BySite, BySite)>>);

impl Controller {
    fn start(socket: &Path) -> Self {
        let me = Self::default();
        let listener = UnixListener::bind(socket).expect("bind the controller's socket");
        let serving = me.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let me = serving.clone();
                std::thread::spawn(move || while me.answer(&stream).is_some() {});
            }
        });
        me
    }

    fn answer(&self, stream: &UnixStream) -> Option<()> {
        let mut from = BufReader::new(stream);
        let (path, length) = head(&mut from)?;
        let mut body = vec![0; length];
        from.read_exact(&mut body).ok()?;
        let report: Value = serde_json::from_slice(&body).ok()?;
        let site = path.split('/').nth(3)?.to_owned();
        let generation = report["generation"].clone();
        let wait = Duration::from_millis(report["wait_ms"].as_u64()?);
        self.0.lock().expect("not poisoned").1.insert(site.clone(), report);
        let until = Instant::now() + wait;
        let plan = loop {
            let plan = self
                .0
                .lock()
                .expect("not poisoned")
                .0
                .get(&site)
                .filter(|p| p["generation"] != generation)
                .cloned();
            if plan.is_some() || Instant::now() > until {
                break plan.unwrap_or(json!({ "generation": generation, "trees": [], "incoming": [] }));
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let text = plan.to_string();
        write!(&mut &*stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()).ok()
    }

    fn plan(&self, site: &str, plan: Value) {
        self.0.lock().expect("not poisoned").0.insert(site.to_owned(), plan);
    }

    fn report(&self, site: &str, is: impl Fn(&Value) -> bool) -> Value {
        let found = || self.0.lock().expect("not poisoned").1.get(site).filter(|r| is(r)).cloned();
        wait_for(&format!("report of site {site}"), found)
    }
}

/// Path and length of what comes.
fn head(from: &mut impl BufRead) -> Option<(String, usize)> {
    let mut lines = from.lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    for line in lines {
        let line = line.ok()?.to_ascii_lowercase();
        if line.is_empty() {
            return Some((path, length));
        }
        if let Some(n) = line.strip_prefix("content-length:") {
            length = n.trim().parse().ok()?;
        }
    }
    None
}

fn ask(socket: &Path, method: &str, path: &str) -> Value {
    let answer = client::ask(socket, method, path, None).expect("somebody answers");
    serde_json::from_str(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.body))
}

struct Daemon {
    child: Child,
    run: PathBuf,
}

impl Daemon {
    fn start(file: &Path, run: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_valecast"))
            .arg("run")
            .arg(file)
            .stderr(Stdio::null())
            .spawn()
            .expect("start the daemon");
        let me = Self { child, run: run.to_owned() };
        for site in ["a", "b"] {
            wait_for("socket of the site", || UnixStream::connect(me.socket(site)).ok());
        }
        me
    }

    fn socket(&self, site: &str) -> PathBuf {
        self.run.join(format!("{site}.qc.sock"))
    }

    /// The exit status of `valecast ctl`, and what it said.
    fn ctl(&self, switch: &str, words: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_valecast"));
        command.arg("ctl").args(words).arg("--socket").arg(self.run.join(format!("{switch}.sock")));
        let out = command.output().expect("run valecast ctl");
        (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&out.stderr).into_owned())
    }

    fn groups(&self, switch: &str) -> Vec<String> {
        let socket = self.run.join(format!("{switch}.sock"));
        let answer = ask(&socket, "GET", &format!("/v1/switches/{switch}/groups"));
        let groups = answer["groups"].as_array().expect("a list").iter();
        groups.map(|g| g["name"].as_str().expect("a name").to_owned()).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(run: &Path) -> String {
    let mut text = format!("run_dir = {run:?}\n");
    for (own, other) in [("a", "b"), ("b", "a")] {
        text += &format!(
            "[[switch]]\nname = {own:?}\n[[switch.port]]\nname = \"to-{other}\"\nkind = \"patch\"\n\
             peer = \"{other}:to-{own}\"\nflood = false\ncapacity = \"100Mbit/s\"\n\
             [[qc.site]]\nswitch = {own:?}\n[[qc.site.link]]\nport = \"to-{other}\"\nto = {other:?}\n"
        );
    }
    text
}

/// A tree from a to b; the number of the generation.
fn install(controller: &Controller, generation: u64) {
    let tree = |ingress: Value, out: Value, receiver: Value, limit: Value| {
        let towards = if limit.is_null() { json!({}) } else { json!({ "1": "to-b" }) };
        json!({ "tree": 9, "ingress": ingress, "out": out, "receiver": receiver, "towards": towards, "limit": limit })
    };
    let incoming = json!([{ "tree": 9, "transfer": 1, "partition": 0, "receiver": 1, "from": "a", "name": "f", "bytes": 5 }]);
    let a = tree(Value::Null, json!(["to-b"]), Value::Null, json!({ "rate": 1_000_000, "burst": 10_000 }));
    let b = tree(json!("to-a"), json!([]), json!(1), Value::Null);
    controller.plan("a", json!({ "generation": generation, "trees": [a], "incoming": [] }));
    controller.plan("b", json!({ "generation": generation, "trees": [b], "incoming": incoming }));
    for site in ["a", "b"] {
        controller.report(site, |r| r["generation"] == generation && r["failed"] == json!({}));
    }
}

#[test]
fn a_site_that_is_killed_comes_back_and_gets_its_trees_again() {
    let dir = tempfile::tempdir().unwrap();
    let (run, file) = (dir.path().join("run"), dir.path().join("sites.toml"));
    std::fs::create_dir(&run).unwrap();
    std::fs::write(&file, text(&run)).unwrap();
    let controller = Controller::start(&run.join("qc-controller.sock"));

    let mut daemon = Daemon::start(&file, &run);
    install(&controller, 4);
    assert_eq!(daemon.groups("b"), ["qc-9", "qc-link-0", "qc-out-0"]);
    let news = ask(&daemon.socket("b"), "GET", "/v1/incoming");
    assert_eq!(news["trees"][0]["tree"], 9);
    let session = controller.report("b", |_| true)["session"].clone();
    // Somebody meddles: a link's port is kept, and who needs it is said; a group that is taken away is put back.
    let (code, said) = daemon.ctl("b", &["detach", "to-a"]);
    assert!(
        code == 1 && said.contains("site \"b\", whose link to \"a\" it is: take that [[qc.site.link]] out"),
        "{said}"
    );
    let (code, said) = daemon.ctl("b", &["group-del", "qc-9"]);
    assert_eq!(code, 0, "{said}");
    wait_for("the group to be put back", || daemon.groups("b").contains(&"qc-9".to_owned()).then_some(()));

    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    let daemon = Daemon::start(&file, &run);
    // It says that nothing is in force, gets the plan, and all is as before; its endpoints are told that it is another.
    controller.report("b", |r| r["session"] != session && r["generation"] == 4);
    assert_eq!(daemon.groups("b"), ["qc-9", "qc-link-0", "qc-out-0"]);
    let again = ask(&daemon.socket("b"), "GET", "/v1/incoming");
    assert_eq!(again["trees"], news["trees"]);
    assert_ne!(again["version"], news["version"]);
    controller.report("a", |r| r["links"][0]["up"] == true);
    let place = ask(&daemon.socket("b"), "POST", "/v1/receive");
    assert_eq!(place["port"], "qc-recv");
}

#[test]
fn a_file_with_wrong_sites_is_refused_with_all_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sites.toml");
    let wrong = text(dir.path()).replace("to = \"b\"", "to = \"a\"").replace("flood = false\n", "");
    std::fs::write(&file, wrong).unwrap();
    let out =
        Command::new(env!("CARGO_BIN_EXE_valecast")).args(["run", "--check"]).arg(&file).output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    for mistake in
        ["links to itself", "port \"to-b\" is a link and floods", "leads to site \"b\", not to \"a\""]
    {
        assert!(said.contains(mistake), "{said}");
    }
}
