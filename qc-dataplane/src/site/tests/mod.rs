//! Sites of a real daemon against a controller that says what the test wants.

mod fake;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use valecast_config::{Config, Controller, Mac, StaticEntry};
use valecast_ring::client::{AttachOptions, Link, Port, RxRing, TxRing};
use valecast_switch::api::client::ask;
use valecast_switch::daemon::Daemon;
use valecast_switch::switch::Edit;

use super::*;
use crate::address::{receiver_address, sender_address, tree_address};
use crate::control::{Incoming, IncomingTree, Place, RECEIVE_PORT, SiteInfo, SitePlan, TreeHere, TreeLimit};
use fake::Fake;

/// What nothing should need, on any machine.
const LONG: Duration = Duration::from_secs(60);

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < LONG, "no {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sites `a` and `b`, joined by a link.
struct Rig {
    dir: tempfile::TempDir,
    daemon: Daemon,
    sites: Option<Sites>,
}

fn text(dir: &Path, more: &str) -> String {
    let mut text = format!("run_dir = {:?}\n", dir.join("run"));
    for (own, other) in [("a", "b"), ("b", "a")] {
        text += &format!(
            "[[switch]]\nname = {own:?}\nmax_groups = 4\n[[switch.port]]\nname = \"to-{other}\"\nkind = \"patch\"\n\
             peer = \"{other}:to-{own}\"\nflood = false\ncapacity = \"100Mbit/s\"\n{}",
            if own == "a" { more } else { "" }
        );
        text += &format!(
            "[[qc.site]]\nswitch = {own:?}\n[[qc.site.link]]\nport = \"to-{other}\"\nto = {other:?}\n"
        );
    }
    text
}

impl Rig {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sites.toml");
        std::fs::write(&file, text(dir.path(), "")).unwrap();
        let daemon = Daemon::start(Config::load(&file).unwrap(), Some(file)).unwrap();
        let sites = Some(Sites::start(&daemon).unwrap());
        Self { dir, daemon, sites }
    }

    fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    fn controller(&self) -> Fake {
        Fake::start(&self.run_dir().join(Controller::SOCKET))
    }

    /// Asks a site's socket.
    fn ask(&self, site: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = (!body.is_null()).then(|| body.to_string());
        let answer = ask(&socket(&self.run_dir(), site), method, path, body.as_deref()).unwrap();
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    fn get<T: serde::de::DeserializeOwned>(&self, site: &str, path: &str) -> T {
        let (status, value) = self.ask(site, "GET", path, &Value::Null);
        assert_eq!(status, 200, "{value}");
        serde_json::from_value(value).unwrap()
    }

    fn names(&self, switch: &str) -> (Vec<String>, Vec<String>, usize) {
        let v = self.daemon.with(switch, |s| s.config_view()).unwrap();
        let ports = v.ports.iter().map(|p| p.name.clone()).collect();
        (ports, v.groups.iter().map(|g| g.name.clone()).collect(), v.statics.len())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.sites.take();
        self.daemon.stop();
    }
}

fn here(tree: u32, ingress: Option<&str>, out: &[&str], receiver: Option<u16>) -> TreeHere {
    TreeHere {
        tree,
        ingress: ingress.map(str::to_owned),
        out: out.iter().map(|p| (*p).to_owned()).collect(),
        receiver,
        towards: BTreeMap::new(),
        limit: ingress.is_none().then_some(TreeLimit { rate: 1_000_000_000, burst: 1_250_000 }),
    }
}

fn arriving(tree: u32) -> IncomingTree {
    let name = "file".to_owned();
    IncomingTree { tree, transfer: 1, partition: 0, receiver: 1, from: "a".into(), name, bytes: 9 }
}

