//! Frames and links without a switch.

use proptest::prelude::*;

use super::*;

fn sent(site: &str, port: &str, sequence: u32) -> Sent {
    Sent { site: site.into(), port: port.into(), sequence }
}

/// Of site b, by its port `to-a`; what it heard of a's port `to-b`.
fn probe(sequence: u32, heard: Option<u32>) -> Probe {
    Probe { this: sent("b", "to-a", sequence), heard: heard.map(|n| sent("a", "to-b", n)), doubts: false }
}

fn own(sequence: u32) -> Sent {
    sent("a", "to-b", sequence)
}

fn keys(byte: &str) -> Keys {
    let mut keys = Keys::default();
    keys.learn(&byte.repeat(32)).unwrap();
    keys
}

#[test]
fn addresses_are_beyond_those_of_trees() {
    assert_eq!((TO, FROM), (crate::address::tree_address(TREE), crate::address::sender_address(TREE)));
    assert_eq!(arrived(0).to_string(), "02:ff:ff:ff:00:01");
    assert_eq!(leaving(0x102).to_string(), "03:ff:ff:ff:01:03");
}

#[test]
fn a_link_goes_up_and_down_by_three() {
    let mut w = Watch::default();
    let mut n = 0;
    let mut period = |w: &mut Watch, heard: Option<bool>| {
        n += 1;
        if let Some(answers) = heard {
            w.hear(&own(n), "b", &probe(n, answers.then_some(n)));
        }
        w.look()
    };
    for _ in 0..5 {
        assert_eq!(period(&mut w, Some(false)), None, "it does not hear us");
    }
    assert!(w.hears().is_some() && !w.is_up());
    assert_eq!(w.peer(), Some("to-a"));
    assert_eq!([1, 2, 3].map(|_| period(&mut w, Some(true))), [None, None, Some(Turn::Up)]);
    assert_eq!([1, 2].map(|_| period(&mut w, None)), [None, None]);
    assert_eq!(period(&mut w, Some(true)), None);
    assert_eq!([1, 2, 3].map(|_| period(&mut w, None)), [None, None, Some(Turn::Down)]);
    assert_eq!((w.hears(), w.lost, w.peer()), (None, 5, Some("to-a")));
}

#[test]
fn who_misses_frames_is_sent_many() {
    let mut w = Watch::default();
    for n in 1..=3 {
        w.hear(&own(n), "b", &probe(n, Some(n)));
        w.look();
    }
    assert!(w.is_up() && !w.wants_many());
    let asks = |n, doubts| Probe { doubts, ..probe(n, Some(n)) };
    w.hear(&own(4), "b", &asks(4, true));
    assert!(w.wants_many() && !w.is_doubted());
    w.hear(&own(5), "b", &asks(5, false));
    assert!(!w.wants_many());
    w.look();
    w.look();
    assert!(w.is_up() && w.is_doubted() && w.wants_many());
}

#[test]
fn forged_frames_are_worth_a_word_when_they_go_on() {
    let mut w = Watch::default();
    let words = (0..30).filter(|n| {
        if *n != 5 {
            w.hear_forged();
        }
        w.look();
        w.is_strange()
    });
    assert_eq!(words.collect::<Vec<_>>(), [15]);
    assert_eq!(w.forged, 29);
}

#[test]
fn a_wrong_neighbour_is_named_once_and_does_not_count() {
    let mut w = Watch::default();
    let of = |site: &str| Probe { this: sent(site, "p", 1), heard: Some(own(1)), doubts: false };
    assert_eq!(w.hear(&own(1), "b", &of("c")), Some(News::Wrong("c".into())));
    assert_eq!(w.hear(&own(1), "b", &of("c")), None);
    assert_eq!(w.hear(&own(1), "b", &of("d")), Some(News::Wrong("d".into())));
    assert_eq!((w.look(), w.hears()), (None, None));
}

#[test]
fn the_port_at_the_other_end_is_told_when_it_changes() {
    let mut w = Watch::default();
    let by = |port: &str| Probe { this: sent("b", port, 1), heard: Some(own(1)), doubts: false };
    assert_eq!(w.hear(&own(1), "b", &by("x")), Some(News::Peer("x".into())));
    assert_eq!(w.hear(&own(1), "b", &by("x")), None);
    assert_eq!(w.hear(&own(1), "b", &by("y")), Some(News::Peer("y".into())));
}

