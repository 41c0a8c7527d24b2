//! Which site an endpoint is at, and how it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use serde_json::json;
use valecast_qc_dataplane::endpoint::local::{LocalSite, sites_in};
use valecast_qc_dataplane::site::socket as socket_of;

/// Exit status of who was interrupted, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// How to find the site.
#[derive(Clone, Debug, Default, Args)]
pub struct AtSite {
    /// The site here; not needed when this machine has one only.
    #[arg(long, value_name = "NAME", conflicts_with = "socket")]
    pub site: Option<String>,
    /// The site's local socket (`<run_dir>/<site>.qc.sock`).
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The directory of the sockets, when the daemon does not use the default one.
    #[arg(long, value_name = "DIR", conflicts_with = "socket")]
    pub run_dir: Option<PathBuf>,
}

impl AtSite {
    /// The site that is meant.
    ///
    /// # Errors
    /// When it is not clear which, or there is none.
    pub fn find(&self) -> Result<LocalSite, Failed> {
        if let Some(socket) = &self.socket {
            return Ok(LocalSite::at(socket));
        }
        let dir = self.run_dir.clone().unwrap_or_else(valecast_config::default_run_dir);
        if let Some(site) = &self.site {
            return Ok(LocalSite::at(socket_of(&dir, site)));
        }
        match sites_in(&dir).as_slice() {
            [one] => Ok(LocalSite::at(socket_of(&dir, one))),
            [] => Err(Failed::new(format!(
                "no site runs in {}: start one with `valecast run FILE.toml`, which has a [[qc.site]] (--run-dir or \
                 --socket say where else to look)",
                dir.display()
            ))),
            many => Err(Failed::usage(format!("which site? There are {}: add --site NAME", many.join(", ")))),
        }
    }
}

/// Why an endpoint's command ends without having done it.
#[derive(Clone, Debug)]
pub struct Failed {
    /// What to say.
    pub said: String,
    /// The exit status.
    pub code: u8,
}

impl Failed {
    /// It could not be done.
    pub fn new(said: impl Into<String>) -> Self {
        Self { said: said.into(), code: 1 }
    }

    /// The command makes no sense.
    pub fn usage(said: impl Into<String>) -> Self {
        Self { said: said.into(), code: 2 }
    }

    /// Says it, and as JSON if that is wanted.
    fn exit(&self, json: bool) -> ExitCode {
        if json {
            outln!("{}", json!({"event": "error", "error": self.said}));
        }
        errln!("valecast: {}", self.said);
        ExitCode::from(self.code)
    }
}

/// How a command ends.
pub fn ended(done: Result<u8, Failed>, json: bool) -> ExitCode {
    match done {
        Ok(code) => ExitCode::from(code),
        Err(why) => why.exit(json),
    }
}

impl<E: std::error::Error> From<E> for Failed {
    fn from(e: E) -> Self {
        Self::new(e.to_string())
    }
}

/// Set by the first SIGINT, SIGTERM or SIGHUP; the second ends the process. To be called before there are threads.
///
/// # Errors
/// The system refuses.
pub fn told_to_stop() -> Result<Arc<AtomicBool>, Failed> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let stop = Arc::new(AtomicBool::new(false));
    let set = stop.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        while signals.wait().is_ok() {
            if set.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED.into());
            }
        }
    })?;
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_sites_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let at = AtSite { run_dir: Some(dir.path().to_owned()), ..AtSite::default() };
        let none = at.find().unwrap_err();
        assert!(none.code == 1 && none.said.contains("valecast run"), "{none:?}");
        let bind = |name: &str| std::os::unix::net::UnixListener::bind(dir.path().join(name)).unwrap();
        let _a = bind("S.qc.sock");
        drop(bind("old.qc.sock"));
        let _other = bind("vale0.sock");
        assert_eq!(at.find().unwrap().socket(), dir.path().join("S.qc.sock"));
        let _b = bind("T.qc.sock");
        let two = at.find().unwrap_err();
        assert!(two.code == 2 && two.said.contains("S, T") && two.said.contains("--site"), "{two:?}");
        let named = AtSite { site: Some("T".into()), ..at };
        assert_eq!(named.find().unwrap().socket(), dir.path().join("T.qc.sock"));
    }
}
