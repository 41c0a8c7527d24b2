//! `valecast qc solve` and `qc tree`, as a user calls them; and the guide's examples as written. No root needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

const VALECAST: &str = env!("CARGO_BIN_EXE_valecast");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Exit status, output and errors of `valecast qc WORDS` in the project's folder.
fn qc(words: &[&str]) -> (i32, String, String) {
    let out = Command::new(VALECAST).arg("qc").args(words).current_dir(root()).stdin(Stdio::null()).output();
    let out = out.expect("valecast runs");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (out.status.code().expect("no signal"), text(&out.stdout), text(&out.stderr))
}

fn json(words: &[&str]) -> Value {
    let (code, out, err) = qc(words);
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).expect("JSON")
}

const FIG1: [&str; 9] = [
    "solve",
    "--topology",
    "examples/fig1-topology.toml",
    "--from",
    "S",
    "--to",
    "t1,t2,t3,t4",
    "--volume",
    "12.5GB",
];

fn with<'a>(words: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [words, more].concat()
}

#[test]
fn the_paper_s_figure_1() {
    let v = json(&with(&FIG1, &["--algorithm", "paper", "--json"]));
    assert_eq!(v["volume_gbit"], 100.0);
    let receivers = |p: &Value| p["receivers"].as_array().expect("names").len();
    let partitions = v["partitions"].as_array().expect("partitions");
    assert_eq!(partitions.iter().map(receivers).collect::<Vec<_>>(), [2, 2]);
    let mean = |i: usize| v["compared"][i]["mean_s"].as_f64().expect("a time");
    assert!((mean(0) - (100.0 + 100.0 / 9.0) / 2.0).abs() < 1e-9);
    assert!((mean(1) - 100.0).abs() < 1e-9 && v["compared"][1]["algorithm"] == "single");
    assert!((v["partitions"][1]["trees"][0]["rate_gbit_s"].as_f64().expect("a rate") - 9.0).abs() < 1e-9);
    assert_eq!(v["compared"][0]["completion_s"]["t1"], 100.0);
}

#[test]
fn load_turns_trees_away_and_is_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let (net, load) = (dir.path().join("net.csv"), dir.path().join("load.csv"));
    fs::write(&net, "a,b,1\nb,d,1\na,c,1\nc,e,1\ne,d,1\n").expect("write");
    let base =
        ["solve", "--topology", net.to_str().expect("text"), "--from", "a", "--to", "d", "--volume", "1GB"];
    let links = |v: &Value| v["partitions"][0]["trees"][0]["links"].as_array().expect("links").len();
    assert_eq!(links(&json(&with(&base, &["--json"]))), 2);
    // With 10 GB to go before on the short way, the long one is better.
    fs::write(&load, "# left\na,b,10GB\n").expect("write");
    let file = load.to_str().expect("text");
    let v = json(&with(&base, &["--json", "--load", file]));
    assert_eq!(links(&v), 3);
    assert_eq!(v["compared"][0]["mean_s"], 8.0);
    // The fewest links are still two, at half their capacity.
    assert_eq!(v["compared"][2]["mean_s"], 16.0);
    fs::write(&load, "a,b,10GB\na,x,1GB\n").expect("write");
    let (code, _, err) = qc(&with(&base, &["--load", file]));
    assert!(code == 2 && err.contains("load.csv:2:3") && err.contains("no node \"x\""), "{err}");
}

#[test]
fn the_plot_is_svg_with_every_receiver() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("tree.svg");
    let path = file.to_str().expect("text");
    for network in ["geant", "random50"] {
        let (from, to) = if network == "geant" { ("NL", "DE,IT,CY") } else { ("0", "7,21,33") };
        let words =
            ["solve", "--topology", network, "--from", from, "--to", to, "--volume", "1GB", "--plot", path];
        let (code, _, err) = qc(&words);
        assert_eq!(code, 0, "{err}");
        let svg = fs::read_to_string(&file).expect("a picture");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{network}");
        for name in to.split(',').chain([from]) {
            assert!(svg.contains(&format!(">{name}</text>")), "{network}: {name}");
        }
    }
}

