//! Sleeping on several receive rings.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use valecast_ring::client::RxRing;

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
