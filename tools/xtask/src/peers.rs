//! `cargo xtask bench peers`: brings the other switches, then runs the benchmark that measures them.

use std::fs;
use std::path::Path;

use crate::cmd::{self, Cmd};
use crate::packages;
use crate::report::{Outcome, Report};

/// The word after `bench`.
pub const WORD: &str = "peers";
const LIST: &str = "tools/xtask/peers-packages.txt";
/// The newest DPDK and Open vSwitch are this Debian's. They are run from a folder and never installed.
const SUITE: &str = "trixie";
/// Both programs that are wanted of it; the drivers are packages that they depend on or recommend.
const PACKAGES: &str = "dpdk-dev,openvswitch-switch-dpdk";
const PROGRAMS: [&str; 2] = ["usr/bin/dpdk-testpmd", "usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"];
/// The words after which the benchmark starts no switch, so that none is to be brought.
const ONLY_TELLS: [&str; 4] = ["--list", "--help", "-h", "--no-install"];

/// Brings what is missing, builds, and measures with the user's arguments.
pub fn bench(report: &mut Report, args: &[String]) {
    if !args.iter().any(|a| ONLY_TELLS.contains(&a.as_str())) {
        // A switch that cannot be had is left out; the benchmark says so in its tables, loudly.
        packages::bring_what_can_be(LIST);
        if let Err(why) = bring_newest() {
            println!("**** without the newest DPDK and Open vSwitch: {why}");
        }
    }
    let args = args.iter().filter(|a| *a != "--no-install");
    report.step("peers", |_| {
        // The benchmark measures the daemon that lies beside it.
        let build = ["build", "--release", "--locked", "-p", "valecast", "-p", "valecast-bench"];
        Cmd::cargo(build).run().and_then(|| {
            // Not by `cargo run`: that would build once more, with the features of this one package.
            let program = cmd::target_dir().join("release/peers");
            Cmd::new(&program.to_string_lossy(), ["--trixie".as_ref(), folder().as_os_str()]).args(args).run()
        })
    });
}

fn folder() -> std::path::PathBuf {
    cmd::target_dir().join("peers").join(SUITE)
}

fn complete(root: &Path) -> bool {
    PROGRAMS.iter().all(|p| root.join(p).exists())
}

/// A small Debian with the newest switches in a folder, made once.
fn bring_newest() -> Result<(), String> {
    let there = folder();
    if complete(&there) {
        return Ok(());
    }
    if !cmd::is_root() {
        return Err(format!("root's rights are needed to make {}", there.display()));
    }
    if !cmd::on_path("debootstrap") {
        return Err("debootstrap is missing".to_owned());
    }
    // Made beside its place and moved there when it is whole: what was interrupted is not taken for it.
    let part = there.with_extension("part");
    remove(&part)?;
    remove(&there)?;
    fs::create_dir_all(&part).map_err(|e| format!("{}: {e}", part.display()))?;
    println!("will make a Debian {SUITE} in {} (about 1 GB, some minutes)", there.display());
    let include = format!("--include={PACKAGES}");
    let mut make = Cmd::new("debootstrap", ["--variant=minbase", &include, SUITE]).args([&part]);
    // Otherwise debootstrap asks Debian's own servers.
    if let Some(mirror) = std::env::var_os("DEBIAN_MIRROR") {
        make = make.args([mirror]);
    }
    match make.env("PATH", cmd::path_with_tools()).run() {
        Outcome::Passed if complete(&part) => {
            fs::rename(&part, &there).map_err(|e| format!("{}: {e}", there.display()))
        }
        Outcome::Passed => Err(format!("debootstrap brought no {}", PROGRAMS.join(" or no "))),
        Outcome::Failed(why) | Outcome::NotRun(why) => Err(format!("debootstrap: {why}")),
    }
}

/// Removes a folder, unless something is mounted in it: an interrupted debootstrap leaves /proc there, and what is
/// mounted is not ours to remove.
fn remove(folder: &Path) -> Result<(), String> {
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(|e| format!("/proc/self/mounts: {e}"))?;
    if let Some(mount) = mounted_below(&mounts, folder) {
        return Err(format!("{mount} is mounted, left by an interrupted run: unmount it"));
    }
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {e}", folder.display())),
        _ => Ok(()),
    }
}

fn mounted_below<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    mounts.lines().filter_map(|l| l.split(' ').nth(1)).find(|m| Path::new(m).starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_in_a_folder_are_seen() {
        let mounts = "proc /proc proc rw 0 0\nproc /a/target/peers/trixie.part/proc proc rw 0 0\n";
        let below = mounted_below(mounts, Path::new("/a/target/peers/trixie.part"));
        assert_eq!(below, Some("/a/target/peers/trixie.part/proc"));
        assert_eq!(mounted_below(mounts, Path::new("/a/target/peers/trixie")), None);
    }

    #[test]
    fn the_list_is_well_formed() {
        let list = packages::parse(LIST, include_str!("../peers-packages.txt")).unwrap();
        assert!(list.iter().any(|p| p.command == "debootstrap"));
    }
}
