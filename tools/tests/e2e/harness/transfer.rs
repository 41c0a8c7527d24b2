//! A transfer from S to t1 and t2 in a small network, from its beginning to its end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::qc::{Link, Running, Sites, assert_same, link};
use super::wait_for;

/// Far longer than a transfer here takes with any loss, on any machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Two receivers behind one site.
pub fn fork() -> Vec<Link> {
    vec![link("S", "a", "60Mbit/s"), link("a", "t1", "60Mbit/s"), link("a", "t2", "60Mbit/s")]
}

#[track_caller]
pub fn arrived(send: Running) {
    let (code, said) = send.end(PATIENCE);
    assert_eq!(code, 0, "{said}");
}

/// A transfer from S to t1 and t2 that is under way.
pub struct Transfer {
    pub sites: Sites,
    pub file: PathBuf,
    pub bytes: u64,
    pub receivers: [Running; 2],
    pub send: Running,
}

impl Transfer {
    #[track_caller]
    pub fn begin(links: &[Link], bytes: usize, more: &[&str]) -> Self {
        let sites = Sites::start(links);
        let file = sites.file("data", bytes);
        let receivers = ["t1", "t2"].map(|t| sites.recv(t, &sites.folder(t)));
        let send = sites.send("S", &file, "t1,t2", more);
        Self { sites, file, bytes: bytes as u64, receivers, send }
    }

    /// As [`Transfer::begin`], with a quarter of the file at t1, as the controller knows it.
    #[track_caller]
    pub fn quarter(links: &[Link], bytes: usize, more: &[&str]) -> Self {
        let me = Self::begin(links, bytes, more);
        wait_have(&me.sites, "t1", bytes / 4);
        me
    }

    /// It ends well: all have the file, the books are balanced, and nothing is left.
    #[track_caller]
    pub fn arrives(self) {
        arrived(self.send);
        complete(self.sites, &self.file);
    }
}

/// Both receivers have the file, the books are balanced, and nothing is left.
#[track_caller]
pub fn complete(sites: Sites, file: &Path) {
    let name = file.file_name().expect("a name");
    for t in ["t1", "t2"] {
        assert_same(file, &sites.folder(t).join(name));
    }
    sites.assert_books();
    sites.assert_clean();
    sites.daemon.stop();
}

/// Waits until a receiver has a part of the file, as the controller knows it.
#[track_caller]
pub fn wait_have(sites: &Sites, site: &str, bytes: usize) {
    wait_for(&format!("{site} to have {bytes} bytes"), || (sites.have(site) >= bytes as u64).then_some(()));
}
