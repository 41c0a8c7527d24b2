//! QuickCast where the wall's clock jumps.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::qc::{Sites, assert_same, link};
use crate::harness::transfer::arrived;
use crate::harness::{need, wait_for};
use serde_json::json;

/// Where libfaketime is, which tells a process another time than it is.
fn faketime() -> Option<String> {
    let dirs = fs::read_dir("/usr/lib").ok()?.flatten();
    let mut found = dirs.map(|d| d.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|p| p.exists()).map(|p| p.display().to_string())
}

/// What libfaketime keeps in shared memory: it stays when its process is killed, and is removed when this goes.
struct SharedMemory(BTreeSet<PathBuf>);

impl SharedMemory {
    fn now() -> Self {
        Self(shared_memory())
    }
}

fn shared_memory() -> BTreeSet<PathBuf> {
    let names = fs::read_dir("/dev/shm").into_iter().flatten().flatten().map(|e| e.path());
    names.filter(|path| process_of(path).is_some()).collect()
}

/// The process whose shared memory or semaphore that is.
fn process_of(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    let number = name.strip_prefix("faketime_shm_").or_else(|| name.strip_prefix("sem.faketime_sem_"));
    number?.parse().ok()
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        let ended = |path: &Path| {
            process_of(path).is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists())
        };
        for path in shared_memory().difference(&self.0).filter(|path| ended(path)) {
            // Somebody else may have been quicker.
            let _ = fs::remove_file(path);
        }
    }
}

/// The wall's clock is an hour ahead while a file is sent, and then an hour behind.
#[test]
fn the_clock_jumps_forward_and_back() {
    if !need("the_clock_jumps_forward_and_back", &["faketime"]) {
        return;
    }
    let _left = SharedMemory::now();
    let dir = tempfile::tempdir().expect("a folder");
    let clock = dir.path().join("clock");
    let set = |hours: i64| {
        // Whole at any time: it is read while it is written.
        fs::write(dir.path().join("new"), format!("{:+}\n", hours * 3600)).expect("write");
        fs::rename(dir.path().join("new"), &clock).expect("rename");
    };
    set(0);
    let env = [
        ("LD_PRELOAD", faketime().expect("libfaketime beside faketime")),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // What cannot jump does not, and files keep their times.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ];
    let sites = Sites::start_with(&[link("S", "t1", "60Mbit/s")], env.to_vec());
    let bytes = 24_000_000;
    let _receiver = sites.recv("t1", &sites.folder("t1"));
    for (n, hours, from, to) in [(1, 1, 3_500_000, 3_700_000), (2, -1, -7_300_000, -7_100_000)] {
        let name = format!("data{n}");
        let file = sites.file(&name, bytes);
        let send = sites.send("S", &file, "t1", &[]);
        let have = || {
            let transfer = sites.transfers().into_iter().find(|t| t["name"] == name.as_str())?;
            (transfer["receivers"][0]["have"].as_u64()? >= bytes as u64 / 4).then_some(())
        };
        wait_for("a quarter of it", have);
        set(hours);
        arrived(send);
        assert_same(&file, &sites.folder("t1").join(&name));
        let done = sites.transfers().into_iter().find(|t| t["name"] == name.as_str()).expect("it");
        let took = done["ended_ms"].as_i64().expect("ms") - done["created_ms"].as_i64().expect("ms");
        assert!((from..to).contains(&took), "the controller's clock did not jump: {done:#}");
        let seconds = done["receivers"][0]["seconds"].as_f64().expect("seconds");
        assert!((0.0..600.0).contains(&seconds), "{done:#}");
        let overview = sites.overview().expect("the controller");
        assert_eq!(overview["wrong"], json!([]));
    }
    sites.assert_clean();
    sites.daemon.stop();
}
