//! QuickCast when things go wrong: loss, deaths, dead links, full disks, forged frames. Real daemons, controllers and
//! endpoints; what arrives is compared byte by byte, and every switch's books are balanced at the end.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::qc::{Link, Running, Sites, Small, assert_same, diamond, link};
use crate::harness::{need, wait_for, wait_long};
use nix::sys::signal::Signal;
use serde_json::json;
use valecast_switch::api::client::ask;

/// Far longer than a transfer here takes with any loss, on any machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Two receivers behind one site.
fn fork() -> Vec<Link> {
    vec![link("S", "a", "60Mbit/s"), link("a", "t1", "60Mbit/s"), link("a", "t2", "60Mbit/s")]
}

#[track_caller]
fn arrived(send: Running) {
    let (code, said) = send.end(PATIENCE);
    assert_eq!(code, 0, "{said}");
}

/// A transfer from S to t1 and t2 that is under way.
struct Transfer {
    sites: Sites,
    file: PathBuf,
    bytes: u64,
    receivers: [Running; 2],
    send: Running,
}

impl Transfer {
    #[track_caller]
    fn begin(links: &[Link], bytes: usize, more: &[&str]) -> Self {
        let sites = Sites::start(links);
        let file = sites.file("data", bytes);
        let receivers = ["t1", "t2"].map(|t| sites.recv(t, &sites.folder(t)));
        let send = sites.send("S", &file, "t1,t2", more);
        Self { sites, file, bytes: bytes as u64, receivers, send }
    }

    /// As [`Transfer::begin`], with a quarter of the file at t1, as the controller knows it.
    #[track_caller]
    fn quarter(links: &[Link], bytes: usize, more: &[&str]) -> Self {
        let me = Self::begin(links, bytes, more);
        wait_have(&me.sites, "t1", bytes / 4);
        me
    }

    /// It ends well: all have the file, the books are balanced, and nothing is left.
    #[track_caller]
    fn arrives(self) {
        arrived(self.send);
        complete(self.sites, &self.file);
    }
}

/// Both receivers have the file, the books are balanced, and nothing is left.
#[track_caller]
fn complete(sites: Sites, file: &Path) {
    let name = file.file_name().expect("a name");
    for t in ["t1", "t2"] {
        assert_same(file, &sites.folder(t).join(name));
    }
    sites.assert_books();
    sites.assert_clean();
    sites.daemon.stop();
}

/// Waits until a receiver has a part of the file, as the controller knows it.
#[track_caller]
fn wait_have(sites: &Sites, site: &str, bytes: usize) {
    wait_for(&format!("{site} to have {bytes} bytes"), || (sites.have(site) >= bytes as u64).then_some(()));
}

/// Frames that a switch's ports dropped, or lost on purpose, in all.
fn lost(sites: &Sites, switch: &str) -> u64 {
    crate::harness::drops(&sites.daemon.ctl_on(switch, &["stats"]))
}

/// A transfer to two receivers over links with faults.
fn over(faults: &str) {
    let links: Vec<Link> = fork().into_iter().map(|l| l.faults(faults)).collect();
    let Transfer { sites, file, send, receivers: _receivers, .. } = Transfer::begin(&links, 3_000_000, &[]);
    arrived(send);
    assert!(lost(&sites, "S") + lost(&sites, "a") > 0, "the links lost nothing");
    complete(sites, &file);
}

#[test]
fn one_frame_in_a_hundred_is_lost() {
    over("loss = 0.01");
}

#[test]
fn one_frame_in_ten_is_lost_and_others_come_late_twice_or_changed() {
    over("loss = 0.1, reorder = 0.1, duplicate = 0.02, corrupt = 0.01, delay = \"5ms\"");
}

#[test]
fn half_of_all_frames_are_lost_in_bursts() {
    over("loss = 0.5, burst = 20");
}

