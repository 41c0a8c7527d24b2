//! The reference says what the parser does: every key is read, every default is the one that is written.

use valecast_config::{Config, SECTIONS, Section, reference};

/// The least that makes a table of a section valid, and what stands around it. `@` is where keys go.
fn frame(section: &Section) -> String {
    let ports =
        "[[switch.port]]\nname = \"a\"\nkind = \"null\"\n[[switch.port]]\nname = \"b\"\nkind = \"null\"\n";
    let switch = format!("[[switch]]\nname = \"v\"\n{ports}");
    let group = "[[switch.group]]\nname = \"g\"\naddress = \"02:00:00:00:00:01\"\n";
    let patch = "[[switch]]\nname = \"w\"\n[[switch.port]]\nname = \"x\"\nkind = \"patch\"\npeer = \"v:p\"\n";
    let linked = format!(
        "{switch}[[switch.port]]\nname = \"l\"\nkind = \"packet\"\ninterface = \"e\"\nflood = false\ncapacity = \"1Gbit/s\"\n"
    );
    match (section.header, section.kind) {
        ("the file", _) => format!("@\n{switch}"),
        ("[api]", _) => format!("[api]\n@\n{switch}"),
        ("[netmap]", _) => format!("[netmap]\n@\n{switch}"),
        ("[qc]", _) => format!("{linked}[qc]\n@\n[[qc.site]]\nswitch = \"v\"\n"),
        ("[[qc.site]]", _) => format!("{linked}[[qc.site]]\nswitch = \"v\"\n@\n"),
        ("[[qc.site.link]]", _) => {
            format!("{linked}[[qc.site]]\nswitch = \"v\"\n[[qc.site.link]]\nport = \"l\"\nto = \"o\"\n@\n")
        }
        ("[[switch]]", _) => "[[switch]]\nname = \"v\"\n@\n".to_owned(),
        ("[[switch.port]]", kind) => {
            let (needed, after) = match kind {
                Some("packet" | "xdp" | "netmap") => ("interface = \"eth0\"", ""),
                Some("vxlan") => ("remote = \"10.0.0.2\"\nvni = 7", ""),
                Some("pcap") => ("read = \"in.pcap\"", ""),
                Some("patch") => ("peer = \"w:x\"", patch),
                _ => ("", ""),
            };
            let kind = kind.unwrap_or("null");
            format!("{switch}[[switch.port]]\nname = \"p\"\nkind = \"{kind}\"\n{needed}\n@\n{after}")
        }
        ("[[switch.static]]", _) => {
            format!("{switch}[[switch.static]]\nmac = \"02:00:00:00:00:01\"\nport = \"a\"\n@\n")
        }
        ("[[switch.mirror]]", _) => format!("{switch}[[switch.mirror]]\nfrom = \"a\"\nto = \"b\"\n@\n"),
        ("[[switch.meter]]", _) => format!("{switch}[[switch.meter]]\nname = \"m\"\nrate = \"1Mbit/s\"\n@\n"),
        ("[[switch.group]]", _) => format!("{switch}{group}buckets = [{{ port = \"a\" }}]\n@\n"),
        ("faults = { loss = … }", _) => {
            format!("{switch}[[switch.port]]\nname = \"p\"\nkind = \"null\"\n[switch.port.faults]\n@\n")
        }
        _ => format!("{switch}{group}[[switch.group.buckets]]\nport = \"a\"\n@\n"),
    }
}

#[test]
fn defaults_are_what_they_are_said_to_be() {
    for section in SECTIONS {
        let frame = frame(section);
        let plain = Config::parse("plain", &frame.replace('@', "")).unwrap_or_else(|e| panic!("{e}"));
        for key in section.keys {
            if !matches!(key.default, "required" | "none") && !key.default.starts_with('(') {
                let typed = frame.replace('@', &format!("{} = {}", key.name, key.default));
                let typed = Config::parse(section.header, &typed).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(typed, plain, "{} of {}", key.name, section.header);
            }
        }
    }
}

#[test]
fn required_keys_are_required_and_every_key_is_read() {
    for section in SECTIONS {
        for key in section.keys {
            // No key takes a date. A needed key stands in the frame, where the date replaces it.
            let date = format!("{} = 1979-05-27", key.name);
            let frame = frame(section);
            let (before, after) = frame.split_once('@').unwrap();
            let start = before.rfind("\n[").map_or(0, |header| before[..header].len());
            let (outside, own) = before.split_at(start);
            let present = |line: &&str| line.starts_with(&format!("{} = ", key.name));
            let own: Vec<&str> = own.lines().filter(|line| !present(line)).collect();
            let own = own.join("\n");
            // `switch` and `site` cannot be both a date and the frame's tables.
            let after = if matches!(section.header, "the file" | "[qc]") { "" } else { after };
            let typed = format!("{outside}{own}\n{date}\n{after}");
            let errors = Config::parse("typed", &typed).unwrap_err().to_string();
            assert!(errors.contains("is a date"), "{date} in {}:\n{errors}", section.header);
            if key.default == "required" && section.header != "the file" {
                let errors = Config::parse("missing", &format!("{outside}{own}\n{after}")).unwrap_err();
                let needs = format!("needs `{}`", key.name);
                assert!(errors.to_string().contains(&needs), "{needs} in {}:\n{errors}", section.header);
            }
        }
    }
}

#[test]
fn the_page_lists_every_key() {
    let page = reference();
    for section in SECTIONS {
        for key in section.keys {
            let row = format!("| `{}` | {} | ", key.name, key.kind);
            assert!(page.contains(&row), "{row}");
            assert!(key.about.ends_with(['.', '-']), "{}: a sentence ends with a full stop", key.name);
        }
    }
    let broken: Vec<_> = page.lines().filter(|l| l.starts_with('|') && l.matches('|').count() != 5).collect();
    assert!(broken.is_empty(), "{broken:?}");
    assert!(page.contains("| `spin` | duration, up to 10s | `\"50us\"` |"));
    assert!(page.contains("## `[[switch.port]]` with `kind = \"ring\"`"));
}
