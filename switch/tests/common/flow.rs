//! Honest traffic that proves itself: numbered frames whose content follows from sender and number.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use valecast_ring::SlotFlags;
use valecast_ring::client::{RxRing, TxRing};

use super::raw::Rng;

/// The address of honest port `i`.
pub fn mac(i: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, i]
}

/// Frame `seq` from `src`: the same bytes whoever makes it. Every 50th takes several slots.
pub fn make(dst: u8, src: u8, seq: u64) -> Vec<u8> {
    let mut rng = Rng(seq << 8 | u64::from(src));
    let len = if seq % 50 == 49 { 5000 } else { 60 + rng.below(1400) };
    let mut f = Vec::with_capacity(len);
    f.extend_from_slice(&mac(dst));
    f.extend_from_slice(&mac(src));
    f.extend_from_slice(&[0x88, 0xb5]);
    f.extend_from_slice(&seq.to_be_bytes());
    while f.len() < len {
        f.extend_from_slice(&rng.next().to_be_bytes());
    }
    f.truncate(len);
    f
}

/// Both ends of what goes one way.
#[derive(Default)]
pub struct Flow {
    pub sent: AtomicU64,
    pub done: AtomicBool,
}

impl Flow {
    /// Sends until `stop`, waiting whenever the ring is full. At least `least` frames.
    pub fn send(&self, tx: &mut TxRing, dst: u8, src: u8, least: u64, stop: &AtomicBool) {
        let mut seq = 0;
        while seq < least || !stop.load(Ordering::Acquire) {
            let f = make(dst, src, seq);
            let since = Instant::now();
            while !tx.push(&f) {
                tx.publish();
                tx.wait(4, Some(Duration::from_millis(100))).unwrap();
                assert!(since.elapsed() < Duration::from_secs(20), "{src} to {dst}: stuck at {seq}");
            }
            if seq % 16 == 15 {
                tx.publish();
            }
            seq += 1;
        }
        tx.publish();
        self.sent.store(seq, Ordering::Release);
        self.done.store(true, Ordering::Release);
    }

    /// Takes frames until all of `src` have come, each once, in order and unaltered. Returns how many came from
    /// others.
    pub fn receive(&self, rx: &mut RxRing, dst: u8, src: u8) -> u64 {
        let (mut next, mut others, mut whole) = (0u64, 0u64, Vec::new());
        let mut since = Instant::now();
        while !self.done.load(Ordering::Acquire) || next < self.sent.load(Ordering::Acquire) {
            rx.wait(1, Some(Duration::from_millis(100))).unwrap();
            let n = rx.pending();
            for i in 0..n {
                let s = rx.frame(i);
                whole.extend_from_slice(s.data);
                if s.flags.contains(SlotFlags::MORE_FRAG) {
                    continue;
                }
                if whole.len() >= 12 && whole[..6] == mac(dst) && whole[6..12] == mac(src) {
                    let want = make(dst, src, next);
                    assert!(whole == want, "{src} to {dst}: frame {next} is {}", describe(&whole));
                    next += 1;
                    since = Instant::now();
                } else {
                    others += 1;
                }
                whole.clear();
            }
            rx.advance(n);
            rx.release();
            assert!(since.elapsed() < Duration::from_secs(20), "{src} to {dst}: nothing after {next}");
        }
        assert_eq!(next, self.sent.load(Ordering::Acquire));
        others
    }
}

fn describe(f: &[u8]) -> String {
    let seq = f.get(14..22).map(|b| u64::from_be_bytes(b.try_into().unwrap()));
    format!("{} bytes, number {seq:?}, begins {:02x?}", f.len(), &f[..f.len().min(32)])
}

/// Honest clients at `a` (address 1) and `b` (address 2) talk to each other while `attack` runs; returns what
/// that returned. Panics if anything is lost, doubled, out of order or altered.
pub fn undisturbed<T>(rig: &super::Rig, least: u64, attack: impl FnOnce() -> T) -> T {
    let (a, b) = (rig.attach("a"), rig.attach("b"));
    undisturbed_over(a, b, least, attack)
}

/// As [`undisturbed`], over clients that are attached already.
pub fn undisturbed_over<T>(
    mut a: super::Client,
    mut b: super::Client,
    least: u64,
    attack: impl FnOnce() -> T,
) -> T {
    // Both addresses are known before the traffic proper begins.
    a.send(&super::frame(0xff, 1, b"here is a"));
    b.send(&super::frame(0xff, 2, b"here is b"));
    let (stop, ab, ba) = (AtomicBool::new(false), Flow::default(), Flow::default());
    /// Stops the senders even if the attack panics.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let (
        super::Client { link: _la, tx: mut atx, rx: mut arx },
        super::Client { link: _lb, tx: mut btx, rx: mut brx },
    ) = (a, b);
    std::thread::scope(|s| {
        s.spawn(|| ab.send(&mut atx, 2, 1, least, &stop));
        s.spawn(|| ba.send(&mut btx, 1, 2, least, &stop));
        s.spawn(|| ab.receive(&mut brx, 2, 1));
        s.spawn(|| ba.receive(&mut arx, 1, 2));
        let _stop = Stop(&stop);
        attack()
    })
}
