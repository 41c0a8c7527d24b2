//! Frames that have no business on a tree.

use std::path::Path;

use valecast_qc_dataplane::address::{receiver_address, sender_address, tree_address};
use valecast_ring::client::{AttachOptions, Port, TxRing};

/// EtherType and magic number of a transfer's frames.
const BEGIN: [u8; 5] = [0x88, 0xb5, 0x56, 0x51, 1];
/// Where the checksum is in a frame, and what it covers begins.
const CHECKSUM: usize = 14 + 20;

/// Sends `count` frames by a ring port: of each kind, to a tree, its sender and its receivers, with contents at random, wrong
/// and right checksums, wrong and right transfer numbers. Returns when the switch has taken them all.
#[track_caller]
pub fn flood(socket: &Path, port: &str, tree: u32, transfer: u64, count: u64) {
    let port =
        Port::attach(socket, port, &AttachOptions::default()).unwrap_or_else(|e| panic!("{port}: {e}"));
    let (_link, mut tx, _rx) = port.split();
    let tx = &mut tx[0];
    let mut word = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(tree);
    let mut random = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word
    };
    for _ in 0..count {
        let r = random();
        let to = match r % 3 {
            0 => tree_address(tree),
            1 => sender_address(tree),
            _ => receiver_address(tree, 1 + (r >> 8) as u16 % 3),
        };
        let mut frame = Vec::with_capacity(1458);
        frame.extend_from_slice(&to.0);
        frame.extend_from_slice(&sender_address(tree).0);
        frame.extend_from_slice(&BEGIN);
        frame.push((r >> 16) as u8 % 9);
        let number = if r & 1 << 24 == 0 { transfer } else { random() };
        frame.extend_from_slice(&number.to_be_bytes());
        // The tag is a hash of the content: nobody outside knows it.
        frame.extend_from_slice(&(random() as u32).to_be_bytes());
        frame.extend_from_slice(&((r >> 25) as u16 % 3).to_be_bytes());
        let body = (r >> 32) as usize % 1400;
        frame.extend_from_slice(&(body as u16).to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        while frame.len() < 14 + 24 + body {
            frame.push(random() as u8);
        }
        if r & 1 << 60 == 0 {
            let sum = crc32c::crc32c(&frame[14..]);
            frame[CHECKSUM..CHECKSUM + 4].copy_from_slice(&sum.to_be_bytes());
        }
        frame.resize(frame.len().max(60), 0);
        push(tx, &frame);
    }
    flush(tx);
}

/// The next frames that come to a ring port.
#[track_caller]
pub fn record(socket: &Path, port: &str, count: usize) -> Vec<Vec<u8>> {
    let port =
        Port::attach(socket, port, &AttachOptions::default()).unwrap_or_else(|e| panic!("{port}: {e}"));
    let (_link, _tx, mut rx) = port.split();
    let rx = &mut rx[0];
    let mut frames = Vec::new();
    while frames.len() < count {
        let n = super::wait_for("frames", || Some(rx.pending()).filter(|n| *n > 0));
        frames.extend((0..n).map(|i| rx.frame(i).data.to_vec()));
        rx.advance(n);
        rx.release();
    }
    frames
}

/// Sends `count` frames by a ring port: these again as they were, with other contents, and to all addresses that probes have.
#[track_caller]
pub fn probes(socket: &Path, port: &str, recorded: &[Vec<u8>], count: u64) {
    let port =
        Port::attach(socket, port, &AttachOptions::default()).unwrap_or_else(|e| panic!("{port}: {e}"));
    let (_link, mut tx, _rx) = port.split();
    let tx = &mut tx[0];
    for (n, frame) in (0..count as usize).zip(recorded.iter().cycle()) {
        let mut frame = frame.clone();
        if n % 3 == 1 {
            // Beyond the seal: a name, or a number.
            let at = 35 + n % (frame.len() - 35);
            frame[at] ^= 1 << (n % 8);
        }
        if n % 3 == 2 {
            let (kind, last) = [(2, 0), (2, 1), (3, 1), (3, 2)][n % 4];
            (frame[0], frame[5]) = (kind, last);
        }
        push(tx, &frame);
    }
    flush(tx);
}

/// Sends a frame, when there is room.
fn push(tx: &mut TxRing, frame: &[u8]) {
    while !tx.push(frame) {
        tx.publish();
        tx.wait(tx.slots() / 4, None).expect("room in the ring");
    }
}

/// Waits until the switch has taken all.
fn flush(tx: &mut TxRing) {
    tx.publish();
    while tx.pending() > 0 {
        tx.wait(tx.slots() - 1, None).expect("an empty ring");
    }
}
