//! What a thread forwards inline fares as it would by way of a worker.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use valecast_ring::SlotFlags;
use valecast_switch::switch::show::{PortView, StatsView};

use super::common::{Client, Rig, check};
use super::{attach, rig};

/// Policies that frames may meet; `a` sends.
const POLICIES: [&str; 8] = [
    "",
    "[[switch.group]]\nname = \"g\"\naddress = \"01:00:00:00:00:03\"\nbuckets = [{ port = \"b\" }, { port = \"c\", set_dst = \"02:00:00:00:00:77\" }]\n",
    "[[switch.mirror]]\nfrom = [\"a\"]\nto = \"d\"\n",
    "[[switch.mirror]]\nfrom = [\"b\"]\nto = \"d\"\n",
    "[[switch.meter]]\nname = \"m\"\nrate = \"1kbit\"\nburst = \"1050\"\nmode = \"police\"\n[[switch.group]]\nname = \"g\"\n\
     address = \"01:00:00:00:00:03\"\nmeter = \"m\"\nbuckets = [{ port = \"b\" }, { port = \"c\" }]\n",
    "[[switch.static]]\nmac = \"02:00:00:00:00:02\"\nport = \"c\"\n",
    "[[switch.group]]\nname = \"g\"\naddress = \"01:00:00:00:00:03\"\ningress = \"b\"\nbuckets = [{ port = \"c\" }]\n",
    "[[switch.group]]\nname = \"g\"\naddress = \"01:00:00:00:00:03\"\nbuckets = [{ port = \"b\" }, { port = \"b\" }]\n",
];

/// What `a`, and then `b`, is like.
const PORTS: [(&str, &str); 7] = [
    ("", ""),
    ("vlan_access = 7\n", "vlan_trunk = [7, 9]\n"),
    ("vlan_trunk = [5, 7]\n", "vlan_access = 5\n"),
    ("allowed_macs = [\"02:00:00:00:00:01\", \"02:00:00:00:00:11\"]\n", ""),
    ("mac_limit = 1\n", ""),
    ("flood = false\n", ""),
    ("learn = false\n", "buf_size = 256\n"),
];

/// Names only what the port that sends is to be told by.
struct Case<'c> {
    policy: &'c str,
    ports: (&'c str, &'c str),
    inline: usize,
}

fn build(c: &Case<'_>) -> Rig {
    let port = |name: &str, extra: &str| {
        format!("[[switch.port]]\nname = {name:?}\nkind = \"ring\"\nslots = 512\n{extra}")
    };
    let ports = [port("a", c.ports.0), port("b", c.ports.1), port("c", ""), port("d", "")].concat();
    rig(&format!("inline = {}\n", c.inline), &[], "", &format!("{ports}{}", c.policy))
}

/// Frames by receiver, and what was counted.
type Fate = (Vec<Vec<Vec<u8>>>, BTreeMap<String, String>, Vec<(String, u16, String)>);

