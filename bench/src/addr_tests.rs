use super::*;

fn v4(s: &str) -> IpRange {
    IpRange::parse(s, Family::V4).unwrap()
}

#[test]
fn ranges_as_pkt_gen_writes_them() {
    assert_eq!(v4("10.0.0.1").to_string(), "10.0.0.1:1234");
    assert_eq!(v4("10.0.0.1:5").to_string(), "10.0.0.1:5");
    assert_eq!(v4("10.0.0.9:9-10.0.0.1:5").to_string(), "10.0.0.1:5-10.0.0.9:9");
    assert_eq!(v4("10.0.0.1:7-10.0.0.3").to_string(), "10.0.0.1:7-10.0.0.3:7");
    let v6 = |s: &str| IpRange::parse(s, Family::V6).map(|r| r.to_string());
    assert_eq!(v6("fd00::1").unwrap(), "[fd00::1]:1234");
    assert_eq!(v6("[fd00::1]:5-[fd00::9]:7").unwrap(), "[fd00::1]:5-[fd00::9]:7");
    for bad in ["", "10.0.0", "10.0.0.1:", "10.0.0.1:99999", "10.0.0.1-", "fd00::1", "10.0.0.1:1:2"] {
        assert!(IpRange::parse(bad, Family::V4).is_err(), "{bad}");
    }
    for bad in ["10.0.0.1", "[fd00::1", "[fd00::1]5", "8@fd00::1", "[fd00::1]:"] {
        assert!(v6(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_group_says_where_ipv6_counts() {
    let r = IpRange::parse("3@fd00::1-3@fd00:0:0:2::1", Family::V6).unwrap();
    let mut e = r.start();
    let mut seen = vec![Ipv6Addr::from_bits(e.addr).to_string()];
    while !r.step(&mut e) {
        seen.push(Ipv6Addr::from_bits(e.addr).to_string());
    }
    assert_eq!(seen, ["fd00::1", "fd00:0:0:1::1", "fd00:0:0:2::1"]);
}

#[test]
fn sweeps_source_port_then_address_then_destination() {
    let mut s = Sweep::new(v4("0.0.0.1:1-0.0.0.2:2"), v4("0.0.0.1:8-0.0.0.1:9"), false, false, 0);
    assert!(!s.is_constant());
    let mut seen = Vec::new();
    for _ in 0..9 {
        seen.push((s.from.addr, s.from.port, s.to.port));
        s.step();
    }
    let first = [(1, 1, 8), (1, 2, 8), (2, 1, 8), (2, 2, 8), (1, 1, 9), (1, 2, 9), (2, 1, 9), (2, 2, 9)];
    assert_eq!(seen[..8], first);
    assert_eq!(seen[8], first[0]);
}

#[test]
fn random_sources_do_not_hold_up_the_destination() {
    let mut s = Sweep::new(v4("10.0.0.1"), v4("0.0.0.1:1-0.0.0.1:3"), true, false, 9);
    let ports: Vec<u16> = (0..4).map(|_| (s.to.port, s.step()).0).collect();
    assert_eq!(ports, [1, 2, 3, 1]);
    assert_ne!(s.from.addr, 0x0a00_0001);
}

#[test]
fn mac_ranges() {
    let r = MacRange::parse("02:0:0:0:0:fe-02:00:00:00:01:01").unwrap();
    assert_eq!(r.to_string(), "02:00:00:00:00:fe-02:00:00:00:01:01");
    let mut m = r.start();
    for _ in 0..3 {
        m = r.after(m);
    }
    assert_eq!(m, [2, 0, 0, 0, 1, 1]);
    assert_eq!(r.after(m), r.start());
    for bad in ["", "02:00:00:00:00", "02:00:00:00:00:00:00", "02:00:00:00:00:fg", "02:00:00:00:00:+1"] {
        assert!(MacRange::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn ports_get_addresses_of_their_own() {
    let (a, b) = (mac_of_port("vale0:a"), mac_of_port("vale0:b"));
    assert_ne!(a, b);
    assert_eq!(a, mac_of_port("vale0:a"));
    assert_eq!(a[0], 0x02, "locally administered, not multicast");
}
