//! A client of ring ports: sends frames at one port, counts what arrives at another.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use valecast_ring::client::{AttachOptions, Port};

/// Broadcasts `count` frames at a port.
pub fn send(socket: &Path, port: &str, count: u32) -> Result<(), Box<dyn Error>> {
    let port = Port::attach(socket, port, &AttachOptions::default())?;
    let (_link, mut tx, _rx) = port.split();
    let tx = &mut tx[0];
    // To everyone, from a local address, with an EtherType for experiments.
    let mut frame = [0u8; 60];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    for n in 0..count {
        frame[14..18].copy_from_slice(&n.to_be_bytes());
        while !tx.push(&frame) {
            // The ring is full: hand over what is in it, and sleep until a quarter of it is free.
            tx.publish();
            tx.wait(tx.slots() / 4, None)?;
        }
    }
    tx.publish();
    // Dropping the link detaches the port and forgets frames that the switch has not taken yet.
    while tx.pending() > 0 {
        tx.wait(tx.slots() - 1, None)?;
    }
    Ok(())
}

/// Takes frames at a port until there were `count`, or until none came for five seconds.
pub fn receive(socket: &Path, port: &str, count: u32, ready: impl FnOnce()) -> Result<u32, Box<dyn Error>> {
    let port = Port::attach(socket, port, &AttachOptions::default())?;
    let (_link, _tx, mut rx) = port.split();
    let rx = &mut rx[0];
    ready();
    let mut seen = 0;
    while seen < count {
        rx.wait(1, Some(Duration::from_secs(5)))?;
        // All that wait, one after the other; then the switch may write into their slots again.
        let waiting = rx.take(u32::MAX, |slot| {
            if slot.data.get(12..14) == Some(&[0x88, 0xb5]) {
                seen += 1;
            }
        });
        if waiting == 0 {
            break;
        }
    }
    Ok(seen)
}
