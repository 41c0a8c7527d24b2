//! Every mistake is reported where it is, with what would be right; and all of them at once.

use valecast_config::{Config, ConfigErrors};

fn errors(text: &str) -> ConfigErrors {
    Config::parse("vale.toml", text).expect_err(text)
}

/// Asserts that a file has exactly one mistake: where, what, and what would be right.
#[track_caller]
fn one(text: &str, place: (usize, usize), message: &str, help: &str) {
    let errors = errors(text);
    let [found] = errors.diagnostics.as_slice() else { panic!("not one mistake:\n{errors}") };
    assert_eq!((found.message.as_str(), found.help.as_str()), (message, help), "\n{errors}");
    assert_eq!((found.line, found.column), place, "\n{errors}");
}

/// The same for a port, whose keys start on line 5.
#[track_caller]
fn port(keys: &str, place: (usize, usize), message: &str, help: &str) {
    one(&format!("[[switch]]\nname = \"v\"\n[[switch.port]]\nname = \"a\"\n{keys}"), place, message, help);
}

/// The same for tables that follow two ports, `a` and `b`; they start on line 9.
#[track_caller]
fn table(tables: &str, place: (usize, usize), message: &str, help: &str) {
    let ports =
        "[[switch.port]]\nname = \"a\"\nkind = \"null\"\n[[switch.port]]\nname = \"b\"\nkind = \"null\"\n";
    one(&format!("[[switch]]\nname = \"v\"\n{ports}{tables}"), place, message, help);
}

#[test]
fn many_mistakes_are_reported_at_once() {
    insta::assert_snapshot!(errors(include_str!("mistakes.toml")));
}

#[test]
fn syntax() {
    let errors = errors("[[switch]]\nname = vale0\nworkers = \n");
    assert_eq!(errors.diagnostics.iter().map(|d| (d.line, d.column)).collect::<Vec<_>>(), [(2, 8), (3, 11)]);
    one(
        "[[switch]]\ncpus = [1, 2\nname = \"v\"\n",
        (3, 1),
        "missing comma between array elements, expected `,`",
        "",
    );
    one("[[switch]]\nname = \"v\"\nname = \"w\"", (3, 1), "duplicate key", "");
}

#[test]
fn file() {
    one("", (1, 1), "no [[switch]]", "add at least [[switch]] with a `name`");
    one("[switch]\nname = \"v\"", (1, 1), "`switch` is a table", "expected [[switch]]");
    let v = "\n[[switch]]\nname = \"v\"\n";
    let help = "expected an IP address and a port, like \"127.0.0.1:9464\" or \"[::1]:9464\"";
    one(&format!("[api]\nlisten = \"here\"{v}"), (2, 10), "\"here\" is no address to listen on", help);
    one(
        &format!("run_dir = \"\"{v}"),
        (1, 11),
        "`run_dir` is empty or contains NUL",
        "leave the key out or give it a value",
    );
    one(&format!("rundir = \"/x\"{v}"), (1, 1), "unknown key `rundir`", "did you mean `run_dir`?");
    one(
        &format!("[colour]{v}"),
        (1, 2),
        "unknown key `colour`",
        "known keys: run_dir, api, netmap, qc, switch",
    );
    one(&format!("{v}{v}"), (6, 8), "switch name \"v\" is already used", "first used on line 3");
}

