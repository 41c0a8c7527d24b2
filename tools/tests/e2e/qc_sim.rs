//! `valecast qc sim` as a user runs it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn sim(dir: &Path, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_valecast"));
    command.current_dir(dir).args(["qc", "sim"]).args(words.split(' ')).output().expect("valecast starts")
}

fn ok(dir: &Path, words: &str) -> String {
    let out = sim(dir, words);
    assert!(out.status.success(), "{words}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("UTF-8")
}

/// A figure without running times, which differ from run to run.
fn figures(json: &str) -> Vec<Value> {
    let mut what: Value = serde_json::from_str(json).expect("JSON");
    let algorithms = what["algorithms"].as_array_mut().expect("a list");
    for a in algorithms.iter_mut() {
        let a = a.as_object_mut().expect("an object");
        ["planning_us", "planning_max_us", "rates_us"].iter().for_each(|k| assert!(a.remove(*k).is_some()));
    }
    algorithms.clone()
}

#[test]
fn a_seed_gives_the_same_figures_again() {
    let dir = tempfile::tempdir().unwrap();
    let words = "--topology ans --traffic hadoop --lambda 0.5 --transfers 30 --seeds 3 --receivers 4 \
                 --algorithm paper,best,single,rates=srpt --json --csv runs.csv";
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let first = figures(&ok(dir.path(), &words));
    assert_eq!(first, figures(&ok(dir.path(), &words)));
    let names: Vec<_> = first.iter().map(|a| a["algorithm"].as_str().unwrap()).collect();
    assert_eq!(names, ["paper", "best", "single,rates=srpt"]);
    assert_eq!(first[0]["rates"], "fair");
    assert_eq!(first[0]["rank_speedup"].as_array().unwrap().len(), 4);
    assert!(first.iter().all(|a| a["mean"]["mean"].as_f64().unwrap() >= 1.0));
    assert!(first[2]["trees"]["mean"].as_f64().unwrap() == 1.0);
    // A header, and three algorithms for each of three seeds.
    let csv = std::fs::read_to_string(dir.path().join("runs.csv")).unwrap();
    assert_eq!(csv.lines().count(), 10);
    assert!(
        csv.starts_with("seed,algorithm,mean,median,") && csv.contains("\n2,\"single,rates=srpt\","),
        "{csv}"
    );
}

#[test]
fn takes_own_transfers() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("t.csv"), "arrival,from,to,volume\n0,0,1,2\n").unwrap();
    let out = ok(dir.path(), "--topology gscale --traffic t.csv --algorithm single --json");
    let out = figures(&out);
    // Two full slots of an equal link.
    assert_eq!(out[0]["mean"]["mean"], 2.0);
    assert_eq!(out[0]["mean"]["half"], Value::Null);
}

#[test]
fn reruns_an_experiment() {
    let dir = tempfile::tempdir().unwrap();
    let said = ok(dir.path(), "--experiment fig1 --out r");
    assert!(said.contains("C0 reproduced"), "{said}");
    let said = ok(dir.path(), "--experiment infocom-fig4 --out r --json");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said[0]["claims"][0]["verdict"], "reproduced");
    ok(dir.path(), "--experiment fig5 --quick --seeds 2 --transfers 20 --out r");
    let page = std::fs::read_to_string(dir.path().join("r/quickcast-fig5.md")).unwrap();
    for file in ["img/quickcast/fig5.svg", "img/quickcast/fig5.csv"] {
        assert!(page.contains(file) && dir.path().join("r").join(file).is_file(), "{file}");
    }
}

#[test]
fn says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("t.csv"), "0,0,1,2\n1,0,zz,2\n").unwrap();
    for (words, want) in [
        ("--topology gscale --traffic nope --lambda 1", "traffic \"nope\" is none of exponential"),
        ("--topology gscale --traffic hadoop", "--lambda is missing"),
        ("--topology gscale --traffic hadoop --lambda 0", "lambda is 0, must be above 0"),
        (
            "--topology gscale --traffic hadoop --lambda 1 --receivers 12",
            "but only 11 nodes besides the sender",
        ),
        ("--topology gscale --traffic hadoop --lambda 1 --mean=-3", "--mean: mean volume is -3"),
        ("--topology gscale --traffic hadoop --lambda 1 --algorithm nope", "no algorithm \"nope\""),
        (
            "--topology gscale --traffic hadoop --lambda 1 --algorithm paper,rates=x",
            "rate policy \"x\" is none of",
        ),
        ("--topology gscale --traffic hadoop --lambda 1 --delta 0", "a slot of 0"),
        ("--topology gscale --traffic t.csv", "t.csv: line 2: the topology has no node \"zz\""),
        ("--topology gscale --traffic none.csv", "none.csv: No such file"),
        ("--topology gscale --traffic t.csv --lambda 1", "--lambda is for generated traffic"),
        ("--topology nowhere --traffic hadoop --lambda 1", "nowhere"),
        ("--experiment fig3 --topology ans", "cannot be used with"),
    ] {
        let out = sim(dir.path(), words);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && said.contains(want), "{words}: {said}");
        assert!(!said.contains("panicked"), "{words}: {said}");
    }
}

/// The guide's commands, as written.
#[test]
fn the_guide_runs() {
    let dir = tempfile::tempdir().unwrap();
    let guide = include_str!("../../../docs/guide/quickcast-simulate.md");
    let blocks: Vec<&str> = guide.split("```sh\n").skip(1).filter_map(|b| b.split("```").next()).collect();
    assert!(blocks.len() >= 5);
    let bin = Path::new(env!("CARGO_BIN_EXE_valecast")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    for block in blocks {
        let out =
            Command::new("sh").args(["-e", "-c", block]).current_dir(dir.path()).env("PATH", &path).output();
        let out = out.unwrap();
        assert!(out.status.success(), "{block}\n{}", String::from_utf8_lossy(&out.stderr));
        assert!(!out.stdout.is_empty(), "{block}");
    }
    assert!(dir.path().join("results/quickcast-fig5.md").is_file() && dir.path().join("runs.csv").is_file());
}
