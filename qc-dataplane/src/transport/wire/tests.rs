use proptest::prelude::*;

use super::*;
use crate::address::{sender_address, tree_address};

fn envelope(tag: u32) -> Envelope {
    Envelope { to: tree_address(1), from: sender_address(1), transfer: 7, tag, partition: 3 }
}

fn chunk() -> Vec<u8> {
    let mut frame = Vec::new();
    write_piece(&mut frame, &envelope(9), Kind::Data, 42, 0, &[5; 1408]);
    frame
}

#[test]
fn bytes_are_where_the_table_says() {
    let frame = chunk();
    assert_eq!(frame.len(), 14 + 24 + 12 + 1408);
    assert_eq!(frame[12..18], [0x88, 0xb5, b'V', b'Q', 1, 3]);
    assert_eq!(frame[18..26], 7u64.to_be_bytes());
    assert_eq!(frame[26..34], [0, 0, 0, 9, 0, 3, 0x05, 0x8c]);
    assert_eq!(frame[38..46], 42u64.to_be_bytes());
    assert_eq!(parse(&frame).unwrap(), (envelope(9), Message::Data(42, &[5; 1408][..])));
    let mut end = Vec::new();
    write(&mut end, &envelope(9), Kind::End, &[&1u64.to_be_bytes()]);
    assert_eq!((end.len(), parse(&end).unwrap().1), (MIN_FRAME, Message::End(1)));
}

#[test]
fn each_changed_bit_is_noticed() {
    let right = chunk();
    for bit in ETHERNET * 8..right.len() * 8 {
        let mut frame = right.clone();
        frame[bit / 8] ^= 1 << (bit % 8);
        assert!(parse(&frame).is_err(), "bit {bit}");
    }
    for len in 0..right.len() {
        assert!(parse(&right[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn refusals_have_names() {
    let with = |at: usize, value: u8| {
        let mut frame = chunk();
        frame[at] = value;
        parse(&frame).unwrap_err()
    };
    assert_eq!(with(12, 8), Reject::Foreign);
    assert_eq!(with(14, 0), Reject::Foreign);
    assert_eq!(with(16, 2), Reject::Version(2));
    assert_eq!(with(17, 77), Reject::Kind(77));
    assert_eq!(with(32, 0xff), Reject::Length);
    assert_eq!(with(100, 0), Reject::Checksum);
    let mut frame = Vec::new();
    write(&mut frame, &envelope(9), Kind::Data, &[&[0; 12]]);
    assert_eq!(parse(&frame).unwrap_err(), Reject::Short);
    write(&mut frame, &envelope(9), Kind::Report, &[&[9; 80]]);
    assert!(matches!(parse(&frame).unwrap_err(), Reject::Field(_)));
}

#[test]
fn shapes_are_bounded() {
    assert!(Shape::new(0, 1, 64, 0, 0).is_ok());
    for (total, manifest, chunk, k, m) in [
        ((1 << 56) + 1, 1, 64, 0, 0),
        (1, 0, 64, 0, 0),
        (1, (16 << 20) + 1, 64, 0, 0),
        (1, 1, 0, 0, 0),
        (1, 1, 100, 0, 0),
        (1, 1, 8960, 0, 0),
        (1, 1, 64, 1, 0),
        (1, 1, 64, 0, 1),
        (1, 1, 64, 257, 1),
        (1, 1, 64, 256, 129),
    ] {
        assert!(Shape::new(total, manifest, chunk, k, m).is_err(), "{total} {manifest} {chunk} {k} {m}");
    }
    let shape = Shape::new(1000, 65, 64, 10, 2).unwrap();
    assert_eq!((shape.chunks(), shape.parts(), shape.blocks()), (16, 2, 2));
    assert_eq!(
        (shape.len_of(15), shape.len_of(16), shape.len_of(u64::MAX), shape.len_of_part(1)),
        (40, 0, 0, 1)
    );
    assert_eq!((shape.block(1), shape.block(u64::MAX).is_empty()), (10..16, true));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn spans_say_what_they_said(
        room in 28usize..600, from in 0u64..(1 << 40), gaps in prop::collection::vec((0u64..50, 1u64..50), 0..400),
        far in any::<bool>(), after in 0u64..1000,
    ) {
        let mut at = from;
        let mut runs = Vec::new();
        for (i, (gap, len)) in gaps.iter().enumerate() {
            let far = if far && i % 7 == 3 { 3 << 32 } else { 0 };
            let start = at + gap + u64::from(i > 0) + far;
            at = start + len + far;
            runs.push(start..at);
        }
        let to = at + after;
        let mut bytes = Vec::new();
        let said = Spans::write(&mut bytes, room, from, to, runs.iter().cloned());
        prop_assert!(bytes.len() <= room);
        let read = Spans::parse(&bytes).unwrap();
        prop_assert_eq!(&read, &said);
        prop_assert!(said.from == from && said.to <= to);
        let want: Vec<_> = runs
            .iter()
            .map(|r| r.start..r.end.min(said.to))
            .filter(|r| !r.is_empty())
            .collect();
        prop_assert_eq!(&read.runs, &want, "all that there is below `to`");
        prop_assert!(said.to == to || room < 80 || said.to > from);
        for r in &want {
            prop_assert!(read.covers(r) && !read.covers(&(r.start..r.end + 1)));
        }
    }
}
