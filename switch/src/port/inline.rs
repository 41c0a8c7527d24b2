//! Frames that a thread of this process forwards itself: taken where it has them. What they go through is
//! [`crate::inline`]'s.

use std::os::fd::BorrowedFd;

use super::Ingress;
use crate::counters::Cause;
use crate::frame::{Burst, HEAD};

/// Longest frame, as of a ring's client.
const LONGEST: usize = u16::MAX as usize;

/// Frames that are lent for one call.
pub(crate) struct Lent<'f>(pub &'f [&'f [u8]]);

impl Ingress for Lent<'_> {
    fn take(&mut self, burst: &mut Burst, max: usize, _now: u64) {
        let mut rest = self.0;
        while !rest.is_empty() && burst.taken() < max {
            let most = rest.len().min(max - burst.taken());
            // SAFETY: the frames are lent for longer than the burst has them: whoever serves it clears it within the call
            // that they are lent for. Those shorter than a head are left out.
            let n = unsafe {
                burst.push_plain(most, |i| {
                    let f = rest[i as usize];
                    valecast_ring::prefetch(f.as_ptr());
                    (HEAD..=LONGEST).contains(&f.len()).then_some((f.as_ptr(), f.len()))
                })
            };
            rest = &rest[n as usize..];
            if n as usize == most {
                continue;
            }
            let Some((f, after)) = rest.split_first() else { return };
            rest = after;
            if f.len() > LONGEST {
                burst.push_rejected(1, Cause::BadSlot);
            } else {
                // SAFETY: as above.
                unsafe { burst.push(f.as_ptr(), f.len(), 1) };
            }
        }
    }

    fn complete(&mut self, _burst: &Burst, n: usize) {
        self.0 = &self.0[n..];
    }

    fn arm(&mut self) -> bool {
        self.0.is_empty()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
