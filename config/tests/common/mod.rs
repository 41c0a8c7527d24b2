//! Arbitrary valid switches.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::time::Duration;
use valecast_config::{
    Bucket, Direction, Faults, Group, HugePages, IfAddr, Mac, Meter, MeterMode, Mirror, Overflow, PacketPort,
    PcapPort, Port, PortKind, RateLimit, RingPort, SocketAccess, StaticEntry, Switch, TapPort, Timing, Vlan,
    VxlanPort, XdpMode, XdpPort,
};

/// Few names, so that two switches share many.
fn name() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "c", "d", "e.f", "g-h"]).prop_map(str::to_owned)
}

fn unicast() -> impl Strategy<Value = Mac> {
    (0..6_u8).prop_map(|last| Mac([2, 0, 0, 0, 0, last]))
}

fn mode() -> impl Strategy<Value = MeterMode> {
    select(vec![MeterMode::Police, MeterMode::Shape])
}

fn vlan() -> impl Strategy<Value = Vlan> {
    prop_oneof![
        (1..=4094_u16).prop_map(Vlan::Access),
        (0..=3_u16).prop_map(|native| Vlan::Trunk { allowed: None, native }),
        (btree_set(4..=4094_u16, 1..4), 0..=1_u16).prop_map(|(mut allowed, native)| {
            allowed.extend(Some(native).filter(|native| *native != 0));
            Vlan::Trunk { allowed: Some(allowed.into_iter().collect()), native }
        }),
    ]
}

fn timing() -> impl Strategy<Value = Timing> {
    prop_oneof![
        Just(Timing::Original),
        Just(Timing::Asap),
        (1..1_000_000_u32).prop_map(|n| Timing::Pps(f64::from(n) / 8.0))
    ]
}

fn kind() -> impl Strategy<Value = PortKind> {
    let ring = (1..=16_u16, 4..=15_u32, 64..=65536_u32, option::of(65536..1_u64 << 40), vec(name(), 0..2));
    let tap = (
        name(),
        option::of(name()),
        option::of(68..=65521_u32),
        option::of(unicast()),
        any::<(bool, [u8; 4])>(),
    );
    prop_oneof![
        ring.prop_map(|(rings, slots, buf_size, memory_limit, names)| PortKind::Ring(RingPort {
            tx_rings: rings,
            rx_rings: 17 - rings,
            slots: 1 << slots,
            buf_size,
            hugepages: if rings % 2 == 0 { HugePages::Try } else { HugePages::Off },
            memory_limit,
            allow_users: names.clone(),
            allow_groups: names,
        })),
        tap.prop_map(|(ifname, netns, mtu, mac, (flag, addr))| PortKind::Tap(TapPort {
            ifname,
            netns,
            queues: 3,
            mtu,
            mac,
            offload: flag,
            addresses: vec![IfAddr { addr: addr.into(), prefix: 24 }],
            up: !flag,
        })),
        (name(), option::of(Just("/run/netns/x".to_owned())), any::<bool>()).prop_map(
            |(interface, netns, flag)| {
                PortKind::Packet(PacketPort { interface, netns, promiscuous: flag, offload: !flag })
            }
        ),
        (name(), any::<bool>(), option::of(1..=16_u16), 6..=15_u32).prop_map(
            |(interface, flag, queues, slots)| {
                PortKind::Xdp(XdpPort {
                    interface,
                    netns: None,
                    mode: if flag { XdpMode::Auto } else { XdpMode::Generic },
                    queues,
                    slots: 1 << slots,
                    promiscuous: flag,
                    fill_checksums: !flag,
                })
            }
        ),
        (any::<bool>(), timing(), any::<u32>()).prop_map(|(write, timing, repeat)| PortKind::Pcap(
            PcapPort {
                read: Some("in.pcap".into()),
                write: write.then(|| "out.pcap".into()),
                timing,
                repeat: repeat.into(),
            }
        )),
        Just(PortKind::Pcap(PcapPort {
            read: None,
            write: Some("out.pcap".into()),
            timing: Timing::Original,
            repeat: 1
        })),
        Just(PortKind::Null),
        (any::<[u8; 4]>(), any::<bool>(), 0..1_u32 << 24, option::of(68..=65477_u32), option::of(1..=255_u8))
            .prop_map(|(ip, six, vni, mtu, ttl)| {
                let [a, b, c, d] = ip;
                let remote: std::net::IpAddr = if six {
                    [0xfd00, a.into(), b.into(), 0, 0, 0, c.into(), d.into()].into()
                } else {
                    [10, b, c, d].into()
                };
                let local: std::net::IpAddr = if six { [0; 8].into() } else { [0; 4].into() };
                PortKind::Vxlan(VxlanPort {
                    remote: (remote, 4000 + u16::from(a)).into(),
                    local: (local, 4789).into(),
                    vni,
                    mtu,
                    netns: None,
                    ttl,
                    dont_fragment: six,
                })
            }),
    ]
}