#[test]
fn switch() {
    let switch = |key: &str, place, message: &str, help: &str| {
        one(&format!("[[switch]]\nname = \"v\"\n{key}"), place, message, help);
    };
    one("[[switch]]", (1, 1), "[[switch]] needs `name`", "add `name = …` (name)");
    one(
        "[[switch]]\nname = \"vale 0\"",
        (2, 8),
        "`name` is not a name: \"vale 0\"",
        "expected 1 to 15 of A-Z a-z 0-9 _ . -",
    );
    switch("workers = \"2\"", (3, 11), "`workers` is a string", "expected a whole number from 1 to 64");
    switch("workers = 65", (3, 11), "`workers` is out of range: 65", "expected a whole number from 1 to 64");
    switch("inline = 65", (3, 10), "`inline` is out of range: 65", "expected a whole number from 0 to 64");
    switch("workers = -1", (3, 11), "`workers` is out of range: -1", "expected a whole number from 1 to 64");
    switch(
        "cpus = [1, 2]",
        (3, 8),
        "`cpus` has 2 for `workers = 1`",
        "expected one CPU for each worker, or none",
    );
    switch("spin = 50", (3, 8), "`spin` has no unit", "write \"50us\" or \"50s\"");
    switch(
        "spin = \"50\"",
        (3, 8),
        "`50` has no unit",
        "a duration is a number and ns, us, ms, s, m or h, like \"50us\"",
    );
    switch(
        "spin = \"11s\"",
        (3, 8),
        "`spin` is out of range: 11s",
        "expected a duration up to \"10s\", with its unit",
    );
    let size = "expected a size from 64KiB to 1024TiB, like 2048 or \"64KiB\"";
    switch("memory_limit = \"1KiB\"", (3, 16), "`memory_limit` is out of range: 1KiB", size);
    switch("memory_limit = true", (3, 16), "`memory_limit` is a boolean", size);
    let mode = "expected an octal string from \"0000\" to \"0777\", like \"0600\"";
    switch("socket_mode = \"rw\"", (3, 15), "`socket_mode` cannot be \"rw\"", mode);
    switch("socket_mode = \"1777\"", (3, 15), "`socket_mode` cannot be \"1777\"", mode);
    switch("socket_mode = 600", (3, 15), "`socket_mode` is an integer", mode);
}

#[test]
fn common_keys_of_ports() {
    let kinds = "expected \"ring\", \"tap\", \"packet\", \"xdp\", \"pcap\", \"null\", \"patch\", \"netmap\", \"e1000\", \"vhost-user\" or \"vxlan\"";
    port("kind = \"gre\"", (5, 8), "unknown port kind \"gre\"", kinds);
    let help = "add `kind = …` (\"ring\", \"tap\", \"packet\", \"xdp\", \"pcap\", \"null\", \"patch\", \"netmap\", \"e1000\", \"vhost-user\" or \"vxlan\")";
    port("", (3, 1), "[[switch.port]] needs `kind`", help);
    let null = |key: &str, place, message: &str, help: &str| {
        port(&format!("kind = \"null\"\n{key}"), place, message, help);
    };
    null(
        "overflow = \"block\"",
        (6, 12),
        "`overflow` cannot be \"block\"",
        "expected \"drop\" or \"backpressure\"",
    );
    null("learn = 1", (6, 9), "`learn` is an integer", "expected true or false");
    let macs = "the first octet must be even, and not all octets zero";
    null(
        "allowed_macs = [\"ff:ff:ff:ff:ff:ff\"]",
        (6, 17),
        "ff:ff:ff:ff:ff:ff is no station's address",
        macs,
    );
    null(
        "vlan_access = 4095",
        (6, 15),
        "`vlan_access` is out of range: 4095",
        "expected a whole number from 1 to 4094",
    );
    let either = "a port is either an access port or a trunk: remove one of the two";
    null("vlan_access = 1\nvlan_trunk = [2]", (7, 14), "`vlan_trunk` does not go with `vlan_access`", either);
    null("vlan_access = 1\nvlan_native = 2", (7, 15), "`vlan_native` does not go with `vlan_access`", either);
    null("vlan_trunk = []", (6, 14), "`vlan_trunk` lets nothing through", "list VLANs, or write \"all\"");
    null(
        "vlan_trunk = [1, 0]",
        (6, 18),
        "`vlan_trunk` is out of range: 0",
        "expected a whole number from 1 to 4094",
    );
    let trunk = "expected \"all\" or an array of VLANs from 1 to 4094";
    null("vlan_trunk = \"any\"", (6, 14), "`vlan_trunk` cannot be \"any\"", trunk);
    null("rate_burst = 9000", (6, 14), "`rate_burst` without `rate`", "add `rate`, or remove this");
    let bits = "rates are in bits: multiply by 8 and write bit/s";
    null("rate = \"1GB/s\"", (6, 8), "`GB/s` counts bytes", bits);
    let rate = "expected a rate from 1bit/s to 100Tbit/s, like \"1Gbit/s\"";
    null("rate = 0", (6, 8), "`rate` is out of range: 0", rate);
    null("queue = 9000", (6, 9), "`queue` without `capacity`", "add `capacity`, or remove this");
    let time = "add `capacity`, or write a size like \"1MiB\"";
    null(
        "queue = \"1ms\"\nfaults = {}",
        (6, 9),
        "`queue` is a time, which means nothing without `capacity`",
        time,
    );
    null(
        "queue = \"1ms\"\ncapacity = 8000",
        (6, 9),
        "`queue` is 1 bytes at this capacity",
        "expected 4KiB to 4GiB",
    );
    null("faults = { los = 1 }", (6, 12), "unknown key `los`", "did you mean `loss`?");
    null("faults = { burst = 2 }", (6, 20), "`burst` without `loss`", "add `loss`, or remove this");
    null(
        "faults = { loss = 0.9, burst = 2 }",
        (6, 32),
        "at most 0.667 of all frames can be lost in bursts of this length",
        "lower `loss`, or raise `burst`",
    );
    null("faults = { loss = 1.5 }", (6, 19), "`loss` is out of range: 1.5", "expected a number from 0 to 1");
    null(
        "ifname = \"x\"",
        (6, 1),
        "key `ifname` belongs to kind tap, this port is null",
        "remove it, or change `kind`",
    );
    let both =
        "key `netns` belongs to kind tap and kind packet and kind xdp and kind vxlan, this port is null";
    null("netns = \"x\"", (6, 1), both, "remove it, or change `kind`");
}

