//! Backpressure, meters, and who sleeps.

use std::time::{Duration, Instant};

use super::common::{Rig, frame};
use super::{attach, recv, rig, send_all};
use valecast_switch::inline::Sent;

/// Frames to a group.
fn numbered(src: u8, seq: u32) -> Vec<u8> {
    let mut f = frame(1, src, &seq.to_be_bytes());
    f[..6].copy_from_slice(&[1, 0, 0, 0, 0, 1]);
    f
}

/// Inline senders and clients by way of workers fill the same receivers, which must not lose anything.
fn lossless(workers: usize, inline: usize, clients: usize, frames: u32) {
    let names: Vec<String> =
        (0..inline + clients).map(|i| format!("s{i}")).chain(["r0".into(), "r1".into()]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let rig = rig(
        &format!("workers = {workers}\ninline = {inline}"),
        &names,
        "slots = 64\noverflow = \"backpressure\"",
        "[[switch.group]]\nname = \"g\"\naddress = \"01:00:00:00:00:01\"\nbuckets = [{ port = \"r0\" }, { port = \"r1\" }]\n",
    );
    let senders = inline + clients;
    let mut receivers = vec![rig.attach("r0"), rig.attach("r1")];
    std::thread::scope(|scope| {
        for i in 0..inline {
            let s = attach(&rig, &format!("s{i}"));
            scope.spawn(move || {
                // The link with it.
                let mut s = s;
                let all: Vec<Vec<u8>> = (0..frames).map(|seq| numbered(i as u8 + 1, seq)).collect();
                for part in all.chunks(1 + 37 * i) {
                    send_all(&mut s.tx, &part.iter().map(Vec::as_slice).collect::<Vec<_>>());
                }
            });
        }
        for i in inline..senders {
            let s = rig.attach(&format!("s{i}"));
            scope.spawn(move || {
                let mut s = s;
                for seq in 0..frames {
                    s.send(&numbered(i as u8 + 1, seq));
                }
                while s.tx.pending() > 0 {
                    s.tx.wait(s.tx.slots() / 2, Some(Duration::from_millis(10))).unwrap();
                }
            });
        }
        for r in receivers.drain(..) {
            scope.spawn(move || {
                let mut r = r;
                let mut next = vec![0u32; senders];
                let mut got = 0u64;
                while got < u64::from(frames) * senders as u64 {
                    assert!(
                        r.rx.wait(1, Some(Duration::from_secs(20))).unwrap(),
                        "stuck after {got}: {next:?}"
                    );
                    let n = r.rx.pending();
                    for i in 0..n {
                        let d = r.rx.frame(i).data;
                        let who = usize::from(d[11]) - 1;
                        assert_eq!(
                            u32::from_be_bytes(d[14..18].try_into().unwrap()),
                            next[who],
                            "sender {who}"
                        );
                        next[who] += 1;
                    }
                    got += u64::from(n);
                    r.rx.advance(n);
                    r.rx.release();
                }
            });
        }
    });
    let v = rig.books();
    let drops: u64 = v.ports.iter().flat_map(|p| p.in_drops.values().chain(p.out_drops.values())).sum();
    assert_eq!(drops, 0);
    let hits = rig.daemon.with("vale0", |s| s.groups_view()).unwrap();
    assert_eq!(hits.groups[0].frames, u64::from(frames) * senders as u64);
}

#[test]
fn one_sender_beside_a_worker() {
    lossless(1, 1, 1, 20_000);
}

#[test]
fn several_senders_beside_several_workers() {
    lossless(2, 3, 2, 8_000);
}

#[test]
fn senders_alone() {
    lossless(1, 2, 0, 20_000);
}

/// Everybody sleeps between any two frames, and the switch's worker has nothing to do with it.
#[test]
fn no_wakeup_is_lost() {
    let rig = rig("inline = 2", &["a", "b"], "slots = 16", "");
    let (mut a, mut b) = (attach(&rig, "a"), attach(&rig, "b"));
    let rounds = 20_000u32;
    std::thread::scope(|s| {
        s.spawn(move || {
            for i in 0..rounds {
                let f = recv(&mut b.rx).unwrap_or_else(|| panic!("frame {i} does not come"));
                send_all(&mut b.tx, &[&frame(1, 2, &f[14..18])]);
            }
            // The link with it.
            b
        });
        for i in 0..rounds {
            send_all(&mut a.tx, &[&frame(2, 1, &i.to_be_bytes())]);
            let f = recv(&mut a.rx).unwrap_or_else(|| panic!("answer {i} does not come"));
            assert_eq!(f[14..18], i.to_be_bytes());
        }
    });
    rig.books();
}

/// A client in a worker's care asleep in between: to it, from it, and back.
#[test]
fn nor_of_clients() {
    let rig = rig("inline = 1\nspin = \"0\"", &["a", "b"], "slots = 16", "");
    let (mut a, mut b) = (attach(&rig, "a"), rig.attach("b"));
    let rounds = 5_000u32;
    std::thread::scope(|s| {
        let answers = s.spawn(move || {
            for i in 0..rounds {
                let f = b.recv().unwrap_or_else(|| panic!("frame {i} does not come"));
                b.send(&frame(1, 2, &f[14..18]));
            }
            // Still attached: what a client has not handed over yet goes with it.
            b
        });
        for i in 0..rounds {
            send_all(&mut a.tx, &[&frame(2, 1, &i.to_be_bytes())]);
            let f = recv(&mut a.rx).unwrap_or_else(|| panic!("answer {i} does not come"));
            assert_eq!(f[14..18], i.to_be_bytes());
        }
        drop(answers.join());
    });
    rig.books();
}

/// Who waits for many frames is woken for fewer when the sender flushes, and by sending on when there are enough.
#[test]
fn who_is_patient_is_woken_too() {
    let rig = rig("inline = 1", &["a", "b"], "", "");
    let (mut a, mut b) = (attach(&rig, "a"), rig.attach("b"));
    let asleep = |b: super::common::Client, many: u32| {
        std::thread::spawn(move || {
            let mut b = b;
            let began = Instant::now();
            let enough = b.rx.wait(many, Some(Duration::from_secs(20))).unwrap();
            (enough, b.rx.pending(), began.elapsed(), b)
        })
    };
    let f = frame(2, 1, b"x");
    let thread = asleep(b, 64);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(a.tx.send(&[&f, &f, &f]).unwrap().frames, 3);
    a.tx.flush();
    let (enough, n, time, back) = thread.join().unwrap();
    b = back;
    assert!(!enough && n == 3 && time < Duration::from_secs(10), "{enough} {n} {time:?}");
    b.rx.advance(3);
    b.rx.release();
    // Without a flush: the sender looks every so many frames.
    let thread = asleep(b, 64);
    std::thread::sleep(Duration::from_millis(50));
    for _ in 0..40 {
        assert_eq!(a.tx.send(&[&f[..]; 8]).unwrap().frames, 8);
    }
    let (enough, _, time, _) = thread.join().unwrap();
    assert!(enough && time < Duration::from_secs(10), "{time:?}");
}

/// Dropping a sender wakes whom it has left asleep.
#[test]
fn a_sender_that_goes_wakes_its_receivers() {
    let rig = rig("inline = 1", &["a", "b"], "", "");
    let (a, mut b) = (attach(&rig, "a"), rig.attach("b"));
    let mut tx = a.tx;
    let thread = std::thread::spawn(move || b.rx.wait(1, Some(Duration::from_secs(20))).unwrap());
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(tx.send(&[&frame(2, 1, b"x")]).unwrap().frames, 1);
    drop(tx);
    assert!(thread.join().unwrap());
}

fn full(rig: &Rig) -> (super::Inline, usize) {
    let mut a = attach(rig, "a");
    let f = frame(2, 1, b"x");
    let sent = a.tx.send(&[&f[..]; 100]).unwrap();
    assert!(sent.frames < 100 && sent.hold_until.is_none(), "{sent:?}");
    (a, sent.frames)
}

#[test]
fn a_full_receiver_takes_part_and_room_wakes() {
    let rig = rig("inline = 1", &["a", "b"], "slots = 16\noverflow = \"backpressure\"", "");
    let mut b = rig.attach("b");
    let (mut a, sent) = full(&rig);
    assert_eq!(sent, 15);
    let f = frame(2, 1, b"x");
    assert_eq!(a.tx.send(&[&f]).unwrap(), Sent::default());
    let began = Instant::now();
    assert!(!a.tx.wait(Some(Duration::from_millis(30))).unwrap(), "nothing has changed");
    assert!(began.elapsed() >= Duration::from_millis(30));
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(b.rx.pending(), 15);
        b.rx.advance(15);
        b.rx.release();
        b
    });
    let began = Instant::now();
    while a.tx.send(&[&f]).unwrap().frames == 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "the room is not told of");
        a.tx.wait(Some(Duration::from_secs(20))).unwrap();
    }
    let mut b = thread.join().unwrap();
    assert_eq!(b.rx.pending(), 1);
    // Nothing is held: no reason to wait.
    assert!(a.tx.wait(None).unwrap());
    rig.books();
}

