//! Inline ports: what a thread of this process forwards itself fares as what a worker forwards; nothing is lost that
//! must not be, nobody sleeps on, and ports and switches go while it sends.
#![allow(missing_docs)]

#[cfg(test)]
mod common;

#[cfg(test)]
#[path = "../../examples/inline.rs"]
mod example;

#[cfg(test)]
mod inline {
    pub mod going;
    pub mod guide;
    pub mod same;
    pub mod waiting;

    use super::{common, example};
    use std::time::{Duration, Instant};
    use valecast_ring::client::{Link, RxRing};
    use valecast_switch::inline::{InlineSender, Sent};

    /// An inline port with one receive ring.
    pub struct Inline {
        pub link: Link,
        pub tx: InlineSender,
        pub rx: RxRing,
    }

    pub fn attach(rig: &common::Rig, port: &str) -> Inline {
        let (link, tx, rx) = rig.daemon.attach_inline("vale0", port).unwrap().split();
        Inline { link, tx, rx: rx.into_iter().next().unwrap() }
    }

    /// A switch with ring ports.
    pub fn rig(top: &str, names: &[&str], extra: &str, rest: &str) -> common::Rig {
        let port = |n: &&str| format!("[[switch.port]]\nname = {n:?}\nkind = \"ring\"\n{extra}\n");
        let ports: String = names.iter().map(port).collect();
        common::Rig::new(&format!("[[switch]]\nname = \"vale0\"\n{top}\n{ports}{rest}"))
    }

    /// Sends all of them, waiting where they have to.
    pub fn send_all(tx: &mut InlineSender, frames: &[&[u8]]) {
        let (mut sent, since) = (0, Instant::now());
        while sent < frames.len() {
            let Sent { frames: n, .. } = tx.send(&frames[sent..]).unwrap();
            sent += n;
            if sent < frames.len() {
                tx.wait(Some(Duration::from_millis(100))).unwrap();
                assert!(since.elapsed() < Duration::from_secs(20), "stuck after {sent}");
            }
        }
        tx.flush();
    }

    /// The next frame, which fits into one slot.
    pub fn recv(rx: &mut RxRing) -> Option<Vec<u8>> {
        if rx.pending() == 0 && !rx.wait(1, Some(Duration::from_secs(20))).unwrap() {
            return None;
        }
        let f = rx.frame(0).data.to_vec();
        rx.advance(1);
        rx.release();
        Some(f)
    }
}
