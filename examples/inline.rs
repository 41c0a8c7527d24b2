//! A switch within this program, with a thread that forwards its frames itself.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use valecast_config::Config;
use valecast_switch::daemon::Daemon;
use valecast_switch::inline::InlineSender;

/// A switch for two threads of this program. Clients attach to its ports, too, by the socket in `run_dir`.
pub fn start(run_dir: &Path) -> Result<Daemon, Box<dyn Error>> {
    let text = format!(
        r#"
run_dir = {run_dir:?}

[[switch]]
name = "vale0"
inline = 2

[[switch.port]]
name = "a"
kind = "ring"

[[switch.port]]
name = "b"
kind = "ring"
overflow = "backpressure"
"#
    );
    Ok(Daemon::start(Config::parse("inline.toml", &text)?, None)?)
}

/// Sends all of `frames`, in bursts, and waits where a receiver that must not lose anything is full.
pub fn send_all(tx: &mut InlineSender, frames: &[&[u8]]) -> Result<(), Box<dyn Error>> {
    let mut rest = frames;
    while !rest.is_empty() {
        // They are with their receivers when this returns.
        let sent = tx.send(rest)?;
        rest = &rest[sent.frames..];
        if !rest.is_empty() {
            tx.wait(None)?;
        }
    }
    // Nothing more for now: receivers that sleep must hear of the last ones.
    tx.flush();
    Ok(())
}

/// Sends `count` frames from one thread to another; how many arrived.
pub fn run(daemon: &Daemon, count: u32) -> Result<u32, Box<dyn Error>> {
    // Whoever keeps a link keeps its port attached.
    let (_link_a, mut tx, _) = daemon.attach_inline("vale0", "a")?.split();
    let (_link_b, _, mut rx) = daemon.attach_inline("vale0", "b")?.split();
    let receiver = std::thread::spawn(move || {
        let (rx, mut seen) = (&mut rx[0], 0);
        while seen < count && rx.wait(1, Some(Duration::from_secs(5))).is_ok_and(|woken| woken) {
            let waiting = rx.pending();
            rx.advance(waiting);
            rx.release();
            seen += waiting;
        }
        seen
    });
    // To everyone, from a local address, with an EtherType for experiments.
    let mut frame = [0u8; 60];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    let frames = vec![&frame[..]; count as usize];
    send_all(&mut tx, &frames)?;
    receiver.join().map_err(|_| "the receiver panicked".into())
}
