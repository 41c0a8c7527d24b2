//! Waiting for rings: looks first, then sleep.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use valecast_ring::client::RxRing;

/// Looks at rings before sleeping.
pub(crate) const LOOKS: u32 = 96;
/// Of these, so many without giving the core away.
const BUSY: u32 = 4;

/// Between looks, after `looks` that found nothing.
#[inline]
pub(crate) fn between_looks(looks: u32) {
    if looks <= BUSY {
        (0..8).for_each(|_| std::hint::spin_loop());
    } else {
        std::thread::yield_now();
    }
}

/// Sleeps until any of `rings` has a frame, or `timeout`.
pub(crate) fn wait_any(rings: &mut [RxRing], timeout: Duration) -> io::Result<()> {
    if let [ring] = rings {
        ring.wait(1, Some(timeout))?;
        return Ok(());
    }
    // `&`, not `&&`: every ring is armed, or none is slept on.
    let idle = rings.iter_mut().fold(true, |idle, ring| ring.arm() & idle);
    let slept = if idle {
        let mut fds: Vec<PollFd<'_>> =
            rings.iter().map(|r| PollFd::new(r.call_fd(), PollFlags::POLLIN)).collect();
        ppoll(&mut fds, Some(TimeSpec::from_duration(timeout)), None)
    } else {
        Ok(0)
    };
    rings.iter().for_each(RxRing::disarm);
    match slept {
        // Nothing came: is the switch still there? Asking costs the first ring a look at the connection.
        Ok(0) if idle => rings[0].wait(1, Some(Duration::ZERO)).map(|_| ()),
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
