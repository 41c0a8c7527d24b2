//! The guests' first (and only) file system: a shell, the tools that tests use with their libraries, and the modules.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::cpio::Cpio;
use super::debian::find;
use crate::cmd::Cmd;

const INIT: &str = include_str!("init.sh");

/// Programs beside busybox.
const PROGRAMS: [&str; 4] = ["bin/ip", "bin/ping", "usr/bin/iperf3", "sbin/ethtool"];

/// Modules of the kernel, in the order in which they can be loaded: VLANs, the packet generator, the stock e1000, virtio.
const MODULES: [&str; 15] = [
    "net/llc/llc",
    "net/802/stp",
    "net/802/mrp",
    "net/802/garp",
    "net/8021q/8021q",
    "net/core/pktgen",
    "drivers/net/ethernet/intel/e1000/e1000",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "drivers/net/virtio_net",
];

const LIBRARIES: [&str; 2] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
const LOADER: &str = "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";

/// Makes the archive from a folder of unpacked packages, with a module of our own for its kernel.
pub fn make(root: &Path, own_module: &Path) -> Result<Vec<u8>, String> {
    let mut image = Cpio::default();
    for folder in ["bin", "bin/box", "sbin", "usr", "usr/bin", "usr/sbin", "etc", "proc", "sys", "dev", "tmp"]
    {
        image.folder(folder);
    }
    for folder in
        ["lib", "lib64", "lib/x86_64-linux-gnu", "usr/lib", "usr/lib/x86_64-linux-gnu", "lib/modules"]
    {
        image.folder(folder);
    }
    image.file("init", 0o755, INIT.as_bytes());
    image.file("bin/busybox", 0o755, &read(&root.join("bin/busybox"))?);
    image.link("bin/sh", "busybox");
    let mut libraries = BTreeSet::new();
    for program in PROGRAMS {
        image.file(program, 0o755, &read(&root.join(program))?);
        libraries.extend(needs(root, program)?);
    }
    for library in libraries {
        // A link under /lib64 is where programs expect the loader; the file behind it is read here.
        image.file(&library, 0o755, &read(&root.join(&library))?);
    }
    image.file("lib64/ld-linux-x86-64.so.2", 0o755, &read(&root.join(LOADER))?);
    for modules in ["lib/modules/*", "usr/lib/uml/modules/*"] {
        let from = find(root, modules).ok_or_else(|| format!("no {modules} below {}", root.display()))?;
        let release = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let to = format!("lib/modules/{release}");
        image.folder(&to);
        for module in MODULES {
            let name = module.rsplit('/').next().unwrap_or(module);
            // What a kernel has built in is no module of its.
            if let Ok(contents) = fs::read(from.join("kernel").join(module).with_extension("ko")) {
                image.file(&format!("{to}/{name}.ko"), 0o644, &contents);
            }
        }
        if modules == "lib/modules/*" {
            let name = own_module.file_name().unwrap_or_default().to_string_lossy().into_owned();
            image.file(&format!("{to}/{name}"), 0o644, &read(own_module)?);
        }
    }
    Ok(image.finish())
}

/// The libraries of a program, as its own loader finds them.
fn needs(root: &Path, program: &str) -> Result<Vec<String>, String> {
    let paths: Vec<String> = LIBRARIES.iter().map(|l| root.join(l).display().to_string()).collect();
    let loader = root.join(LOADER);
    let list = Cmd::new(&loader.to_string_lossy(), ["--library-path", &paths.join(":"), "--list"])
        .args([root.join(program)])
        .output()?;
    let inside = |word: &str| Path::new(word).strip_prefix(root).ok().map(Path::to_path_buf);
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    let found: Vec<PathBuf> =
        text.lines().filter_map(|line| inside(line.split_whitespace().nth(2)?)).collect();
    let missing = text.lines().find(|line| line.contains("not found"));
    match missing {
        Some(line) => Err(format!("{program}: {}", line.trim())),
        None => Ok(found.iter().map(|path| path.to_string_lossy().into_owned()).collect()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}
