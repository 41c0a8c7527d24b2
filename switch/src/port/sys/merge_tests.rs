//! What is merged, cut up again, is what it was: by our own segmentation, whose results etherparse checks.

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;
use crate::offload::{finish, tests::tcp};

/// A burst of these frames, in order; they must outlive it.
fn burst(frames: &[Vec<u8>]) -> (Burst, Vec<Entry>) {
    let mut burst = Burst::default();
    for f in frames {
        // SAFETY: the caller keeps `frames`.
        unsafe { burst.push(f.as_ptr(), f.len(), 1) };
    }
    let list = (0..frames.len() as u16).map(|i| Entry { orig: i, frame: i }).collect();
    (burst, list)
}

fn bytes(burst: &Burst, f: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; f.len()];
    assert_eq!(burst.bytes_of(f).read(0, &mut bytes), bytes.len());
    bytes
}

/// What a large segment is cut up into.
fn cut(large: &[u8], vnet: VnetHdr) -> Vec<Vec<u8>> {
    let mut b = Burst::default();
    // SAFETY: `large` outlives the burst.
    unsafe { b.push(large.as_ptr(), large.len(), 1) };
    b.frames[0].vnet = b.add_vnet(vnet);
    let range = finish(&mut b, 0).expect("segments");
    range.map(|i| bytes(&b, &b.frames[usize::from(i)])).collect()
}

/// What goes to the kernel: frames, and how many it were of those before.
fn merged(frames: &[Vec<u8>]) -> Vec<(Vec<u8>, Option<VnetHdr>, usize)> {
    let (burst, list) = burst(frames);
    let (mut out, mut rest) = (Vec::new(), &list[..]);
    while let Some(first) = rest.first() {
        let Some(run) = run(&burst, rest) else {
            out.push((bytes(&burst, &burst.frames[usize::from(first.frame)]), None, 1));
            rest = &rest[1..];
            continue;
        };
        let mut large = Vec::new();
        run.pieces(&burst, &rest[..run.frames], |p| {
            // SAFETY: pieces are readable while the burst lives.
            large.extend_from_slice(unsafe { std::slice::from_raw_parts(p.at, p.len) });
        });
        out.push((large, Some(run.vnet), run.frames));
        rest = &rest[run.frames..];
    }
    out
}

/// How many frames each of those has that go to the kernel; what they are cut up into is what there was before.
fn runs(frames: &[Vec<u8>]) -> Vec<usize> {
    let merged = merged(frames);
    let again: Vec<Vec<u8>> = merged
        .iter()
        .flat_map(|(bytes, vnet, _)| vnet.map_or_else(|| vec![bytes.clone()], |v| cut(bytes, v)))
        .collect();
    assert!(again == frames, "other frames than before");
    merged.into_iter().map(|(_, _, n)| n).collect()
}

/// Segments with so many bytes of payload in all, PSH in the last.
fn segments(v6: bool, payload: usize) -> Vec<Vec<u8>> {
    let (mut large, vnet) = tcp(v6, false, payload);
    // FIN is not merged.
    large[usize::from(vnet.csum_start) + FLAGS] = ACK | PSH;
    cut(&large, vnet)
}

/// One segment.
fn one(sequence: u32, payload: &[u8], more: impl Fn(&mut etherparse::TcpHeader)) -> Vec<u8> {
    let mut tcp = etherparse::TcpHeader::new(1, 2, sequence, 500);
    (tcp.ack, tcp.acknowledgment_number) = (true, 7);
    more(&mut tcp);
    let mut out = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9)
        .tcp_header(tcp)
        .write(&mut out, payload)
        .unwrap();
    out
}

#[test]
fn segments_of_a_flow_go_as_one() {
    for v6 in [false, true] {
        assert_eq!(runs(&segments(v6, 5 * 1448)), [5], "all of the same size");
        assert_eq!(runs(&segments(v6, 3 * 1448 + 7)), [4], "a short one at the end");
        assert_eq!(runs(&segments(v6, 1448)), [1]);
        // 45 of them are the longest IP packet.
        assert_eq!(runs(&segments(v6, 60_000)), [42]);
        let two = [segments(v6, 2 * 1448), segments(v6, 2 * 1448)].concat();
        assert_eq!(runs(&two), [2, 2], "the second begins where the first did");
    }
}

