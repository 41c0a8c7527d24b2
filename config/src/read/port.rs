//! One port: the common keys, then those of its kind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::config::{LEAST_MEMORY, MOST_MEMORY};
use super::tables::{BURST, MODES};
use crate::keys::{FAULTS, KINDS};
use crate::port::{
    E1000Port, Faults, HugePages, IfAddr, NetmapPort, Overflow, PacketPort, PatchPort, PcapPort, Port,
    PortKind, RateLimit, RingPort, TapPort, Timing, VXLAN_UDP, VhostUserPort, Vlan, VxlanPort, XdpMode,
    XdpPort,
};
use crate::reader::Reader;
use crate::units::{format_size, parse_duration};
use crate::valid::{MeterMode, default_burst};
use crate::value::{
    At, account, between, boolean, duration, int, is_name, list, name, one_of, parsed, positive, rate, size,
    string, unicast, word,
};

/// Bytes of `sun_path` (unix(7)) without the zero at its end.
const MAX_SOCKET: usize = 107;
/// Bytes that may wait to leave by a port.
const QUEUE: RangeInclusive<u64> = 4096..=1 << 32;

pub(super) fn port(r: &mut Reader<'_>) -> Port {
    let kind = r.need("kind", kind);
    match KINDS.iter().find(|s| s.kind.is_some() && s.kind == kind) {
        Some(section) => r.also([*section]),
        // Without a kind, any kind's keys may have been meant.
        None => r.also(KINDS),
    }
    let name = r.need("name", name).unwrap_or_default();
    let overflow = if kind == Some("pcap") { Overflow::Backpressure } else { Overflow::Drop };
    let capacity = r.get("capacity", rate);
    let port = Port {
        overflow: r.or(
            "overflow",
            overflow,
            word(&[("drop", Overflow::Drop), ("backpressure", Overflow::Backpressure)]),
        ),
        mac_limit: r.or("mac_limit", 0, int(0..=4_194_304)),
        allowed_macs: r.or("allowed_macs", Vec::new(), list(unicast)),
        // A recording holds both sides of its conversations: learned, all its hosts would be behind this port
        // and their frames for each other go nowhere.
        learn: r.or("learn", kind != Some("pcap"), boolean),
        flood: r.or("flood", true, boolean),
        vlan: vlan(r),
        limit: limit(r),
        capacity,
        queue: queue(r, capacity),
        faults: r.get("faults", faults),
        kind: match kind {
            Some("ring") => PortKind::Ring(ring(r)),
            Some("tap") => PortKind::Tap(tap(r, &name)),
            Some("packet") => PortKind::Packet(packet(r)),
            Some("xdp") => PortKind::Xdp(xdp(r)),
            Some("pcap") => PortKind::Pcap(pcap(r)),
            Some("patch") => PortKind::Patch(patch(r)),
            Some("netmap") => PortKind::Netmap(netmap(r)),
            Some("e1000") => PortKind::E1000(e1000(r)),
            Some("vxlan") => PortKind::Vxlan(vxlan(r)),
            Some("vhost-user") => PortKind::VhostUser(vhost_user(r)),
            _ => PortKind::Null,
        },
        name,
    };
    r.finish();
    port
}