#[test]
fn keys_of_kinds() {
    let kind = |kind: &str, key: &str, place, message: &str, help: &str| {
        port(&format!("kind = \"{kind}\"\n{key}"), place, message, help);
    };
    kind("ring", "rngs = 2", (6, 1), "unknown key `rngs`", "did you mean `tx_rings`?");
    kind("ring", "slots = 1000", (6, 9), "`slots` is no power of two: 1000", "the nearest are 512 and 1024");
    let pages = "expected \"try\" or \"off\"";
    kind("ring", "hugepages = \"on\"", (6, 13), "`hugepages` cannot be \"on\"", pages);
    kind(
        "ring",
        "allow_users = [-1]",
        (6, 16),
        "`allow_users` is out of range: -1",
        "expected a name or a number",
    );
    let ifname = "expected 1 to 15 bytes without `/`, `:`, `%` or spaces";
    kind("tap", "ifname = \"a/b\"", (6, 10), "\"a/b\" is not an interface name", ifname);
    let netns = "expected a name under /run/netns or an absolute path";
    kind("tap", "netns = \"../x\"", (6, 9), "\"../x\" is not a network namespace", netns);
    let address = "an address and its prefix length, like \"10.0.0.1/24\" or \"fd00::1/64\"";
    kind("tap", "addresses = [\"10.0.0.1\"]", (6, 14), "`10.0.0.1` has no prefix length", address);
    kind("tap", "addresses = [\"10.0.0.1/33\"]", (6, 14), "prefix length `33` is not from 0 to 32", address);
    kind("tap", "addresses = [\"10.0.0/24\"]", (6, 14), "`10.0.0` is not an IP address", address);
    let address = "expected an address with or without a port, like \"10.0.0.2\", \"10.0.0.2:4789\" or \"[fd00::2]:4789\"";
    let tunnel = "remote = \"10.0.0.2\"";
    kind("vxlan", "vni = 1\nremote = \"a:b\"", (7, 10), "\"a:b\" is no address", address);
    kind("vxlan", "vni = 1\nremote = \"0.0.0.0\"", (7, 10), "0.0.0.0:4789 is no host", address);
    kind("vxlan", "vni = 1\nremote = \"239.1.1.1\"", (7, 10), "239.1.1.1:4789 is no host", address);
    let number = "expected a whole number from 0 to 16777215";
    kind("vxlan", &format!("{tunnel}\nvni = 16777216"), (7, 7), "`vni` is out of range: 16777216", number);
    kind(
        "vxlan",
        &format!("{tunnel}\nvni = 1\nlocal = \"::\""),
        (8, 9),
        "`local` [::]:4789 cannot reach `remote` 10.0.0.2:4789",
        "both must be IPv4 or both IPv6",
    );
    let twin = "[[switch.port]]\nname = \"q\"\nkind = \"vxlan\"\nvni = 1\nremote = \"10.0.0.2:9\"";
    kind(
        "vxlan",
        &format!("{tunnel}\nvni = 1\n{twin}"),
        (12, 10),
        "VNI 1 from 10.0.0.2 at 0.0.0.0:4789 is already taken by another port",
        "first used on line 6; give one of them another `vni`",
    );
    let mac = "six pairs of hex digits, like \"02:00:00:00:00:01\"";
    kind("tap", "mac = \"2:0:0:0:0:1\"", (6, 7), "`2:0:0:0:0:1` is not an Ethernet address", mac);
    kind("packet", "", (3, 1), "[[switch.port]] needs `interface`", "add `interface = …` (interface name)");
    let file = "add `read = …` (file to send) or `write = …` (file to record to)";
    kind("pcap", "", (3, 1), "a pcap port needs `read` or `write`", file);
    kind("pcap", "write = \"x\"\npps = 5", (7, 7), "`pps` without `read`", "add `read`, or remove this");
    let pps = "`pps` does not go with `timing`";
    kind("pcap", "read = \"x\"\npps = 5\ntiming = \"asap\"", (7, 7), pps, "remove one of the two");
    let pps = "expected a number above 0, at most 1000000000";
    kind("pcap", "read = \"x\"\npps = nan", (7, 7), "`pps` is out of range: nan", pps);
    let same = "`write` would overwrite the file that is read";
    kind("pcap", "read = \"x\"\nwrite = \"x\"", (7, 9), same, "write to another file");
}

