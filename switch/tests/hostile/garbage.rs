//! Garbage on the attach socket.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, Shutdown, setsockopt, shutdown, sockopt};
use valecast_ring::attach::{Refusal, Reply, recv_msg, send_msg};
use valecast_ring::client::{AttachOptions, Port};
use zerocopy::IntoBytes;

use super::common::Rig;
use super::common::flow::undisturbed;
use super::common::proc::{alone, fds, fds_back_to, soon};
use super::common::raw::{Raw, Rng, dial, request};
use super::{port, rig, serves};

/// Longer than the daemon's patience with a connection that says nothing.
const PATIENCE: Duration = Duration::from_secs(8);

/// A daemon that nobody has attached to, and how many descriptors that takes.
fn settled() -> (Rig, usize) {
    let rig = rig(1);
    std::thread::sleep(Duration::from_millis(50));
    let base = fds();
    (rig, base)
}

#[test]
fn random_bytes_of_all_lengths() {
    let _alone = alone();
    let (rig, base) = settled();
    let mut rng = Rng(11);
    undisturbed(&rig, 1000, || {
        for len in 0..=4096 {
            let Ok(s) = dial(&rig.socket()) else { panic!("refused at {len}") };
            let mut bytes = rng.bytes(len);
            if len % 3 == 0 {
                let whole = request("mallory").to_wire().unwrap();
                let n = len.min(whole.as_bytes().len());
                bytes[..n].copy_from_slice(&whole.as_bytes()[..n]);
                if n > 0 {
                    bytes[rng.below(n)] = rng.next() as u8;
                }
            }
            let _ = send_msg(s.as_fd(), &bytes, &[]);
            if len % 16 == 0 {
                // Answered, or cut off; but not left waiting.
                let _ = recv_msg(s.as_fd(), MsgFlags::empty());
            }
        }
    });
    serves(&rig);
    soon(Duration::from_secs(2), "the port is free", || port(&rig, "mallory").pid.is_none());
    fds_back_to(base, PATIENCE);
}

#[test]
fn half_open_connections() {
    let _alone = alone();
    let (rig, base) = settled();
    let idle: Vec<_> = (0..300).map(|_| dial(&rig.socket()).unwrap()).collect();
    undisturbed_once_served(&rig);
    drop(idle);
    serves(&rig);
    fds_back_to(base, PATIENCE);
}

/// An honest client gets in while others only sit there, at the latest when the daemon's patience ends.
fn undisturbed_once_served(rig: &Rig) {
    soon(PATIENCE, "an honest client is served", || {
        Port::attach(&rig.socket(), "c", &AttachOptions::default()).is_ok()
    });
}

/// Those who connect and say nothing must not keep out those who ask.
#[test]
fn half_open_connections_keep_nobody_out() {
    let _alone = alone();
    let rig = rig(1);
    let _idle: Vec<_> = (0..300).map(|_| dial(&rig.socket()).unwrap()).collect();
    soon(Duration::from_secs(20), "an honest client is served", || {
        Port::attach(&rig.socket(), "c", &AttachOptions::default()).is_ok()
    });
}

#[test]
fn descriptors_sent_along_are_closed() {
    let _alone = alone();
    let (rig, base) = settled();
    let null = std::fs::File::open("/dev/null").unwrap();
    for n in [1, 64, 65, 66, 67, 100, 253] {
        let many: Vec<RawFd> = vec![null.as_raw_fd(); n];
        for _ in 0..20 {
            let s = dial(&rig.socket()).unwrap();
            // A daemon may have the kernel refuse them.
            let _ = send_msg(s.as_fd(), b"take these", &many);
            let _ = send_msg(s.as_fd(), b"and these", &many);
            let _ = send_msg(s.as_fd(), b"no request", &[]);
            let _ = recv_msg(s.as_fd(), MsgFlags::empty());
        }
    }
    drop(null);
    serves(&rig);
    fds_back_to(base, PATIENCE);
}

#[test]
fn descriptors_sent_along_with_a_good_request() {
    let _alone = alone();
    let (rig, base) = settled();
    let null = std::fs::File::open("/dev/null").unwrap();
    for n in [1, 65, 253] {
        let s = dial(&rig.socket()).unwrap();
        let many: Vec<RawFd> = vec![null.as_raw_fd(); n];
        if send_msg(s.as_fd(), request("mallory").to_wire().unwrap().as_bytes(), &many).is_ok() {
            let _ = recv_msg(s.as_fd(), MsgFlags::empty());
        }
        drop(s);
        soon(Duration::from_secs(2), "the port is free", || port(&rig, "mallory").pid.is_none());
    }
    drop(null);
    fds_back_to(base, PATIENCE);
}

/// A TCP connection with unsent data whose last close takes a minute.
fn slow_to_close() -> (OwnedFd, TcpListener, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 60 };
    setsockopt(&tcp, sockopt::Linger, &linger).unwrap();
    tcp.set_nonblocking(true).unwrap();
    while tcp.write(&[0; 8192]).is_ok() {}
    (tcp.into(), listener, peer)
}

