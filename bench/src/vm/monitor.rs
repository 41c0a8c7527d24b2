//! A virtual machine as its owner has it: boots the payload, gives it jobs, hears how they go.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::thread::JoinHandleExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kvm_ioctls::{Kvm, VmFd};
use memmap2::MmapRaw;
use nix::sys::pthread::pthread_kill;
use valecast_guest::mailbox::{Counted, Job, Mailbox, Role, State};
use vmm_sys_util::eventfd::EventFd;

use super::card::{Card, mailbox};
use super::client::Client;
use super::front_end::FrontEnd;
use super::load::BadPayload;
use super::machine::Machine;
use super::processor::{self, Exits, Shared, WAKE};
use crate::run::pin;

/// How long a guest may take to come up, to begin, to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a machine does not run.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// There is no KVM here.
    #[error("/dev/kvm: {0}")]
    NoKvm(io::Error),
    /// KVM refused.
    #[error("KVM refused to {0}: {1}")]
    Kvm(&'static str, io::Error),
    /// The port refused.
    #[error("{0}: {1}")]
    Port(PathBuf, io::Error),
    /// The payload is none.
    #[error(transparent)]
    Payload(#[from] BadPayload),
    /// No memory.
    #[error("guest memory: {0}")]
    Memory(io::Error),
    /// It came to an end by itself.
    #[error("the guest failed: {0}")]
    Guest(String),
}

/// Whether there is a KVM that may be used.
pub fn have_kvm() -> Result<(), String> {
    if valecast_guest_bare::elf().is_none() {
        return Err("bare guests are x86-64 only".into());
    }
    Kvm::new().map(drop).map_err(|e| format!("/dev/kvm: {}", io::Error::from_raw_os_error(e.errno())))
}

/// A port's socket, and so what card the guest has.
#[derive(Clone, Copy, Debug)]
pub enum Socket<'a> {
    /// Of kind `e1000`.
    VfioUser(&'a Path),
    /// Of kind `vhost-user`: virtio-net.
    VhostUser(&'a Path),
}

/// A machine that runs until it is dropped.
pub struct Vm {
    shared: Arc<Shared>,
    memory: Arc<MmapRaw>,
    raise: EventFd,
    processor: Option<JoinHandle<()>>,
    _vm: VmFd,
}

/// The descriptor of an event.
pub(super) fn borrowed(fd: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open as long as `fd` is borrowed.
    unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) }
}

impl Vm {
    /// Boots the payload with `size` bytes of memory and the card behind a socket; comes back when it is ready. `core`:
    /// the only one that its processor runs on.
    pub fn start(socket: Socket<'_>, size: usize, core: Option<usize>) -> Result<Self, VmError> {
        let (Socket::VfioUser(path) | Socket::VhostUser(path)) = socket;
        let port = |e| VmError::Port(path.to_owned(), e);
        let mut card: Box<dyn Card> = match socket {
            Socket::VfioUser(path) => Box::new(Client::connect(path).map_err(port)?),
            Socket::VhostUser(path) => Box::new(FrontEnd::connect(path).map_err(port)?),
        };
        let Machine { vm, mut cpu, memory, raise } = Machine::new(card.as_mut(), size, port)?;
        let shared = Arc::new(Shared::default());
        processor::wake_quietly().map_err(|e| VmError::Kvm("be woken", e))?;
        let processor = {
            let (shared, memory) = (Arc::clone(&shared), Arc::clone(&memory));
            std::thread::Builder::new().name("vcpu".into()).spawn(move || {
                let pinned = core.map_or(Ok(()), |c| pin(c).map_err(|e| e.to_string()));
                if let Err(why) = pinned.and_then(|()| processor::run(&mut cpu, card.as_mut(), &shared))
                    && let Ok(mut failed) = shared.failed.lock()
                {
                    *failed = Some(why);
                }
                drop(memory);
            })
        };
        let processor = processor.map_err(|e| VmError::Kvm("run a thread", e))?;
        let vm = Self { shared, memory, raise, processor: Some(processor), _vm: vm };
        vm.wait_for(State::Ready)?;
        Ok(vm)
    }

    /// The page shared with the guest.
    pub fn mailbox(&self) -> &Mailbox {
        mailbox(&self.memory)
    }

    /// What the guest counted in its present job.
    pub fn counted(&self) -> Counted {
        self.mailbox().counts.0.all()
    }

    /// What the guest printed so far.
    pub fn console(&self) -> String {
        let text = self.shared.console.lock().map(|c| c.clone()).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Has the guest test the card; comes back when it has.
    pub fn test(&self) -> Result<(), VmError> {
        self.mailbox().start(&Job { role: Role::Test, ..Job::default() });
        self.nudge();
        let begun = Instant::now();
        // It prints a last line before it says how it ended.
        while !self.console().contains(" tests, ") && begun.elapsed() < 6 * PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.wait_for(State::Ready)
    }

    /// Exits so far.
    pub fn exits(&self) -> &Exits {
        &self.shared.exits
    }

    /// Has the guest begin a job; its number.
    pub fn begin(&self, job: &Job) -> Result<u32, VmError> {
        let number = self.mailbox().start(job);
        self.nudge();
        self.wait_for(State::Running)?;
        Ok(number)
    }

    /// Has it end the job.
    pub fn end(&self, number: u32) -> Result<(), VmError> {
        self.mailbox().end_job(number);
        self.wait_for(State::Ready)
    }

    /// An interrupt that the card did not ask for: who sleeps looks around.
    pub fn nudge(&self) {
        // A full counter is an interrupt that is on its way.
        let _ = self.raise.write(1);
    }

    fn wait_for(&self, wanted: State) -> Result<(), VmError> {
        let begun = Instant::now();
        loop {
            let state = self.mailbox().state();
            if state == wanted {
                return Ok(());
            }
            let died = self.shared.failed.lock().ok().and_then(|f| f.clone());
            if let Some(why) = died {
                return Err(VmError::Guest(why));
            }
            if state == State::Failed || begun.elapsed() > PATIENCE {
                let f = self.mailbox().fault.0.each_ref().map(|w| w.load(Ordering::Relaxed));
                return Err(VmError::Guest(format!(
                    "it is {state:?} instead of {wanted:?} after {:?}; vector {}, error {:#x}, at {:#x}, address {:#x}",
                    begun.elapsed(),
                    f[0],
                    f[1],
                    f[2],
                    f[3]
                )));
            }
            std::thread::sleep(Duration::from_millis(1));
            if wanted == State::Ready && state == State::Running {
                self.nudge();
            }
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        let Some(thread) = self.processor.take() else { return };
        while !thread.is_finished() {
            // It is there until it is joined.
            let _ = pthread_kill(thread.as_pthread_t(), WAKE);
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = thread.join();
    }
}
