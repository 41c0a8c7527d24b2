//! Starting other programs: from the repository's root, without a standard input, said before it is done.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::report::Outcome;

/// The repository's root: two folders above this package.
pub fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let above = package.as_deref().and_then(|p| p.ancestors().nth(2)).map(Path::to_path_buf);
    above.unwrap_or_else(|| PathBuf::from("."))
}

/// Cargo's target folder.
pub fn target_dir() -> PathBuf {
    root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Whether this process is root.
pub fn is_root() -> bool {
    // The owner of our own entry in /proc is our effective user.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// A program to run from the repository's root.
pub struct Cmd {
    command: Command,
    shown: String,
}

impl Cmd {
    /// `program ARGS..`
    pub fn new<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(program);
        command.current_dir(root()).stdin(Stdio::null());
        Self { command, shown: program.to_owned() }.args(args)
    }

    /// `cargo ARGS..`, without what the cargo that runs us says of our own package: build scripts that ask to be told
    /// when such a variable changes (ring's) would run again, and all that depends on theirs be built again, whenever
    /// the user's own `cargo build` and ours take turns.
    pub fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        let mut cmd = Self::new("cargo", args);
        let of_package = |key: &str| key.starts_with("CARGO_PKG_") || key.starts_with("CARGO_MANIFEST_");
        for (key, _) in env::vars_os().filter(|(key, _)| key.to_str().is_some_and(of_package)) {
            cmd.command.env_remove(key);
        }
        cmd
    }

    /// More arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        for arg in args {
            self.shown.push(' ');
            self.shown.push_str(&arg.as_ref().to_string_lossy());
            self.command.arg(arg);
        }
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        if key != "PATH" {
            self.shown = format!("{key}='{}' {}", value.as_ref().to_string_lossy(), self.shown);
        }
        self.command.env(key, value);
        self
    }

    /// Adds to RUSTFLAGS-like variables rather than replacing what the user set.
    pub fn env_add(self, key: &str, value: &str) -> Self {
        let old = env::var(key).unwrap_or_default();
        self.env(key, format!("{old} {value}").trim())
    }

    /// Another working directory.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Runs it with our output; passes when its exit status is 0.
    pub fn run(mut self) -> Outcome {
        println!("$ {}", self.shown);
        match self.command.status() {
            Ok(status) if status.success() => Outcome::Passed,
            Ok(status) => Outcome::Failed(format!("{status}")),
            Err(error) => Outcome::Failed(format!("{error}: {}", self.shown)),
        }
    }

    /// Runs it and keeps its output; `Err` holds what it said when it failed.
    pub fn output(mut self) -> Result<Output, String> {
        match self.command.output() {
            Ok(output) if output.status.success() => Ok(output),
            Ok(output) => {
                Err(format!("{}: {}\n{}", self.shown, output.status, String::from_utf8_lossy(&output.stderr)))
            }
            Err(error) => Err(format!("{}: {error}", self.shown)),
        }
    }

    /// Whether it runs and succeeds, without a word.
    pub fn works(self) -> bool {
        self.output().is_ok()
    }
}

/// Whether a command is on the PATH (or in the folders where Debian keeps root's commands), or was unpacked.
pub fn on_path(name: &str) -> bool {
    env::split_paths(&path_with_tools()).any(|dir| dir.join(name).is_file())
}

/// Where packages marked `unpack` are unpacked.
pub fn unpack_dir() -> PathBuf {
    target_dir().join("debian")
}

/// The PATH for the tests: the user's, then root's commands, then unpacked ones.
pub fn path_with_tools() -> std::ffi::OsString {
    let user = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/sbin".into(), "/usr/sbin".into(), "/sbin".into(), unpack_dir().join("usr/bin")];
    env::join_paths(env::split_paths(&user).chain(more)).unwrap_or(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_not_told_of_our_package() {
        let ours = ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"];
        let cmd = Cmd::cargo(["build"]);
        for key in ours {
            assert!(env::var_os(key).is_some(), "{key}: cargo tells us");
            let passed_on = cmd.command.get_envs().find(|(k, _)| *k == key);
            assert_eq!(passed_on, Some((OsStr::new(key), None)), "{key} is taken away");
        }
    }
}
