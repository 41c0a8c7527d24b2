//! Compiles the payload: two calls of the compiler, since a crate without `std` cannot be a cargo dependency of one
//! that has it (they differ in how they panic).

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    if let Err(why) = build() {
        println!("cargo::error={why}");
    }
}

fn build() -> Result<(), String> {
    let var = |name: &str| env::var(name).map_err(|e| format!("{name}: {e}"));
    let here = PathBuf::from(var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(var("OUT_DIR")?);
    let guest = here.join("../guest/src");
    for p in [&here.join("payload"), &guest] {
        println!("cargo::rerun-if-changed={}", p.display());
    }
    let payload = out.join("payload");
    if var("CARGO_CFG_TARGET_ARCH")? != "x86_64" {
        return std::fs::write(&payload, []).map_err(|e| format!("{}: {e}", payload.display()));
    }
    let rustc = var("RUSTC")?;
    let library = out.join("libvalecast_guest.rlib");
    run(common(&rustc)
        .args(["--crate-name=valecast_guest", "--crate-type=rlib", "-o"])
        .arg(&library)
        .arg(guest.join("lib.rs")))?;
    let script = here.join("payload/link.ld");
    let mut link = common(&rustc);
    link.args(["--crate-name=payload", "--crate-type=bin", "-Clto=fat"]);
    link.arg("--extern").arg(extern_path(&library)).arg("-o").arg(&payload);
    for a in ["-nostartfiles", "-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,-z,max-page-size=4096"] {
        link.arg(format!("-Clink-arg={a}"));
    }
    link.arg(format!("-Clink-arg=-Wl,-T,{}", script.display()));
    run(link.arg(here.join("payload/main.rs")))
}

fn common(rustc: &str) -> Command {
    let mut c = Command::new(rustc);
    c.args(["--edition=2024", "-Copt-level=3", "-Cpanic=abort", "-Ccodegen-units=1"]);
    // The processors that it meets may have nothing beyond the baseline, and no unwinder.
    c.args(["-Crelocation-model=static", "-Ctarget-cpu=x86-64", "-Cforce-unwind-tables=no"]);
    c.args(["-Dwarnings"]);
    c
}

fn extern_path(library: &Path) -> String {
    format!("valecast_guest={}", library.display())
}

fn run(c: &mut Command) -> Result<(), String> {
    let out = c.output().map_err(|e| format!("{}: {e}", c.get_program().to_string_lossy()))?;
    let said = String::from_utf8_lossy(&out.stderr);
    if out.status.success() {
        return Ok(());
    }
    Err(format!("the payload does not compile: {}", said.replace('\n', " | ")))
}