/// Closing what a client sent along may take long; others do not wait for it.
fn slow_descriptor(messages: &[&[u8]]) {
    let _alone = alone();
    let rig = rig(1);
    let (slow, _listener, peer) = slow_to_close();
    let s = dial(&rig.socket()).unwrap();
    for (i, m) in messages.iter().enumerate() {
        let last = i + 1 == messages.len();
        let along = [slow.as_raw_fd()];
        if send_msg(s.as_fd(), m, if last { &along } else { &[] }).is_err() {
            // The daemon has the kernel refuse descriptors. Ends the linger, which is ours now.
            drop(peer);
            return;
        }
    }
    drop((slow, s));
    std::thread::sleep(Duration::from_millis(100));
    let (path, begun) = (rig.socket(), Instant::now());
    let (done, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = done.send(Port::attach(&path, "c", &AttachOptions::default()).map(drop));
    });
    let got = answer.recv_timeout(Duration::from_secs(30));
    // Ends the linger, so that a daemon that waits for it comes to its end.
    drop(peer);
    assert!(matches!(got, Ok(Ok(()))), "after {:?} an honest client still waits", begun.elapsed());
}

#[test]
fn descriptor_that_is_slow_to_close() {
    slow_descriptor(&[b"hold this"]);
}

#[test]
fn descriptor_that_is_slow_to_close_and_never_read() {
    slow_descriptor(&[b"no request", b"hold this"]);
}

/// A close that hangs holds up no other: connections of others do not pile up behind it.
#[test]
fn a_stuck_close_holds_up_no_other() {
    let _alone = alone();
    let rig = rig(1);
    let (slow, _listener, peer) = slow_to_close();
    let s = dial(&rig.socket()).unwrap();
    if send_msg(s.as_fd(), b"hold this", &[slow.as_raw_fd()]).is_err() {
        // The daemon has the kernel refuse descriptors. Ends the linger, which is ours now.
        drop(peer);
        return;
    }
    drop((slow, s));
    std::thread::sleep(Duration::from_millis(100));
    let before = fds();
    for _ in 0..300 {
        let s = dial(&rig.socket()).unwrap();
        let _ = send_msg(s.as_fd(), b"no request", &[]);
        let _ = recv_msg(s.as_fd(), MsgFlags::empty());
    }
    let end = Instant::now() + Duration::from_secs(3);
    while fds() > before && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    let piled = fds().saturating_sub(before);
    drop(peer);
    assert!(piled == 0, "{piled} connections wait to be closed");
}

#[test]
fn asks_twice() {
    let _alone = alone();
    let (rig, base) = settled();
    for _ in 0..20 {
        let m = Raw::attach(&rig.socket(), &request("mallory")).unwrap();
        send_msg(m.sock.as_fd(), request("mallory").to_wire().unwrap().as_bytes(), &[]).unwrap();
        soon(Duration::from_secs(20), "whoever speaks after the handshake is detached", || {
            port(&rig, "mallory").pid.is_none()
        });
    }
    for _ in 0..20 {
        // Both requests are there before the daemon looks.
        let s = dial(&rig.socket()).unwrap();
        let wire = request("mallory").to_wire().unwrap();
        send_msg(s.as_fd(), wire.as_bytes(), &[]).unwrap();
        let _ = send_msg(s.as_fd(), wire.as_bytes(), &[]);
        let _ = recv_msg(s.as_fd(), MsgFlags::empty());
        soon(Duration::from_secs(20), "the port is free", || port(&rig, "mallory").pid.is_none());
    }
    fds_back_to(base, PATIENCE);
}

#[test]
fn asks_and_hangs_up() {
    let _alone = alone();
    let (rig, base) = settled();
    for how in [Shutdown::Read, Shutdown::Write, Shutdown::Both] {
        for _ in 0..50 {
            let s = dial(&rig.socket()).unwrap();
            send_msg(s.as_fd(), request("mallory").to_wire().unwrap().as_bytes(), &[]).unwrap();
            let _ = shutdown(s.as_raw_fd(), how);
        }
    }
    soon(Duration::from_secs(3), "the port is free", || port(&rig, "mallory").pid.is_none());
    Raw::attach(&rig.socket(), &request("mallory")).unwrap();
    fds_back_to(base, PATIENCE);
}

#[test]
fn only_one_has_the_port() {
    let _alone = alone();
    let rig = rig(1);
    let first = Raw::attach(&rig.socket(), &request("mallory")).unwrap();
    for _ in 0..100 {
        let second = Raw::attach(&rig.socket(), &request("mallory"));
        assert!(matches!(second, Err((Refusal::Busy, _))));
    }
    drop(first);
    let s = dial(&rig.socket()).unwrap();
    let mut wish = request("c");
    wish.slots = Some(32768);
    wish.buf_size = Some(65536);
    send_msg(s.as_fd(), wish.to_wire().unwrap().as_bytes(), &[]).unwrap();
    let (bytes, fds) = recv_msg(s.as_fd(), MsgFlags::empty()).unwrap();
    assert!(matches!(Reply::parse(&bytes), Ok(Reply::Refused(Refusal::Limit, _))) && fds.is_empty());
}

#[test]
fn floods_the_socket() {
    let _alone = alone();
    let (rig, base) = settled();
    let end = Instant::now() + Duration::from_secs(3);
    undisturbed(&rig, 1000, || {
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    while Instant::now() < end {
                        let _ = dial(&rig.socket());
                    }
                });
            }
            let mut served = 0;
            while Instant::now() < end {
                served += usize::from(Port::attach(&rig.socket(), "c", &AttachOptions::default()).is_ok());
            }
            assert!(served > 0, "an honest client is served while others flood");
        });
    });
    serves(&rig);
    fds_back_to(base, PATIENCE);
}
