//! Bulk transfer over a tree: one sender, many receivers, switches that copy, and any loss on the way.
//!
//! In the order in which bytes pass:
//!
//! - [`files`]: what is sent ([`files::source`]), and where it is kept ([`files::store`]);
//! - [`fec`]: parity of blocks, for transfers that want it;
//! - [`sender`]: what to send next, for whom, and when it is over;
//! - [`wire`]: the frames;
//! - [`receiver`]: takes them in any order, says what is missing, checks the whole.
//!
//! Sender and receiver are state machines: frames, time and a seed come in as arguments, frames go out through a closure.
//! Only `files` touches the system. The sender is asked for as many frames as its port has room for; a meter
//! that shapes the tree leaves no room, which is all the pacing there is.
//!
//! Everything is asked for. A sender polls; receivers answer with what they lack, first all of it, later what got lost; what
//! any of them lacks is sent, lowest first. So a fresh transfer, a repair, and the rest of a transfer that was broken off
//! at either end are one case, and nothing has to be kept at the sender.
//!
//! Reports come back from each receiver alone, so a thousand of them must not speak at once. Receivers that lack
//! something wait for a random time (truncated exponential, RFC 5401 section 5.2) and the sender tells all
//! what it will repair anyway, as NORM does (RFC 5740, `NORM_CMD(REPAIR_ADV)`), upon which most keep silent. Progress
//! is asked for rarely and answered evenly over a time that grows with the number of receivers.

pub mod fec;
pub mod files;
pub mod receiver;
pub mod sender;
pub mod wire;

#[cfg(test)]
pub(crate) mod tests;

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;
/// How often a poll goes out at once at most, and its answer.
const MOST_COPIES: u32 = 16;

/// Time that never goes back, whatever clock it comes from.
#[derive(Clone, Copy, Debug, Default)]
struct Steady {
    last: u64,
    shift: u64,
}

impl Steady {
    /// `now` on the steady scale.
    fn at(&mut self, now: u64) -> u64 {
        let mut t = now.saturating_add(self.shift);
        if t < self.last {
            self.shift += self.last - t;
            t = self.last;
        }
        self.last = t;
        t
    }

    /// A time of the steady scale on the caller's.
    fn outside(&self, t: u64) -> u64 {
        t.saturating_sub(self.shift)
    }
}
