//! QuickCast where somebody can write to links and switches: frames of trees and probes of links that are not genuine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::qc::{Sites, link};
use crate::harness::transfer::Transfer;
use crate::harness::wait_for;
use serde_json::json;
use valecast_switch::api::client::ask;

/// One who has nothing to do here floods each switch and a link with frames that look like a tree's.
#[test]
fn forged_frames_are_dropped_and_do_no_harm() {
    let links =
        [link("S", "a", "60Mbit/s").via("evil"), link("a", "t1", "60Mbit/s"), link("a", "t2", "60Mbit/s")];
    let transfer = Transfer::begin(&links, 6_000_000, &[]);
    let running = transfer.sites.wait_state("running");
    let tree = running["trees"][0]["tree"].as_u64().expect("a tree") as u32;
    let id = running["id"].as_u64().expect("its number");
    for switch in ["evil", "S", "a", "t1"] {
        crate::harness::forge::flood(&transfer.sites.daemon.attach_socket(switch), "other", tree, id, 3_000);
    }
    transfer.arrives();
}

/// A site's figure, of all its links.
fn figure(sites: &Sites, site: &str, name: &str) -> u64 {
    let answer = ask(&sites.daemon.socket(site), "GET", "/metrics", None).expect("an answer");
    let of = format!("site=\"{site}\"");
    let lines =
        answer.body.lines().filter(|l| l.starts_with(&format!("valecast_{name}{{")) && l.contains(&of));
    lines.map(|l| l.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).expect("a number") as u64).sum()
}

/// Who can write to a link, and to the switches of sites, says that a dead link lives, and that one that lives is dead.
#[test]
fn forged_probes_bring_no_link_up_or_down() {
    let sites = Sites::start(&[link("S", "a", "60Mbit/s").via("evil")]);
    // What passes on the link is flooded to whoever listens at the switch in between.
    let evil = sites.daemon.attach_socket("evil");
    let recorded = crate::harness::forge::record(&evil, "other", 40);
    assert!(recorded.iter().any(|f| f[12..18] == *b"\x88\xb5VCqc"), "no probes among {recorded:?}");
    // At a site, frames to any address of the probes reach neither the agent nor a link.
    for site in ["S", "a"] {
        let agent = || {
            let stats = sites.daemon.ctl_on(site, &["stats"]);
            let ports = stats["ports"].as_array().cloned().unwrap_or_default();
            let agent = ports.into_iter().find(|p| p["name"] == "qc-agent").expect("the port");
            agent["out_frames"].as_u64().expect("a counter")
                + crate::harness::drops(&json!({ "ports": [agent] }))
        };
        let (before, count) = (agent(), 30_000);
        crate::harness::forge::probes(&sites.daemon.attach_socket(site), "other", &recorded, count);
        let more = agent() - before;
        // One in twelve is addressed to where probes come from; genuine ones are a few dozen.
        assert!(more < count / 30, "{more} frames of {count} came to the agent of {site}");
    }
    let up = || figure(&sites, "S", "qc_link_up") + figure(&sites, "a", "qc_link_up");
    assert_eq!(up(), 2);
    // On the link itself, what was recorded is said again, and other things, while it lives and when it is cut.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                crate::harness::forge::probes(&evil, "other", &recorded, 100);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        // The scope waits for the thread, whatever comes of this.
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let forged = |site: &str| figure(&sites, site, "qc_link_forged_probes_total");
            let some = |more: u64| {
                let at = forged("a");
                wait_for("forged frames to come in", || (forged("a") > at + more).then_some(()));
            };
            some(3_000);
            assert_eq!(up(), 2, "a link that lives counts as dead");
            sites.cut("S", "a");
            wait_for("a to hear that S is away", || (figure(&sites, "a", "qc_link_up") == 0).then_some(()));
            some(1_000);
            assert_eq!(up(), 0, "a link that is dead counts as alive");
        }));
        stop.store(true, Ordering::Relaxed);
        seen.unwrap_or_else(|e| std::panic::resume_unwind(e));
    });
    sites.daemon.stop();
}
