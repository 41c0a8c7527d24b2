//! What a correct file becomes, that it is written back as the same, and single objects.

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use valecast_config::{
    Config, Controller, Direction, Group, HugePages, Mac, Meter, MeterMode, Overflow, PatchPort, Port,
    PortKind, Site, SiteLink, Switch, Timing, Vlan, XdpMode, default_burst, group_from_json, meter_from_json,
    parse_group, parse_meter, parse_port, port_from_json,
};

fn good() -> Config {
    Config::parse("good.toml", include_str!("good.toml")).expect("a good file")
}

#[test]
fn every_key_arrives() {
    let config = good();
    assert_eq!(config.run_dir, PathBuf::from("/tmp/valecast-test"));
    assert_eq!(config.api_listen, Some("127.0.0.1:9464".parse().unwrap()));
    let [vale0, vale1] = config.switches.as_slice() else { panic!("two switches") };
    assert_eq!((vale0.workers, &vale0.cpus[..]), (2, &[2, 3][..]));
    assert_eq!((vale0.spin, vale0.ageing), (Duration::from_micros(1500), Duration::ZERO));
    assert_eq!((vale0.gather, vale1.gather), (Duration::from_micros(200), Duration::ZERO));
    assert_eq!(vale0.memory_limit, 64 << 20);
    assert_eq!(vale0.socket.mode, 0o660);
    assert_eq!(vale0.socket.group.as_deref(), Some("44"));
    let [a, t, eth, fast, p, x] = vale0.ports.as_slice() else { panic!("six ports") };

    assert_eq!(a.vlan, Vlan::Access(10));
    let limit = a.limit.as_ref().unwrap();
    assert_eq!((limit.rate, limit.burst, limit.mode), (500_000_000, 625_000, MeterMode::Police));
    let PortKind::Ring(ring) = &a.kind else { panic!("ring") };
    assert_eq!((ring.tx_rings, ring.rx_rings, ring.slots, ring.buf_size), (2, 1, 2048, 2048));
    assert_eq!((ring.hugepages, ring.hugepages.name()), (HugePages::Off, "off"));
    assert_eq!(ring.allow_users, ["alice", "1000"]);

    assert_eq!(t.vlan, Vlan::Trunk { allowed: Some(vec![10, 20, 30]), native: 10 });
    assert_eq!(t.overflow, Overflow::Backpressure);
    let PortKind::Tap(tap) = &t.kind else { panic!("tap") };
    assert_eq!(tap.ifname, "tap-t");
    assert_eq!(tap.addresses[1].to_string(), "fd00::1/64");

    assert_eq!((eth.mac_limit, eth.learn, eth.kind.name()), (100, false, "packet"));
    assert_eq!(eth.allowed_macs, [Mac([2, 0, 0, 0, 0, 2])]);
    let PortKind::Xdp(xdp) = &fast.kind else { panic!("xdp") };
    assert_eq!((xdp.mode, xdp.queues, xdp.slots), (XdpMode::Generic, Some(2), 512));
    assert!(xdp.promiscuous && xdp.fill_checksums);
    let PortKind::Pcap(pcap) = &p.kind else { panic!("pcap") };
    assert_eq!((pcap.timing, pcap.repeat, p.overflow), (Timing::Pps(1000.0), 0, Overflow::Backpressure));
    assert_eq!(x.kind, PortKind::Patch(PatchPort { peer_switch: "vale1".into(), peer_port: "x".into() }));

    assert_eq!(vale0.statics[0].vlan, 10);
    assert_eq!(vale0.mirrors[0].direction, Direction::In);
    assert_eq!((vale0.meters[0].burst, vale0.meters[0].mode), (1_250_000, MeterMode::Shape));
    assert_eq!(vale0.groups[0].buckets[1].set_dst, Some(Mac([2, 0, 0, 0, 0, 10])));

    let [.., vm1, vm2, _] = vale1.ports.as_slice() else { panic!("two VM ports and a link") };
    let PortKind::E1000(card) = &vm1.kind else { panic!("e1000") };
    assert_eq!(
        (card.mtu, card.itr, card.tx_idle_polls, card.moderation, card.csb),
        (Some(9000), 100, 0, false, true)
    );
    assert_eq!(
        (vm1.kind.socket(), card.mac),
        (Some(Path::new("/run/vm1.sock")), Some(Mac([2, 0, 0, 0, 0, 17])))
    );
    assert_eq!(card.allow_users, ["root"]);
    let PortKind::VhostUser(virtio) = &vm2.kind else { panic!("vhost-user") };
    assert_eq!((&virtio.socket, virtio.queues, virtio.mtu, virtio.offload), (&None, 4, Some(1400), false));
    assert_eq!(virtio.allow_groups, ["0"]);

    let qc = config.qc.as_ref().unwrap();
    assert_eq!(qc.controller, Controller::Https { host: "fd00::7".into(), port: 7600 });
    assert_eq!(qc.keys.as_ref().unwrap().key, PathBuf::from("keys/site.key"));
    let link = SiteLink { port: "to-b".into(), to: "b".into() };
    assert_eq!(qc.sites, [Site { name: "vale1".into(), switch: "vale1".into(), links: vec![link] }]);

    // vale1 says nothing: everything at its default.
    assert_eq!((vale1.workers, vale1.burst, vale1.fdb_entries), (1, 256, 65536));
    assert_eq!((vale1.spin, vale1.ageing), (Duration::from_micros(50), Duration::from_secs(300)));
    assert_eq!((vale1.max_groups, vale1.max_buckets, vale1.memory_limit), (1024, 32, 4 << 30));
    assert_eq!(vale1.ports[1].vlan, Vlan::default());
}

