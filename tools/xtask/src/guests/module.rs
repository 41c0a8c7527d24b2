//! Building the guests' kernel module (`hypervisor-glue/guest-linux`) against Debian's headers.

use std::fs;
use std::path::{Path, PathBuf};

use super::debian::find;
use crate::cmd::{self, Cmd};
use crate::report::Outcome;

/// The module's name, without `.ko`.
pub const NAME: &str = "valecast_e1000";
const SOURCES: &str = "hypervisor-glue/guest-linux";

/// Builds it in a folder of its own, if the sources are other than last time.
pub fn build(root: &Path, into: &Path) -> Result<PathBuf, String> {
    let sources = sources()?;
    let module = into.join(format!("{NAME}.ko"));
    let headers = headers(root)?;
    let same = |(name, text): &(String, Vec<u8>)| fs::read(into.join(name)).is_ok_and(|old| old == *text);
    if module.exists() && sources.iter().all(same) {
        return Ok(module);
    }
    println!("building {NAME} against {}", headers.display());
    let say = |e: std::io::Error| format!("{}: {e}", into.display());
    let _ = fs::remove_dir_all(into);
    fs::create_dir_all(into).map_err(say)?;
    for (name, text) in &sources {
        fs::write(into.join(name), text).map_err(say)?;
    }
    // Debian's headers name the compiler of their release, which need not be this machine's.
    let make = Cmd::new("make", ["-C"]).args([&headers]).args([format!("M={}", into.display())]).args([
        "CC=cc",
        "KCFLAGS=-Werror",
        "modules",
    ]);
    match make.run() {
        Outcome::Passed if module.exists() => Ok(module),
        Outcome::Passed => Err(format!("kbuild made no {}", module.display())),
        Outcome::Failed(why) | Outcome::NotRun(why) => {
            // What is left must not pass for a build of these sources.
            let _ = fs::remove_file(&module);
            Err(format!("{NAME} does not build: {why}"))
        }
    }
}

/// The module's files that go into a build.
fn sources() -> Result<Vec<(String, Vec<u8>)>, String> {
    let folder = cmd::root().join(SOURCES);
    let say = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).map_err(say)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "Kbuild" || name.ends_with(".c") || name.ends_with(".h") {
            all.push((name, fs::read(entry.path()).map_err(say)?));
        }
    }
    all.sort_unstable();
    Ok(all)
}

/// The folder of headers of one flavour. It names others by where they would be if they were installed.
fn headers(root: &Path) -> Result<PathBuf, String> {
    let headers = find(root, "usr/src/linux-headers-*-amd64");
    let headers = headers.ok_or_else(|| format!("no kernel headers below {}", root.display()))?;
    let makefile = headers.join("Makefile");
    let text = fs::read_to_string(&makefile).map_err(|e| format!("{}: {e}", makefile.display()))?;
    let ours = format!("include {}/usr/", root.display());
    if !text.contains(&ours) {
        fs::write(&makefile, text.replace("include /usr/", &ours))
            .map_err(|e| format!("{}: {e}", makefile.display()))?;
    }
    Ok(headers)
}