fn line() -> impl Strategy<Value = (Option<u64>, Option<u64>, Option<Faults>)> {
    let share = || (0..=64_u32).prop_map(|n| f64::from(n) / 128.0);
    let faults =
        (share(), option::of(share()), share(), 0..1_000_u64).prop_map(|(loss, burst, share, n)| Faults {
            loss,
            burst: burst.map(|b| b + 1.0),
            duplicate: share,
            reorder: share / 2.0,
            corrupt: share / 4.0,
            delay: Duration::from_micros(n),
            seed: n,
        });
    (option::of(1..1_u64 << 40), option::of(4096..1_u64 << 32), option::of(faults))
}

fn port() -> impl Strategy<Value = Port> {
    let limit = (1..1_u64 << 40, 64..1_u64 << 30, mode());
    let limit = option::of(limit.prop_map(|(rate, burst, mode)| RateLimit { rate, burst, mode }));
    let overflow = select(vec![Overflow::Drop, Overflow::Backpressure]);
    (overflow, 0..3_u32, vec(unicast(), 0..2), any::<(bool, bool)>(), vlan(), limit, line(), kind()).prop_map(
        |(
            overflow,
            mac_limit,
            allowed_macs,
            (learn, flood),
            vlan,
            limit,
            (capacity, queue, faults),
            kind,
        )| Port {
            name: String::new(),
            overflow,
            mac_limit,
            allowed_macs,
            learn,
            flood,
            vlan,
            limit,
            capacity,
            queue: capacity.and(queue),
            faults,
            kind,
        },
    )
}

fn meter() -> impl Strategy<Value = Meter> {
    (1..4_u64, 64..66_u64, mode()).prop_map(|(rate, burst, mode)| Meter {
        name: String::new(),
        rate,
        burst,
        mode,
    })
}

/// A group before it knows what it may refer to: its references, as indices into what there is.
type Draft = (Option<Index>, Option<Index>, Vec<(Index, Option<Mac>)>);

fn draft() -> impl Strategy<Value = Draft> {
    let bucket = (any::<Index>(), option::of(unicast()));
    (option::of(any::<Index>()), option::of(any::<Index>()), vec(bucket, 1..4))
}

/// An arbitrary valid switch without patch ports (these need a second switch). Always `vale9`, and equal
/// in what only a restart can change.
pub fn switch() -> impl Strategy<Value = Switch> {
    let groups = btree_map(name(), draft(), 0..5).prop_flat_map(|drafts| {
        // Distinct addresses in any order, so that groups of two switches swap theirs.
        let addresses: Vec<u8> = (0..).take(drafts.len()).collect();
        (Just(drafts), Just(addresses).prop_shuffle())
    });
    let statics = btree_map((unicast(), 0..2_u16), any::<Index>(), 0..3);
    let mirrors = vec((any::<Index>(), any::<Index>()), 0..2);
    let limits = (8..12_usize, 4..6_usize, 65536..70000_u64, 0..3_u64);
    (btree_map(name(), port(), 0..5), btree_map(name(), meter(), 0..3), groups, statics, mirrors, limits)
        .prop_map(
            |(
                ports,
                meters,
                (drafts, addresses),
                statics,
                mirrors,
                (max_groups, max_buckets, memory_limit, ageing),
            )| {
                let ports: Vec<Port> = ports.into_iter().map(|(name, port)| Port { name, ..port }).collect();
                let meters: Vec<Meter> =
                    meters.into_iter().map(|(name, meter)| Meter { name, ..meter }).collect();
                let named = |index: &Index| ports[index.index(ports.len())].name.clone();
                let group = |((name, (ingress, meter, buckets)), address): ((String, Draft), u8)| Group {
                    name,
                    address: Mac([1, 0, 0x5e, 0, 0, address]),
                    ingress: ingress.as_ref().map(named),
                    meter: meter
                        .filter(|_| !meters.is_empty())
                        .map(|i| meters[i.index(meters.len())].name.clone()),
                    buckets: buckets
                        .iter()
                        .map(|(i, set_dst)| Bucket { port: named(i), set_dst: *set_dst })
                        .collect(),
                };
                // What refers to ports can only be where there are some.
                let some = |n: usize| if ports.is_empty() { 0 } else { n };
                let groups = drafts.into_iter().zip(addresses).take(some(99)).map(group).collect();
                let statics = statics.into_iter().take(some(99));
                let statics = statics
                    .map(|((mac, vlan), port)| StaticEntry { mac, vlan, port: named(&port) })
                    .collect();
                let mirrors = mirrors.iter().take(some(99)).map(|(from, to)| (vec![named(from)], named(to)));
                let mirrors = mirrors.filter(|(from, to)| !from.contains(to));
                let mirrors =
                    mirrors.map(|(from, to)| Mirror { from, to, direction: Direction::Out }).collect();
                Switch {
                    name: "vale9".into(),
                    workers: 1,
                    cpus: vec![],
                    inline: 3,
                    spin: Duration::from_nanos(1500),
                    gather: Duration::from_micros(300),
                    burst: 32,
                    ageing: Duration::from_millis(ageing),
                    fdb_entries: 16,
                    max_groups,
                    max_buckets,
                    memory_limit,
                    socket: SocketAccess { mode: 0o66, owner: Some("root".into()), group: None },
                    ports,
                    statics,
                    mirrors,
                    meters,
                    groups,
                }
            },
        )
}