#[test]
fn a_tap_is_called_like_its_port() {
    let PortKind::Tap(tap) = parse_port("t", "name = \"t9\"\nkind = \"tap\"").unwrap().kind else {
        panic!("tap")
    };
    assert_eq!((tap.ifname.as_str(), tap.offload, tap.up, tap.queues), ("t9", true, true, 1));
}

#[test]
fn bursts_have_a_floor() {
    assert_eq!(default_burst(1_000), 65536);
    assert_eq!(default_burst(8_000_000_000), 10_000_000);
}

#[test]
fn load_reads_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vale.toml");
    std::fs::write(&path, include_bytes!("good.toml")).unwrap();
    let loaded = Config::load(&path).unwrap();
    let keys = loaded.qc.as_ref().unwrap().keys.as_ref().unwrap();
    assert_eq!([&keys.ca, &keys.key], [&dir.path().join("ca.pem"), &dir.path().join("keys/site.key")]);
    assert_eq!(Config { qc: good().qc, ..loaded }, good());
    std::fs::write(&path, b"run_dir = \"\xff\"").unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().contains("byte 11 is not UTF-8"));
    let missing = Config::load(dir.path().join("none.toml")).unwrap_err();
    assert!(missing.to_string().contains("cannot read the file"));
    assert!(missing.to_string().contains("none.toml"));
}

