//! `valecast netmap`: runs an unmodified netmap program with the preload library.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;

/// The library's file name.
const LIBRARY: &str = "libvalecast_netmap.so";

/// What `valecast netmap --help` adds.
pub const HELP: &str = "\
Examples:
  valecast netmap -- pkt-gen -i vale0:a -f tx
  valecast netmap -- vale-ctl
  valecast netmap --socket /run/valecast-lab -- bridge -i vale0:a -i vale1:b

Without this command: LD_PRELOAD=libvalecast_netmap.so PROG ARGS...";

/// What it takes.
#[derive(Debug, Args)]
pub struct NetmapArgs {
    /// The daemon: its run directory, or a socket in it [default: $VALECAST_SOCKET, else the default run directory].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The preload library [default: beside this program, in lib/valecast or lib next to its folder, or where the system
    /// looks].
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "PROG")]
    command: Vec<OsString>,
}

/// Becomes the program.
pub fn run(args: NetmapArgs) -> ExitCode {
    match command(args) {
        Ok(mut command) => {
            let program = command.get_program().to_string_lossy().into_owned();
            let e = command.exec();
            errln!("valecast netmap: cannot run {program}: {e}");
            ExitCode::from(if e.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
        }
        Err(e) => {
            errln!("valecast netmap: {e}");
            ExitCode::FAILURE
        }
    }
}

fn command(args: NetmapArgs) -> Result<Command, String> {
    let exe = std::env::current_exe().map_err(|e| format!("where this program is: {e}"))?;
    let library = match args.library {
        Some(l) if l.is_file() => std::path::absolute(l).map_err(|e| e.to_string())?,
        Some(l) => return Err(format!("--library {}: there is no such file", l.display())),
        None => find(&exe)?,
    };
    let mut words = args.command.into_iter();
    let program = words.next().ok_or("no program to run")?;
    let mut command = Command::new(program);
    command.args(words).env("LD_PRELOAD", preload(&library, std::env::var_os("LD_PRELOAD")));
    if let Some(socket) = args.socket {
        if !socket.exists() {
            return Err(format!(
                "--socket {}: there is no such file: is `valecast run` up?",
                socket.display()
            ));
        }
        command.env("VALECAST_SOCKET", std::path::absolute(socket).map_err(|e| e.to_string())?);
    }
    Ok(command)
}

/// Ours first, then what there was.
fn preload(library: &Path, before: Option<OsString>) -> OsString {
    let mut list = library.as_os_str().to_owned();
    if let Some(before) = before.filter(|b| !b.is_empty()) {
        list.push(":");
        list.push(before);
    }
    list
}

fn find(exe: &Path) -> Result<PathBuf, String> {
    let dir = exe.parent().unwrap_or(Path::new("/"));
    // Beside the program; where an installation puts it; and for programs of cargo's `deps` and `examples` folders.
    let places = [".", "../lib/valecast", "../lib", ".."].map(|p| dir.join(p).join(LIBRARY));
    match places.iter().find(|p| p.is_file()) {
        Some(found) => found.canonicalize().map_err(|e| format!("{}: {e}", found.display())),
        None => Err(format!(
            "{LIBRARY} is not beside {} nor in ../lib: build it with `cargo build -p valecast-netmap`, or name it \
             with --library",
            exe.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_library_where_it_is_installed() {
        let dir = tempfile::tempdir().unwrap();
        let exe = dir.path().join("bin/valecast");
        std::fs::create_dir_all(dir.path().join("bin")).unwrap();
        assert!(find(&exe).unwrap_err().contains("cargo build -p valecast-netmap"));
        for place in ["lib", "lib/valecast", "bin"] {
            let at = dir.path().join(place);
            std::fs::create_dir_all(&at).unwrap();
            std::fs::write(at.join(LIBRARY), "").unwrap();
            assert_eq!(find(&exe).unwrap(), at.join(LIBRARY).canonicalize().unwrap());
        }
    }

    #[test]
    fn other_preloads_stay() {
        let list = |before: Option<&str>| preload(Path::new("/l.so"), before.map(OsString::from));
        assert_eq!(list(None), "/l.so");
        assert_eq!(list(Some("")), "/l.so");
        assert_eq!(list(Some("/a.so")), "/l.so:/a.so");
    }
}