#[test]
fn a_receiver_is_killed_ten_times_and_the_other_does_not_notice() {
    let Transfer { sites, file, bytes, send, receivers: [mut receiver, _other] } =
        Transfer::begin(&fork(), 24_000_000, &[]);
    let place = sites.folder("t1").join("data");
    let mut word = 7u64;
    let mut had = 0;
    for kill in 0..10 {
        // Each time at another, higher share of the file: random, and the same in every run.
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (f64::from(kill) + (word >> 40) as f64 / (1u64 << 24) as f64) / 12.0;
        wait_have(&sites, "t1", (share * bytes as f64) as usize);
        had += sites.have("t1");
        assert!(!place.exists(), "killed {kill} times only");
        receiver.kill();
        receiver = sites.recv("t1", &sites.folder("t1"));
    }
    arrived(send);
    // Each kill costs the blocks that were open, and what was in rings: some 2 MB. Not what had been written, which would
    // come again after each.
    let more = sites.sent("S", "to-a").saturating_sub(bytes * 110 / 100);
    assert!(had > 80_000_000, "{had}: the kills came too early to cost anything");
    assert!(more < had / 2, "{more} bytes more were sent, {had} had arrived before the kills");
    complete(sites, &file);
}

#[test]
fn a_sender_is_killed_and_its_transfer_goes_on_where_it_was() {
    let Transfer { sites, file, send, receivers: _receivers, .. } =
        Transfer::quarter(&fork(), 24_000_000, &[]);
    send.kill();
    let stalled = sites.wait_state("stalled");
    sites.assert_clean();
    arrived(sites.resume("S", &file, &stalled["id"].to_string()));
    assert_eq!(sites.transfers().len(), 1, "it is the same transfer");
    complete(sites, &file);
}

#[test]
fn the_controller_is_killed_while_data_flows() {
    let mut transfer = Transfer::quarter(&fork(), 24_000_000, &[]);
    transfer.sites.kill_controller();
    // Trees stay: all arrives though nobody is in control.
    for t in ["t1", "t2"] {
        let place = transfer.sites.folder(t).join("data");
        wait_for(&format!("{t} to have the file without a controller"), || place.exists().then_some(()));
    }
    transfer.sites.start_controller();
    transfer.arrives();
}

#[test]
fn the_controller_is_killed_while_trees_are_installed() {
    let mut sites = Sites::start(&fork());
    let _receivers = ["t1", "t2"].map(|t| sites.recv(t, &sites.folder(t)));
    for round in 0..5u64 {
        let file = sites.file(&format!("data{round}"), 300_000);
        let send = sites.send("S", &file, "t1,t2", &[]);
        // Before, while and after the transfer is planned and installed.
        std::thread::sleep(Duration::from_millis(5 + 12 * round));
        sites.kill_controller();
        sites.start_controller();
        arrived(send);
        for t in ["t1", "t2"] {
            assert_same(&file, &sites.folder(t).join(format!("data{round}")));
        }
    }
    sites.assert_clean();
    sites.assert_books();
    sites.daemon.stop();
}

#[test]
fn a_link_is_down_for_five_seconds() {
    let links =
        [link("S", "a", "60Mbit/s").via("wire"), link("a", "t1", "60Mbit/s"), link("a", "t2", "60Mbit/s")];
    let transfer = Transfer::quarter(&links, 24_000_000, &[]);
    transfer.sites.cut("S", "a");
    let waiting = transfer.sites.wait_state("waiting");
    let why = waiting["why"].as_str().unwrap_or_default().to_owned();
    assert!(!why.is_empty(), "it does not say what it waits for: {waiting:#}");
    std::thread::sleep(Duration::from_secs(5));
    transfer.sites.mend("S", "a");
    transfer.arrives();
}

