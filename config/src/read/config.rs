//! The file and its switches.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::names::{Scope, Unique};
use super::{port, qc, tables};
use crate::diagnostics::{Sink, Span};
use crate::keys::{API, GROUP, METER, MIRROR, NETMAP, PORT, QC, STATIC, SWITCH};
use crate::port::{PatchPort, PortKind, VxlanPort};
use crate::reader::Reader;
use crate::run_dir::default_run_dir;
use crate::valid::{Config, Netmap, SocketAccess, Switch};
use crate::value::{At, account, boolean, duration, int, list, name, size, string};

/// The most a size may be: 1 PiB, beyond any machine, and far from overflowing when summed.
pub(super) const MOST_MEMORY: u64 = 1 << 50;
/// The least a memory limit may be; less holds no ring.
pub(super) const LEAST_MEMORY: u64 = 64 * 1024;

/// A switch, with the places that checks across switches point at.
pub(super) struct ReadSwitch {
    pub switch: Switch,
    patches: Vec<(String, PatchPort, Span)>,
    sockets: Vec<(PathBuf, Span)>,
    tunnels: Vec<(VxlanPort, Span)>,
}

pub(super) fn config(file: &mut Reader<'_>) -> Config {
    let run_dir = file.get("run_dir", string).map_or_else(default_run_dir, PathBuf::from);
    let api_listen = file.get("api", |at| {
        let api = at.table(&API, "the table [api]")?;
        let listen = api.get("listen", listen);
        api.finish();
        listen
    });
    let netmap = file.get("netmap", |at| {
        let table = at.table(&NETMAP, "the table [netmap]")?;
        let netmap = netmap(&table);
        table.finish();
        Some(netmap)
    });
    let netmap = netmap.unwrap_or(Netmap {
        auto_create: true,
        spare_buffers: SPARE_BUFFERS,
        socket: SocketAccess { mode: 0o600, owner: None, group: None },
    });
    let mut names = Unique::default();
    let mut switches = Vec::new();
    for mut reader in file.tables("switch", &SWITCH) {
        switches.push(switch(&mut reader));
        unique_name(&mut names, &reader, "switch");
    }
    let none =
        file.at("switch").is_none_or(|at| at.value.get_ref().as_array().is_some_and(|list| list.is_empty()));
    if none {
        file.sink.report(&file.span, "no [[switch]]", "add at least [[switch]] with a `name`");
    }
    let qc = file.get("qc", |at| {
        let table = at.table(&QC, "the table [qc]")?;
        let qc = qc::qc(&table, &run_dir, &switches);
        table.finish();
        Some(qc)
    });
    file.finish();
    patches(&switches, file.sink);
    sockets(&switches, file.sink);
    tunnels(&switches, file.sink);
    Config {
        run_dir,
        api_listen,
        netmap,
        qc,
        switches: switches.into_iter().map(|read| read.switch).collect(),
    }
}

/// Spare buffers of a netmap port: four pipes of the usual 1024 slots each way.
const SPARE_BUFFERS: u32 = 8192;

fn netmap(r: &Reader<'_>) -> Netmap {
    let socket = access(r);
    Netmap {
        auto_create: r.or("auto_create", socket.mode & 0o077 == 0, boolean),
        spare_buffers: r.or("spare_buffers", SPARE_BUFFERS, int(0..=1 << 20)),
        socket,
    }
}

fn access(r: &Reader<'_>) -> SocketAccess {
    SocketAccess {
        mode: r.or("socket_mode", 0o600, mode),
        owner: r.get("socket_owner", account),
        group: r.get("socket_group", account),
    }
}

