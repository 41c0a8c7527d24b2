//! Endpoints over the rings of a real daemon; sites and controller are played.

mod net;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::EndpointError;
use super::receive::desk::Desk;
use super::receive::worker::{View, Where};
use super::send::Cut;
use super::send::job::{Job, JobEnd};
use super::send::parcel::Parcel;
use crate::control::{IncomingTree, ReceiverState, TransferState};
use crate::transport::sender::SenderCounters;
use crate::transport::wire::State;
use net::{Net, RECEIVERS, file, until};

/// What ended, and frames of strangers.
type Seen = (Vec<(IncomingTree, View)>, u64);

/// A receiving endpoint in a thread.
struct Desks {
    cancel: Arc<AtomicBool>,
    /// Bytes that the first of its transfers has.
    have: Arc<AtomicU64>,
    /// Whether its sender has said that nothing more comes.
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Seen, EndpointError>>>,
}

impl Desks {
    fn open(net: &Net, site: &str) -> Self {
        let cancel = Arc::new(AtomicBool::new(false));
        let have = Arc::new(AtomicU64::new(0));
        let to = Where { dir: net.dir.path().join(site), replace: false };
        let desk = Desk::open(net.site(site), to, cancel.clone()).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let (shown, heard) = (have.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            let (mut ended, mut strangers) = (Vec::new(), 0);
            desk.run(&mut |view| {
                ended.extend(view.ended.iter().cloned());
                strangers = view.strangers;
                shown.store(view.transfers.first().map_or(0, |(_, v)| v.have), Ordering::Relaxed);
                heard.store(view.transfers.first().is_some_and(|(_, v)| v.ended), Ordering::Relaxed);
                true
            })?;
            Ok((ended, strangers))
        });
        Self { cancel, have, over, thread: Some(thread) }
    }

    fn close(mut self) -> Seen {
        self.cancel.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap().unwrap()
    }
}

struct Sending {
    cancel: Arc<AtomicBool>,
    thread: JoinHandle<(Result<JobEnd, EndpointError>, SenderCounters)>,
}

fn send(net: &Net, id: Option<u64>, path: &Path, cut: Cut) -> (u64, Sending) {
    let site = net.site("s");
    let parcel = Parcel::open(path, cut).unwrap();
    let id = id.unwrap_or_else(|| {
        site.create(&parcel.ask(RECEIVERS.map(String::from).to_vec(), None).unwrap()).unwrap().id
    });
    let cancel = Arc::new(AtomicBool::new(false));
    let job = Job::new(site, id, parcel, cancel.clone()).unwrap();
    let thread = std::thread::spawn(move || {
        let mut counters = SenderCounters::default();
        let end = job.run(&mut |view| counters = view.counters);
        (end, counters)
    });
    (id, Sending { cancel, thread })
}

fn is_done(end: Result<JobEnd, EndpointError>) -> bool {
    match end {
        Ok(JobEnd::Over(status)) => {
            assert!(status.receivers.iter().all(|r| r.state == ReceiverState::Verified), "{status:?}");
            status.state == TransferState::Done
        }
        other => panic!("{other:?}"),
    }
}

fn check(net: &Net, name: &str, bytes: &[u8]) {
    for site in RECEIVERS {
        let got = std::fs::read(net.dir.path().join(site).join(name)).unwrap();
        assert!(got == bytes, "{name} at {site}");
    }
}

#[test]
fn a_file_goes_from_one_sender_to_three_receivers() {
    let net = Net::new("2Gbit/s");
    net.world.loss.store(20_000, Ordering::Relaxed);
    let desks = RECEIVERS.map(|r| Desks::open(&net, r));
    let path = net.dir.path().join("f");
    let bytes = file(&path, 20_000_001, 1);
    let (_, job) = send(&net, None, &path, Cut::default());
    let (end, counters) = job.thread.join().unwrap();
    assert!(is_done(end));
    check(&net, "f", &bytes);
    assert!(counters.chunks >= bytes.len().div_ceil(1408) as u64);
    assert!(counters.repairs + counters.unicast > 0, "nothing got lost: {counters:?}");
    for desk in desks {
        let (ended, strangers) = desk.close();
        assert_eq!(ended.len(), 1);
        // What comes before the site has said that the tree ends here, or after its end.
        assert!(strangers < 20, "{strangers}");
        assert_eq!(ended[0].1.state, Some(State::Verified));
        assert!(ended[0].1.ended);
    }
    // Nothing is kept for a continuation.
    assert!(!net.dir.path().join("r1/.valecast").exists());
}