fn fate(rig: &Rig, receivers: &mut [Client], frames: usize, send: impl FnOnce()) -> Fate {
    // Addresses that are known before.
    for (i, r) in receivers.iter_mut().enumerate() {
        r.send(&super::common::frame(0xff, i as u8 + 2, b"here"));
    }
    // A frame is counted in when it has been delivered.
    let all_in = |frames: usize| -> StatsView {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let v = rig.stats();
            let done: u64 = v.ports.iter().map(|p| p.in_frames).sum();
            if done >= frames as u64 {
                return v;
            }
            assert!(Instant::now() < end, "{done} of {frames} frames are in");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let known = receivers.len();
    all_in(known);
    receivers.iter_mut().for_each(|r| drop(take(r)));
    send();
    let v = all_in(known + frames);
    check(&v);
    let got = receivers.iter_mut().map(take).collect();
    let of = |mut p: PortView| {
        // How many bursts they came in is the sender's affair, and with it how often an address over the limit was refused; and
        // so are its process, its memory and its age. Whether huge pages can be had is the kernel's.
        (p.in_bursts, p.learn_refused, p.age_s, p.memory, p.huge_memory, p.mode) =
            (0, p.learn_refused.min(1), None, 0, 0, None);
        (p.name.clone(), format!("{p:?}"))
    };
    let fdb = rig.daemon.with("vale0", |s| s.fdb_view()).unwrap();
    let fdb = fdb.into_iter().map(|e| (e.mac, e.vlan, e.port)).collect();
    (got, v.ports.into_iter().map(of).collect(), fdb)
}

/// Everything that is there, frames over several slots put together.
fn take(r: &mut Client) -> Vec<Vec<u8>> {
    let (n, mut all, mut whole) = (r.rx.pending(), Vec::new(), Vec::new());
    for i in 0..n {
        let s = r.rx.frame(i);
        whole.extend_from_slice(s.data);
        if !s.flags.contains(SlotFlags::MORE_FRAG) {
            all.push(std::mem::take(&mut whole));
        }
    }
    r.rx.advance(n);
    r.rx.release();
    all
}

fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let dst = prop_oneof![
        Just([2, 0, 0, 0, 0, 2]),
        Just([2, 0, 0, 0, 0, 3]),
        Just([2, 0, 0, 0, 0, 0x50]),
        Just([2, 0, 0, 0, 0, 1]),
        Just([1, 0, 0, 0, 0, 3]),
        Just([0xff; 6]),
    ];
    let one = (dst, prop_oneof![Just(1u8), Just(0x11), Just(0x12)], 0u8..8, 0usize..12, 1usize..9);
    proptest::collection::vec(one, 1..14).prop_map(|parts| {
        let mut all: Vec<Vec<u8>> = Vec::new();
        for (dst, src, tag, len, n) in parts {
            for _ in 0..n {
                let number = all.len() as u8;
                let mut f = vec![2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, src];
                f[..6].copy_from_slice(&dst);
                match tag {
                    0 => f.extend([0x81, 0, 0, 7]),
                    1 => f.extend([0x81, 0, 0xe0, 5]),
                    2 => f.extend([0x81, 0, 0, 0]),
                    _ => {}
                }
                f.extend([0x88, 0xb5]);
                // All of 100 bytes, so that which of them a meter lets through is plain; else some that are odd.
                f.resize([100, 100, 100, 100, 100, 60, 1500, 14, 15, 16, 9, 3000][len].max(1), number);
                all.push(f);
            }
        }
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn inline_is_no_different(
        frames in frames(),
        policy in 0..POLICIES.len(),
        ports in 0..PORTS.len(),
        sizes in proptest::collection::vec(1usize..70, 1..6),
    ) {
        let metered = POLICIES[policy].contains("meter");
        let frames: Vec<Vec<u8>> = frames.into_iter().filter(|f| !metered || f.len() == 100).collect();
        let case = |inline| Case { policy: POLICIES[policy], ports: PORTS[ports], inline };

        let by_worker = {
            let rig = build(&case(0));
            let (mut a, mut others) = (rig.attach("a"), ["b", "c", "d"].map(|p| rig.attach(p)));
            fate(&rig, &mut others, frames.len(), || {
                for f in &frames {
                    assert!(a.tx.push(f));
                }
                a.tx.publish();
            })
        };
        let inline = {
            let rig = build(&case(1));
            let (mut a, mut others) = (attach(&rig, "a"), ["b", "c", "d"].map(|p| rig.attach(p)));
            fate(&rig, &mut others, frames.len(), || {
                let (mut rest, mut sizes) = (&frames[..], sizes.iter().cycle());
                while !rest.is_empty() {
                    let (part, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                    let lent: Vec<&[u8]> = part.iter().map(Vec::as_slice).collect();
                    assert_eq!(a.tx.send(&lent).unwrap().frames, part.len());
                    rest = after;
                }
                a.tx.flush();
            })
        };
        prop_assert_eq!(&inline.0, &by_worker.0);
        prop_assert_eq!(&inline.1, &by_worker.1);
        prop_assert_eq!(&inline.2, &by_worker.2);
    }
}

/// A client's frame of that length is refused, and so is one that is lent.
#[test]
fn a_frame_that_is_too_long_is_counted() {
    let rig = rig("inline = 1", &["a", "b"], "", "");
    let (mut a, _b) = (attach(&rig, "a"), rig.attach("b"));
    let (long, short) = (vec![2; 70_000], super::common::frame(2, 1, b"x"));
    assert_eq!(a.tx.send(&[&long, &short, &[], &long]).unwrap().frames, 4);
    let v = rig.books();
    assert_eq!(v.ports[0].in_drops, BTreeMap::from([("bad_slot".to_owned(), 2), ("runt".to_owned(), 1)]));
    assert_eq!(v.ports[0].forwarded, 1);
}
