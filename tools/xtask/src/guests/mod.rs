//! `cargo xtask guests`: what the end-to-end tests with virtual machines run, under `target/guests`.
//!
//! In the order it is made: `debian` (QEMU of a newer Debian, and a kernel, tools and User-Mode Linux for guests, each
//! unpacked into a folder), `module` (our driver, built against that kernel's headers), `image` (the guests'
//! file system, packed by `cpio`), `kernel`. Each part is made only if it is not there, or was made of something else.

mod cpio;
mod debian;
mod image;
mod kernel;
mod module;

use std::fs;
use std::path::{Path, PathBuf};

use debian::Tree;

use crate::cmd;
use crate::packages::{self, Place};
use crate::report::{Outcome, Report};

/// The Debian of the guests, and the one whose QEMU plugs in devices by vfio-user.
const GUEST: &str = "bookworm";
const VMM: (&str, &str) = ("trixie", "trixie-backports");
/// The guests' file system, made last.
const INITRD: &str = "initrd";

/// Where all of it is.
pub fn folder() -> PathBuf {
    let folder = cmd::target_dir().join("guests");
    // apt, kbuild and the guests run from other folders than this one.
    std::path::absolute(&folder).unwrap_or(folder)
}

/// Makes what is missing.
pub fn run() -> Outcome {
    match bring().and_then(|root| assemble(&root)) {
        Ok(()) => {
            println!("{} is complete", folder().display());
            Outcome::Passed
        }
        Err(why) => Outcome::Failed(why),
    }
}

/// Makes what is missing for the end-to-end tests; whether all of it is there. What cannot be had here is not run;
/// what is had and does not build is a fault of ours.
pub fn for_tests(no_install: bool, report: &mut Report) -> bool {
    let fetched = match trees() {
        Ok(trees) if no_install && !trees.iter().all(Tree::is_complete) => {
            Err("missing, and --no-install was given".to_owned())
        }
        Ok(_) => bring(),
        Err(why) => Err(why),
    };
    let root = match fetched {
        Ok(root) => root,
        Err(why) => {
            // Tests take what lies there for the whole.
            let _ = fs::remove_file(folder().join(INITRD));
            report.not_run("e2e tests that need virtual machines (e2e/guests_*)", &why);
            return false;
        }
    };
    if let Err(why) = assemble(&root) {
        let _ = fs::remove_file(folder().join(INITRD));
        report.step("guests", |_| Outcome::Failed(why));
        return false;
    }
    true
}

/// The folders of unpacked packages: QEMU's and the guests'.
fn trees() -> Result<[Tree; 2], String> {
    let list = packages::of_guests()?;
    let of = |place: Place| list.iter().filter(move |p| p.place == place);
    let names = |place: Place| of(place).map(|p| p.name.clone()).collect::<Vec<_>>();
    let files = |places: &[Place]| {
        list.iter().filter(|p| places.contains(&p.place)).map(|p| p.command.clone()).collect()
    };
    let vmm = Tree {
        at: folder().join("qemu"),
        suites: (VMM.0, Some(VMM.1)),
        whole: names(Place::Vmm),
        alone: Vec::new(),
        files: files(&[Place::Vmm]),
    };
    let guest = Tree {
        at: folder().join("debian"),
        suites: (GUEST, None),
        whole: names(Place::Guest),
        alone: names(Place::GuestAlone),
        files: files(&[Place::Guest, Place::GuestAlone]),
    };
    Ok([vmm, guest])
}

/// Fetches and unpacks; the files that guests are made of.
fn bring() -> Result<PathBuf, String> {
    let [vmm, guest] = trees()?;
    vmm.bring()?;
    guest.bring()?;
    Ok(guest.root())
}

/// Makes kernel, module and file system of what was unpacked, where tests look for them.
fn assemble(root: &Path) -> Result<(), String> {
    let module = module::build(root, &folder().join("module"))?;
    let image = image::make(root, &module)?;
    put(&folder().join("kernel"), &kernel::read(root)?)?;
    put(&folder().join(INITRD), &image)
}

/// Writes a file unless it is the same already.
fn put(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    // A guest of a run beside this one may be reading the old one.
    let part = path.with_extension("part");
    let say = |e: std::io::Error| format!("{}: {e}", path.display());
    fs::write(&part, bytes).map_err(say)?;
    fs::rename(&part, path).map_err(say)
}
