//! The daemon.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Trouble;
use super::rig::{CARDS, Overflow, Tuning};

/// Slots of the host's rings: as many as guests have descriptors, so that who waits for whom has as much to do.
const SLOTS: u32 = 4096;
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn config(run_dir: &Path, tuning: &Tuning) -> String {
    let (cpus, spin) = (if tuning.pinned { "cpus = [1]\n" } else { "" }, tuning.spin);
    let mut s =
        format!("run_dir = {run_dir:?}\n[[switch]]\nname = \"v\"\nworkers = 1\nspin = \"{spin}us\"\n{cpus}");
    let overflow = match tuning.overflow {
        Overflow::Drop => "",
        Overflow::Backpressure => "overflow = \"backpressure\"\n",
    };
    for (name, mac) in ["a", "b"].iter().zip(CARDS) {
        let mac = mac.map(|b| format!("{b:02x}")).join(":");
        s += &format!(
            "[[switch.port]]\nname = \"{name}\"\nkind = \"e1000\"\ncsb = true\nmac = \"{mac}\"\n{overflow}"
        );
    }
    for name in ["c", "d"] {
        s += &format!("[[switch.port]]\nname = \"{name}\"\nkind = \"vhost-user\"\n{overflow}");
    }
    s + &format!("[[switch.port]]\nname = \"h\"\nkind = \"ring\"\nslots = {SLOTS}\n{overflow}")
}

/// A daemon with its ports' sockets: two of cards, two of virtio-net, one of rings.
pub struct Service {
    /// In this order.
    pub sockets: [PathBuf; 5],
    _daemon: Daemon,
    _folder: tempfile::TempDir,
}

impl Service {
    /// Starts the daemon that lies beside this program.
    pub fn start(tuning: &Tuning) -> Result<Self, Trouble> {
        let folder = tempfile::tempdir()?;
        let (run_dir, file) = (folder.path().join("run"), folder.path().join("valecast.toml"));
        std::fs::write(&file, config(&run_dir, tuning))?;
        let program = std::env::current_exe()?.with_file_name("valecast");
        let log = std::fs::File::create(folder.path().join("log"))?;
        let child = Command::new(&program)
            .arg("run")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        let daemon = Daemon(child);
        let sockets = ["v.a.vm", "v.b.vm", "v.c.vm", "v.d.vm", "v.ring"].map(|s| run_dir.join(s));
        let begun = Instant::now();
        while !sockets.iter().all(|s: &PathBuf| s.exists()) {
            if begun.elapsed() > Duration::from_secs(10) {
                let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                return Err(format!("the daemon does not serve its ports; it said:\n{log}").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { sockets, _daemon: daemon, _folder: folder })
    }
}
