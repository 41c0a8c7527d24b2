//! A frame in pieces is as good as a whole one: to everything that changes frames, and to everybody who copies them.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use proptest::prelude::*;
use valecast_config::{Overflow, Vlan};
use valecast_ring::client::Port;
use valecast_ring::host::Endpoint;
use valecast_ring::layout::{Layout, RingParams};

use super::*;
use crate::counters::PortStats;
use crate::deliver::{Outcome, deliver};
use crate::fdb::{Fdb, key};
use crate::offload::tests::tcp;
use crate::plan::{Context, Plan};
use crate::port::ring::Special;
use crate::port::sys::io;
use crate::port::{Caps, Egress, Tally};
use crate::route::LastRoute;
use crate::switch::over_rings;
use crate::tables::{Bucket, GroupEntry, PortEntry, Tables, VlanPolicy};

/// What a port got.
type Got = Vec<(Vec<u8>, Option<VnetHdr>)>;

/// Remembers what it got.
struct Sink {
    vnet: bool,
    got: Arc<Mutex<Got>>,
}

impl Egress for Sink {
    fn caps(&self) -> Caps {
        Caps { vnet: self.vnet, max_frame: 9000, max_run: 100, queues: 1 }
    }

    fn put(&self, burst: &Burst, list: &[Entry], _: usize, _: u64) -> Tally {
        let mut got = self.got.lock().unwrap();
        for e in list {
            let f = &burst.frames[usize::from(e.frame)];
            let mut bytes = vec![0; f.len()];
            assert_eq!(burst.bytes_of(f).read(0, &mut bytes), f.len());
            got.push((bytes, burst.vnet(f)));
        }
        Tally { frames: list.len() as u64, ..Tally::default() }
    }
}

/// One frame to be sent, and where it is cut into pieces.
#[derive(Clone, Debug)]
struct Sent {
    bytes: Vec<u8>,
    vnet: Option<VnetHdr>,
    pieces: Vec<Vec<u8>>,
}

impl Sent {
    fn new(bytes: Vec<u8>, vnet: Option<VnetHdr>, cuts: &[usize]) -> Self {
        let mut at: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
        at.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for to in at.into_iter().chain([bytes.len()]) {
            pieces.push(bytes[from..to].to_vec());
            from = to;
        }
        Self { bytes, vnet, pieces }
    }

    fn push(&self, burst: &mut Burst, whole: bool) {
        let pieces: Vec<_> = self.pieces.iter().map(|p| Piece { at: p.as_ptr(), len: p.len() }).collect();
        // SAFETY: `self` outlives the burst's use.
        unsafe {
            if whole {
                burst.push(self.bytes.as_ptr(), self.bytes.len(), 1);
            } else {
                assert!(burst.push_pieces(&pieces, 1));
            }
        }
        if let Some(v) = self.vnet {
            let n = burst.add_vnet(v);
            burst.last_mut().unwrap().vnet = n;
        }
    }
}

/// Tagged ports and untagged ones, some that take offloads, mirrors of both directions, and a group that changes addresses.
fn tables() -> (Tables, Vec<Arc<Mutex<Got>>>) {
    let mut t = Tables::default();
    let trunk = || VlanPolicy::from(&Vlan::Trunk { allowed: None, native: 0 });
    let vlans =
        [trunk(), VlanPolicy::Access(7), VlanPolicy::Open, trunk(), VlanPolicy::Open, VlanPolicy::Open];
    let mut all = Vec::new();
    for (id, vlan) in vlans.into_iter().enumerate() {
        let got = Arc::new(Mutex::new(Got::new()));
        let egress = Arc::new(Sink { vnet: id % 2 == 1, got: got.clone() });
        all.push(got);
        t.ports.push(Some(PortEntry {
            id: id as u16,
            caps: egress.caps(),
            egress: Some(egress),
            overflow: Overflow::Drop,
            vlan,
            learn: true,
            mac_limit: 0,
            allowed: None,
            limit: None,
            mirror_in: if id == 0 { vec![5] } else { vec![] },
            mirror_out: if id == 2 { vec![4] } else { vec![] },
            floods: true,
            may_flood: true,
            stats: Arc::new(PortStats::new(1)),
        }));
    }
    t.flood = vec![0, 1, 2, 3];
    let bucket = |port, mac: u8| Bucket { port, set_dst: (mac > 0).then_some([2, 0, 0, 0, 0, mac]) };
    let buckets = vec![bucket(1, 9), bucket(2, 0), bucket(3, 8), bucket(3, 7)];
    let hits = (0..1).map(|_| Default::default()).collect();
    t.add_group(0x01_00_5e_00_00_01, GroupEntry { ingress: None, buckets, meter: None, hits });
    (t, all)
}

