use super::cause::{LSC, RXT0, TXDW};
use super::*;

fn on(floor: u64) -> Interrupts {
    let mut i = Interrupts::new(floor, true);
    assert!(!i.unmask(TXDW | RXT0, 0));
    i
}

#[test]
fn a_read_tells_and_forgets() {
    let mut i = on(0);
    assert!(!i.set(LSC, 0), "masked");
    assert_eq!(i.take(0), LSC);
    assert!(i.set(RXT0 | LSC, 0));
    assert!(!i.set(TXDW, 0), "asserted already");
    assert_eq!(i.take(0), RXT0 | TXDW | LSC | cause::INT_ASSERTED);
    assert!(!i.line());
    assert_eq!(i.take(0), 0);
    assert!(i.set(RXT0, 0));
    i.mask(RXT0, 0);
    assert!(!i.line() && i.peek() == RXT0, "masked, not forgotten");
    assert!(i.unmask(RXT0, 0));
    i.clear(RXT0, 0);
    assert!(!i.line(), "a write clears, too");
}

#[test]
fn the_throttle_spaces_assertions() {
    let mut i = on(0);
    i.set_interval(400, 0); // 102.4 us
    assert!(i.set(RXT0, 1_000), "the first comes at once");
    i.take(1_500);
    assert!(!i.set(RXT0, 2_000));
    assert!(!i.set(TXDW, 3_000));
    assert_eq!(i.due(), Some(1_000 + 102_400));
    assert!(!i.tick(103_399));
    assert!(i.tick(103_400));
    assert_eq!(i.figures(), Figures { raised: 2, moderated: 1 });
    assert_eq!(i.due(), None, "it is asserted");
    i.take(103_500);
    // A shorter interval holds from the last assertion on.
    assert!(!i.set(RXT0, 104_000));
    assert!(!i.set_interval(4, 104_000));
    assert_eq!(i.due(), Some(103_400 + 1_024));
    assert!(i.set_interval(0, 104_000));
}

#[test]
fn the_floor_holds_without_itr_and_nothing_without_moderation() {
    let mut i = on(128_000);
    assert!(i.set(RXT0, 5));
    i.take(6);
    i.set_interval(1, 6);
    assert!(!i.set(RXT0, 7));
    assert_eq!(i.due(), Some(128_005));
    let mut i = Interrupts::new(128_000, false);
    i.unmask(RXT0 | TXDW, 0);
    i.set_interval(9_999, 0);
    for now in 1..10 {
        assert!(i.received(100, 200, now));
        i.take(now);
        assert!(i.sent(true, 100, 200, now));
        i.take(now);
    }
    assert_eq!(i.figures(), Figures { raised: 18, moderated: 0 });
}

#[test]
fn receive_waits_for_silence_or_the_absolute_limit() {
    let mut i = on(0);
    assert!(!i.received(10, 30, 0));
    assert_eq!(i.due(), Some(10 * DELAY_UNIT));
    // Frames keep coming: the absolute timer ends it.
    for k in 1..6 {
        assert!(!i.received(10, 30, k * 5 * DELAY_UNIT), "frame {k}");
    }
    assert!(i.received(10, 30, 30 * DELAY_UNIT + 1) || i.line());
    assert_ne!(i.take(31 * DELAY_UNIT) & RXT0, 0);
    // Silence.
    let begin = 100 * DELAY_UNIT;
    assert!(!i.received(10, 0, begin));
    assert!(!i.tick(begin + 10 * DELAY_UNIT - 1));
    assert!(i.tick(begin + 10 * DELAY_UNIT));
    i.take(begin + 10 * DELAY_UNIT);
    // No delay: at once, and what waited is told with it.
    assert!(!i.received(10, 30, 2 * begin));
    assert!(i.received(0, 30, 2 * begin + 1));
    assert_eq!(i.due(), None);
    i.take(2 * begin + 1);
    // Flush.
    assert!(!i.flush_receive(3 * begin), "nothing waits");
    assert!(!i.received(10, 30, 3 * begin));
    assert!(i.flush_receive(3 * begin + 1));
}

#[test]
fn transmit_waits_only_if_all_descriptors_let_it() {
    let mut i = on(0);
    assert!(!i.sent(true, 8, 32, 0));
    assert!(!i.sent(true, 8, 32, 7 * DELAY_UNIT));
    assert!(i.tick(15 * DELAY_UNIT));
    i.take(15 * DELAY_UNIT);
    assert!(!i.sent(true, 8, 32, 20 * DELAY_UNIT));
    assert!(i.sent(false, 8, 32, 21 * DELAY_UNIT));
    assert_eq!(i.due(), None);
    i.take(22 * DELAY_UNIT);
    assert!(i.sent(true, 0, 32, 23 * DELAY_UNIT), "no delay is set");
    i.take(23 * DELAY_UNIT);
    assert!(!i.sent(true, 8, 32, 24 * DELAY_UNIT));
    assert!(i.flush_transmit(24 * DELAY_UNIT));
    i.reset();
    assert!(!i.line() && i.masked() == 0 && i.peek() == 0 && i.figures().raised > 0);
}
