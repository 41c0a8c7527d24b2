//! What is remembered is right, and is found.

use super::*;
use std::collections::HashMap;

/// Flows of one place that are remembered.
const HELD: usize = GROUP * WAYS;

fn head(dst: u32, src: u32) -> [u8; HEAD] {
    let mut h = [0x55; HEAD];
    h[..2].copy_from_slice(&[2, 0]);
    h[2..6].copy_from_slice(&dst.to_be_bytes());
    h[6..8].copy_from_slice(&[2, 0]);
    h[8..12].copy_from_slice(&src.to_be_bytes());
    h
}

fn known(secs: u32) -> Known {
    Known { tables: 1, addresses: 1, secs }
}

/// Two bursts: what has changed is believed when it stays so.
fn settled(f: &mut Flows, secs: u32, port: PortId) {
    f.begin(known(secs), 7, port);
    f.begin(known(secs), 7, port);
}

fn place(f: &Flows, dst: u32, src: u32) -> Place {
    f.looks().unwrap().place(&head(dst, src))
}

fn note(f: &mut Flows, dst: u32, src: u32, to: PortId) {
    f.note(place(f, dst, src), &head(dst, src), to);
}

fn find(f: &Flows, dst: u32, src: u32) -> Option<PortId> {
    let (looks, place, head) = (f.looks()?, place(f, dst, src), head(dst, src));
    let found = looks.find(place, &head);
    // Both ways of asking agree.
    for to in (0..200).chain([MAX_PORTS as PortId - 1]) {
        assert_eq!(looks.goes(place, &head, to), found == Some(to), "{dst} {src} {to}");
    }
    found
}

#[test]
fn remembers_by_both_addresses_and_the_port() {
    let mut f = Flows::default();
    assert!(f.looks().is_none(), "before there is memory");
    settled(&mut f, 0, 3);
    assert_eq!(find(&f, 1, 2), None);
    note(&mut f, 1, 2, 9);
    assert_eq!(find(&f, 1, 2), Some(9));
    let mut other_type = head(1, 2);
    other_type[12..].copy_from_slice(&[8, 0, 1, 2]);
    let looks = f.looks().unwrap();
    assert_eq!(looks.find(looks.place(&other_type), &other_type), Some(9), "the type is no part of it");
    for (dst, src) in [(2, 1), (1, 3), (4, 2)] {
        assert_eq!(find(&f, dst, src), None, "{dst} {src}");
    }
    for port in [0, 2, 4, MAX_PORTS as PortId - 1, MAX_PORTS as PortId + 3, PortId::MAX] {
        f.begin(known(0), 7, port);
        assert_eq!(find(&f, 1, 2), None, "{port}");
    }
    // Ports that no switch has are not remembered.
    f.begin(known(0), 7, 3);
    note(&mut f, 5, 5, MAX_PORTS as PortId);
    assert_eq!(find(&f, 5, 5), None);
    note(&mut f, 5, 5, MAX_PORTS as PortId - 1);
    assert_eq!(find(&f, 5, 5), Some(MAX_PORTS as PortId - 1));
}

#[test]
fn empty_places_are_like_no_frame() {
    let mut f = Flows::default();
    settled(&mut f, 0, 0);
    let looks = f.looks().unwrap();
    assert_eq!(looks.find(looks.place(&[0; HEAD]), &[0; HEAD]), None);
    // Nor is what was noted while nothing was remembered.
    f.begin(known(1), 7, 0);
    assert!(f.looks().is_none());
    f.note(Place::default(), &[0; HEAD], 9);
    f.begin(known(1), 7, 0);
    let looks = f.looks().unwrap();
    assert_eq!(looks.find(looks.place(&[0; HEAD]), &[0; HEAD]), None);
}

#[test]
fn a_change_empties_it() {
    let mut f = Flows::default();
    settled(&mut f, 0, 3);
    note(&mut f, 1, 2, 9);
    settled(&mut f, 0, 3);
    assert_eq!(find(&f, 1, 2), Some(9));
    for secs in 1..50 {
        settled(&mut f, secs, 3);
        assert_eq!(find(&f, 1, 2), None, "{secs}");
        // Another, so that the epochs' numbers are in use.
        note(&mut f, secs, 2, 8);
        assert_eq!(find(&f, secs, 2), Some(8));
    }
    note(&mut f, 1, 2, 7);
    assert_eq!(find(&f, 1, 2), Some(7));
}

#[test]
fn a_full_line_has_neighbours() {
    let mut f = Flows::default();
    settled(&mut f, 0, 3);
    let line = place(&f, 1, 2);
    let same: Vec<u32> = (0..u32::MAX).filter(|i| place(&f, 77, *i) == line).take(HELD + 1).collect();
    for (n, i) in same.iter().take(HELD).enumerate() {
        note(&mut f, 77, *i, n as PortId);
    }
    for (n, i) in same.iter().take(HELD).enumerate() {
        assert_eq!(find(&f, 77, *i), Some(n as PortId));
    }
    // One more takes the place of one.
    note(&mut f, 77, same[HELD], 99);
    assert_eq!(find(&f, 77, same[HELD]), Some(99));
    assert_eq!(same.iter().filter(|i| find(&f, 77, **i).is_some()).count(), HELD);
}

#[test]
fn a_flow_has_one_entry() {
    let mut f = Flows::default();
    settled(&mut f, 0, 3);
    // Noted for each frame of a block in which it was not known yet.
    (0..20).for_each(|_| note(&mut f, 1, 2, 9));
    let line = place(&f, 1, 2);
    let others: Vec<u32> = (0..u32::MAX).filter(|i| place(&f, 77, *i) == line).take(HELD - 1).collect();
    others.iter().for_each(|i| note(&mut f, 77, *i, 5));
    assert_eq!(find(&f, 1, 2), Some(9));
    assert!(others.iter().all(|i| find(&f, 77, *i) == Some(5)), "there is room for all");
    note(&mut f, 1, 2, 8);
    assert_eq!(find(&f, 1, 2), Some(8), "the last word holds");
}

#[test]
fn holds_ten_thousand_and_is_never_wrong() {
    let mut f = Flows::default();
    settled(&mut f, 0, 1);
    let mut said = HashMap::new();
    for i in 0..200_000u32 {
        let (dst, src) = (i % 10_000, i % 10_000 + 7);
        match find(&f, dst, src) {
            Some(to) => assert_eq!(said[&(dst, src)], to),
            None => {
                note(&mut f, dst, src, (dst % 100) as PortId);
                said.insert((dst, src), (dst % 100) as PortId);
            }
        }
    }
    let found = (0..10_000).filter(|i| find(&f, *i, i + 7).is_some()).count();
    assert!(found > 9_990, "{found}");
}