#[test]
fn patch_ports_come_in_pairs() {
    let pair = |peer_of_a: &str, rest: &str, place, message: &str, help: &str| {
        port(&format!("kind = \"patch\"\npeer = \"{peer_of_a}\"\n{rest}"), place, message, help);
    };
    let w = |port: &str| format!("[[switch]]\nname = \"w\"\n[[switch.port]]\nname = \"x\"\n{port}");
    let form = "expected \"switch:port\", like \"vale1:x\"";
    pair("x", "", (6, 8), "\"x\" is not a port of a switch", form);
    let exist = "expected \"switch:port\" of a patch port in this file";
    pair("w:x", "", (6, 8), "there is no port \"w:x\"", exist);
    pair("v:a", "", (6, 8), "\"v:a\" is in the same switch", "a patch port joins two switches");
    let help = "make it kind = \"patch\" and give it `peer = \"v:a\"`";
    pair("w:x", &w("kind = \"null\""), (6, 8), "\"w:x\" is of kind null, not patch", help);
    // Both ends are wrong here: the other one names a port that does not exist.
    let errors = errors(&format!(
        "[[switch]]\nname = \"v\"\n[[switch.port]]\nname = \"a\"\nkind = \"patch\"\npeer = \"w:x\"\n{}",
        w("kind = \"patch\"\npeer = \"v:b\"")
    ));
    let messages: Vec<_> = errors.diagnostics.iter().map(|d| (d.line, d.message.as_str())).collect();
    let expected = [(6, "\"w:x\" is patched to \"v:b\", not to this port"), (12, "there is no port \"v:b\"")];
    assert_eq!(messages, expected);
}