#[test]
fn many_transfers_at_once_with_parity_and_directories() {
    let net = Net::new("1Gbit/s");
    net.world.loss.store(10_000, Ordering::Relaxed);
    let desks = RECEIVERS.map(|r| Desks::open(&net, r));
    let cut = Cut { fec: Some((32, 8)), lead: 1, ..Cut::default() };
    let mut jobs = Vec::new();
    for n in 0..6u64 {
        let dir = net.dir.path().join(format!("d{n}"));
        std::fs::create_dir(&dir).unwrap();
        let bytes = file(&dir.join("x"), 700_000 * n as usize, n);
        jobs.push((n, bytes, send(&net, None, &dir, cut).1));
    }
    for (n, bytes, job) in jobs {
        assert!(is_done(job.thread.join().unwrap().0));
        check(&net, &format!("d{n}/x"), &bytes);
    }
    for desk in desks {
        let (ended, strangers) = desk.close();
        assert_eq!(ended.len(), 6);
        assert!(strangers < 120, "{strangers}");
    }
}

#[test]
fn both_ends_stop_and_go_on_and_trees_change_under_way() {
    let net = Net::new("200Mbit/s");
    net.world.loss.store(5_000, Ordering::Relaxed);
    let path = net.dir.path().join("f");
    let bytes = file(&path, 24_000_000, 2);
    let chunks = bytes.len().div_ceil(1408) as u64;
    let [r1, r2, r3] = RECEIVERS.map(|r| Desks::open(&net, r));
    let (id, job) = send(&net, None, &path, Cut::default());
    let some = |desk: &Desks, n: u64| until("it arrives", || desk.have.load(Ordering::Relaxed) > n);
    some(&r1, 4_000_000);
    // A receiver goes and comes back while the sender goes on.
    r1.close();
    let r1 = Desks::open(&net, "r1");
    some(&r2, 8_000_000);
    net.world.replan(id);
    some(&r2, 11_000_000);
    // Now the sender.
    job.cancel.store(true, Ordering::Relaxed);
    let (end, first) = job.thread.join().unwrap();
    assert!(matches!(end, Ok(JobEnd::Paused)), "{end:?}");
    assert_eq!(net.world.state().transfers[&id].state, TransferState::Stalled);
    let (_, job) = send(&net, Some(id), &path, Cut::default());
    let (end, second) = job.thread.join().unwrap();
    assert!(is_done(end));
    check(&net, "f", &bytes);
    // Neither began anew.
    assert!(second.chunks < chunks * 3 / 4, "{second:?}");
    assert!(first.chunks + second.chunks < chunks * 3 / 2, "{first:?} {second:?}");
    for desk in [r1, r2, r3] {
        let (ended, _) = desk.close();
        assert!(ended.iter().any(|(_, v)| v.state == Some(State::Verified) && v.ended));
    }
}

/// The controller gives the rate of a tree that has nothing left to others: frames must not be left behind in the ring.
#[test]
fn who_has_nothing_left_to_send_has_nothing_in_the_ring() {
    let net = Net::new("1Mbit/s");
    net.world.takes.store(true, Ordering::Relaxed);
    let path = net.dir.path().join("f");
    let bytes = file(&path, 100_000, 6);
    let desks = RECEIVERS.map(|r| Desks::open(&net, r));
    let (_, job) = send(&net, None, &path, Cut::default());
    until("it says that all is sent", || net.world.taken.load(Ordering::Relaxed));
    let left = || net.world.daemon.with("a", |s| s.out_bytes("hop")).unwrap().unwrap();
    until("all has left", || left() >= bytes.len() as u64);
    net.world.takes.store(false, Ordering::Relaxed);
    net.world.meter(1, "1Mbit/s");
    assert!(is_done(job.thread.join().unwrap().0));
    check(&net, "f", &bytes);
    desks.into_iter().for_each(|d| drop(d.close()));
}

#[test]
fn a_controller_that_is_away_for_a_while_stops_nothing() {
    let net = Net::new("400Mbit/s");
    let path = net.dir.path().join("f");
    let bytes = file(&path, 30_000_000, 3);
    let desks = RECEIVERS.map(|r| Desks::open(&net, r));
    let (_, job) = send(&net, None, &path, Cut::default());
    until("it arrives", || desks[0].have.load(Ordering::Relaxed) > 1_000_000);
    net.world.state().silent = true;
    until("all is here all the same", || RECEIVERS.iter().all(|r| net.dir.path().join(r).join("f").exists()));
    assert!(!job.thread.is_finished());
    net.world.state().silent = false;
    assert!(is_done(job.thread.join().unwrap().0));
    check(&net, "f", &bytes);
}

