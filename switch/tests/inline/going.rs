//! Ports, receivers and switches go while a thread sends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use valecast_switch::daemon::DaemonError;

use super::common::{frame, proc};
use super::{attach, recv, rig};

/// Each error says what to do.
#[test]
fn there_are_as_many_as_configured() {
    let rig = rig("inline = 2", &["a", "b", "c"], "", "[[switch.port]]\nname = \"n\"\nkind = \"null\"\n");
    let error = |port: &str| rig.daemon.attach_inline("vale0", port).err().unwrap().to_string();
    assert_eq!(error("n"), "port \"n\" is of kind null: clients attach to ports of kind ring");
    assert!(error("x").starts_with("switch vale0 has no port \"x\" (it has a, b, c, n)"), "{}", error("x"));
    let (a, b) = (attach(&rig, "a"), attach(&rig, "b"));
    let me = format!("port \"a\" is in use by process {} ", std::process::id());
    assert!(error("a").starts_with(&me), "{}", error("a"));
    assert_eq!(
        error("c"),
        "port \"c\": all 2 inline ports of the switch are in use: drop the sender of one, or raise `inline` in [[switch]]"
    );
    let v = rig.stats();
    assert_eq!((v.ports[0].mode.as_deref(), v.ports[0].state.as_str()), (Some("inline"), "up"));
    assert_eq!(v.ports[0].pid, Some(std::process::id() as i32));
    // A port that was dropped can be had again, by this process or another.
    drop(a);
    proc::soon(Duration::from_secs(10), "the port is free", || rig.stats().ports[0].state == "waiting");
    let (mut c, mut a) = (attach(&rig, "c"), rig.attach("a"));
    c.tx.send(&[&frame(0xff, 3, b"here")]).unwrap();
    c.tx.flush();
    assert!(a.recv().is_some());
    drop((b, c));
    assert!(matches!(rig.daemon.attach_inline("vale1", "a"), Err(DaemonError::NoSwitch(..))));
}

#[test]
fn a_switch_without_inline_ports_says_so() {
    let rig = rig("", &["a"], "", "");
    let e = rig.daemon.attach_inline("vale0", "a").err().unwrap().to_string();
    let want = "port \"a\": the switch has no inline ports: give it as many as are to be attached at once, `inline = 1` in [[switch]]";
    assert_eq!(e, want);
}

/// A port that is detached under its sender's hands: the sender is told, receivers keep what they got, what is counted adds
/// up, and the next one has the place.
#[test]
fn a_port_goes_while_it_sends() {
    let rig = rig("inline = 1\nworkers = 2", &["a", "b", "c"], "slots = 64", "");
    let port = rig.daemon.with("vale0", |s| s.port_state("a").unwrap().0).unwrap();
    let (mut b, mut got, mut total) = (rig.attach("b"), 0u64, 0);
    for round in 0..60u32 {
        let mut a = attach(&rig, "a");
        let going = std::thread::spawn(move || {
            let f = frame(0xff, 1, &round.to_be_bytes());
            let (mut sent, batch) = (0u64, [&f[..]; 17]);
            loop {
                match a.tx.send(&batch) {
                    Ok(s) => sent += s.frames as u64,
                    Err(gone) => {
                        assert_eq!(
                            gone.to_string(),
                            "port \"a\" is gone: it was detached, or its switch has stopped"
                        );
                        assert_eq!(a.tx.send(&batch), Err(gone));
                        a.tx.flush();
                        let e = a.tx.wait(None).unwrap_err();
                        assert_eq!(e.kind(), std::io::ErrorKind::ConnectionAborted);
                        let e = a.rx.wait(1, Some(Duration::from_secs(20))).unwrap_err();
                        assert_eq!(e.kind(), std::io::ErrorKind::ConnectionAborted);
                        assert!(!a.link.is_alive());
                        return sent;
                    }
                }
            }
        });
        std::thread::sleep(Duration::from_micros(u64::from(round) * 40));
        // Tables change, too, and receivers come and go.
        let c = (round % 3 == 0).then(|| rig.attach("c"));
        let n = b.rx.pending();
        got += u64::from(n);
        b.rx.advance(n);
        b.rx.release();
        drop(c);
        rig.daemon.detach_port("vale0", "a").unwrap();
        let before = rig.stats();
        let sent = going.join().unwrap();
        total += sent;
        // Nothing is counted for a port once it is detached.
        assert_eq!(rig.stats().retired.in_frames, before.retired.in_frames);
        rig.daemon.attach_port("vale0", port.clone(), false).unwrap();
    }
    let v = rig.books();
    got += u64::from(b.rx.pending());
    let b = v.ports.iter().find(|p| p.name == "b").unwrap();
    assert_eq!(b.out_frames, got);
    assert_eq!(v.retired.in_frames, total);
    assert!(total > 0);
}

