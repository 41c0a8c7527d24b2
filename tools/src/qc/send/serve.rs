//! `valecast qc send --serve`: sends what is asked for elsewhere, of files below one directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;
use valecast_qc_dataplane::control::{Ended, Progress, TransferState, TransferStatus};
use valecast_qc_dataplane::endpoint::EndpointError;
use valecast_qc_dataplane::endpoint::clock::random;
use valecast_qc_dataplane::endpoint::local::LocalSite;
use valecast_qc_dataplane::endpoint::send::job::{Job, JobEnd};
use valecast_qc_dataplane::endpoint::send::parcel::Parcel;

use super::SendArgs;
use super::screen::word;
use crate::qc::site::{Failed, INTERRUPTED};

/// How often it looks for work.
const LOOK: Duration = Duration::from_millis(500);
/// Transfers that are sent at once; others wait.
const MOST: usize = 256;

/// Serves until told to stop.
pub fn serve(args: &SendArgs, site: &LocalSite, root: &Path, stop: &Arc<AtomicBool>) -> Result<u8, Failed> {
    let root = std::fs::canonicalize(root).map_err(|e| Failed::new(format!("{}: {e}", root.display())))?;
    if !root.is_dir() {
        return Err(Failed::usage(format!("{} is no directory", root.display())));
    }
    let here = site.info()?.site;
    let mut jobs: BTreeMap<u64, JoinHandle<()>> = BTreeMap::new();
    let mut trouble: Option<String> = None;
    while !stop.load(Ordering::Relaxed) {
        jobs.retain(|_, thread| !thread.is_finished());
        match site.transfers() {
            Ok(list) => {
                trouble = None;
                let mine = list.into_iter().filter(|t| t.from == here && !t.state.is_over());
                for status in mine {
                    let Some(path) = status.path.clone() else { continue };
                    if jobs.len() >= MOST || jobs.contains_key(&status.id) {
                        continue;
                    }
                    let (args, site, root, stop) = (args.clone(), site.clone(), root.clone(), stop.clone());
                    let id = status.id;
                    let work = move || one(&args, &site, &root, &path, &status, stop);
                    jobs.insert(id, std::thread::Builder::new().name(format!("transfer-{id}")).spawn(work)?);
                }
            }
            Err(e) => {
                let said = e.to_string();
                if trouble.as_ref() != Some(&said) {
                    errln!("valecast: {said}; trying again");
                    trouble = Some(said);
                }
            }
        }
        std::thread::sleep(LOOK);
    }
    for (_, thread) in jobs {
        let _ = thread.join();
    }
    Ok(INTERRUPTED)
}

/// Where a path of a transfer leads, if that is below the root.
fn below(root: &Path, path: &str) -> Result<PathBuf, String> {
    // An absolute path replaces the root, and is held to it like any other.
    let real = std::fs::canonicalize(root.join(path)).map_err(|e| format!("{path:?}: {e}"))?;
    match real.starts_with(root) && real != root {
        true => Ok(real),
        false => Err(format!("{path:?} is not below what the sender serves")),
    }
}

fn one(
    args: &SendArgs,
    site: &LocalSite,
    root: &Path,
    path: &str,
    status: &TransferStatus,
    stop: Arc<AtomicBool>,
) {
    let id = status.id;
    let tell = |event: &str, why: Option<String>| {
        if args.json {
            outln!("{}", json!({"event": event, "id": id, "path": path, "why": why}));
        } else {
            outln!("transfer {id}: {path}: {event}{}", why.map(|w| format!(": {w}")).unwrap_or_default());
        }
    };
    let parcel =
        below(root, path).and_then(|real| Parcel::open(&real, args.cut()).map_err(|e| e.to_string()));
    let parcel = parcel.and_then(|parcel| match parcel.bytes() == status.bytes {
        true => Ok(parcel),
        false => Err(format!("{path:?} has {} bytes, {} were asked for", parcel.bytes(), status.bytes)),
    });
    let parcel = match parcel {
        Ok(parcel) => parcel,
        Err(why) => {
            tell("refused", Some(why.clone()));
            refuse(site, id, why);
            return;
        }
    };
    tell("begun", None);
    let job = Job::new(site.clone(), id, parcel, stop);
    let job = job.map(|job| args.limits(job));
    match job.and_then(|job| job.run(&mut |_| {})) {
        Ok(JobEnd::Over(status)) => {
            let event =
                if status.state == TransferState::Done { "done".to_owned() } else { word(&status.state) };
            tell(&event, status.why);
        }
        Ok(JobEnd::Paused) => tell("paused", None),
        Err(e) => tell("failed", Some(e.to_string())),
    }
}

/// Tells the controller that a transfer cannot be sent. What does not reach it is tried again with the next look.
fn refuse(site: &LocalSite, id: u64, why: String) {
    let said = random().map_err(|source| EndpointError::System { what: "/dev/urandom", source }).and_then(
        |session| {
            site.progress(
                id,
                &Progress {
                    session,
                    trees: Vec::new(),
                    verified: Vec::new(),
                    ended: Some(Ended::Failed(why)),
                },
            )
        },
    );
    if let Err(e) = said {
        errln!("valecast: transfer {id}: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_the_root_is_served() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("f"), "x").unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("l")).unwrap();
        assert_eq!(below(&root, "f").unwrap(), root.join("f"));
        assert_eq!(below(&root, root.join("f").to_str().unwrap()).unwrap(), root.join("f"));
        for path in ["../secret", "l", "/etc/passwd", ".", "", "none"] {
            assert!(below(&root, path).is_err(), "{path}");
        }
    }
}