/// All receivers have it, and nobody but them knows: the next sender asks, and hears so.
#[test]
fn a_sender_that_dies_before_it_has_told_anybody_is_asked_for_nothing() {
    let net = Net::new("400Mbit/s");
    let path = net.dir.path().join("f");
    let bytes = file(&path, 30_000_000, 3);
    let desks = RECEIVERS.map(|r| Desks::open(&net, r));
    let (id, job) = send(&net, None, &path, Cut::default());
    until("it arrives", || desks[0].have.load(Ordering::Relaxed) > 1_000_000);
    net.world.state().silent = true;
    until("all is over at the receivers", || desks.iter().all(|d| d.over.load(Ordering::Relaxed)));
    job.cancel.store(true, Ordering::Relaxed);
    assert!(matches!(job.thread.join().unwrap().0, Ok(JobEnd::Paused)));
    net.world.state().silent = false;
    net.world.replan(id);
    let (_, job) = send(&net, Some(id), &path, Cut::default());
    let (end, counters) = job.thread.join().unwrap();
    assert!(is_done(end));
    assert_eq!(counters.chunks, 0);
    check(&net, "f", &bytes);
    for desk in desks {
        desk.close();
    }
    assert!(!net.dir.path().join("r1/.valecast").exists(), "it is over, and something is left");
}

#[test]
fn where_all_receivers_are_missing_the_sender_waits_no_longer_than_it_was_told() {
    let net = Net::new("1Gbit/s");
    let path = net.dir.path().join("f");
    file(&path, 1_000, 6);
    let parcel = Parcel::open(&path, Cut::default()).unwrap();
    let site = net.site("s");
    let id = site.create(&parcel.ask(vec!["r1".into(), "r2".into()], None).unwrap()).unwrap().id;
    let say = |why: [Option<&str>; 2]| {
        net.world.change(|state| {
            let status = state.transfers.get_mut(&id).unwrap();
            status.state = TransferState::Waiting;
            for (r, why) in status.receivers.iter_mut().zip(why) {
                r.why = why.map(str::to_owned);
            }
        });
    };
    // Of one of them nobody says that it is missing: something else is waited for.
    say([Some("nobody receives at r1"), None]);
    let job = Job::new(site, id, parcel, Arc::default()).unwrap().missing_after(Duration::ZERO);
    let mut beats = 0;
    let end = job.run(&mut |view| {
        beats += 1;
        if beats == 5 {
            assert_eq!(view.status.state, TransferState::Waiting);
            say([Some("nobody receives at r1"), Some("no link leads there")]);
        }
    });
    let Ok(JobEnd::Over(status)) = end else { panic!("{end:?}") };
    assert!(status.state == TransferState::Partial && beats > 5, "{status:?} after {beats} beats");
}

#[test]
fn what_goes_wrong_has_a_name() {
    let net = Net::new("1Gbit/s");
    let said = |e: Result<Desk, EndpointError>| e.err().unwrap().to_string();
    let to = |site: &str| Where { dir: net.dir.path().join(site), replace: false };
    let open = |site: &str| Desk::open(net.site(site), to(site), Arc::default());
    let first = open("r1").unwrap();
    let text = said(open("r1"));
    assert!(text.contains("r1") && text.contains("in use by process"), "{text}");
    drop(first);
    let text = said(open("elsewhere"));
    assert!(text.contains("elsewhere.qc.sock") && text.contains("valecast run"), "{text}");
    // A file that changes under way; a receiver that has one of that name.
    let path = net.dir.path().join("f");
    file(&path, 3_000_000, 4);
    std::fs::create_dir(net.dir.path().join("r2")).unwrap();
    std::fs::write(net.dir.path().join("r2/f"), "mine").unwrap();
    let desks = RECEIVERS.map(|r| Desks::open(&net, r));
    let (id, job) = send(&net, None, &path, Cut::default());
    let (end, _) = job.thread.join().unwrap();
    let Ok(JobEnd::Over(status)) = end else { panic!("{end:?}") };
    assert_eq!(status.state, TransferState::Partial);
    let failed = &status.receivers[1];
    assert_eq!(failed.state, ReceiverState::Failed);
    assert!(failed.why.as_ref().unwrap().contains("there already"), "{failed:?}");
    let [_, r2, _] = desks;
    let (ended, _) = r2.close();
    assert!(ended[0].1.failure.as_ref().unwrap().contains("move it away"), "{ended:?}");
    let parcel = Parcel::open(&path, Cut::default()).unwrap();
    file(&path, 2_000_000, 5);
    let site = net.site("s");
    let next = site.create(&parcel.ask(vec!["r1".into()], None).unwrap()).unwrap().id;
    assert_ne!(id, next);
    let end = Job::new(site.clone(), next, parcel.clone(), Arc::default()).unwrap().run(&mut |_| {});
    assert!(end.unwrap_err().to_string().contains("changed while"), "no error");
    assert!(net.world.state().transfers[&next].why.as_ref().unwrap().contains("changed while"));
    let end = Job::new(site, 7, parcel, Arc::default()).unwrap().run(&mut |_| {});
    assert!(end.unwrap_err().to_string().contains("not found"));
}