/// Tree 1 from `a` to `b`.
fn plans(generation: u64) -> [(&'static str, SitePlan); 2] {
    let mut from = here(1, None, &["to-b"], None);
    from.towards.insert(1, "to-b".to_owned());
    let to = here(1, Some("to-a"), &[], Some(1));
    let a = SitePlan { generation, trees: vec![from], ..SitePlan::default() };
    [("a", a), ("b", SitePlan { generation, trees: vec![to], incoming: vec![arriving(1)], key: None })]
}

fn attach(place: &Place) -> (Link, TxRing, RxRing) {
    let (link, tx, rx) = Port::attach(&place.socket, &place.port, &AttachOptions::default()).unwrap().split();
    (link, tx.into_iter().next().unwrap(), rx.into_iter().next().unwrap())
}

fn frame(to: Mac, from: Mac, text: &[u8]) -> Vec<u8> {
    let mut frame = [&to.0[..], &from.0, &[0x88, 0xb5], text].concat();
    frame.resize(60, 0);
    frame
}

fn receive(rx: &mut RxRing) -> Vec<u8> {
    let frame = wait_for("frame", || (rx.pending() > 0).then(|| rx.frame(0).data.to_vec()));
    rx.advance(1);
    rx.release();
    frame
}

#[test]
fn a_tree_is_installed_carries_frames_both_ways_and_goes() {
    let rig = Rig::start();
    let before = ["a", "b"].map(|s| rig.names(s));
    let fake = rig.controller();
    for (site, to) in [("a", "b"), ("b", "a")] {
        let report = fake.report(site, |r| r.links[0].up);
        assert_eq!((report.links[0].to.as_str(), report.links[0].capacity), (to, 100_000_000));
        // Two groups of four are the probes'.
        assert_eq!((report.max_groups, report.max_buckets, report.generation), (2, 32, 0));
    }
    for (site, plan) in plans(5) {
        fake.plan(site, plan);
        fake.report(site, |r| r.generation == 5 && r.failed.is_empty());
    }
    let news: Incoming = rig.get("b", "/v1/incoming?version=1&wait_ms=60000");
    assert_eq!(news.trees, [arriving(1)]);

    let (status, place) = rig.ask("b", "POST", "/v1/receive", &Value::Null);
    assert_eq!(status, 200);
    let (_recv, mut answer, mut arrived) = attach(&serde_json::from_value(place).unwrap());
    fake.report("b", |r| r.receives);
    let info: SiteInfo = rig.get("a", "/v1/site");
    assert_eq!((info.site.as_str(), info.controller), ("a", Ok(())));
    let (_send, mut send, mut reports) = attach(&Place { port: "qc-1".into(), socket: info.socket });
    for to in [tree_address(1), receiver_address(1, 1)] {
        let sent = frame(to, sender_address(1), b"data");
        assert!(send.push(&sent));
        send.publish();
        assert_eq!(receive(&mut arrived), sent);
    }
    let said = frame(sender_address(1), receiver_address(1, 1), b"report");
    assert!(answer.push(&said));
    answer.publish();
    assert_eq!(receive(&mut reports), said);

    for (site, _) in plans(5) {
        fake.plan(site, SitePlan { generation: 6, ..SitePlan::default() });
        fake.report(site, |r| r.generation == 6);
    }
    assert_eq!(["a", "b"].map(|s| rig.names(s)), before);
    let gone: Incoming = rig.get("b", &format!("/v1/incoming?version={}&wait_ms=60000", news.version));
    assert_eq!((gone.version, gone.trees), (news.version + 1, vec![]));
}

#[test]
fn a_tree_that_does_not_fit_is_told_and_nothing_of_it_is_left() {
    let rig = Rig::start();
    let fake = rig.controller();
    // At b, two groups fit, and receivers need one each.
    let trees = (1..=3).map(|t| here(t, Some("to-a"), &[], Some(1))).collect();
    fake.plan("b", SitePlan { generation: 1, trees, incoming: (1..=3).map(arriving).collect(), key: None });
    let report = fake.report("b", |r| r.generation == 1);
    let failed: Vec<_> = report.failed.into_iter().collect();
    assert_eq!(failed, [(3, "group \"qc-3\": the table is full, 4 entries (max_groups)".to_owned())]);
    let news: Incoming = rig.get("b", "/v1/incoming?version=1&wait_ms=60000");
    assert_eq!(news.trees, [arriving(1), arriving(2)]);
    let (_, groups, statics) = rig.names("b");
    assert_eq!(groups, ["qc-1", "qc-2", "qc-link-0", "qc-out-0"]);
    assert_eq!(statics, 5);
}

#[test]
fn without_its_controller_all_stays_and_the_next_one_is_told() {
    let rig = Rig::start();
    let info: SiteInfo = rig.get("a", "/v1/site");
    assert!(info.controller.is_err());
    let fake = rig.controller();
    fake.plan("a", plans(7)[0].1.clone());
    let session = fake.report("a", |r| r.generation == 7).session;
    let with_tree = rig.names("a");
    drop(fake);
    wait_for("word of it", || rig.get::<SiteInfo>("a", "/v1/site").controller.err());
    assert_eq!(rig.names("a"), with_tree);
    let (status, why) = rig.ask("a", "GET", "/v1/transfers/1", &Value::Null);
    assert_eq!(status, 503, "{why}");
    let fake = rig.controller();
    let report = fake.report("a", |r| r.generation == 7);
    assert_eq!((report.session, rig.names("a")), (session, with_tree));
    wait_for("word of it", || rig.get::<SiteInfo>("a", "/v1/site").controller.ok());
}

#[test]
fn transfers_are_passed_on_as_from_here() {
    let rig = Rig::start();
    let _fake = rig.controller();
    let wish = json!({ "to": ["b"], "bytes": 7, "name": "n" });
    let (status, said) = rig.ask("a", "POST", "/v1/transfers", &wish);
    assert_eq!(status, 200);
    let from = json!({ "from": "a", "to": ["b"], "bytes": 7, "name": "n" });
    assert_eq!(said, json!({ "method": "POST", "path": "/v1/transfers", "body": from }));
    for (method, path) in [("GET", "/v1/transfers/3?version=2&wait_ms=5"), ("DELETE", "/v1/transfers/3")] {
        let said = rig.ask("a", method, path, &Value::Null).1;
        assert_eq!((said["method"].as_str(), said["path"].as_str()), (Some(method), Some(path)));
    }
    let said = rig.ask("a", "POST", "/v1/transfers/3/progress", &json!({ "session": 1 })).1;
    assert_eq!(said["body"], json!({ "session": 1 }));
    for wrong in [json!({ "from": "b", "to": ["b"], "bytes": 7, "name": "n" }), json!({ "bytes": 7 })] {
        let (status, said) = rig.ask("a", "POST", "/v1/transfers", &wrong);
        assert_eq!(status, 422, "{said}");
    }
    assert_eq!(rig.ask("a", "GET", "/v1/incoming?version=x", &Value::Null).0, 422);
    assert_eq!(rig.ask("a", "GET", "/v1/else", &Value::Null).0, 404);
}

#[test]
fn a_reload_leaves_trees_and_restarts_only_the_sites_concerned() {
    let rig = Rig::start();
    let fake = rig.controller();
    for (site, plan) in plans(3) {
        fake.plan(site, plan);
    }
    let session = |site: &str| fake.report(site, |r| r.generation == 3).session;
    let before = ["a", "b"].map(session);
    let had = rig.names("a");
    let file = rig.dir.path().join("sites.toml");
    let own = "[[switch.static]]\nmac = \"02:00:00:00:00:77\"\nport = \"to-b\"\n";
    std::fs::write(&file, text(rig.dir.path(), own)).unwrap();
    assert_eq!(rig.daemon.reload().unwrap().len(), 1);
    assert_eq!(rig.names("a").2, had.2 + 1);
    std::fs::write(&file, text(rig.dir.path(), "")).unwrap();
    assert_eq!(rig.daemon.reload().unwrap().len(), 1);
    assert_eq!(rig.names("a"), had);

    // Site b gets another name: it starts anew, and a does, too, whose link leads there.
    let renamed = text(rig.dir.path(), "").replace("to = \"b\"", "to = \"c\"");
    let renamed = renamed.replace("[[qc.site]]\nswitch = \"b\"", "[[qc.site]]\nname = \"c\"\nswitch = \"b\"");
    std::fs::write(&file, renamed).unwrap();
    fake.plan("c", plans(3)[1].1.clone());
    rig.daemon.reload().unwrap();
    fake.forget();
    assert_ne!(session("a"), before[0]);
    assert_ne!(session("c"), before[1]);
    assert!(!socket(&rig.run_dir(), "b").exists());
    // A link that goes takes its port along, trees or not.
    let alone = format!(
        "run_dir = {:?}\n[[switch]]\nname = \"a\"\nmax_groups = 4\n[[qc.site]]\nswitch = \"a\"\n",
        rig.run_dir()
    );
    std::fs::write(&file, alone).unwrap();
    rig.daemon.reload().unwrap();
    let (ports, groups, _) = rig.names("a");
    assert_eq!((ports.join(" "), groups.len()), ("qc-agent qc-recv qc-sink".to_owned(), 0));
}

#[test]
fn a_link_that_breaks_is_down_and_up_again() {
    let rig = Rig::start();
    let fake = rig.controller();
    fake.report("a", |r| r.links[0].up);
    let port = rig.daemon.with("b", |s| s.port_state("to-a")).unwrap().unwrap().0;
    let change = |port: &valecast_config::Port| {
        let edits = [Edit::UpdatePort(port.clone())];
        assert!(rig.daemon.with("b", |s| s.edit([edits.as_slice()])).unwrap()[0].is_ok());
    };
    let deaf = "name = \"to-a\"\nkind = \"patch\"\npeer = \"a:to-b\"\nflood = false\ncapacity = \"100Mbit/s\"\n\
                faults = { loss = 1.0 }";
    change(&valecast_config::parse_port("test", deaf).unwrap());
    fake.report("a", |r| !r.links[0].up);
    fake.report("b", |r| !r.links[0].up);
    change(&port);
    fake.report("a", |r| r.links[0].up && r.links[0].bytes > 0);
    fake.report("b", |r| r.links[0].up);
}

#[test]
fn what_somebody_takes_out_of_the_switch_is_put_back() {
    let rig = Rig::start();
    let fake = rig.controller();
    for (site, plan) in plans(5) {
        fake.plan(site, plan);
        fake.report(site, |r| r.generation == 5 && r.links[0].up);
    }
    let had = ["a", "b"].map(|s| rig.names(s));
    let whole =
        || wait_for("all to be there again", || (["a", "b"].map(|s| rig.names(s)) == had).then_some(()));
    let with = |site: &str, f: &dyn Fn(&mut valecast_switch::switch::Switch)| {
        rig.daemon.with(site, |s| f(s)).unwrap();
    };
    // The probes' group, a tree's, and a port with the static entries that lead to it.
    with("b", &|s| ["qc-link-0", "qc-1"].iter().for_each(|g| s.remove_group(g).unwrap()));
    rig.daemon.detach_port("b", RECEIVE_PORT).unwrap();
    rig.daemon.detach_port("a", "qc-1").unwrap();
    assert_ne!(["a", "b"].map(|s| rig.names(s)), had);
    whole();
    with("b", &|s| {
        let mut group = s.group_config("qc-1").unwrap().clone();
        group.buckets[0].port = "to-a".to_owned();
        s.update_group(group).unwrap();
    });
    let right = |s: &mut valecast_switch::switch::Switch| {
        s.group_config("qc-1").unwrap().buckets[0].port == RECEIVE_PORT
    };
    wait_for("the group as it was", || rig.daemon.with("b", right).unwrap().then_some(()));
    with("a", &|s| {
        let elsewhere = StaticEntry { mac: sender_address(1), port: "to-b".to_owned(), vlan: 0 };
        let edits = [Edit::RemoveStatic(sender_address(1), 0), Edit::AddStatic(elsewhere)];
        assert!(s.edit([&edits[..]])[0].is_ok());
    });
    let right = |s: &mut valecast_switch::switch::Switch| s.static_port(sender_address(1), 0) == Some("qc-1");
    wait_for("the static entry as it was", || rig.daemon.with("a", right).unwrap().then_some(()));

    // All of it works.
    let place: Place = serde_json::from_value(rig.ask("b", "POST", "/v1/receive", &Value::Null).1).unwrap();
    let (_recv, _, mut arrived) = attach(&place);
    let info: SiteInfo = rig.get("a", "/v1/site");
    let (_send, mut send, _) = attach(&Place { port: "qc-1".into(), socket: info.socket });
    let sent = frame(tree_address(1), sender_address(1), b"data");
    assert!(send.push(&sent));
    send.publish();
    assert_eq!(receive(&mut arrived), sent);
    fake.report("a", |r| r.links[0].up);
}

#[test]
fn a_links_port_is_kept_and_who_needs_it_is_said() {
    let rig = Rig::start();
    let why = rig.daemon.detach_port("a", "to-b").unwrap_err().to_string();
    assert!(why.starts_with("port \"to-b\" is in use by site \"a\", whose link to \"b\" it is"), "{why}");
    assert!(why.contains("take that [[qc.site.link]] out of the configuration and reload"), "{why}");
    let elsewhere = rig.daemon.detach_port("a", "to-x").unwrap_err().to_string();
    assert!(elsewhere.contains("no port \"to-x\""), "{elsewhere}");
}

/// Two links between the same sites, and they are crossed.
#[test]
fn links_to_the_same_site_find_out_which_is_which() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let mut text = format!("run_dir = {run:?}\n");
    for (own, other, ports) in [("a", "b", [("1", "y"), ("2", "x")]), ("b", "a", [("x", "2"), ("y", "1")])] {
        text += &format!("[[switch]]\nname = {own:?}\n");
        for (port, peer) in ports {
            text += &format!(
                "[[switch.port]]\nname = {port:?}\nkind = \"patch\"\npeer = \"{other}:{peer}\"\nflood = false\n\
                 capacity = \"100Mbit/s\"\n"
            );
        }
        text += &format!("[[qc.site]]\nswitch = {own:?}\n");
        ports.iter().for_each(|(p, _)| text += &format!("[[qc.site.link]]\nport = {p:?}\nto = {other:?}\n"));
    }
    let daemon = Daemon::start(Config::parse("test", &text).unwrap(), None).unwrap();
    let sites = Sites::start(&daemon).unwrap();
    let fake = Fake::start(&run.join(Controller::SOCKET));
    let ends = |site: &str, up: [bool; 2], peers: [&str; 2]| {
        fake.report(site, |r| {
            r.links.iter().map(|l| l.up).eq(up)
                && r.links.iter().map(|l| l.peer.as_deref()).eq(peers.map(Some))
        });
    };
    ends("a", [true; 2], ["y", "x"]);
    ends("b", [true; 2], ["2", "1"]);
    // One of them is dead in one direction: it is down at both ends, and the other is not.
    let deaf = "name = \"1\"\nkind = \"patch\"\npeer = \"b:y\"\nflood = false\ncapacity = \"100Mbit/s\"\n\
                faults = { loss = 1.0 }";
    let edit = [Edit::UpdatePort(valecast_config::parse_port("test", deaf).unwrap())];
    assert!(daemon.with("a", |s| s.edit([edit.as_slice()])).unwrap()[0].is_ok());
    ends("a", [false, true], ["y", "x"]);
    ends("b", [true, false], ["2", "1"]);
    drop(sites);
    daemon.stop();
}
