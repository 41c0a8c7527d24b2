//! `cargo xtask bench wan`: brings the other programs, then runs the benchmark of files over an emulated WAN.

use crate::cmd::{self, Cmd};
use crate::packages;
use crate::report::Report;

/// The word after `bench`.
pub const WORD: &str = "wan";
const LIST: &str = "tools/xtask/wan-packages.txt";
/// The words after which nothing is to be brought.
const ONLY_TELLS: [&str; 4] = ["--list", "--help", "-h", "--no-install"];

/// Brings what is missing, builds, and measures with the user's arguments.
pub fn bench(report: &mut Report, args: &[String]) {
    if !args.iter().any(|a| ONLY_TELLS.contains(&a.as_str())) {
        packages::bring_what_can_be(LIST);
    }
    let args = args.iter().filter(|a| *a != "--no-install");
    report.step(WORD, |_| {
        // The benchmark measures the programs that lie beside it.
        let build = ["build", "--release", "--locked", "-p", "valecast", "-p", "valecast-bench"];
        Cmd::cargo(build).run().and_then(|| {
            let program = cmd::target_dir().join("release/wan");
            Cmd::new(&program.to_string_lossy(), args).env("PATH", cmd::path_with_tools()).run()
        })
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_well_formed() {
        let list = packages::parse(LIST, include_str!("../wan-packages.txt")).unwrap();
        assert!(list.iter().any(|p| p.command == "uftp"));
    }
}
