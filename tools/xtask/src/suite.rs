//! The steps of `cargo xtask test`, in the order that finds cheap faults first.

use crate::checks;
use crate::cmd::Cmd;
use crate::report::{Outcome, Report};
use crate::{TestArgs, counts, deny, docs, guests, packages};

/// One step: its name, and what it does.
struct Step {
    name: &'static str,
    run: fn(&TestArgs, &mut Report) -> Outcome,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", run: |_, _| Cmd::cargo(["fmt", "--all", "--check"]).run() },
    Step { name: "clippy", run: |_, _| clippy() },
    Step {
        name: "build",
        run: |_, _| Cmd::cargo(["build", "--release", "--locked", "-p", "valecast"]).run(),
    },
    Step { name: "unit", run: |args, _| unit(&args.test_args) },
    Step { name: "loom", run: |_, _| checks::loom() },
    Step { name: "miri", run: |_, _| checks::miri() },
    Step {
        name: "e2e",
        run: |args, report| {
            let complete = packages::bring(args.no_install, report);
            let complete = guests::for_tests(args.no_install, report) && complete;
            checks::e2e(report, &args.test_args, complete)
        },
    },
    Step { name: "counts", run: |_, _| counts::run(false) },
    Step { name: "docs", run: |_, _| docs::run(true) },
    Step { name: "rustdoc", run: |_, _| rustdoc() },
    Step { name: "deny", run: |_, report| deny::run(report) },
];

/// Runs the steps the filter asks for; `Err` when it asks for a step that does not exist.
pub fn run(args: &TestArgs, report: &mut Report) -> Result<(), String> {
    for asked in &args.filter {
        if !STEPS.iter().any(|step| step.name.starts_with(asked.as_str())) {
            let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
            return Err(format!("no step starts with `{asked}`; the steps are {}", names.join(", ")));
        }
    }
    let asked =
        |name: &str| args.filter.is_empty() || args.filter.iter().any(|f| name.starts_with(f.as_str()));
    for step in STEPS {
        if asked(step.name) {
            report.step(step.name, |report| (step.run)(args, report));
        }
    }
    let left_out: Vec<&str> = STEPS.iter().map(|step| step.name).filter(|name| !asked(name)).collect();
    if !left_out.is_empty() {
        println!("\nnot asked for: {}", left_out.join(", "));
    }
    Ok(())
}

fn clippy() -> Outcome {
    Cmd::cargo(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]).run()
}

/// Unit, property and documentation tests of every package, by one selection: with each other one cargo chooses
/// other features of what is shared, and builds it all again. The end-to-end tests are not among them (tools/Cargo.toml).
fn unit(test_args: &[String]) -> Outcome {
    Cmd::cargo(["test", "--workspace", "--locked", "--no-fail-fast", "--"]).args(test_args).run()
}

fn rustdoc() -> Outcome {
    let args = ["doc", "--workspace", "--no-deps", "--locked"];
    Cmd::cargo(args).env_add("RUSTDOCFLAGS", "-D warnings").run()
}