#[test]
fn what_was_recorded_does_not_count_again() {
    let mut w = Watch::default();
    for n in 1..=3 {
        w.hear(&own(n), "b", &probe(n, Some(n)));
        w.look();
    }
    assert!(w.is_up());
    // The other end is gone, and what it said is said again and again.
    let turns: Vec<_> = (4..200)
        .filter_map(|n| {
            w.hear(&own(n), "b", &probe(3, Some(3)));
            w.look().map(|turn| (n, turn))
        })
        .collect();
    assert_eq!(turns, [(FRESH + 5, Turn::Down)]);
    // Nor does it get in the way of what is true.
    for n in 200..210 {
        w.hear(&own(n), "b", &probe(3, Some(3)));
        w.hear(&own(n), "b", &probe(n, Some(n)));
        w.hear(&own(n), "b", &probe(3, Some(3)));
        w.look();
    }
    assert!(w.is_up());
    assert_eq!(w.hears(), Some(&sent("b", "to-a", 209)));
    // Of another port of ours, or of somebody else.
    for heard in [sent("a", "to-c", 1), sent("x", "to-b", 1), own(2)] {
        let mut w = Watch::default();
        for _ in 0..9 {
            w.hear(
                &own(1),
                "b",
                &Probe { this: sent("b", "to-a", 1), heard: Some(heard.clone()), doubts: false },
            );
            w.look();
        }
        assert!(!w.is_up(), "{heard:?}");
    }
}

#[test]
fn seals_are_of_the_last_two_keys() {
    let read = |keys: &Keys, frame: &[u8]| {
        let mut frame = frame.to_vec();
        frame[..6].copy_from_slice(&arrived(4).0);
        Probe::read(&frame, keys).unwrap()
    };
    let said = probe(5, Some(6));
    let mut both = keys("0a");
    let old = said.frame(4, &both);
    both.learn(&"0b".repeat(32)).unwrap();
    let new = said.frame(4, &both);
    assert_ne!(old, new);
    for frame in [&old, &new] {
        assert_eq!(read(&both, frame), Read::Probe(4, said.clone()));
        assert_eq!(read(&Keys::default(), frame), Read::Probe(4, said.clone()), "who knows no key believes");
    }
    assert_eq!(read(&keys("0b"), &old), Read::Forged(4));
    let mut unsealed = said.frame(4, &Keys::default());
    unsealed[..6].copy_from_slice(&arrived(4).0);
    assert_eq!(Probe::read(&unsealed, &both), None, "of a site without a plan");
    // Each bit of what is said is under the seal.
    for at in 14 + 5..new.len() {
        let mut changed = new.clone();
        changed[at] ^= 1;
        let mut to = changed.clone();
        to[..6].copy_from_slice(&arrived(4).0);
        assert!(!matches!(Probe::read(&to, &both), Some(Read::Probe(_, p)) if p != said), "byte {at}");
    }
    both.learn(&"0b".repeat(32)).unwrap();
    assert_eq!(read(&both, &old), Read::Probe(4, said), "the same key again is no other");
    for text in ["", "0", &"0b".repeat(31), &"0x".repeat(32), &"é".repeat(32)] {
        assert!(Keys::default().learn(text).unwrap_err().contains("64 hexadecimal digits"), "{text}");
    }
}

proptest! {
    #[test]
    fn frames_are_read_back(site in "[a-z]{1,63}", port in "[a-z]{1,63}", sequence: u32, heard: bool, key: bool, link in 0u16..1000) {
        let keys = if key { keys("7f") } else { Keys::default() };
        let this = sent(&site, &port, sequence);
        let probe = Probe { heard: heard.then(|| this.clone()), this, doubts: key };
        let mut frame = probe.frame(link, &keys);
        prop_assert!(frame.len() >= 60 && frame.len() <= 1514);
        frame[..6].copy_from_slice(&arrived(link).0);
        prop_assert_eq!(Probe::read(&frame, &keys), Some(Read::Probe(link, probe)));
    }

    #[test]
    fn anything_is_read_or_refused(mut frame in prop::collection::vec(any::<u8>(), 0..120), valid: bool) {
        if valid && frame.len() > 19 {
            frame[..6].copy_from_slice(&arrived(3).0);
            frame[12..14].copy_from_slice(&ETHERTYPE);
            frame[14..19].copy_from_slice(b"VCqc\x02");
        }
        let _ = Probe::read(&frame, &Keys::default());
        let _ = Probe::read(&frame, &keys("01"));
    }
}