fn kind(at: At<'_>) -> Option<&'static str> {
    let kinds = || KINDS.iter().filter_map(|section| section.kind);
    let expected = format!("expected {}", one_of(kinds()));
    let Some(text) = at.value.get_ref().as_str() else { return at.wrong_type(&one_of(kinds())) };
    kinds().find(|kind| *kind == text).or_else(|| at.refuse(format!("unknown port kind {text:?}"), expected))
}

fn vlan(r: &Reader<'_>) -> Vlan {
    let id = || int::<u16>(1..=4094);
    let access = r.get("vlan_access", id());
    let native = r.or("vlan_native", 0, id());
    let allowed = r.get("vlan_trunk", |at| match at.value.get_ref() {
        DeValue::String(text) if text == "all" => None,
        DeValue::Array(array) if array.is_empty() => {
            at.refuse("`vlan_trunk` lets nothing through", "list VLANs, or write \"all\"")
        }
        DeValue::Array(_) => list(id())(at),
        DeValue::String(text) => at.refuse(
            format!("`vlan_trunk` cannot be {text:?}"),
            "expected \"all\" or an array of VLANs from 1 to 4094",
        ),
        _ => at.wrong_type("\"all\" or an array of VLANs from 1 to 4094"),
    });
    if r.at("vlan_access").is_some() {
        for at in [r.at("vlan_trunk"), r.at("vlan_native")].into_iter().flatten() {
            let help = "a port is either an access port or a trunk: remove one of the two";
            at.report(format!("`{}` does not go with `vlan_access`", at.key), help);
        }
    }
    match access {
        Some(vlan) => Vlan::Access(vlan),
        None => {
            // A native VLAN is always carried, as in Open vSwitch.
            let allowed = allowed.map(|mut list| {
                list.extend(Some(native).filter(|native| *native != 0));
                list.sort_unstable();
                list.dedup();
                list
            });
            Vlan::Trunk { allowed, native }
        }
    }
}

fn limit(r: &Reader<'_>) -> Option<RateLimit> {
    let rate = r.get("rate", rate);
    let burst = r.get("rate_burst", size(BURST));
    let mode = r.or("rate_mode", MeterMode::Police, word(MODES));
    if r.at("rate").is_none() {
        for at in [r.at("rate_burst"), r.at("rate_mode")].into_iter().flatten() {
            at.report(format!("`{}` without `rate`", at.key), "add `rate`, or remove this");
        }
    }
    rate.map(|rate| RateLimit { rate, burst: burst.unwrap_or_else(|| default_burst(rate)), mode })
}

/// Bytes that may wait: typed as such, or as a time at the capacity.
fn queue(r: &Reader<'_>, capacity: Option<u64>) -> Option<u64> {
    let at = r.at("queue")?;
    let text = at.value.get_ref().as_str();
    let time = text.and_then(|t| parse_duration(t).ok());
    let bytes = if time.is_none() { Some(size(QUEUE)(at)?) } else { None };
    if r.at("capacity").is_none() && r.at("faults").is_none() {
        return at.refuse("`queue` without `capacity`", "add `capacity`, or remove this");
    }
    let Some(time) = time else { return bytes };
    let Some(rate) = capacity else {
        let help = "add `capacity`, or write a size like \"1MiB\"";
        return at.refuse("`queue` is a time, which means nothing without `capacity`", help);
    };
    let bytes = u128::from(rate) * time.as_nanos() / 8_000_000_000;
    let fits = u64::try_from(bytes).ok().filter(|n| QUEUE.contains(n));
    fits.or_else(|| {
        let help = format!("expected {} to {}", format_size(*QUEUE.start()), format_size(*QUEUE.end()));
        at.refuse(format!("`queue` is {bytes} bytes at this capacity"), help)
    })
}

fn faults(at: At<'_>) -> Option<Faults> {
    let r = at.table(&FAULTS, "a table like { loss = 0.01, delay = \"5ms\" }")?;
    let share = |key| r.or(key, 0.0, between(0.0, 1.0));
    let faults = Faults {
        loss: share("loss"),
        burst: r.get("burst", between(1.0, 1e6)),
        duplicate: share("duplicate"),
        reorder: share("reorder"),
        corrupt: share("corrupt"),
        delay: r.or("delay", Duration::ZERO, duration(Duration::from_secs(10))),
        seed: r.or("seed", 1, int(0..=i128::from(i64::MAX))),
    };
    if let Some(at) = r.at("burst") {
        // What is lost is lost in bursts that are apart: more than this share cannot be.
        let most = faults.burst.map_or(1.0, |b| b / (b + 1.0));
        if r.at("loss").is_none() {
            at.report("`burst` without `loss`", "add `loss`, or remove this");
        } else if faults.loss > most && faults.loss < 1.0 {
            let help = "lower `loss`, or raise `burst`";
            at.report(format!("at most {most:.3} of all frames can be lost in bursts of this length"), help);
        }
    }
    r.finish();
    Some(faults)
}

fn ring(r: &Reader<'_>) -> RingPort {
    let pages = [HugePages::Try, HugePages::Off].map(|h| (h.name(), h));
    RingPort {
        tx_rings: r.or("tx_rings", 1, int(1..=16)),
        rx_rings: r.or("rx_rings", 1, int(1..=16)),
        slots: r.or("slots", 1024, slots(16)),
        buf_size: r.or("buf_size", 2048, |at| size(64..=65536)(at).and_then(|n| u32::try_from(n).ok())),
        hugepages: r.or("hugepages", HugePages::Try, word(&pages)),
        memory_limit: r.get("memory_limit", size(LEAST_MEMORY..=MOST_MEMORY)),
        allow_users: r.or("allow_users", Vec::new(), list(account)),
        allow_groups: r.or("allow_groups", Vec::new(), list(account)),
    }
}

fn slots<'a>(least: i128) -> impl Fn(At<'a>) -> Option<u32> {
    move |at| {
        let n: u32 = int(least..=32768)(at)?;
        if n.is_power_of_two() {
            return Some(n);
        }
        let above = n.next_power_of_two();
        at.refuse(
            format!("`slots` is no power of two: {n}"),
            format!("the nearest are {} and {above}", above / 2),
        )
    }
}