/// A link that is dropped detaches, whoever still has the sender.
#[test]
fn a_link_that_is_dropped_detaches() {
    let rig = rig("inline = 1", &["a", "b"], "", "");
    let super::Inline { link, mut tx, rx } = attach(&rig, "a");
    drop((link, rx));
    let f = frame(2, 1, b"x");
    let since = Instant::now();
    while tx.send(&[&f]).is_ok() {
        assert!(since.elapsed() < Duration::from_secs(10), "it is still attached");
    }
    rig.books();
}

/// Receivers come and go, groups and ports change, while two threads send at full speed.
#[test]
fn the_switch_changes_while_it_sends() {
    let rig = rig(
        "inline = 2\nworkers = 1",
        &["a", "b", "r", "s"],
        "slots = 64",
        "[[switch.group]]\nname = \"g\"\naddress = \"01:00:00:00:00:01\"\nbuckets = [{ port = \"r\" }, { port = \"s\" }]\n",
    );
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (name, src) in [("a", 1), ("b", 2)] {
            let (a, stop) = (attach(&rig, name), &stop);
            scope.spawn(move || {
                // The link with it.
                let mut a = a;
                let (mut g, f) = (frame(1, src, b"x"), frame(0xff, src, b"y"));
                g[..6].copy_from_slice(&[1, 0, 0, 0, 0, 1]);
                while !stop.load(Ordering::Acquire) {
                    a.tx.send(&[&g, &f, &g]).unwrap();
                }
            });
        }
        for i in 0..150 {
            let mut r = rig.attach("r");
            if i % 2 == 0 {
                r.recv().unwrap();
            }
            let (port, group) = rig
                .daemon
                .with("vale0", |s| (s.port_state("s").unwrap().0, s.group_config("g").unwrap().clone()))
                .unwrap();
            let port = valecast_config::Port { mac_limit: i, ..port };
            rig.daemon.with("vale0", |s| s.update_port(port)).unwrap().unwrap();
            rig.daemon
                .with("vale0", |s| s.remove_group("g").and_then(|()| s.add_group(group)))
                .unwrap()
                .unwrap();
        }
        stop.store(true, Ordering::Release);
    });
    rig.books();
}

/// The daemon stops while a thread sends, and the sender outlives it.
#[test]
fn the_switch_stops_while_it_sends() {
    let _alone = proc::alone();
    let fds = proc::fds();
    for round in 0..20 {
        let rig = rig("inline = 1", &["a", "b"], "", "");
        let (mut a, b) = (attach(&rig, "a"), rig.attach("b"));
        let thread = std::thread::spawn(move || {
            let f = frame(2, 1, b"x");
            while a.tx.send(&[&f[..]; 9]).is_ok() {}
            a
        });
        std::thread::sleep(Duration::from_micros(200 * round));
        rig.daemon.stop();
        let mut a = thread.join().unwrap();
        assert!(a.rx.wait(1, Some(Duration::from_secs(20))).is_err());
        drop((b, rig));
        // After everything else is gone.
        a.tx.flush();
        assert!(a.tx.send(&[]).is_err());
    }
    proc::fds_back_to(fds, Duration::from_secs(20));
}

/// Another thread goes on with a sender, and so does another sender with its place.
#[test]
fn a_sender_may_change_threads() {
    let rig = rig("inline = 1", &["a", "b"], "", "");
    let mut b = rig.attach("b");
    for round in 0..5u32 {
        let mut a = attach(&rig, "a");
        for _ in 0..3 {
            a = std::thread::spawn(move || {
                a.tx.send(&[&frame(2, 1, &round.to_be_bytes())]).unwrap();
                a.tx.flush();
                a
            })
            .join()
            .unwrap();
            assert_eq!(recv(&mut b.rx).unwrap()[14..18], round.to_be_bytes());
        }
        drop(a);
        proc::soon(Duration::from_secs(10), "the port is free", || rig.stats().ports[0].state == "waiting");
    }
    let v = rig.books();
    assert_eq!(v.ports[0].in_frames, 15);
}
