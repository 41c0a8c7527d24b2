//! Backpressure end to end, at full speed, with one worker and with several: nothing is lost, order is
//! kept per source.
#![allow(missing_docs)]

#[cfg(test)]
mod common;

use common::{Rig, frame};
use std::time::Duration;

#[cfg(test)]
fn run(workers: usize, senders: usize, frames: u32, receivers: usize) {
    let mut names: Vec<String> = (0..senders).map(|i| format!("s{i}")).collect();
    names.extend((0..receivers).map(|i| format!("r{i}")));
    let ports: String = names
        .iter()
        .map(|n| {
            format!(
                "[[switch.port]]\nname = {n:?}\nkind = \"ring\"\nslots = 256\noverflow = \"backpressure\"\n"
            )
        })
        .collect();
    let buckets: String = (0..receivers).map(|i| format!("{{ port = \"r{i}\" }},")).collect();
    let rig = Rig::new(&format!(
        "[[switch]]\nname = \"vale0\"\nworkers = {workers}\n{ports}\n[[switch.group]]\nname = \"g\"\n\
         address = \"01:00:00:00:00:01\"\nbuckets = [{buckets}]\n"
    ));
    std::thread::scope(|scope| {
        let mut receivers: Vec<_> = (0..receivers).map(|i| rig.attach(&format!("r{i}"))).collect();
        for i in 0..senders {
            let s = rig.attach(&format!("s{i}"));
            scope.spawn(move || {
                let mut s = s;
                for seq in 0..frames {
                    let mut f = frame(1, i as u8 + 1, &seq.to_be_bytes());
                    f[..6].copy_from_slice(&[1, 0, 0, 0, 0, 1]);
                    while !s.tx.push(&f) {
                        s.tx.publish();
                        s.tx.wait(64, Some(Duration::from_millis(100))).unwrap();
                    }
                    if seq % 37 == 0 {
                        s.tx.publish();
                    }
                }
                s.tx.publish();
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
                        let seq = u32::from_be_bytes(d[14..18].try_into().unwrap());
                        assert_eq!(seq, next[who], "sender {who}");
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
}

#[test]
fn one_worker() {
    run(1, 1, 200_000, 1);
}

#[test]
fn one_worker_many_ports() {
    run(1, 3, 30_000, 3);
}

#[test]
fn several_workers_into_one_ring() {
    run(3, 3, 50_000, 1);
}

#[test]
fn several_workers_group_of_three() {
    run(2, 4, 20_000, 3);
}