#[test]
fn mistakes_are_named() {
    let geant = ["solve", "--topology", "geant", "--from", "NL", "--to"];
    for (words, code, part) in [
        (with(&geant, &["DE,NL", "--volume", "1GB"]), 1, "NL is the sender and a receiver"),
        (with(&geant, &["DE,DE", "--volume", "1GB"]), 1, "DE is a receiver twice"),
        (with(&geant, &["DE", "--volume", "0"]), 1, "volume is 0"),
        (with(&geant, &["DE", "--volume", "NaN"]), 2, "--volume: `NaN` does not start with a number"),
        (with(&geant, &["DE", "--volume", "99999999TB"]), 2, "does not fit"),
        (with(&geant, &["DEE", "--volume", "1GB"]), 2, "no site \"DEE\": its sites are NL, BE"),
        (with(&geant, &["DE", "--volume", "1GB", "--algorithm", "papr"]), 2, "use best, fastest, paper"),
        (with(&geant, &["DE", "--volume", "1GB", "--algorithm", "paper,rates=x"]), 2, "rate policy \"x\""),
        (
            vec!["solve", "--topology", "nowhere", "--from", "a", "--to", "b", "--volume", "1"],
            2,
            "built-in network",
        ),
        (vec!["tree", "nowhere.stp"], 2, "nowhere.stp"),
    ] {
        let (got, _, err) = qc(&words);
        assert!(got == code && err.contains(part), "{words:?}: {got}, {err}");
    }
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("net.toml");
    let text = "[[node]]\nname = \"a\"\n[[node]]\nname = \"b\"\n[[link]]\na = \"a\"\nb = \"c\"\n";
    fs::write(&file, text).expect("write");
    let path = file.to_str().expect("text");
    let (code, _, err) = qc(&["solve", "--topology", path, "--from", "a", "--to", "b", "--volume", "1GB"]);
    assert_eq!(code, 2);
    for part in ["net.toml:7:5", "no node \"c\"", "net.toml:6:5", "has no capacity", "2 mistakes"] {
        assert!(err.contains(part), "{part} is missing: {err}");
    }
    // A capacity for links without, and a receiver that no path leads to.
    fs::write(&file, text.replace("\"c\"", "\"b\"\ndirected = true")).expect("write");
    let words =
        ["solve", "--topology", path, "--from", "b", "--to", "a", "--volume", "1GB", "--capacity", "1Gbit/s"];
    let (code, _, err) = qc(&words);
    assert!(code == 1 && err.contains("no path leads from b to a"), "{err}");
}

#[test]
fn trees_agree_with_the_published_program() {
    let v = json(&[
        "tree",
        "qc-dataplane/data/steiner/gflac-golden.tsv.gz",
        "--algorithm",
        "gflac",
        "--check",
        "--json",
    ]);
    assert_eq!(
        (&v["instances"], &v["equal_tree"], &v["equal_cost"]),
        (&1114.into(), &1114.into(), &1114.into())
    );
    assert!(v["optimal"].as_u64() > Some(500) && v["mean_gap"].as_f64() < Some(0.03), "{v}");
    assert!(v["max_gap"].is_f64() && v["micros_per_instance"].is_f64(), "{v}");
    let b01 = "qc-dataplane/data/steiner/steinlib-b/b01.stp";
    let optima = "qc-dataplane/data/steiner/steinlib-b/optima.txt";
    let v = json(&["tree", b01, "--algorithm", "exact", "--check", "--json", "--optima", optima]);
    assert_eq!((&v["instances"], &v["optimal"]), (&1.into(), &1.into()), "{v}");
    let v = json(&["tree", b01, "--algorithm", "exact", "--json"]);
    assert_eq!((&v[0]["name"], &v[0]["cost"], &v[0]["root"]), (&"B01".into(), &82.0.into(), &"48".into()));
    let (code, out, _) = qc(&["tree", b01, "--algorithm", "tm"]);
    assert!(code == 0 && out.starts_with("B01\t") && out.contains("48>"), "{out}");
}

/// Every command of the guide works, and prints what the guide shows where it shows it.
#[test]
fn the_guide_is_as_written() {
    let page = fs::read_to_string(root().join("docs/guide/quickcast-plan.md")).expect("the guide");
    let mut fences = page.split("```").skip(1).step_by(2).peekable();
    let (mut commands, mut shown) = (0, 0);
    while let Some(fence) = fences.next() {
        let Some(lines) = fence.strip_prefix("sh\n") else { continue };
        for line in lines.lines() {
            let words: Vec<&str> = line.strip_prefix("valecast qc ").expect("a command").split(' ').collect();
            let (code, out, err) = qc(&words);
            assert_eq!(code, 0, "{line}: {err}");
            commands += 1;
            if let Some(text) = fences.peek().and_then(|f| f.strip_prefix("text\n")) {
                assert_eq!(out, text, "{line}");
                shown += 1;
            }
        }
    }
    assert!(commands >= 7 && shown == 2, "{commands} commands, {shown} outputs");
}
