//! The guests' kernel, unpacked: an emulated processor takes longer to unpack it than to boot it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::debian::find;
use crate::cmd;

/// What an xz stream, and what an ELF file begins with.
const XZ: &[u8] = b"\xfd7zXZ\0";
const ELF: &[u8] = b"\x7fELF";

/// The kernel of a folder of unpacked packages, as QEMU's `-kernel` takes it: as it is if it cannot be unpacked here.
pub fn read(root: &Path) -> Result<Vec<u8>, String> {
    let path = find(root, "boot/vmlinuz-*").ok_or_else(|| format!("no kernel below {}", root.display()))?;
    let packed = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(unpack(&packed).unwrap_or(packed))
}

/// The ELF file in a bzImage.
fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let at = packed.windows(XZ.len()).position(|w| w == XZ)?;
    let mut xz = Command::new("xz")
        .arg("-dc")
        .env("PATH", cmd::path_with_tools())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let (mut input, stream) = (xz.stdin.take()?, packed[at..].to_vec());
    // It stops reading at the stream's end, after which the image goes on, and complains of what follows.
    let feed = std::thread::spawn(move || input.write_all(&stream));
    let output = xz.wait_with_output().ok()?.stdout;
    let _ = feed.join();
    output.starts_with(ELF).then_some(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_unpacked_is_left() {
        assert_eq!(unpack(b"no kernel"), None);
        assert_eq!(unpack(b"head\xfd7zXZ\0and no stream"), None);
    }
}