pub(super) fn switch(r: &mut Reader<'_>) -> ReadSwitch {
    let workers = r.or("workers", 1, int(1..=64));
    let cpus: Vec<usize> = r.or("cpus", Vec::new(), list(int(0..=4095)));
    if let Some(at) = r.at("cpus").filter(|_| !cpus.is_empty() && cpus.len() != workers) {
        let help = "expected one CPU for each worker, or none";
        at.report(format!("`cpus` has {} for `workers = {workers}`", cpus.len()), help);
    }
    let max_groups = r.or("max_groups", 1024, int(1..=65536));
    let max_buckets = r.or("max_buckets", 32, int(1..=1024));

    let (mut ports, mut patches, mut port_names) = (Vec::new(), Vec::new(), Unique::default());
    let (mut vm_sockets, mut tunnels) = (Vec::new(), Vec::new());
    for mut reader in r.tables("port", &PORT) {
        let port = port::port(&mut reader);
        unique_name(&mut port_names, &reader, "port");
        if let PortKind::Patch(patch) = &port.kind {
            let peer = reader.at("peer").map_or(reader.span.clone(), |at| at.span());
            patches.push((port.name.clone(), patch.clone(), peer));
        }
        // Only this kind has the key.
        if let PortKind::Vxlan(tunnel) = &port.kind
            && let Some(at) = reader.at("remote")
        {
            tunnels.push((tunnel.clone(), at.span()));
        }
        if let Some(path) = port.kind.socket()
            && let Some(at) = reader.at("socket")
        {
            vm_sockets.push((path.to_owned(), at.span()));
        }
        ports.push(port);
    }
    let (mut meters, mut meter_names) = (Vec::new(), Unique::default());
    for mut reader in r.tables("meter", &METER) {
        meters.push(tables::meter(&mut reader));
        unique_name(&mut meter_names, &reader, "meter");
    }

    let scope =
        Scope { ports: Some(&port_names), meters: Some(&meter_names), max_buckets: Some(max_buckets) };
    let (mut statics, mut entries) = (Vec::new(), Unique::default());
    for mut reader in r.tables("static", &STATIC) {
        let entry = tables::static_entry(&mut reader, &scope);
        if let Some(at) = reader.at("mac") {
            entries.add((entry.mac, entry.vlan), &format!("{} in VLAN {}", entry.mac, entry.vlan), &at);
        }
        statics.push(entry);
    }
    let mirrors =
        r.tables("mirror", &MIRROR).iter_mut().map(|reader| tables::mirror(reader, &scope)).collect();
    let (mut groups, mut group_names, mut addresses) = (Vec::new(), Unique::default(), Unique::default());
    for (i, mut reader) in r.tables("group", &GROUP).into_iter().enumerate() {
        let group = tables::group(&mut reader, &scope);
        unique_name(&mut group_names, &reader, "group");
        if let Some(at) = reader.at("address") {
            let ingress =
                group.ingress.as_deref().map_or("any port".to_owned(), |port| format!("port {port:?}"));
            addresses.add(
                (group.address, group.ingress.clone()),
                &format!("{} from {ingress}", group.address),
                &at,
            );
        }
        if i == max_groups {
            let help = format!("remove groups, or raise `max_groups` above {max_groups}");
            r.sink.report(&reader.span, format!("more than {max_groups} groups"), help);
        }
        groups.push(group);
    }

    let switch = Switch {
        name: r.need("name", name).unwrap_or_default(),
        workers,
        cpus,
        inline: r.or("inline", 0, int(0..=64)),
        spin: r.or("spin", Duration::from_micros(50), duration(Duration::from_secs(10))),
        gather: r.or("gather", Duration::ZERO, duration(Duration::from_millis(10))),
        burst: r.or("burst", 256, int(1..=1024)),
        ageing: r.or("ageing", Duration::from_secs(300), duration(Duration::from_secs(1_000_000))),
        fdb_entries: r.or("fdb_entries", 65536, int(16..=4_194_304)),
        max_groups,
        max_buckets,
        memory_limit: r.or("memory_limit", 4 << 30, size(LEAST_MEMORY..=MOST_MEMORY)),
        socket: access(r),
        ports,
        statics,
        mirrors,
        meters,
        groups,
    };
    r.finish();
    ReadSwitch { switch, patches, sockets: vm_sockets, tunnels }
}

/// Remembers the name in a table that was just read; a missing or non-text one is already reported.
pub(super) fn unique_name(names: &mut Unique<String>, reader: &Reader<'_>, what: &str) {
    let Some(at) = reader.at("name") else { return };
    if let Some(name) = at.value.get_ref().as_str() {
        names.add(name.to_owned(), &format!("{what} name {name:?}"), &at);
    }
}