#[test]
fn references() {
    let mac = "mac = \"02:00:00:00:00:01\"";
    let table_of = |port: &str| format!("[[switch.static]]\n{mac}\nport = \"{port}\"\n");
    table(
        &table_of("zz-top"),
        (11, 8),
        "there is no port \"zz-top\" in this switch",
        "expected \"a\" or \"b\"",
    );
    table(&table_of("A"), (11, 8), "there is no port \"A\" in this switch", "did you mean \"a\"?");
    let twice = "02:00:00:00:00:01 in VLAN 0 is already used";
    table(&format!("{}{}", table_of("a"), table_of("b")), (13, 7), twice, "first used on line 10");
    let own = "[[switch.mirror]]\nfrom = [\"a\", \"b\"]\nto = \"a\"";
    table(own, (11, 6), "\"a\" would mirror itself", "expected a port that is not among `from`");
    table(
        "[[switch.mirror]]\nfrom = []\nto = \"a\"",
        (10, 8),
        "`from` is empty",
        "expected at least one port",
    );
    let again = "[[switch.port]]\nname = \"a\"\nkind = \"null\"";
    table(again, (10, 8), "port name \"a\" is already used", "first used on line 4");
    let meter = "[[switch.meter]]\nname = \"m\"\nrate = 1000\n";
    table(&format!("{meter}{meter}"), (13, 8), "meter name \"m\" is already used", "first used on line 10");
}

#[test]
fn groups() {
    let group = |name: &str, last: u8, rest: &str| {
        format!("[[switch.group]]\nname = \"{name}\"\naddress = \"01:00:00:00:00:0{last}\"\n{rest}\n")
    };
    let to_a = "buckets = [{ port = \"a\" }]";
    table(&group("g", 1, "buckets = []"), (12, 11), "`buckets` is empty", "expected at least { port = … }");
    table(
        &group("g", 1, "buckets = 1"),
        (12, 11),
        "`buckets` is an integer",
        "expected an array of tables: [{ … }]",
    );
    table(
        &group("g", 1, ""),
        (9, 1),
        "[[switch.group]] needs `buckets`",
        "add `buckets = …` (array of tables)",
    );
    let key = "buckets = [{ prt = \"a\", port = \"a\" }]";
    table(&group("g", 1, key), (12, 14), "unknown key `prt`", "did you mean `port`?");
    let meter = format!("meter = \"m\"\n{to_a}");
    table(
        &group("g", 1, &meter),
        (12, 9),
        "there is no meter \"m\" in this switch",
        "this switch has no meters",
    );
    let two = format!("{}{}", group("g", 1, to_a), group("g", 2, to_a));
    table(&two, (14, 8), "group name \"g\" is already used", "first used on line 10");
    let two = format!("{}{}", group("g", 1, to_a), group("h", 1, to_a));
    table(&two, (15, 11), "01:00:00:00:00:01 from any port is already used", "first used on line 11");

    let limits = "[[switch]]\nname = \"v\"\nmax_groups = 1\nmax_buckets = 1\n[[switch.port]]\nname = \"a\"\nkind = \"null\"\n";
    let two = format!("{limits}{}{}", group("g", 1, to_a), group("h", 2, to_a));
    one(&two, (12, 1), "more than 1 groups", "remove groups, or raise `max_groups` above 1");
    let two = format!("{limits}{}", group("g", 1, "buckets = [{ port = \"a\" }, { port = \"a\" }]"));
    one(&two, (11, 11), "2 buckets, more than 1", "remove some, or raise `max_buckets` above 1");
}

/// The same for sites; the file has a switch `v` with a link `l`, and `[qc]` is on line 9.
#[track_caller]
fn sites(tables: &str, place: (usize, usize), message: &str, help: &str) {
    let link = "name = \"l\"\nkind = \"packet\"\ninterface = \"e\"\nflood = false\ncapacity = \"1Gbit/s\"";
    one(&format!("[[switch]]\nname = \"v\"\n[[switch.port]]\n{link}\n[qc]\n{tables}"), place, message, help);
}

#[test]
fn sites_and_their_links() {
    let site = "[[qc.site]]\nswitch = \"v\"\n";
    let at = |keys: &str| format!("{site}[[qc.site.link]]\n{keys}\n");
    sites("", (9, 1), "[qc] needs `site`", "add a [[qc.site]] for each switch that takes part");
    sites("[[qc.site]]\nswitch = \"w\"", (11, 10), "there is no switch \"w\" in this file", "expected \"v\"");
    let twice = format!("{site}{site}");
    let errors = errors(&format!("[[switch]]\nname = \"v\"\n[qc]\n{twice}"));
    let said: Vec<_> = errors.diagnostics.iter().map(|d| (d.line, d.message.as_str())).collect();
    assert_eq!(said, [(7, "site name \"v\" is already used"), (7, "switch \"v\" is already used")]);
    sites(&at("port = \"m\"\nto = \"b\""), (13, 8), "switch \"v\" has no port \"m\"", "expected \"l\"");
    sites(&at("port = \"l\"\nto = \"v\""), (14, 6), "site \"v\" links to itself", "expected another site");
    let two = format!("{}[[qc.site.link]]\nport = \"l\"\nto = \"c\"", at("port = \"l\"\nto = \"b\""));
    sites(&two, (16, 8), "port \"l\" is already used", "first used on line 13");
}

