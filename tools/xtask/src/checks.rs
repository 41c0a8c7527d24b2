//! Steps that are more than one call of cargo.

use std::env;
use std::fs;
use std::path::PathBuf;

use crate::cmd::{self, Cmd};
use crate::report::{Outcome, Report};

/// The loom models of the ring: every interleaving of the notification protocol and the ring's ledger.
pub fn loom() -> Outcome {
    let target = cmd::target_dir().join("loom");
    // Without a bound the models of two wakers run for hours; loom's authors advise 2 or 3. The user's own
    // bound wins.
    let bound = env::var("LOOM_MAX_PREEMPTIONS").unwrap_or_else(|_| "3".to_owned());
    let test = || {
        Cmd::cargo(["test", "--release", "--locked", "-p", "valecast-ring", "--lib", "--target-dir"])
            .args([&target])
            .args(["loom", "--"])
            .env_add("RUSTFLAGS", "--cfg loom")
            .env("LOOM_MAX_PREEMPTIONS", &bound)
    };
    // A filter that matches nothing passes; a model that is not run must not.
    println!("$ (build the models, in a target folder of their own)");
    match test().args(["--list"]).output() {
        Err(wrong) => Outcome::Failed(wrong),
        Ok(list) if !String::from_utf8_lossy(&list.stdout).contains(": test") => {
            Outcome::Failed("no test of valecast-ring has `loom` in its name".to_owned())
        }
        Ok(_) => test().run(),
    }
}

/// The ring's unit tests under Miri.
pub fn miri() -> Outcome {
    let test = ["miri", "test", "--locked", "-p", "valecast-ring", "--lib"];
    // The tests make rings on the heap under Miri; isolation would forbid them the clock.
    let flags = ("MIRIFLAGS", "-Zmiri-disable-isolation");
    if Cmd::cargo(["miri", "--version"]).works() {
        Cmd::cargo(test).env_add(flags.0, flags.1).run()
    } else if Cmd::cargo(["+nightly", "miri", "--version"]).works() {
        Cmd::cargo(["+nightly"]).args(test).env_add(flags.0, flags.1).run()
    } else {
        Outcome::NotRun(
            "needs nightly with miri (rustup component add --toolchain nightly miri rust-src)".into(),
        )
    }
}

/// QuickCast's micro-benchmarks: what `bench/benches` has under that name, with the user's arguments for criterion.
pub fn bench_qc(report: &mut Report, args: &[String]) {
    report.step("qc", |_| {
        let benches = ["bench", "--locked", "-p", "valecast-bench", "--bench", "quickcast*", "--"];
        Cmd::cargo(benches).args(args).run()
    });
}

/// VM ports with bare guests under KVM: the program builds beside the daemon that it measures.
pub fn bench_vm(report: &mut Report, args: &[String]) {
    report.step("vm", |_| {
        let build = ["build", "--release", "--locked", "-p", "valecast", "-p", "valecast-bench"];
        Cmd::cargo(build).run().and_then(|| {
            let program = cmd::target_dir().join("release/vm");
            Cmd::new(&program.to_string_lossy(), args).run()
        })
    });
    // A part of the bare guests, or a word about them.
    let part = ["--only", "--json", "--help", "-h"];
    if args.iter().any(|a| part.contains(&a.split('=').next().unwrap_or_default())) {
        return;
    }
    report.step("vm, Linux guests", |_| {
        if !crate::guests::folder().join("initrd").exists() {
            return Outcome::NotRun("needs guests (`cargo xtask guests` makes them)".into());
        }
        Cmd::cargo(["bench", "--locked", "-p", "valecast", "--bench", "vm_linux"]).run()
    });
}

/// The micro-benchmarks, then the end-to-end benchmark with the user's arguments.
pub fn bench(report: &mut Report, args: &[String]) {
    report.step("micro", |_| Cmd::cargo(["bench", "--locked", "-p", "valecast-bench"]).run());
    report.step("e2e", |_| {
        // The benchmark measures the daemon that lies beside it.
        Cmd::cargo(["build", "--release", "--locked", "-p", "valecast"]).run().and_then(|| {
            let e2e = ["run", "--release", "--locked", "-p", "valecast-bench", "--bin", "e2e", "--"];
            Cmd::cargo(e2e).args(args).env("PATH", cmd::path_with_tools()).run()
        })
    });
}

