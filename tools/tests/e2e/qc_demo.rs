//! `valecast qc demo`: sites, trees, a controller and endpoints in one process, as anybody can run them.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

const BYTES: u64 = 2_000_000;

fn demo(words: &[&str]) -> Value {
    let valecast = env!("CARGO_BIN_EXE_valecast");
    let out = Command::new(valecast).args(["qc", "demo"]).args(words).output().expect("it runs");
    let (said, why) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{words:?}: {said}{why}");
    serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"))
}

/// Bytes by link.
fn carried(result: &Value) -> BTreeMap<(&str, &str), u64> {
    let text = |l: &Value, key: &str| l[key].as_str().expect("a name").len();
    let links = result["links"].as_array().expect("links").iter();
    links
        .map(|l| {
            assert!(text(l, "from") > 0 && text(l, "to") > 0, "{l}");
            let ends = (l["from"].as_str().unwrap_or_default(), l["to"].as_str().unwrap_or_default());
            (ends, l["bytes"].as_u64().expect("bytes"))
        })
        .collect()
}

/// Each scheme brings the file to all, and the bytes on the links are those of its trees.
#[test]
fn fig1_by_each_scheme() {
    let down = [("S", "a"), ("a", "b"), ("a", "c"), ("b", "t1"), ("b", "t2"), ("c", "t3"), ("c", "t4")];
    for (scheme, copies) in [("single", [1; 7]), ("unicast", [4, 2, 2, 1, 1, 1, 1]), ("quickcast2", [1; 7])] {
        let volume = BYTES.to_string();
        let words = ["fig1", "--json", "--scheme", scheme, "--volume", &volume, "--rate", "100Mbit/s"];
        let result = demo(&words);
        assert_eq!(result["scheme"], scheme);
        let receivers = result["receivers"].as_array().unwrap();
        let names: Vec<_> = receivers.iter().map(|r| r["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["t1", "t2", "t3", "t4"]);
        for r in receivers {
            assert_eq!(r["verified"], true, "{r}");
            assert!(r["seconds"].as_f64().unwrap() > 0.0, "{r}");
        }
        let links = carried(&result);
        for (link, n) in down.iter().zip(copies) {
            assert!(links[link] >= n * BYTES, "{scheme}: {link:?} carried {}", links[link]);
        }
        let sum: u64 = links.values().sum();
        assert_eq!(result["bytes_on_links"].as_u64().unwrap(), sum);
        assert!(result["mean_seconds"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for words in
        [&["fig1", "--to", "nobody"][..], &["fig1", "--scheme", "none"], &["fig1", "--to", "S"], &["nowhere"]]
    {
        let out =
            Command::new(env!("CARGO_BIN_EXE_valecast")).args(["qc", "demo"]).args(words).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
}