#[test]
fn links_are_fit_for_it() {
    let rest = "\n[qc]\n[[qc.site]]\nswitch = \"v\"\n[[qc.site.link]]\nport = \"qc-x\"\nto = \"b\"";
    let one_port = |keys: &str| {
        let all =
            errors(&format!("[[switch]]\nname = \"v\"\n[[switch.port]]\nname = \"qc-x\"\n{keys}{rest}"));
        all.diagnostics.into_iter().map(|d| d.message).collect::<Vec<_>>()
    };
    let name = "switch \"v\" of a site has a port \"qc-x\"";
    let packet = "kind = \"packet\"\ninterface = \"e\"\n";
    let (floods, limitless) =
        ("port \"qc-x\" is a link and floods", "port \"qc-x\" is a link without `capacity`");
    assert_eq!(one_port("kind = \"null\""), [name, "port \"qc-x\" of kind null leads to no other site"]);
    assert_eq!(one_port(packet), [name, floods, limitless]);
    assert_eq!(one_port(&format!("{packet}flood = false\ncapacity = \"1Mbit/s\"")), [name]);
    let port = "[[switch.port]]\nname = \"l\"\nkind = \"packet\"\ninterface = \"e\"\nflood = false\ncapacity = \"1Mbit/s\"\n";
    let text = format!(
        "[[switch]]\nname = \"v\"\nmax_groups = 1\n{port}[qc]\n{}",
        "[[qc.site]]\nswitch = \"v\"\n[[qc.site.link]]\nport = \"l\"\nto = \"b\"\n"
    );
    let said = errors(&text).diagnostics.into_iter().map(|d| d.message).collect::<Vec<_>>();
    assert_eq!(said, ["1 links take 2 groups, there is room for 1"]);
}

#[test]
fn patches_lead_where_links_say() {
    let switch = |name: &str, peer: &str| {
        format!(
            "[[switch]]\nname = {name:?}\n[[switch.port]]\nname = \"x\"\nkind = \"patch\"\npeer = {peer:?}\nflood = false\ncapacity = \"1Mbit/s\"\n"
        )
    };
    let site = |switch: &str, to: &str| {
        format!("[[qc.site]]\nswitch = {switch:?}\n[[qc.site.link]]\nport = \"x\"\nto = {to:?}\n")
    };
    let text = switch("a", "b:x") + &switch("b", "a:x") + &site("a", "b") + &site("b", "c");
    let message = "port \"x\" leads to site \"a\", not to \"c\"";
    one(&text, (25, 8), message, "write `to = \"a\"`, or give the port another `peer`");
}

#[test]
fn controllers() {
    let site = "[[qc.site]]\nswitch = \"v\"\n";
    let help = "expected \"unix:PATH\" or \"https://HOST:PORT\"";
    for place in
        ["http://h", "unix:", "https://", "https://a b", "https://h:0", "https://[::1", "https://h/x"]
    {
        let message = format!("{place:?} is no place of a controller");
        sites(&format!("controller = {place:?}\n{site}"), (10, 14), &message, help);
    }
    let message = "a controller over https needs `ca`, `key`";
    let help = "`valecast qc keygen` makes the files: name them with `ca`, `cert` and `key`";
    sites(&format!("controller = \"https://h\"\ncert = \"c\"\n{site}"), (10, 14), message, help);
    let help = "give `controller = \"https://HOST:PORT\"`, or remove this";
    sites(&format!("ca = \"c\"\n{site}"), (10, 6), "`ca` goes with a controller over https", help);
}
