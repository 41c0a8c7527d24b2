//! Where the control sockets live when nothing is configured.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The directory of the control sockets when `run_dir` is not set: `/run/valecast` for root, else
/// `$XDG_RUNTIME_DIR/valecast`, else `/tmp/valecast-<uid>`.
///
/// Root comes first so that a daemon started by init (no `XDG_RUNTIME_DIR`) and a root shell (which has
/// one) agree on the place.
pub fn default_run_dir() -> PathBuf {
    // `/proc/self` belongs to the effective user, which spares a call that std does not offer. Without
    // `/proc` the only identity that leads to a safe place is that of nobody in particular.
    let uid = std::fs::metadata("/proc/self").map_or(u32::MAX, |meta| meta.uid());
    run_dir_for(uid, std::env::var_os("XDG_RUNTIME_DIR"))
}

fn run_dir_for(uid: u32, xdg: Option<OsString>) -> PathBuf {
    // The XDG specification: a relative path is to be ignored.
    match xdg.filter(|dir| Path::new(dir).is_absolute()) {
        _ if uid == 0 => PathBuf::from("/run/valecast"),
        Some(dir) => PathBuf::from(dir).join("valecast"),
        None => PathBuf::from(format!("/tmp/valecast-{uid}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_user() {
        assert_eq!(run_dir_for(0, Some("/run/user/0".into())), Path::new("/run/valecast"));
        assert_eq!(run_dir_for(1000, Some("/run/user/1000".into())), Path::new("/run/user/1000/valecast"));
        assert_eq!(run_dir_for(1000, Some("relative".into())), Path::new("/tmp/valecast-1000"));
        assert_eq!(run_dir_for(1000, None), Path::new("/tmp/valecast-1000"));
    }
}