fn forwarded(frames: &[Sent], size: usize, whole: bool) -> (Vec<Got>, Vec<u64>) {
    let (t, all) = tables();
    let fdb = Fdb::new(64, 300, 7);
    for vlan in [0, 7] {
        fdb.learn(key(0x02_00_00_00_00_01, vlan), 1, 1, 0);
        fdb.learn(key(0x02_00_00_00_00_02, vlan), 2, 1, 0);
        fdb.learn(key(0x02_00_00_00_00_03, vlan), 3, 1, 0);
    }
    let (mut burst, mut plan, mut last) = (Burst::default(), Plan::default(), LastRoute::default());
    let port = t.port(0).unwrap();
    for part in frames.chunks(size) {
        burst.clear();
        part.iter().for_each(|f| f.push(&mut burst, whole));
        let cx = Context { tables: &t, fdb: &fdb, port, lane: 0, worker: 0, now: 1_000_000_000 };
        plan.make(cx, &mut burst, &mut last);
        let mut out = Outcome::default();
        deliver(cx, &burst, &mut plan, &mut out);
        assert_eq!(out.consumed, part.len());
    }
    let stats = &port.stats.block(0);
    let books =
        [&stats.in_frames, &stats.in_bytes, &stats.forwarded, &stats.copies].map(|c| c.get()).to_vec();
    (all.into_iter().map(|g| std::mem::take(&mut *g.lock().unwrap())).collect(), books)
}

