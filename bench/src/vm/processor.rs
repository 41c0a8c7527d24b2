//! The processor's thread: runs the guest, and carries its register accesses to the card.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kvm_ioctls::{VcpuExit, VcpuFd};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::card::Card;

/// Where the card's registers are.
pub const BAR0: u64 = 0xfeb0_0000;
/// Its bytes.
const BAR0_SIZE: u64 = 0x2_0000;
/// Where the guest writes what it has to say.
pub const CONSOLE: u64 = 0xfeb9_0000;
/// Wakes the thread, so that it sees that it is to end.
pub const WAKE: Signal = Signal::SIGUSR2;

/// Why the guest left, how often.
#[derive(Debug, Default)]
pub struct Exits {
    /// Register writes.
    pub writes: AtomicU64,
    /// Register reads.
    pub reads: AtomicU64,
    /// All else.
    pub others: AtomicU64,
}

/// What the thread and the machine's owner share.
#[derive(Debug, Default)]
pub struct Shared {
    pub exits: Exits,
    /// It is to end.
    pub over: AtomicBool,
    /// What the guest printed.
    pub console: std::sync::Mutex<Vec<u8>>,
    /// Why it cannot go on.
    pub failed: std::sync::Mutex<Option<String>>,
}

extern "C" fn nothing(_: i32) {}

/// The signal only makes the processor's thread come back from the kernel.
pub fn wake_quietly() -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, which is safe at any time.
    unsafe { sigaction(WAKE, &action) }?;
    Ok(())
}

/// Runs the processor until the machine is over; `Err` says why it cannot go on.
pub fn run(cpu: &mut VcpuFd, card: &mut dyn Card, shared: &Shared) -> Result<(), String> {
    let count = |c: &AtomicU64| c.fetch_add(1, Ordering::Relaxed);
    let register = |addr: u64| addr.checked_sub(BAR0).filter(|at| *at < BAR0_SIZE);
    while !shared.over.load(Ordering::SeqCst) {
        match cpu.run() {
            Ok(VcpuExit::MmioWrite(CONSOLE, data)) => {
                count(&shared.exits.others);
                if let Ok(mut c) = shared.console.lock() {
                    c.extend_from_slice(data);
                }
            }
            Ok(VcpuExit::MmioWrite(addr, data)) => {
                count(&shared.exits.writes);
                if let Some(at) = register(addr) {
                    card.write(at, data).map_err(|e| format!("register {at:#x}: {e}"))?;
                }
            }
            Ok(VcpuExit::MmioRead(addr, data)) => {
                count(&shared.exits.reads);
                match register(addr) {
                    Some(at) => card.read(at, data),
                    None => {
                        data.fill(0xff);
                        Ok(())
                    }
                }
                .map_err(|e| format!("register {addr:#x}: {e}"))?;
            }
            Ok(VcpuExit::IoOut(..) | VcpuExit::IoIn(..) | VcpuExit::Intr) => {
                count(&shared.exits.others);
            }
            Ok(exit) => return Err(format!("exit {exit:?}")),
            Err(e) if [nix::libc::EINTR, nix::libc::EAGAIN].contains(&e.errno()) => {
                count(&shared.exits.others);
            }
            Err(e) => return Err(format!("KVM_RUN: {}", io::Error::from_raw_os_error(e.errno()))),
        }
    }
    Ok(())
}
