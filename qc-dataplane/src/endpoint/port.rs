//! A port of the switch, as an endpoint uses it.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use valecast_ring::SlotFlags;
use valecast_ring::client::{AttachOptions, Link, Port, RxRing, TxRing};

use super::EndpointError;

/// Longest that a port sleeps at once, so that nothing depends on a wake-up for ever.
const NAP: Duration = Duration::from_secs(1);

/// Wakes whoever sleeps at a port.
#[derive(Debug)]
pub struct Bell(EventFd);

impl Bell {
    /// A bell.
    ///
    /// # Errors
    ///
    /// The system has no descriptors left.
    pub fn new() -> Result<Self, EndpointError> {
        EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map(Self)
            .map_err(|e| EndpointError::system("no eventfd")(e.into()))
    }

    /// Wakes.
    pub fn ring(&self) {
        // It only fails when it has been rung very often and not been heard yet.
        let _ = self.0.write(1);
    }

    fn hear(&self) {
        let _ = self.0.read();
    }
}

/// Where a thread sleeps until frames come, there is room for some, somebody rings, or the time is over.
///
/// `room` is how many slots are to be free, if that is waited for. Returns at once if there is something already.
///
/// # Errors
///
/// The switch has taken the port away.
pub fn sleep(
    link: &Link,
    bell: &Bell,
    rx: Option<&mut RxRing>,
    tx: Option<(&mut TxRing, u32)>,
    most: Duration,
) -> io::Result<()> {
    let mut fds =
        vec![PollFd::new(link.fd(), PollFlags::POLLIN), PollFd::new(bell.0.as_fd(), PollFlags::POLLIN)];
    let mut idle = true;
    let rx = rx.map(|rx| {
        idle &= rx.arm();
        &*rx
    });
    let tx = tx.map(|(tx, room)| {
        idle &= tx.arm(room);
        &*tx
    });
    let result = if idle {
        fds.extend(rx.map(|rx| PollFd::new(rx.call_fd(), PollFlags::POLLIN)));
        fds.extend(tx.map(|tx| PollFd::new(tx.call_fd(), PollFlags::POLLIN)));
        ppoll(&mut fds, Some(TimeSpec::from_duration(most.min(NAP))), None)
    } else {
        Ok(0)
    };
    rx.inspect(|rx| rx.disarm());
    tx.inspect(|tx| tx.disarm());
    match result {
        Err(e) if e != Errno::EINTR => return Err(e.into()),
        Ok(1..) if fds[0].any().unwrap_or(false) && !link.is_alive() => {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the switch has taken it away"));
        }
        _ => {}
    }
    bell.hear();
    Ok(())
}

/// Opens a port with one ring in each direction.
///
/// # Errors
///
/// There is no such port, somebody else has it, or no switch is there.
pub fn open(socket: &Path, name: &str) -> Result<(Link, TxRing, RxRing), EndpointError> {
    let want = AttachOptions { tx_rings: Some(1), rx_rings: Some(1), ..AttachOptions::default() };
    let port = Port::attach(socket, name, &want)
        .map_err(|source| EndpointError::Attach { port: name.to_owned(), source })?;
    let (link, tx, rx) = port.split();
    match (tx.into_iter().next(), rx.into_iter().next()) {
        (Some(tx), Some(rx)) => Ok((link, tx, rx)),
        _ => {
            let source = io::Error::other("it has no rings");
            Err(EndpointError::Port { port: name.to_owned(), source })
        }
    }
}

/// Gives each frame that waits, at most `most`, to `take`, and the slots back. How many frames it were.
pub fn drain(rx: &mut RxRing, scratch: &mut Vec<u8>, most: u32, mut take: impl FnMut(&[u8])) -> usize {
    let n = rx.pending().min(most);
    let (mut done, mut frames) = (0, 0);
    scratch.clear();
    for i in 0..n {
        rx.prefetch(i + 4);
        let slot = rx.frame(i);
        let more = slot.flags.contains(SlotFlags::MORE_FRAG);
        if more || !scratch.is_empty() {
            scratch.extend_from_slice(slot.data);
            if more {
                continue;
            }
            take(scratch);
            scratch.clear();
        } else {
            take(slot.data);
        }
        frames += 1;
        done = i + 1;
    }
    // A frame whose last slots are not here stays where it is, unless it fills all that was looked at.
    rx.advance(if done == 0 { n } else { done });
    scratch.clear();
    rx.release();
    frames
}