#[test]
fn json_takes_the_same_keys() {
    let port = r#"{ "name": "t", "kind": "tap", "mtu": 1400, "mac": null, "rate": 1000000000, "vlan_trunk": [1, 2] }"#;
    let toml = "name = \"t\"\nkind = \"tap\"\nmtu = 1400\nrate = \"1Gbit/s\"\nvlan_trunk = [1, 2]";
    assert_eq!(port_from_json(port).unwrap(), parse_port("x", toml).unwrap());
    let group =
        r#"{ "name": "g", "address": "01:00:00:00:00:01", "buckets": [{ "port": "a", "set_dst": null }] }"#;
    let toml = "name = \"g\"\naddress = \"01:00:00:00:00:01\"\nbuckets = [{ port = \"a\" }]";
    assert_eq!(group_from_json(group).unwrap(), parse_group("x", toml).unwrap());
    let meter = r#"{ "name": "m", "rate": "10kbit/s", "mode": "police" }"#;
    let toml = "name = \"m\"\nrate = 10_000\nmode = \"police\"";
    assert_eq!(meter_from_json(meter).unwrap(), parse_meter("x", toml).unwrap());

    let wrong = port_from_json(r#"{ "name": "t", "kind": "tap", "mut": 1400, "queues": 0 }"#).unwrap_err();
    assert_eq!(wrong.diagnostics.len(), 2);
    assert!(wrong.to_string().contains("did you mean `mtu`?"));
    for text in ["", "[]", "7", "{", "{\"name\": 99999999999999999999}"] {
        assert!(port_from_json(text).is_err(), "{text}");
    }
}

#[test]
fn single_objects_are_held_to_the_same_rules() {
    let errors = parse_port("attach", "kind = \"ring\"\nslots = 3").unwrap_err();
    let found: Vec<_> = errors.diagnostics.iter().map(|d| (d.line, d.message.as_str())).collect();
    assert_eq!(found, [(1, "[[switch.port]] needs `name`"), (2, "`slots` is out of range: 3")]);
    let errors = parse_group(
        "group-add",
        "name = \"g\"\naddress = \"00:00:00:00:00:00\"\nbuckets = [{port = \"a b\"}]",
    );
    assert_eq!(errors.unwrap_err().diagnostics.len(), 2);
    assert_eq!(parse_meter("meter-add", "").unwrap_err().diagnostics.len(), 2);
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain data")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_shown_is_read_back(switch in common::switch()) {
        let config = Config { switches: vec![switch], qc: None, ..good() };
        let text = toml::to_string(&config).unwrap();
        prop_assert_eq!(&Config::parse("shown", &text).unwrap(), &config, "{}", text);
        prop_assert_eq!(&serde_json::from_str::<Config>(&json(&config)).unwrap(), &config);

        let switch = &config.switches[0];
        prop_assert_eq!(&serde_json::from_str::<Switch>(&json(switch)).unwrap(), switch);
        for port in &switch.ports {
            prop_assert_eq!(&port_from_json(&json(port)).unwrap(), port);
            prop_assert_eq!(&serde_json::from_str::<Port>(&json(port)).unwrap(), port);
        }
        for group in &switch.groups {
            prop_assert_eq!(&group_from_json(&json(group)).unwrap(), group);
            prop_assert_eq!(&serde_json::from_str::<Group>(&json(group)).unwrap(), group);
        }
        for meter in &switch.meters {
            prop_assert_eq!(&meter_from_json(&json(meter)).unwrap(), meter);
            prop_assert_eq!(&serde_json::from_str::<Meter>(&json(meter)).unwrap(), meter);
        }
    }
}

/// Room for a queue is taken at once, so a fast link without `queue` must not take gigabytes.
#[test]
fn what_may_wait_goes_with_the_capacity_and_is_bounded() {
    for (capacity, want) in [
        // What comes in between frames that wait, such as those that say that a link is up, must not wait for long.
        ("100 kbit/s", 16 << 10),
        ("1 Mbit/s", 31_250),
        ("10 Mbit/s", 256 << 10),
        ("1 Gbit/s", 6_250_000),
        ("100 Gbit/s", 64 << 20),
        ("400 Gbit/s", 64 << 20),
    ] {
        let text = format!("name = \"p\"\nkind = \"ring\"\ncapacity = \"{capacity}\"");
        let port = valecast_config::parse_port("test", &text).unwrap();
        assert_eq!(port.queue_bytes(), want, "{capacity}");
    }
    let port = "name = \"p\"\nkind = \"ring\"\ncapacity = \"400 Gbit/s\"\nqueue = \"1GiB\"";
    assert_eq!(valecast_config::parse_port("test", port).unwrap().queue_bytes(), 1 << 30);
}
