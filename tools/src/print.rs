//! What commands print: `out!` and `outln!` to standard output, `err!` and `errln!` to standard error.
//!
//! `println!` panics when it cannot write. Here a reader that has left (`valecast demo | head`) has seen enough,
//! which is no error; SIGPIPE stays ignored, as the daemon's sockets need it. Anything else that keeps standard
//! output from being written, such as a full disk, is said once at the end and fails the command.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

/// Why standard output could not be written, the first time.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// As `print!`.
macro_rules! out {
    ($($what:tt)*) => { $crate::print::to_out(format_args!($($what)*), "") };
}

/// As `println!`.
macro_rules! outln {
    () => { $crate::print::to_out(format_args!(""), "\n") };
    ($($what:tt)*) => { $crate::print::to_out(format_args!($($what)*), "\n") };
}

/// As `eprint!`.
macro_rules! err {
    ($($what:tt)*) => { $crate::print::to_err(format_args!($($what)*), "") };
}

/// As `eprintln!`.
macro_rules! errln {
    () => { $crate::print::to_err(format_args!(""), "\n") };
    ($($what:tt)*) => { $crate::print::to_err(format_args!($($what)*), "\n") };
}

/// Writes to standard output, all of it at once: what is printed by several threads stays whole.
pub fn to_out(what: Arguments, end: &str) {
    let mut out = io::stdout().lock();
    keep(write!(out, "{what}{end}").and_then(|()| out.flush()));
}

/// Writes to standard error, at once as well. When that fails there is nobody left to tell.
pub fn to_err(what: Arguments, end: &str) {
    let _ = io::stderr().write_all(format!("{what}{end}").as_bytes());
}

fn keep(written: io::Result<()>) {
    if let Err(e) = written
        && e.kind() != ErrorKind::BrokenPipe
    {
        let _ = LOST.set(e);
    }
}

/// Starts the log on standard error: of what RUST_LOG names, or else from `info` on.
pub fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colours)
        // It would say so on standard error, and panic in the thread that had something to log.
        .log_internal_errors(false)
        .init();
}

/// How the command ends: as it says, unless what it printed was lost.
pub fn ended(code: ExitCode) -> ExitCode {
    match LOST.get() {
        None => code,
        Some(e) => {
            errln!("valecast: standard output: {e}");
            ExitCode::FAILURE
        }
    }
}
