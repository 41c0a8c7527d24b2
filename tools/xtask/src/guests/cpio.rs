//! Writing the archive that a Linux kernel unpacks as its first file system: "newc" cpio, as the kernel's
//! documentation (driver-api/early-userspace/buffer-format) has it.

/// An archive in memory.
#[derive(Default)]
pub struct Cpio {
    bytes: Vec<u8>,
    inode: u32,
}

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;

impl Cpio {
    /// A folder; its parent has to be there.
    pub fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER, &[]);
    }

    /// A file.
    pub fn file(&mut self, path: &str, permissions: u32, contents: &[u8]) {
        self.entry(path, FILE | permissions, contents);
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.entry(path, LINK, to.as_bytes());
    }

    fn entry(&mut self, path: &str, mode: u32, contents: &[u8]) {
        self.inode += 1;
        let name = path.trim_start_matches('/');
        let links = if mode == FOLDER { 2 } else { 1 };
        let numbers =
            [self.inode, mode, 0, 0, links, 0, contents.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.bytes.extend(b"070701");
        for number in numbers {
            self.bytes.extend(format!("{number:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The whole, with its end.
    pub fn finish(mut self) -> Vec<u8> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_contents_are_aligned() {
        let mut archive = Cpio::default();
        archive.folder("etc");
        archive.file("/etc/motd", 0o644, b"hello");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let second = text.find("etc/motd").unwrap() - 110;
        assert_eq!((&text[second..second + 6], second % 4), ("070701", 0));
        assert_eq!(&text[second + 54..second + 62], "00000005");
        assert_eq!(text.find("hello").unwrap() % 4, 0);
        assert!(text.contains("TRAILER!!!") && bytes.len() % 512 == 0);
    }
}