/// Every fuzz target of every `fuzz` folder, `seconds` each.
pub fn fuzz(seconds: u32, only: &[String]) -> Outcome {
    if !Cmd::cargo(["+nightly", "fuzz", "--version"]).works() {
        return Outcome::NotRun("needs cargo-fuzz and a nightly toolchain (cargo install cargo-fuzz)".into());
    }
    let folders: Vec<PathBuf> =
        ["config", "switch", "switch/ring", "hypervisor-glue", "qc-dataplane", "tools"]
            .iter()
            .map(|parent| cmd::root().join(parent).join("fuzz"))
            .filter(|folder| folder.join("Cargo.toml").exists())
            .collect();
    let (mut ran, mut failed) = (0, Vec::new());
    for folder in &folders {
        let list = match Cmd::cargo(["+nightly", "fuzz", "list", "--fuzz-dir"]).args([folder]).output() {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(wrong) => return Outcome::Failed(wrong),
        };
        let wanted = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part.as_str()));
        for name in list.lines().map(str::trim).filter(|name| wanted(name)) {
            ran += 1;
            let run = Cmd::cargo(["+nightly", "fuzz", "run", "--fuzz-dir"]).args([folder]);
            let limit = format!("-max_total_time={seconds}");
            if let Outcome::Failed(_) = run.args([name, "--", limit.as_str()]).run() {
                failed.push(name.to_owned());
            }
        }
    }
    match (ran, failed.is_empty()) {
        (0, _) => Outcome::Failed("no fuzz target matches".into()),
        (_, true) => Outcome::Passed,
        (_, false) => Outcome::Failed(format!("found something: {}", failed.join(", "))),
    }
}

/// The end-to-end tests, as root where that can be had. Tests that cannot run here tell so in a file, and are
/// listed; `complete` says whether every command they use is there.
pub fn e2e(report: &mut Report, test_args: &[String], complete: bool) -> Outcome {
    let log = cmd::target_dir().join("e2e-not-run.txt");
    if let Err(error) = fs::create_dir_all(cmd::target_dir()).and_then(|()| fs::write(&log, "")) {
        return Outcome::Failed(format!("{}: {error}", log.display()));
    }
    let rights = Rights::probe();
    let mut test =
        Cmd::cargo(["test", "--release", "--locked", "-p", "valecast", "--no-fail-fast", "--test", "*"])
            .args(["--", "--test-threads=1"])
            .args(test_args)
            .env("PATH", cmd::path_with_tools())
            .env("VALECAST_SKIP_LOG", &log);
    let may_skip = !complete || matches!(rights, Rights::None);
    if may_skip {
        test = test.env("VALECAST_ALLOW_SKIP", "1");
    }
    match rights {
        Rights::Own => {}
        Rights::Sudo => {
            // Cargo builds as the user and only starts the test programs through sudo.
            let mut runner = format!(
                "sudo -n env PATH={} VALECAST_SKIP_LOG={}",
                cmd::path_with_tools().to_string_lossy(),
                log.display()
            );
            if may_skip {
                runner.push_str(" VALECAST_ALLOW_SKIP=1");
            }
            test = test.env(&format!("CARGO_TARGET_{}_RUNNER", host_triple()), runner);
        }
        Rights::None => {
            println!("**** neither root's rights (to make a network namespace) nor passwordless sudo:");
            println!("**** the end-to-end tests that need them WILL NOT RUN");
        }
    }
    let outcome = test.run();
    for line in fs::read_to_string(&log).unwrap_or_default().lines() {
        let (name, why) = line.split_once('\t').unwrap_or((line, "skipped"));
        report.not_run(&format!("e2e {name}"), why);
    }
    outcome
}

/// How we can get the rights to make a network namespace.
enum Rights {
    Own,
    Sudo,
    None,
}

impl Rights {
    fn probe() -> Self {
        let name = format!("vc-probe-{}", std::process::id());
        let netns = |prefix: &[&str], verb: &str| {
            let words = prefix.iter().copied().chain(["env", "ip", "netns", verb, &name]).collect::<Vec<_>>();
            Cmd::new(words[0], &words[1..]).env("PATH", cmd::path_with_tools()).works()
        };
        if netns(&[], "add") {
            netns(&[], "del");
            Rights::Own
        } else if netns(&["sudo", "-n"], "add") {
            netns(&["sudo", "-n"], "del");
            Rights::Sudo
        } else {
            Rights::None
        }
    }
}

/// The host's target triple as cargo spells it in a variable's name.
fn host_triple() -> String {
    let about = Cmd::new("rustc", ["-vV"]).output().map(|o| o.stdout).unwrap_or_default();
    let about = String::from_utf8_lossy(&about).into_owned();
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or(env::consts::ARCH);
    host.to_uppercase().replace('-', "_")
}
