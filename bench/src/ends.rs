//! A client that generates and sinks: what the load driver of the benchmarks does at its ends of the rings, frame for
//! frame.

use valecast_ring::SlotFlags;
use valecast_ring::client::{RxRing, TxRing};

/// Fetched so many frames ahead.
pub const AHEAD: u32 = 8;

/// Hands over up to `n` slots whose buffers hold their frames already, of the lengths that `lens` has by slot number; how many.
#[inline]
pub fn send(tx: &mut TxRing, n: u32, lens: &[u16]) -> u32 {
    let n = tx.room_for(n).min(n);
    if n == 0 {
        return 0;
    }
    hand_over(tx, n, lens);
    n
}

/// The same, where there is room for so many, and their buffers may have been written since.
#[inline]
pub fn hand_over(tx: &mut TxRing, n: u32, lens: &[u16]) {
    for i in 0..n {
        let len = lens[tx.slot_number(i) as usize];
        tx.set(i, usize::from(len), SlotFlags::empty());
    }
    tx.advance(n);
    tx.publish();
}

/// Takes up to `max` frames and reads the first byte of each; how many.
#[inline]
pub fn recv(rx: &mut RxRing, max: u32) -> u32 {
    let mut sum = 0u8;
    let n = rx.take(max, |slot| sum ^= slot.data.first().copied().unwrap_or(0));
    if n > 0 {
        std::hint::black_box(sum);
    }
    n
}
