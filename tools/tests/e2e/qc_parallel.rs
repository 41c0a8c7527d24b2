//! Several trees that carry one partition together: `best` plans a second one where that halves the time.

use std::time::Duration;

use crate::harness::qc::{Running, Sites, assert_same, diamond};
use crate::harness::wait_for;
use serde_json::Value;

/// Far longer than a transfer here takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A file from S to t1 and t2, on its way.
struct Way {
    sites: Sites,
    bytes: u64,
    send: Running,
    receivers: Vec<Running>,
}

impl Way {
    #[track_caller]
    fn begin(bytes: usize) -> Self {
        let sites = Sites::start(&diamond());
        let file = sites.file("data", bytes);
        let receivers = ["t1", "t2"].iter().map(|t| sites.recv(t, &sites.folder(t))).collect();
        let send = sites.send("S", &file, "t1,t2", &["--scheme", "best"]);
        Self { sites, bytes: bytes as u64, send, receivers }
    }

    /// Its trees, once they are in force.
    #[track_caller]
    fn trees(&self) -> Vec<Value> {
        let running = self.sites.wait_state("running");
        let trees = running["trees"].as_array().cloned().expect("trees");
        assert_eq!(trees.len(), 2, "{trees:#?}");
        assert_eq!(trees[0]["partition"], trees[1]["partition"], "{trees:#?}");
        assert_ne!(first(&trees[0]), first(&trees[1]), "{trees:#?}");
        trees
    }

    /// All have it, and each of the two links out of S has sent that part of it.
    #[track_caller]
    fn ends(self) -> [f64; 2] {
        let (code, said) = self.send.end(PATIENCE);
        assert_eq!(code, 0, "{said}");
        let file = self.sites.dir().join("data");
        for t in ["t1", "t2"] {
            assert_same(&file, &self.sites.folder(t).join("data"));
        }
        let parts = ["to-a", "to-b"].map(|port| self.sites.sent("S", port) as f64 / self.bytes as f64);
        self.sites.assert_clean();
        self.sites.assert_books();
        self.sites.daemon.stop();
        parts
    }
}

/// The site behind a tree's link out of S.
fn first(tree: &Value) -> String {
    let links = tree["links"].as_array().cloned().unwrap_or_default();
    links.iter().find(|l| l[0] == "S").and_then(|l| l[1].as_str()).expect("a link from S").to_owned()
}

/// A link that carries half of the file is done in half of the time.
#[test]
fn two_trees_carry_half_of_a_file_each() {
    let way = Way::begin(24_000_000);
    way.trees();
    let parts = way.ends();
    let sum = parts[0] + parts[1];
    // On a machine that has no time for receivers some is lost and sent again.
    assert!((1.03..1.8).contains(&sum), "both together carried {sum:.3} of it: {parts:.3?}");
    assert!(parts.iter().all(|p| (0.35..0.65).contains(&(p / sum))), "not half each: {parts:.3?}");
}

#[test]
fn when_the_link_of_one_is_cut_the_other_carries_the_rest() {
    let way = Way::begin(24_000_000);
    let trees = way.trees();
    wait_for("a quarter of it", || (way.sites.have("t1") >= way.bytes / 4).then_some(()));
    let (gone, left) = (first(&trees[0]), trees[1]["tree"].clone());
    way.sites.cut("S", &gone);
    wait_for("one tree to be left", || {
        let transfer = way.sites.transfers().into_iter().next()?;
        let trees = transfer["trees"].as_array().cloned()?;
        (trees.len() == 1 && trees[0]["tree"] == left).then_some(())
    });
    let parts = way.ends();
    let by = if gone == "a" { parts[1] } else { parts[0] };
    assert!(by > 0.6, "the other carried {by:.3} of it");
}

/// The partition has two trees again, one of them the one that was left.
#[test]
fn when_the_link_comes_back_so_does_a_second_tree() {
    let way = Way::begin(96_000_000);
    let trees = way.trees();
    wait_for("a tenth of it", || (way.sites.have("t1") >= way.bytes / 10).then_some(()));
    let (gone, left) = (first(&trees[0]), trees[1]["tree"].clone());
    let now = || {
        let transfer = way.sites.transfers().into_iter().next()?;
        transfer["trees"].as_array().cloned()
    };
    way.sites.cut("S", &gone);
    wait_for("one tree to be left", || (now()?.len() == 1).then_some(()));
    way.sites.mend("S", &gone);
    let both = wait_for("two trees again", || now().filter(|trees| trees.len() == 2));
    assert_eq!(both[0]["tree"], left, "{both:#?}");
    assert!(both.iter().all(|t| t["partition"] == trees[0]["partition"]), "{both:#?}");
    assert_eq!(first(&both[1]), gone);
    let before = way.sites.sent("S", &format!("to-{gone}"));
    let sites = way.sites.transfers();
    assert_eq!(sites.len(), 1, "{sites:#?}");
    let port = format!("to-{gone}");
    wait_for("the new tree to carry some", || {
        (way.sites.sent("S", &port) > before + 1_000_000).then_some(())
    });
    way.ends();
}

/// A receiver that is killed goes on where it was, by both trees.
#[test]
fn a_receiver_of_two_trees_is_killed_and_comes_back() {
    let mut way = Way::begin(24_000_000);
    way.trees();
    wait_for("a third of it", || (way.sites.have("t1") >= way.bytes / 3).then_some(()));
    let place = way.sites.folder("t1");
    assert!(!place.join("data").exists());
    way.receivers.remove(0).kill();
    way.receivers.push(way.sites.recv("t1", &place));
    way.ends();
}

/// The next sender has other trees, and shares out what is lacking among them.
#[test]
fn a_sender_by_two_trees_is_killed_and_resumed() {
    let mut way = Way::begin(24_000_000);
    let before = way.trees();
    wait_for("a third of it", || (way.sites.have("t1") >= way.bytes / 3).then_some(()));
    way.send.kill();
    let stalled = way.sites.wait_state("stalled");
    way.sites.assert_clean();
    let file = way.sites.dir().join("data");
    way.send = way.sites.resume("S", &file, &stalled["id"].to_string());
    let after = way.trees();
    assert_ne!(before[0]["partition"], after[0]["partition"]);
    assert_eq!(way.sites.transfers().len(), 1, "it is the same transfer");
    way.ends();
}
