//! The page for Prometheus, held to the rules of its two formats.

use std::collections::{BTreeMap, BTreeSet};

use tempfile::TempDir;
use valecast_config::Config;

use super::{Format, page, registry};
use crate::daemon::Daemon;

/// One sample: name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `{a="x",b="y"}` -> the labels and what follows.
fn labels(text: &str) -> (BTreeMap<String, String>, &str) {
    let Some(mut rest) = text.strip_prefix('{') else { return (BTreeMap::new(), text) };
    let mut labels = BTreeMap::new();
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label");
        assert!(is_name(name), "label {name:?}");
        let (mut value, mut chars) = (String::new(), after.char_indices());
        let end = loop {
            match chars.next().expect("a closing quote") {
                (i, '"') => break i + 1,
                (_, '\\') => value.push(chars.next().expect("an escaped character").1),
                (_, c) => value.push(c),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "label {name} twice");
        rest = &after[end..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return (labels, rest.strip_prefix('}').expect("a closing brace")),
        }
    }
}

/// Reads a page strictly: HELP, then TYPE, then the family's samples, each family and series once.
fn read(page: &str, format: Format) -> Vec<Sample> {
    assert!(page.ends_with('\n'));
    let (mut samples, mut series, mut families) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let (mut family, mut kind, mut ended) = (String::new(), String::new(), false);
    for line in page.lines() {
        assert!(!ended, "a line after the end: {line}");
        if line == "# EOF" {
            ended = true;
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("help");
            assert!(is_name(name) && !help.is_empty() && families.insert(name.to_owned()), "{line}");
            (family, kind) = (name.to_owned(), String::new());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, word) = rest.split_once(' ').expect("a type");
            assert!(name == family && kind.is_empty() && ["counter", "gauge"].contains(&word), "{line}");
            kind = word.to_owned();
        } else {
            let at = line.find(['{', ' ']).expect("a value");
            let (labels, value) = labels(&line[at..]);
            let value: f64 = value.strip_prefix(' ').expect("a space").parse().expect("a number");
            let suffix = if format == Format::OpenMetrics && kind == "counter" { "_total" } else { "" };
            assert_eq!(line[..at], format!("{family}{suffix}"), "{line}");
            assert!(kind != "counter" || line[..at].ends_with("_total"), "{line}");
            assert!(series.insert(line[..line.rfind(' ').expect("a space")].to_owned()), "twice: {line}");
            samples.push((line[..at].to_owned(), labels, value));
        }
    }
    assert_eq!(ended, format == Format::OpenMetrics);
    samples
}

#[test]
fn the_page_is_well_formed_and_complete() {
    let dir = TempDir::new().unwrap();
    let text = format!(
        "run_dir = {:?}\n[[switch]]\nname = \"vale0\"\n[[switch.port]]\nname = \"a\"\nkind = \"ring\"\n\
         [[switch.port]]\nname = \"b\"\nkind = \"null\"\n[[switch.group]]\nname = \"g\"\n\
         address = \"01:00:5e:00:00:01\"\nbuckets = [{{ port = \"b\" }}]\n[[switch]]\nname = \"vale1\"\n",
        dir.path()
    );
    let daemon = Daemon::start(Config::parse("t", &text).unwrap(), None).unwrap();
    let registry = registry(daemon.clone());
    let text = read(&page(&registry, Format::Text).unwrap(), Format::Text);
    let open = read(&page(&registry, Format::OpenMetrics).unwrap(), Format::OpenMetrics);
    let names = |s: &[Sample]| s.iter().map(|(n, l, _)| (n.clone(), l.clone())).collect::<BTreeSet<_>>();
    assert_eq!(names(&text), names(&open));
    let find = |name: &str, want: &[(&str, &str)]| {
        let hit = text
            .iter()
            .find(|(n, l, _)| n == name && want.iter().all(|(k, v)| l.get(*k).is_some_and(|have| have == v)));
        hit.unwrap_or_else(|| panic!("no {name} {want:?}")).2
    };
    let b = [("switch", "vale0"), ("port", "b"), ("kind", "null")];
    assert_eq!(find("valecast_port_in_frames_total", &b), 0.0);
    assert_eq!(find("valecast_ring_out_bytes_total", &[("port", "b"), ("ring", "0")]), 0.0);
    assert_eq!(find("valecast_port_up", &b), 1.0);
    assert_eq!(find("valecast_port_up", &[("port", "a")]), 0.0);
    assert_eq!(find("valecast_port_in_drops_total", &[("port", "a"), ("cause", "bad_slot")]), 0.0);
    assert_eq!(find("valecast_port_out_drops_total", &[("port", "a"), ("cause", "ring_full")]), 0.0);
    assert_eq!(find("valecast_fdb_entries", &[("switch", "vale1")]), 0.0);
    assert_eq!(find("valecast_group_frames_total", &[("switch", "vale0"), ("group", "g")]), 0.0);
    daemon.stop();
}

#[test]
fn scrapers_get_what_they_accept() {
    assert_eq!(Format::accepted_by([].into_iter()), Format::Text);
    assert_eq!(Format::accepted_by(["text/plain"].into_iter()), Format::Text);
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
    assert_eq!(Format::accepted_by([prometheus].into_iter()), Format::OpenMetrics);
}