fn tap(r: &Reader<'_>, name: &str) -> TapPort {
    TapPort {
        ifname: r.or("ifname", name.to_owned(), ifname),
        netns: r.get("netns", netns),
        queues: r.or("queues", 1, int(1..=16)),
        mtu: r.get("mtu", int(68..=65521)),
        mac: r.get("mac", unicast),
        offload: r.or("offload", true, boolean),
        addresses: r.or("addresses", Vec::new(), list(parsed::<IfAddr>("an address like \"10.0.0.1/24\""))),
        up: r.or("up", true, boolean),
    }
}

fn packet(r: &Reader<'_>) -> PacketPort {
    PacketPort {
        interface: r.need("interface", ifname).unwrap_or_default(),
        netns: r.get("netns", netns),
        promiscuous: r.or("promiscuous", true, boolean),
        offload: r.or("offload", true, boolean),
    }
}

fn xdp(r: &Reader<'_>) -> XdpPort {
    let modes = [XdpMode::Auto, XdpMode::Native, XdpMode::Copy, XdpMode::Generic].map(|m| (m.name(), m));
    XdpPort {
        interface: r.need("interface", ifname).unwrap_or_default(),
        netns: r.get("netns", netns),
        mode: r.or("mode", XdpMode::Auto, word(&modes)),
        queues: r.get("queues", int(1..=16)),
        slots: r.or("slots", 2048, slots(64)),
        promiscuous: r.or("promiscuous", true, boolean),
        fill_checksums: r.or("fill_checksums", true, boolean),
    }
}

/// A name the kernel takes for an interface (`dev_valid_name`); `%` would make it a pattern.
fn ifname(at: At<'_>) -> Option<String> {
    let text = string(at)?;
    let bad = |c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace() || c.is_control();
    if text.len() <= 15 && text != "." && text != ".." && !text.contains(bad) {
        return Some(text);
    }
    let help = "expected 1 to 15 bytes without `/`, `:`, `%` or spaces";
    at.refuse(format!("{text:?} is not an interface name"), help)
}

fn netns(at: At<'_>) -> Option<String> {
    let text = string(at)?;
    if text.starts_with('/') || !(text.contains('/') || text == "." || text == "..") {
        return Some(text);
    }
    at.refuse(
        format!("{text:?} is not a network namespace"),
        "expected a name under /run/netns or an absolute path",
    )
}

fn pcap(r: &Reader<'_>) -> PcapPort {
    let path = |key| r.get(key, string).map(PathBuf::from);
    let (read, write) = (path("read"), path("write"));
    let timing = r.get("timing", word(&[("original", Timing::Original), ("asap", Timing::Asap)]));
    let pps = r.get("pps", positive(1e9)).map(Timing::Pps);
    let repeat = r.or("loop", 1, int(0..=i128::from(u32::MAX)));
    match (r.at("read"), r.at("write")) {
        (None, None) => {
            let help = "add `read = …` (file to send) or `write = …` (file to record to)";
            r.sink.report(&r.span, "a pcap port needs `read` or `write`", help);
        }
        (None, Some(_)) => {
            for at in [r.at("timing"), r.at("pps"), r.at("loop")].into_iter().flatten() {
                at.report(format!("`{}` without `read`", at.key), "add `read`, or remove this");
            }
        }
        (Some(_), Some(at)) if read.is_some() && read == write => {
            at.report("`write` would overwrite the file that is read", "write to another file");
        }
        _ => {}
    }
    if let (Some(_), Some(at)) = (r.at("timing"), r.at("pps")) {
        at.report("`pps` does not go with `timing`", "remove one of the two");
    }
    PcapPort { read, write, timing: pps.or(timing).unwrap_or(Timing::Original), repeat }
}

fn netmap(r: &Reader<'_>) -> NetmapPort {
    let interface = r.need("interface", |at| {
        let text = string(at)?;
        let bare = text.strip_prefix("netmap:").unwrap_or(&text);
        let bad = |c: char| c == '/' || c == '^' || c == '@' || c.is_whitespace() || c.is_control();
        if !bare.is_empty() && bare.len() <= 63 && !bare.contains(bad) {
            return Some(bare.to_owned());
        }
        let help = "expected an interface, a VALE port or a pipe end: \"eth0\", \"vale9:a\", \"eth0{1\"";
        at.refuse(format!("{text:?} is not a netmap port"), help)
    });
    let device = r.or("device", PathBuf::from("/dev/netmap"), |at| string(at).map(PathBuf::from));
    NetmapPort { interface: interface.unwrap_or_default(), device }
}

