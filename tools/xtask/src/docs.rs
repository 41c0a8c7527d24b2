//! Pages under docs/ that are generated from the code they describe, and checked in.

use std::fs;

use crate::cmd;
use crate::report::Outcome;

/// Each generated page: its path, and what it must say.
fn pages() -> Vec<(&'static str, String)> {
    vec![("docs/config.md", valecast_config::reference())]
}

/// Writes the pages, or only checks that they are up to date.
pub fn run(check: bool) -> Outcome {
    let mut complaints = Vec::new();
    for (path, want) in pages() {
        let file = cmd::root().join(path);
        let have = fs::read_to_string(&file).unwrap_or_default();
        if have == want {
            println!("{path} is up to date");
        } else if check {
            let line = have.lines().zip(want.lines()).take_while(|(a, b)| a == b).count() + 1;
            complaints.push(format!("{path}:{line}: out of date; run `cargo xtask docs` and check it in"));
        } else if let Err(error) = fs::write(&file, want) {
            complaints.push(format!("{path}: {error}"));
        } else {
            println!("wrote {path}");
        }
    }
    crate::outcome(&complaints)
}