pub(crate) fn listen(at: At<'_>) -> Option<SocketAddr> {
    let help = "an IP address and a port, like \"127.0.0.1:9464\" or \"[::1]:9464\"";
    let text = at.str(help)?;
    text.parse()
        .ok()
        .or_else(|| at.refuse(format!("{text:?} is no address to listen on"), format!("expected {help}")))
}

/// Permission bits: `"0600"`, or TOML's own octal `0o600`.
pub(crate) fn mode(at: At<'_>) -> Option<u32> {
    let expected = "an octal string from \"0000\" to \"0777\", like \"0600\"";
    let text = match at.value.get_ref() {
        // A decimal 600 would be the bits 1130; only an octal number says what it means.
        DeValue::Integer(n) if n.radix() == 8 => n.as_str(),
        _ => at.str(expected)?,
    };
    let bits = Some(text).filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
    let bits = bits.and_then(|t| u32::from_str_radix(t, 8).ok()).filter(|bits| *bits <= 0o777);
    bits.or_else(|| at.refuse(format!("`{}` cannot be {text:?}", at.key), format!("expected {expected}")))
}

/// Checks that no two ports listen at one socket.
fn sockets(switches: &[ReadSwitch], sink: &Sink<'_>) {
    let mut seen = BTreeMap::new();
    for (path, span) in switches.iter().flat_map(|read| &read.sockets) {
        if let Some(first) = seen.insert(path, span.start) {
            let help = format!("first used on line {}; each port needs its own", sink.line(first));
            sink.report(span, format!("socket {path:?} is already used"), help);
        }
    }
}

/// Checks that no two ports take the same tunnel's frames.
fn tunnels(switches: &[ReadSwitch], sink: &Sink<'_>) {
    let mut seen = BTreeMap::new();
    for (t, span) in switches.iter().flat_map(|read| &read.tunnels) {
        let (local, remote, vni) = (t.local, t.remote.ip(), t.vni);
        if let Some(first) = seen.insert((&t.netns, local, remote, vni), span.start) {
            let message = format!("VNI {vni} from {remote} at {local} is already taken by another port");
            let help = format!("first used on line {}; give one of them another `vni`", sink.line(first));
            sink.report(span, message, help);
        }
    }
}

/// Checks that patch ports come in pairs that name each other.
fn patches(switches: &[ReadSwitch], sink: &Sink<'_>) {
    let kinds: BTreeMap<(&str, &str), &PortKind> = (switches.iter().map(|read| &read.switch))
        .flat_map(|s| s.ports.iter().map(|p| ((s.name.as_str(), p.name.as_str()), &p.kind)))
        .collect();
    for read in switches {
        let own = &read.switch.name;
        for (port, PatchPort { peer_switch, peer_port }, span) in &read.patches {
            let back = format!("give it `peer = \"{own}:{port}\"`");
            let (message, help) = match kinds.get(&(peer_switch.as_str(), peer_port.as_str())) {
                // A peer that could not be read is reported where it stands.
                _ if peer_port.is_empty() => continue,
                _ if peer_switch == own => {
                    let help = "a patch port joins two switches".to_owned();
                    (format!("\"{peer_switch}:{peer_port}\" is in the same switch"), help)
                }
                None => {
                    let help = "expected \"switch:port\" of a patch port in this file".to_owned();
                    (format!("there is no port \"{peer_switch}:{peer_port}\""), help)
                }
                Some(PortKind::Patch(p)) if p.peer_switch == *own && p.peer_port == *port => continue,
                Some(PortKind::Patch(p)) if p.peer_port.is_empty() => continue,
                Some(PortKind::Patch(p)) => {
                    let other = format!("\"{}:{}\"", p.peer_switch, p.peer_port);
                    (format!("\"{peer_switch}:{peer_port}\" is patched to {other}, not to this port"), back)
                }
                Some(kind) => {
                    let message =
                        format!("\"{peer_switch}:{peer_port}\" is of kind {}, not patch", kind.name());
                    (message, format!("make it kind = \"patch\" and {back}"))
                }
            };
            sink.report(span, message, help);
        }
    }
}