fn sent() -> impl Strategy<Value = Sent> {
    let cuts = || proptest::collection::vec(prop_oneof![0usize..80, 0usize..10_000], 0..MAX_PIECES);
    let dst = prop_oneof![
        Just([2, 0, 0, 0, 0, 1]),
        Just([2, 0, 0, 0, 0, 2]),
        Just([2, 0, 0, 0, 0, 3]),
        Just([1, 0, 0x5e, 0, 0, 1]),
        Just([0xff; 6])
    ];
    (dst, any::<(bool, bool)>(), 0usize..9000, 0u8..4, cuts()).prop_map(
        |(dst, (v6, vlan), payload, kind, cuts)| {
            let (mut bytes, v) = tcp(v6, vlan, payload);
            bytes[..6].copy_from_slice(&dst);
            let vnet = match kind {
                0 => Some(v),
                1 => Some(VnetHdr { gso_type: 0, gso_size: 0, hdr_len: 0, ..v }),
                _ => None,
            };
            if kind == 3 {
                // Any frame, the shortest included.
                bytes.truncate(14 + payload % 60);
            }
            Sent::new(bytes, vnet, &cuts)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_made_of_pieces_is_what_is_made_of_the_whole(
        mut frames in proptest::collection::vec(sent(), 1..12), size in 1usize..12,
    ) {
        // One that fits everywhere: all others may be too long for where they go.
        let (mut small, _) = tcp(false, false, 10);
        small[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
        frames.push(Sent::new(small, None, &[7, 20]));
        let whole = forwarded(&frames, size, true);
        let pieces = forwarded(&frames, size, false);
        prop_assert!(whole.0.iter().any(|g| !g.is_empty()));
        prop_assert_eq!(pieces.1, whole.1, "books");
        for (port, (p, w)) in pieces.0.iter().zip(&whole.0).enumerate() {
            prop_assert_eq!(p, w, "port {}", port);
        }
    }

    #[test]
    fn everybody_copies_all_of_it(frames in proptest::collection::vec(sent(), 1..12)) {
        let mut burst = Burst::default();
        frames.iter().for_each(|f| f.push(&mut burst, false));
        let list: Vec<_> = (0..frames.len() as u16).map(|i| Entry { orig: i, frame: i }).collect();
        let plain: Vec<_> = frames.iter().map(|f| f.bytes.clone()).collect();
        let headed: Vec<_> = frames
            .iter()
            .map(|f| [&f.vnet.unwrap_or_default().to_bytes()[..], &f.bytes].concat())
            .collect();
        for (buf_size, hdr) in [(2048, 0), (2048, 10), (128, 0), (128, 12)] {
            let want = if hdr == 0 { &plain } else { &headed };
            let pad = vec![0; usize::from(hdr == 12) * 2];
            let want: Vec<_> = want
                .iter()
                .map(|b| [&b[..usize::from(hdr.min(10))], &pad, &b[usize::from(hdr.min(10))..]].concat())
                .collect();
            prop_assert_eq!(through_a_ring(&burst, &list, buf_size, hdr), want, "{} {}", buf_size, hdr);
        }
        let mut file = Vec::new();
        list.iter().for_each(|e| io::append(&mut file, &burst, *e));
        prop_assert_eq!(file, plain.concat());
        prop_assert_eq!(through_a_socket(&burst, &list, false), headed.clone());
        prop_assert_eq!(through_a_socket(&burst, &list, true), headed);
    }
}

/// What a ring client reads, whose buffers are so long and whose frames have a header.
fn through_a_ring(burst: &Burst, list: &[Entry], buf_size: u32, hdr: u8) -> Vec<Vec<u8>> {
    let layout = Layout::try_from(RingParams { slots: 2048, buf_size, ..RingParams::default() }).unwrap();
    let mut end = Endpoint::new(layout, "test", true).unwrap();
    let lifeline: OwnedFd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap().into();
    let bells = std::mem::take(&mut end.bells);
    let (_link, _tx, rx) = Port::local(&end.region, bells, lifeline).split();
    let mut rx = rx.into_iter().next().unwrap();
    let special = Special { hdr: Arc::new(hdr.into()), steer: false };
    let egress = over_rings(&mut end, Vec::new(), special).egress;
    let (mut got, mut frame) = (Vec::new(), Vec::new());
    for one in list.chunks(3) {
        assert_eq!(egress.claim(burst, one, 0), one.len());
        egress.put(burst, one, 0, 0);
        let pending = rx.pending();
        for i in 0..pending {
            let s = rx.frame(i);
            frame.extend_from_slice(s.data);
            if !s.flags.contains(valecast_ring::SlotFlags::MORE_FRAG) {
                got.push(std::mem::take(&mut frame));
            }
        }
        rx.advance(pending);
        rx.release();
    }
    got
}

/// What the kernel is given, one by one as a TAP or in batches as a packet socket.
fn through_a_socket(burst: &Burst, list: &[Entry], batches: bool) -> Vec<Vec<u8>> {
    let (to, from) =
        socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let mut got = Vec::new();
    let mut rest = list;
    while !rest.is_empty() {
        let n = if batches {
            io::send_batch(to.as_fd(), burst, &rest[..rest.len().min(5)]).unwrap()
        } else {
            io::write_frame(to.as_fd(), burst, rest[0]).unwrap();
            1
        };
        for _ in 0..n {
            let mut b = vec![0; 70_000];
            let len = nix::unistd::read(&from, &mut b).unwrap();
            got.push(b[..len].to_vec());
        }
        rest = &rest[n..];
    }
    got
}

#[test]
fn too_many_pieces_are_not_taken() {
    let byte = [0u8; 4];
    let piece = Piece { at: byte.as_ptr(), len: 4 };
    let mut burst = Burst::default();
    // SAFETY: `byte` outlives the burst.
    unsafe {
        assert!(!burst.push_pieces(&[piece; MAX_PIECES + 1], 1));
        assert_eq!((burst.taken(), burst.bound()), (0, 0));
        assert!(burst.push_pieces(&[piece; MAX_PIECES], 1));
        assert!(burst.push_pieces(&[piece, piece], 1));
    }
    assert_eq!((burst.longest(), burst.bytes(2)), (72, 80));
    assert!(burst.bound() > 1 << 40, "each has to be looked at");
    assert_eq!(burst.frames[1].reject, Some(Cause::Runt));
    burst.clear();
    assert_eq!((burst.longest(), burst.bound()), (0, 0));
}

/// As many as a burst can have, and all that is made of them, have a place each.
#[test]
fn the_list_of_pieces_has_room_for_all() {
    let frame = Sent::new(tcp(false, false, 1000).0, None, &(0..17).map(|i| 60 + 40 * i).collect::<Vec<_>>());
    let mut burst = Burst::default();
    for _ in 0..MAX_BURST {
        frame.push(&mut burst, false);
    }
    assert_eq!(burst.taken(), MAX_BURST);
    let mut bytes = vec![0; frame.bytes.len()];
    for f in &burst.frames {
        burst.bytes_of(f).read(0, &mut bytes);
        assert_eq!(bytes, frame.bytes);
    }
}