#[test]
fn a_full_receiver_that_goes_is_not_waited_for() {
    let rig = rig("inline = 1", &["a", "b"], "slots = 16\noverflow = \"backpressure\"", "");
    let b = rig.attach("b");
    let (mut a, _) = full(&rig);
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        drop(b);
    });
    let (f, began) = (frame(2, 1, b"x"), Instant::now());
    while a.tx.send(&[&f]).unwrap().frames == 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "it waits for a port that is gone");
        a.tx.wait(Some(Duration::from_secs(20))).unwrap();
    }
    thread.join().unwrap();
    rig.books();
}

#[test]
fn a_shaping_meter_says_when() {
    let rig = rig(
        "inline = 1",
        &["a", "b"],
        "",
        "[[switch.meter]]\nname = \"m\"\nrate = \"8Mbit\"\nburst = \"1000\"\nmode = \"shape\"\n[[switch.group]]\nname = \"g\"\n\
         address = \"01:00:00:00:00:01\"\nmeter = \"m\"\nbuckets = [{ port = \"b\" }]\n",
    );
    let (mut a, mut b) = (attach(&rig, "a"), rig.attach("b"));
    let mut f = numbered(1, 0);
    f.resize(1000, 0);
    let (began, mut sent, mut held) = (Instant::now(), 0, 0);
    // 1 byte per us: the first is on credit, each of the others takes a millisecond.
    while sent < 21 {
        let got = a.tx.send(&vec![&f[..]; 21 - sent]).unwrap();
        sent += got.frames;
        if sent < 21 {
            assert!(got.hold_until.is_some(), "{got:?}");
            held += 1;
            a.tx.wait(None).unwrap();
        }
    }
    assert!(began.elapsed() >= Duration::from_millis(20), "{:?}", began.elapsed());
    assert!(held >= 1);
    for _ in 0..21 {
        assert!(b.recv().is_some());
    }
    rig.books();
}
