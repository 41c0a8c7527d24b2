//! The controller as its clients meet it: over sockets, with sites that are threads.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use valecast_config::{Controller, Keys};
use valecast_switch::api::client::wait;

use super::peer::Peer;
use super::{Options, Running, Tls, routes, serve};
use crate::ask::Asker;
use crate::control::{
    Created, Ended, LinkReport, Progress, ReceiverProgress, ReceiverState, SitePlan, SiteReport,
    TransferState, TransferStatus, TreeProgress,
};
use crate::controller::core::view::Overview;
use crate::controller::core::{Settings, scheme};
use crate::controller::keys::generate;

fn exchange(stream: impl Read + Write, method: &str, path: &str, body: &str) -> (u16, String) {
    try_exchange(stream, method, path, body).expect("an answer")
}

/// None if it ends before it answers.
fn try_exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    body: &str,
) -> Option<(u16, String)> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    // One that is refused early may not be read to its end.
    let _ = stream.write_all(body.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head[9..12].parse().unwrap(), body.to_owned()))
}

/// A site: a thread that does whatever it is told.
struct Site {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Site {
    fn start(socket: &Path, name: &str, to: &[&str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, socket, name) = (stop.clone(), socket.to_owned(), name.to_owned());
        let links: Vec<LinkReport> = to
            .iter()
            .map(|to| LinkReport {
                port: format!("to-{to}"),
                to: (*to).to_owned(),
                capacity: 1_000_000_000,
                up: true,
                bytes: 0,
                peer: None,
            })
            .collect();
        let thread = std::thread::spawn(move || {
            let mut generation = 0;
            while !told.load(Ordering::Relaxed) {
                let report = SiteReport {
                    session: 1,
                    links: links.clone(),
                    max_groups: 1_000,
                    max_buckets: 32,
                    generation,
                    failed: BTreeMap::new(),
                    receives: true,
                    wait_ms: 200,
                };
                // The controller may be away; it comes back.
                let Ok(stream) = UnixStream::connect(&socket) else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let path = format!("/v1/sites/{name}/sync");
                let asked = try_exchange(stream, "POST", &path, &json!(report).to_string());
                let Some((status, body)) = asked else { continue };
                assert_eq!(status, 200, "{body}");
                let plan: SitePlan = serde_json::from_str(&body).unwrap();
                assert!(plan.generation >= generation);
                generation = plan.generation;
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

/// A controller.
struct House {
    dir: TempDir,
    running: Option<Running>,
}

impl House {
    fn options(dir: &Path) -> Options {
        Options {
            settings: Settings::new(scheme("quickcast").unwrap()),
            state_dir: dir.join("state"),
            socket: dir.join("te.sock"),
            socket_mode: 0o640,
            tls: None,
            dashboard: Some("127.0.0.1:0".parse().unwrap()),
        }
    }

    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let running = Some(serve(Self::options(dir.path())).unwrap());
        Self { dir, running }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("te.sock")
    }

    fn star(&self) -> Vec<Site> {
        let (socket, edge) = (self.socket(), ["S", "t1", "t2", "t3"]);
        let mut sites = vec![Site::start(&socket, "hub", &edge)];
        sites.extend(edge.iter().map(|name| Site::start(&socket, name, &["hub"])));
        self.until("all sites report", |o| o.sites.iter().filter(|s| s.state == "up").count() == 5);
        sites
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        exchange(UnixStream::connect(self.socket()).unwrap(), method, path, body)
    }

    fn json(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, text) = self.ask(method, path, &body);
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn overview(&self) -> Overview {
        serde_json::from_value(self.json("GET", "/v1/overview", &Value::Null).1).unwrap()
    }

    /// Waits for something that has to come; the test's own timeout is the only clock.
    fn until(&self, _what: &str, reached: impl Fn(&Overview) -> bool) {
        while !reached(&self.overview()) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn submit(&self, to: &[&str]) -> u64 {
        let body = json!({"from": "S", "to": to, "bytes": 1_000_000, "name": "f"});
        let (status, made) = self.json("POST", "/v1/transfers", &body);
        assert_eq!(status, 201, "{made}");
        serde_json::from_value::<Created>(made).unwrap().id
    }

    /// Long polls until a transfer is in a state.
    fn state(&self, id: u64, state: TransferState) -> TransferStatus {
        let mut version = 0;
        loop {
            let path = format!("/v1/transfers/{id}?version={version}&wait_ms=30000");
            let (status, body) = self.ask("GET", &path, "");
            assert_eq!(status, 200, "{body}");
            let now: TransferStatus = serde_json::from_str(&body).unwrap();
            if now.state == state {
                return now;
            }
            version = now.version;
        }
    }

    /// The sender of a transfer: whoever a tree leads to has all of it at once.
    fn finish(&self, id: u64) {
        loop {
            let status = self.state(id, TransferState::Running);
            let done =
                ReceiverProgress { have: status.bytes, rate: 0, state: ReceiverState::Verified, why: None };
            let tree = |t: &crate::control::TreeStatus| TreeProgress {
                tree: t.tree,
                residual: 0,
                receivers: t.receivers.iter().map(|_| done.clone()).collect(),
            };
            let trees = status.trees.iter().map(tree).collect();
            let progress = Progress { session: 5, trees, verified: vec![], ended: Some(Ended::Complete) };
            let (code, after) = self.json("POST", &format!("/v1/transfers/{id}/progress"), &json!(progress));
            assert_eq!(code, 200, "{after}");
            if after["state"] == "done" {
                return;
            }
            // Others are still waited for: their sites have not come back yet.
            assert_ne!(after["state"], "partial", "{after}");
        }
    }
}

#[test]
fn a_transfer_from_submission_to_the_end() {
    let house = House::new();
    let mode = std::fs::metadata(house.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let _sites = house.star();
    let id = house.submit(&["t1", "t2", "t3"]);
    house.finish(id);
    let list = house.json("GET", "/v1/transfers", &Value::Null).1;
    assert_eq!(list[0]["receivers"][2]["state"], "verified");
    assert_eq!(house.json("GET", "/v1/transfers?open=true", &Value::Null).1, json!([]));
    house.until("nothing stays installed", |o| {
        o.trees.is_empty() && o.sites.iter().all(|s| s.generation == s.in_force)
    });
    let (_, metrics) = house.ask("GET", "/metrics", "");
    for line in [
        "valecast_qc_transfers{state=\"done\"} 1",
        "valecast_qc_transfers{state=\"running\"} 0",
        "valecast_qc_site_up{site=\"hub\"} 1",
        "valecast_qc_link_capacity_bits{from=\"S\",to=\"hub\",port=\"to-hub\"} 1000000000",
        "# TYPE valecast_qc_link_used_bits gauge",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} in\n{metrics}");
    }
    assert!(!metrics.contains("# EOF"));
}

#[test]
fn a_hundred_transfers_and_a_controller_that_comes_and_goes() {
    let mut house = House::new();
    let _sites = house.star();
    let to = [&["t1"][..], &["t1", "t2"], &["t3", "t1", "t2"]];
    let mut ids: Vec<u64> = (0..50).map(|n| house.submit(to[n % 3])).collect();
    house.finish(ids[0]);
    house.finish(ids[1]);
    // It ends and starts; the sites never notice but for a refused connection.
    house.running = None;
    house.running = Some(serve(House::options(house.dir.path())).unwrap());
    assert_eq!(house.running.as_ref().unwrap().torn, 0);
    ids.extend((50..100).map(|n| house.submit(to[n % 3])));
    assert_eq!(ids, (1..=100).collect::<Vec<u64>>());
    for id in &ids[2..] {
        house.finish(*id);
    }
    let o = house.overview();
    assert_eq!((o.run, o.transfers["done"]), (2, 100));
}

#[test]
fn mistakes_are_explained() {
    let house = House::new();
    let _sites = house.star();
    let good = json!({"from": "S", "to": ["t1"], "bytes": 1, "name": "f"});
    let with = |key: &str, value: Value| {
        let mut body = good.clone();
        body[key] = value;
        body.to_string()
    };
    let report = json!({"session": 1, "links": [{"port": "p", "to": "S", "capacity": 0, "up": true}], "max_groups": 1,
        "max_buckets": 1, "generation": 0, "receives": false});
    let deep = "[".repeat(100_000);
    for (method, path, body, want, says) in [
        ("GET", "/v1/nothing", String::new(), 404, "see /openapi.json"),
        ("PUT", "/v1/transfers", String::new(), 405, "other methods"),
        ("GET", "/v1/transfers/9", String::new(), 404, "no transfer 9"),
        ("GET", "/v1/transfers/x", String::new(), 404, "they have numbers"),
        ("GET", "/v1/transfers/1?verison=1", String::new(), 422, "there are version, wait_ms"),
        ("GET", "/v1/transfers/1?version=x", String::new(), 422, "whole number"),
        ("GET", "/v1/transfers?open=maybe", String::new(), 422, "true or false"),
        ("DELETE", "/v1/transfers/9", String::new(), 404, "no transfer 9"),
        ("POST", "/v1/transfers", "{".into(), 422, "EOF"),
        ("POST", "/v1/transfers", deep, 422, "invalid type"),
        ("POST", "/v1/transfers", with("too", json!(1)), 422, "unknown field `too`"),
        ("POST", "/v1/transfers", with("bytes", json!(-1)), 422, "invalid value"),
        ("POST", "/v1/transfers", with("to", json!(["t4"])), 422, "did you mean"),
        ("POST", "/v1/transfers/9/progress", "{}".into(), 404, "no transfer 9"),
        ("POST", "/v1/sites/x/sync", report.to_string(), 422, "`links[0].capacity` is 0"),
        ("POST", "/v1/sites/a%2Fb/sync", report.to_string(), 422, "no name of a site"),
    ] {
        let (status, answer) = house.ask(method, path, &body);
        assert_eq!(status, want, "{method} {path}: {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["error"].as_str().unwrap().contains(says), "{method} {path}: {answer}");
    }
    let huge = format!("{{\"name\":\"{}\"}}", "x".repeat(9 << 20));
    let (status, answer) = house.json("POST", "/v1/transfers", &Value::Null);
    assert_eq!((status, answer["error"].is_string()), (422, true));
    let (status, answer) = house.ask("POST", "/v1/transfers", &huge);
    assert!(status == 413 && answer.starts_with("{\"error\":"), "{status} {answer}");
    // The controller is as well as before.
    house.finish(house.submit(&["t1"]));
}

#[test]
fn who_only_reads_changes_nothing() {
    let house = House::new();
    let _sites = house.star();
    let id = house.submit(&["t1"]);
    let address = house.running.as_ref().unwrap().dashboard.unwrap();
    let ask = |method: &str, path: &str, body: &str| {
        exchange(TcpStream::connect(address).unwrap(), method, path, body)
    };
    for path in ["/", "/metrics", "/openapi.json", "/v1/overview", "/v1/transfers", "/v1/transfers/1"] {
        assert_eq!(ask("GET", path, "").0, 200, "{path}");
    }
    let new = json!({"from": "S", "to": ["t1"], "bytes": 1, "name": "f"}).to_string();
    for (method, path, body) in [
        ("POST", "/v1/transfers", new.as_str()),
        ("POST", "/v1/transfers", "{\"to\":[],\"bytes\":1,\"name\":\"f\"}"),
        ("DELETE", "/v1/transfers/1", ""),
        ("DELETE", "/v1/transfers/77", ""),
        ("POST", "/v1/transfers/1/progress", "{\"session\":1,\"trees\":[]}"),
        ("POST", "/v1/sites/S/sync", "{}"),
    ] {
        let (status, answer) = ask(method, path, body);
        assert_eq!(status, 403, "{method} {path}: {answer}");
    }
    house.state(id, TransferState::Running);
    assert_eq!(house.overview().transfers.values().sum::<u64>(), 1);
}

#[test]
fn certificates_say_who_may() {
    let dir = TempDir::new().unwrap();
    let keys = dir.path().join("keys");
    let made = generate(&keys, &["127.0.0.1".into()], &["S".into(), "t1".into()]).unwrap();
    assert_eq!(made.len(), 10);
    // More sites later, by the same authority.
    assert_eq!(generate(&keys, &["127.0.0.1".into()], &["t1".into(), "hub".into()]).unwrap().len(), 2);
    let mode = |f: &str| std::fs::metadata(keys.join(f)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca.key"), mode("S.key"), mode("S.pem")), (0o600, 0o600, 0o644));
    for name in ["operator", "controller", "ca", "a/b", "", ".."] {
        assert!(generate(&keys, &[], &[name.into()]).is_err(), "{name}");
    }
    let at = |f: &str| keys.join(f);
    let tls = Tls {
        listen: "127.0.0.1:0".parse().unwrap(),
        ca: at("ca.pem"),
        cert: at("controller.pem"),
        key: at("controller.key"),
    };
    let running = serve(Options { tls: Some(tls), ..House::options(dir.path()) }).unwrap();
    let port = running.listen.unwrap().port();
    let long = Duration::from_secs(30);
    let shown = |name: &str| Keys {
        ca: at("ca.pem"),
        cert: at(&format!("{name}.pem")),
        key: at(&format!("{name}.key")),
    };
    let place = Controller::Https { host: "127.0.0.1".into(), port };
    let ask_with = |keys: Keys, method: &str, path: &str, body: &Value| {
        let body = (!body.is_null()).then(|| body.to_string());
        let mut asker = Asker::new(place.clone(), Some(keys));
        wait(long * 2, asker.ask(method, path, body.as_deref(), long))
    };
    let ask = |name: &str, method: &str, path: &str, body: &Value| {
        let answer = ask_with(shown(name), method, path, body).unwrap();
        (answer.status, answer.body)
    };
    let report = |to: &str| {
        json!({"session": 1, "links": [{"port": "p", "to": to, "capacity": 1000, "up": true}], "max_groups": 9,
            "max_buckets": 9, "generation": 0, "receives": true})
    };
    assert_eq!(ask("S", "POST", "/v1/sites/S/sync", &report("t1")).0, 200);
    assert_eq!(ask("t1", "POST", "/v1/sites/t1/sync", &report("S")).0, 200);
    let (status, why) = ask("t1", "POST", "/v1/sites/S/sync", &report("t1"));
    assert_eq!(status, 403);
    assert!(why.contains("this certificate is for t1, not for site S"), "{why}");
    // A site need not say who it is, and may not say it is another.
    let new = json!({"to": ["t1"], "bytes": 1, "name": "f"});
    assert_eq!(ask("S", "POST", "/v1/transfers", &new).0, 201);
    assert_eq!(
        ask("t1", "POST", "/v1/transfers", &json!({"from": "S", "to": ["t1"], "bytes": 1, "name": "f"})).0,
        403
    );
    assert_eq!(ask("t1", "DELETE", "/v1/transfers/1", &Value::Null).0, 403);
    let progress = json!({"session": 1, "trees": []});
    assert_eq!(ask("t1", "POST", "/v1/transfers/1/progress", &progress).0, 403);
    assert_eq!(ask("S", "POST", "/v1/transfers/1/progress", &progress).0, 200);
    assert_eq!(ask("operator", "DELETE", "/v1/transfers/1", &Value::Null).0, 200);
    // The controller's certificate is none for clients, another authority's is none at all, and without there is nothing.
    let refused = |keys: Keys| {
        let why = ask_with(keys, "GET", "/v1/overview", &Value::Null).unwrap_err();
        assert_ne!(why.kind(), std::io::ErrorKind::TimedOut, "{why}");
        why.to_string()
    };
    assert_eq!(ask("operator", "GET", "/v1/overview", &Value::Null).0, 200);
    refused(shown("controller"));
    let other = dir.path().join("other");
    generate(&other, &["127.0.0.1".into()], &["S".into()]).unwrap();
    refused(Keys { ca: at("ca.pem"), cert: other.join("S.pem"), key: other.join("S.key") });
    let nothing = Keys { cert: at("none.pem"), ..shown("S") };
    let why = refused(nothing);
    assert!(why.contains("none.pem"), "{why}");
    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _ = plain.write_all(b"GET /v1/overview HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut got = Vec::new();
    let _ = plain.read_to_end(&mut got);
    assert!(!String::from_utf8_lossy(&got).contains("200 OK"));
    // A client trusts no server of another authority.
    let trusting = Keys { ca: other.join("ca.pem"), ..shown("S") };
    let why = refused(trusting);
    assert!(why.contains("invalid peer certificate"), "{why}");
}

#[test]
fn names_in_certificates() {
    let peer = |names: &[&str]| Peer::of_names(names.iter().copied());
    assert_eq!(
        peer(&["valecast:site:a", "https://x", "valecast:site:b"]),
        Peer::Sites(vec!["a".into(), "b".into()])
    );
    assert_eq!(peer(&["valecast:site:a", "valecast:operator"]), Peer::Operator);
    assert_eq!(peer(&["valecast:operators", "operator"]), Peer::Sites(vec![]));
}

#[test]
fn starts_only_where_it_may() {
    let house = House::new();
    let again = serve(House::options(house.dir.path())).unwrap_err().to_string();
    assert!(again.contains("another controller uses this `state_dir`"), "{again}");
    let elsewhere = Options { state_dir: house.dir.path().join("other"), ..House::options(house.dir.path()) };
    let again = serve(elsewhere).unwrap_err().to_string();
    assert!(again.contains("another controller answers there"), "{again}");
    // The first one is none the worse for it.
    assert_eq!(house.ask("GET", "/v1/overview", "").0, 200);
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("te.sock"), "a file").unwrap();
    let file = serve(House::options(dir.path())).unwrap_err().to_string();
    assert!(file.contains("what is there is no socket"), "{file}");
    let tls = |cert: &Path| Tls {
        listen: "127.0.0.1:0".parse().unwrap(),
        ca: cert.into(),
        cert: cert.into(),
        key: cert.into(),
    };
    let missing = dir.path().join("no.pem");
    let dir = TempDir::new().unwrap();
    let wrong = serve(Options { tls: Some(tls(&missing)), ..House::options(dir.path()) }).unwrap_err();
    assert!(wrong.to_string().contains("no.pem"), "{wrong}");
}

#[test]
fn the_description_covers_every_route() {
    let doc: Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
    let mut described = BTreeSet::new();
    for (path, methods) in doc["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            described.insert((method.clone(), path.clone()));
        }
    }
    let served: BTreeSet<_> =
        routes::table().into_iter().map(|(method, path, _)| (method.to_owned(), path.to_owned())).collect();
    assert_eq!(described, served);
    // What it refers to is there, and what is there is referred to.
    let text = doc.to_string();
    for name in doc["components"]["schemas"].as_object().unwrap().keys() {
        assert!(text.contains(&format!("\"#/components/schemas/{name}\"")), "{name}");
    }
    let names = text.split("\"#/components/schemas/").skip(1).filter_map(|s| s.split('"').next());
    for name in names {
        assert!(doc["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[test]
fn the_description_has_the_fields_of_the_answers() {
    let house = House::new();
    let _sites = house.star();
    let id = house.submit(&["t1", "t2"]);
    let status = house.state(id, TransferState::Running);
    let doc: Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
    let same = |schema: &str, value: &Value| {
        let want: BTreeSet<_> =
            doc["components"]["schemas"][schema]["properties"].as_object().unwrap().keys().collect();
        let got: BTreeSet<_> = value.as_object().unwrap().keys().collect();
        assert_eq!(got, want, "{schema}");
    };
    let status = json!(status);
    same("TransferStatus", &status);
    same("ReceiverStatus", &status["receivers"][0]);
    same("TreeStatus", &status["trees"][0]);
    let o = json!(house.overview());
    same("Overview", &o);
    same("SiteView", &o["sites"][0]);
    same("LinkView", &o["links"][0]);
    same("TreeView", &o["trees"][0]);
    let link = LinkReport { port: "p".into(), to: "S".into(), capacity: 1, up: true, bytes: 0, peer: None };
    let report = json!(SiteReport {
        session: 9,
        links: vec![link],
        max_groups: 1,
        max_buckets: 1,
        generation: 0,
        failed: BTreeMap::new(),
        receives: true,
        wait_ms: 0,
    });
    same("SiteReport", &report);
    same("LinkReport", &report["links"][0]);
    let (_, plan) = house.json("POST", "/v1/sites/t1/sync", &report);
    same("SitePlan", &plan);
    let end = TreeProgress {
        tree: 1,
        residual: 0,
        receivers: vec![ReceiverProgress { have: 0, rate: 0, state: ReceiverState::Silent, why: None }],
    };
    let progress = json!(Progress { session: 1, trees: vec![end], verified: vec![], ended: None });
    same("Progress", &progress);
    same("TreeProgress", &progress["trees"][0]);
    same("ReceiverProgress", &progress["trees"][0]["receivers"][0]);
}