#[test]
fn a_link_is_down_for_good_and_another_way_is_found() {
    let transfer = Transfer::quarter(&diamond(), 24_000_000, &["--scheme", "single"]);
    let running = transfer.sites.wait_state("running");
    let links = running["trees"][0]["links"].as_array().cloned().unwrap_or_default();
    let by =
        links.iter().find(|l| l[0] == "S").and_then(|l| l[1].as_str()).expect("a link from S").to_owned();
    transfer.sites.cut("S", &by);
    transfer.arrives();
}

#[test]
fn a_full_disk_stops_one_receiver_and_no_other() {
    if !need("a_full_disk_stops_one_receiver_and_no_other", &["mount"]) {
        return;
    }
    let sites = Sites::start(&fork());
    let file = sites.file("data", 6_000_000);
    let full = sites.folder("t1");
    let _small = Small::mount(&full, "2m");
    let _receivers = ["t1", "t2"].map(|t| sites.recv(t, &sites.folder(t)));
    let (code, said) = sites.send("S", &file, "t1,t2", &[]).end(PATIENCE);
    assert_ne!(code, 0, "t1 cannot have it: {said}");
    assert_same(&file, &sites.folder("t2").join("data"));
    assert!(!full.join("data").exists());
    let partial = sites.wait_state("partial");
    let receivers = partial["receivers"].as_array().cloned().unwrap_or_default();
    let of = |site: &str| receivers.iter().find(|r| r["site"] == site).cloned().unwrap_or_default();
    assert_eq!(of("t2")["state"], "verified");
    assert_eq!(of("t1")["state"], "failed");
    let why = of("t1")["why"].as_str().unwrap_or_default().to_lowercase();
    assert!(why.contains("space") || why.contains("disk"), "not clear: {why:?}");
    assert!(said.contains("t1"), "the sender does not say who lacks it: {said}");
    sites.assert_books();
    sites.assert_clean();
    sites.daemon.stop();
}

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

/// A reply that is asked for while all is well, so that the other tests mean something.
#[test]
fn without_faults_nothing_is_sent_twice() {
    let Transfer { sites, file, bytes, send, receivers: _receivers } =
        Transfer::begin(&fork(), 6_000_000, &[]);
    arrived(send);
    let done = sites.wait_state("done");
    assert!(
        done["receivers"].as_array().is_some_and(|r| r.iter().all(|r| r["state"] == "verified")),
        "{done:#}"
    );
    let part = sites.sent("S", "to-a") as f64 / bytes as f64;
    assert!((1.03..1.10).contains(&part), "the link carried {part:.3} of the file");
    complete(sites, &file);
}

/// What a killed receiver has left is used, not fetched again.
#[test]
fn a_receiver_that_has_it_says_so() {
    let sites = Sites::start(&fork());
    let file = sites.file("data", 1_000_000);
    let receiver = sites.recv("t1", &sites.folder("t1"));
    arrived(sites.send("S", &file, "t1", &[]));
    receiver.signal(Signal::SIGTERM);
    wait_long("the receiver to end on SIGTERM", PATIENCE, {
        let mut receiver = receiver;
        move || receiver.ended()
    });
    assert_same(&file, &sites.folder("t1").join("data"));
    assert!(fs::read_dir(sites.folder("t1")).expect("the folder").count() >= 1);
    sites.daemon.stop();
}

/// Where libfaketime is, which tells a process another time than it is.
fn faketime() -> Option<String> {
    let dirs = fs::read_dir("/usr/lib").ok()?.flatten();
    let mut found = dirs.map(|d| d.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|p| p.exists()).map(|p| p.display().to_string())
}

/// What libfaketime keeps in shared memory: it stays when its process is killed, and is removed when this goes.
struct SharedMemory(BTreeSet<PathBuf>);

impl SharedMemory {
    fn now() -> Self {
        Self(shared_memory())
    }
}

fn shared_memory() -> BTreeSet<PathBuf> {
    let names = fs::read_dir("/dev/shm").into_iter().flatten().flatten().map(|e| e.path());
    names.filter(|path| process_of(path).is_some()).collect()
}

