//! What a destination claims is what it writes.

use valecast_ring::host::Endpoint;
use valecast_ring::layout::{Layout, RingParams};

use super::*;

#[test]
fn a_turn_keeps_the_header_that_it_began_with() {
    let params = RingParams { slots: 16, buf_size: 128, ..RingParams::default() };
    let mut end = Endpoint::new(Layout::try_from(params).unwrap(), "t", true).unwrap();
    let special = Special::default();
    let old = RingEgress::new(std::mem::take(&mut end.rx), 16, special.clone());
    assert!(old.renewed().is_none());
    // As long as a slot: with a header before it, it takes two.
    let frame = vec![2u8; old.max_len];
    let mut burst = Burst::default();
    // SAFETY: the frame outlives the burst.
    unsafe { burst.push(frame.as_ptr(), frame.len(), 1) };
    let list = [Entry { orig: 0, frame: 0 }];
    assert_eq!(old.claim(&burst, &list, 0), 1);
    special.hdr.store(12, Ordering::Relaxed);
    assert_eq!(old.put(&burst, &list, 0, 0).frames, 1);
    assert_eq!(old.queue(0).unread(), 1);

    let new = old.renewed().unwrap();
    assert!(new.caps().vnet && !old.caps().vnet);
    assert_eq!(new.claim(&burst, &list, 0), 1);
    special.hdr.store(0, Ordering::Relaxed);
    new.unclaim(&burst, &list, 0);
    assert_eq!(new.claim(&burst, &list, 0), 1);
    assert_eq!(new.put(&burst, &list, 0, 0).frames, 1);
    assert_eq!(old.queue(0).unread(), 3);
    // One slot stays empty: all room but that and the three is still there, none was lost or won.
    let many = [Entry { orig: 0, frame: 0 }; 16];
    assert_eq!(old.claim(&burst, &many, 0), 16 - 1 - 3);
}