#[test]
fn no_more_than_an_ip_packet_holds() {
    let data = [5; 1448];
    let frames: Vec<_> = (0..100).map(|i| one(1448 * i, &data, |_| {})).collect();
    let merged = merged(&frames);
    assert_eq!(merged.iter().map(|m| m.2).collect::<Vec<_>>(), [45, 45, 10]);
    assert!(merged.iter().all(|m| m.0.len() <= ETHERNET + LONGEST));
    let small: Vec<_> = (0..100).map(|i| one(10 * i, &[1; 10], |_| {})).collect();
    assert_eq!(super::tests::merged(&small).iter().map(|m| m.2).collect::<Vec<_>>(), [MOST, 100 - MOST]);
}

#[test]
fn what_differs_does_not_go_together() {
    let (a, b) = ([1; 100], [2; 100]);
    let first = one(0, &a, |_| {});
    let counts = |second: Vec<u8>| merged(&[first.clone(), second]).len();
    assert_eq!(counts(one(100, &b, |_| {})), 1, "it is looked at something else than below");
    assert_eq!(counts(one(100, &b, |t| t.psh = true)), 1);
    assert_eq!(counts(one(101, &b, |_| {})), 2, "a hole");
    assert_eq!(counts(one(0, &b, |_| {})), 2, "again");
    assert_eq!(counts(one(100, &[2; 101], |_| {})), 2, "a longer one");
    assert_eq!(counts(one(100, &[], |_| {})), 2, "no payload");
    assert_eq!(counts(one(100, &b, |t| t.acknowledgment_number = 8)), 2);
    assert_eq!(counts(one(100, &b, |t| t.window_size = 501)), 2);
    assert_eq!(counts(one(100, &b, |t| t.destination_port = 3)), 2);
    assert_eq!(counts(one(100, &b, |t| t.fin = true)), 2);
    assert_eq!(counts(one(100, &b, |t| t.cwr = true)), 2);
    assert_eq!(counts(one(100, &b, |t| t.set_options_raw(&[1, 1, 1, 1]).unwrap())), 2);
    // Any byte that is wrong: of the payload, so that the checksum is; of addresses, type, fragment offset, TTL.
    let good = one(100, &b, |_| {});
    for at in [0, 12, 14, 15, 17, 20, 21, 22, 23, 24, 26, 30, 46, 50, 54, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(counts(bad), 2, "byte {at}");
    }
    // A wrong one is not made right either if it is the first.
    let mut bad = first.clone();
    bad[60] ^= 1;
    assert_eq!(merged(&[bad, good.clone()]).len(), 2);
    // Bytes behind the packet.
    let mut long = good;
    long.push(0);
    assert_eq!(counts(long), 2);
}

#[test]
fn what_pushes_is_the_last() {
    let pushes = |n: u32, psh: bool| one(n * 100, &[9; 100], |t| t.psh = psh);
    let frames = [pushes(0, false), pushes(1, true), pushes(2, false), pushes(3, false)];
    assert_eq!(merged(&frames).iter().map(|m| m.2).collect::<Vec<_>>(), [2, 2]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever flows come in whatever order, with bytes that are wrong here and there: what the kernel makes of it is what
    /// came in.
    #[test]
    fn nothing_is_changed(
        parts in prop::collection::vec((any::<bool>(), 1usize..9000), 1..4),
        swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..3),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..8), 0..3),
    ) {
        let mut frames: Vec<_> = parts.into_iter().flat_map(|(v6, n)| segments(v6, n)).collect();
        let n = frames.len();
        for (a, b) in swaps {
            frames.swap(a.index(n), b.index(n));
        }
        for (i, at, bit) in flips {
            let f = &mut frames[i.index(n)];
            let at = at.index(f.len());
            f[at] ^= 1 << bit;
        }
        runs(&frames);
    }
}