/// The process whose shared memory or semaphore that is.
fn process_of(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    let number = name.strip_prefix("faketime_shm_").or_else(|| name.strip_prefix("sem.faketime_sem_"));
    number?.parse().ok()
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        let ended = |path: &Path| {
            process_of(path).is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists())
        };
        for path in shared_memory().difference(&self.0).filter(|path| ended(path)) {
            // Somebody else may have been quicker.
            let _ = fs::remove_file(path);
        }
    }
}

/// The wall's clock is an hour ahead while a file is sent, and then an hour behind.
#[test]
fn the_clock_jumps_forward_and_back() {
    if !need("the_clock_jumps_forward_and_back", &["faketime"]) {
        return;
    }
    let _left = SharedMemory::now();
    let dir = tempfile::tempdir().expect("a folder");
    let clock = dir.path().join("clock");
    let set = |hours: i64| {
        // Whole at any time: it is read while it is written.
        fs::write(dir.path().join("new"), format!("{:+}\n", hours * 3600)).expect("write");
        fs::rename(dir.path().join("new"), &clock).expect("rename");
    };
    set(0);
    let env = [
        ("LD_PRELOAD", faketime().expect("libfaketime beside faketime")),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // What cannot jump does not, and files keep their times.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ];
    let sites = Sites::start_with(&[link("S", "t1", "60Mbit/s")], env.to_vec());
    let bytes = 24_000_000;
    let _receiver = sites.recv("t1", &sites.folder("t1"));
    for (n, hours, from, to) in [(1, 1, 3_500_000, 3_700_000), (2, -1, -7_300_000, -7_100_000)] {
        let name = format!("data{n}");
        let file = sites.file(&name, bytes);
        let send = sites.send("S", &file, "t1", &[]);
        let have = || {
            let transfer = sites.transfers().into_iter().find(|t| t["name"] == name.as_str())?;
            (transfer["receivers"][0]["have"].as_u64()? >= bytes as u64 / 4).then_some(())
        };
        wait_for("a quarter of it", have);
        set(hours);
        arrived(send);
        assert_same(&file, &sites.folder("t1").join(&name));
        let done = sites.transfers().into_iter().find(|t| t["name"] == name.as_str()).expect("it");
        let took = done["ended_ms"].as_i64().expect("ms") - done["created_ms"].as_i64().expect("ms");
        assert!((from..to).contains(&took), "the controller's clock did not jump: {done:#}");
        let seconds = done["receivers"][0]["seconds"].as_f64().expect("seconds");
        assert!((0.0..600.0).contains(&seconds), "{done:#}");
        let overview = sites.overview().expect("the controller");
        assert_eq!(overview["wrong"], json!([]));
    }
    sites.assert_clean();
    sites.daemon.stop();
}

/// One who is silent for longer than the others wait for it comes back while the transfer still goes on.
#[test]
fn a_receiver_that_was_given_up_comes_back() {
    let sites = Sites::start(&fork());
    let bytes = 24_000_000;
    let file = sites.file("data", bytes);
    let receiver = sites.recv("t1", &sites.folder("t1"));
    let send = sites.send("S", &file, "t1,t2", &["--silence", "1s"]);
    wait_have(&sites, "t1", bytes / 4);
    receiver.signal(Signal::SIGTERM);
    receiver.end(PATIENCE);
    let silent = wait_for("it to be given up", || {
        let t1 = sites.transfers()[0]["receivers"][0].clone();
        (t1["state"] == "silent").then_some(t1)
    });
    let had = silent["have"].as_u64().expect("bytes");
    assert!(had < bytes as u64, "{silent}");
    // Nobody has received at t2 yet: that is what the transfer goes on for.
    let _receiver = sites.recv("t1", &sites.folder("t1"));
    wait_for("t1 to have it", || sites.folder("t1").join("data").exists().then_some(()));
    let _other = sites.recv("t2", &sites.folder("t2"));
    arrived(send);
    complete(sites, &file);
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