fn e1000(r: &Reader<'_>) -> E1000Port {
    E1000Port {
        socket: r.get("socket", socket),
        mac: r.get("mac", unicast),
        mtu: r.get("mtu", int(68..=16110)),
        moderation: r.or("moderation", true, boolean),
        itr: r.or("itr", 0, int(0..=65535)),
        tx_idle_polls: r.or("tx_idle_polls", 64, int(0..=1_000_000)),
        csb: r.or("csb", false, boolean),
        allow_users: r.or("allow_users", Vec::new(), list(account)),
        allow_groups: r.or("allow_groups", Vec::new(), list(account)),
    }
}

fn vxlan(r: &Reader<'_>) -> VxlanPort {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, VXLAN_UDP));
    let remote = r.need("remote", |at| {
        let remote = address(at)?;
        let ip = remote.ip();
        let wrong = ip.is_unspecified() || ip.is_multicast() || remote.port() == 0;
        if !wrong { Some(remote) } else { at.refuse(format!("{remote} is no host"), ADDRESS) }
    });
    let local = r.get("local", |at| {
        let local = address(at)?;
        if local.port() != 0 { Some(local) } else { at.refuse("port 0 is none to listen at", ADDRESS) }
    });
    if let (Some(remote), Some(local), Some(at)) = (remote, local, r.at("local"))
        && remote.is_ipv4() != local.is_ipv4()
    {
        let help = "both must be IPv4 or both IPv6";
        at.report(format!("`local` {local} cannot reach `remote` {remote}"), help);
    }
    let every = match remote {
        Some(SocketAddr::V6(_)) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, VXLAN_UDP)),
        _ => any,
    };
    VxlanPort {
        remote: remote.unwrap_or(any),
        local: local.unwrap_or(every),
        vni: r.need("vni", int(0..=0xff_ffff)).unwrap_or_default(),
        mtu: r.get("mtu", int(68..=65477)),
        netns: r.get("netns", netns),
        ttl: r.get("ttl", int(1..=255)),
        dont_fragment: r.or("dont_fragment", false, boolean),
    }
}

const ADDRESS: &str =
    "expected an address with or without a port, like \"10.0.0.2\", \"10.0.0.2:4789\" or \"[fd00::2]:4789\"";

/// An IP address, with the port of VXLAN unless another is given.
fn address(at: At<'_>) -> Option<SocketAddr> {
    let text = at.str("an address like \"10.0.0.2:4789\"")?;
    let alone = || text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, VXLAN_UDP));
    let found = text.parse().ok().or_else(alone);
    found.or_else(|| at.refuse(format!("{text:?} is no address"), ADDRESS))
}

fn vhost_user(r: &Reader<'_>) -> VhostUserPort {
    VhostUserPort {
        socket: r.get("socket", socket),
        mtu: r.get("mtu", int(68..=65521)),
        queues: r.or("queues", 1, int(1..=16)),
        offload: r.or("offload", true, boolean),
        allow_users: r.or("allow_users", Vec::new(), list(account)),
        allow_groups: r.or("allow_groups", Vec::new(), list(account)),
    }
}

/// A path that a socket's address has room for.
fn socket(at: At<'_>) -> Option<PathBuf> {
    let text = string(at)?;
    if !text.is_empty() && text.len() <= MAX_SOCKET {
        return Some(PathBuf::from(text));
    }
    let help =
        format!("expected a path of 1 to {MAX_SOCKET} bytes, which is what the address of a socket holds");
    at.refuse(format!("a socket cannot have a path of {} bytes", text.len()), help)
}

/// The peer is checked once all switches are read; one that could not be read stays empty.
fn patch(r: &Reader<'_>) -> PatchPort {
    let expected = "expected \"switch:port\", like \"vale1:x\"";
    let peer = r.need("peer", |at| {
        let text = at.str("\"switch:port\"")?;
        let parts = text.split_once(':').filter(|(switch, port)| is_name(switch) && is_name(port));
        parts.or_else(|| at.refuse(format!("{text:?} is not a port of a switch"), expected))
    });
    let (switch, port) = peer.unwrap_or_default();
    PatchPort { peer_switch: switch.to_owned(), peer_port: port.to_owned() }
}
