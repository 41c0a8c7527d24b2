//! Stopping on Ctrl-C.

use std::sync::OnceLock;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::run::StopFlag;

static FLAG: OnceLock<StopFlag> = OnceLock::new();

extern "C" fn on_signal(_: nix::libc::c_int) {
    // Two atomic loads and a store: nothing here that a signal handler may not do.
    if let Some(flag) = FLAG.get() {
        flag.set();
    }
}

/// The flag that SIGINT and SIGTERM set from now on. The second signal of a kind ends the process as usual.
pub fn stop_on_signals() -> nix::Result<StopFlag> {
    let flag = FLAG.get_or_init(StopFlag::default).clone();
    let action = SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESETHAND, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only touches atomics that live as long as the process.
        unsafe { sigaction(signal, &action)? };
    }
    Ok(flag)
}
