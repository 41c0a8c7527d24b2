//! The machine, and its processor's thread.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::thread::JoinHandleExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kvm_bindings::{
    KVM_IRQ_ROUTING_MSI, KVM_MAX_CPUID_ENTRIES, KvmIrqRouting, kvm_irq_routing_entry,
    kvm_irq_routing_entry__bindgen_ty_1, kvm_irq_routing_msi, kvm_regs, kvm_segment,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{IoEventAddress, Kvm, NoDatamatch, VcpuExit, VcpuFd, VmFd};
use memmap2::MmapRaw;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::pthread::pthread_kill;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use valecast_guest::mailbox::{self, Counted, Job, Mailbox, Role, State};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::client::Client;
use super::load::{self, BadPayload};
use crate::run::pin;

/// Where the card's registers are.
const BAR0: u64 = 0xfeb0_0000;
/// Its bytes.
const BAR0_SIZE: u64 = 0x2_0000;
/// Where the guest says that an interrupt is served; KVM makes an event of it, without an exit to us.
const SERVED: u64 = 0xfeb8_0000;
/// The line of the interrupt, and its vector in the guest. The event that raises it becomes a message, not a level of the
/// interrupt controller: its end would be seen by KVM at the guest's EOI, but there are hosts (without processor support
/// for virtualization) where that is when the interrupt begins.
const LINE: u32 = 0;
const VECTOR: u32 = 0x21;
/// Where the guest writes what it has to say.
const CONSOLE: u64 = 0xfeb9_0000;
/// Wakes the processor's thread, so that it sees that it is to end.
const WAKE: Signal = Signal::SIGUSR2;
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

fn kvm(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> VmError {
    move |e| VmError::Kvm(what, io::Error::from_raw_os_error(e.errno()))
}

/// Whether there is a KVM that may be used.
pub fn have_kvm() -> Result<(), String> {
    if valecast_guest_bare::elf().is_none() {
        return Err("bare guests are x86-64 only".into());
    }
    Kvm::new().map(drop).map_err(|e| format!("/dev/kvm: {}", io::Error::from_raw_os_error(e.errno())))
}

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

#[derive(Debug, Default)]
struct Shared {
    exits: Exits,
    over: AtomicBool,
    /// What the guest printed.
    console: std::sync::Mutex<Vec<u8>>,
    failed: std::sync::Mutex<Option<String>>,
}

/// A machine that runs until it is dropped.
pub struct Vm {
    shared: Arc<Shared>,
    memory: Arc<MmapRaw>,
    raise: EventFd,
    processor: Option<JoinHandle<()>>,
    _vm: VmFd,
}

fn borrowed(fd: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open as long as `fd` is borrowed.
    unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) }
}

impl Vm {
    /// Boots the payload with `size` bytes of memory and the card behind `socket`; comes back when it is ready. `core`:
    /// the only one that its processor runs on.
    pub fn start(socket: &Path, size: usize, core: Option<usize>) -> Result<Self, VmError> {
        let port = |e| VmError::Port(socket.to_owned(), e);
        let file = File::from(
            memfd_create("valecast-bare-guest", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
                .map_err(|e| VmError::Memory(e.into()))?,
        );
        file.set_len(size as u64).map_err(VmError::Memory)?;
        let memory = Arc::new(MmapRaw::map_raw(&file).map_err(VmError::Memory)?);
        let entry = fill(&memory)?;

        let hypervisor = Kvm::new().map_err(|e| VmError::NoKvm(io::Error::from_raw_os_error(e.errno())))?;
        let vm = hypervisor.create_vm().map_err(kvm("make a machine"))?;
        vm.set_tss_address(0xfffb_d000).map_err(kvm("place the TSS"))?;
        vm.create_irq_chip().map_err(kvm("make interrupt controllers"))?;
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: size as u64,
            userspace_addr: memory.as_ptr() as u64,
        };
        // SAFETY: `memory` stays mapped until the machine and its processor are gone: both hold it.
        unsafe { vm.set_user_memory_region(region) }.map_err(kvm("map memory"))?;
        let event = || EventFd::new(EFD_NONBLOCK).map_err(|e| VmError::Kvm("make eventfds", e));
        let (raise, again) = (event()?, event()?);
        vm.set_gsi_routing(&message()?).map_err(kvm("route the interrupt"))?;
        vm.register_irqfd(&raise, LINE).map_err(kvm("wire the interrupt"))?;
        vm.register_ioevent(&again, &IoEventAddress::Mmio(SERVED), NoDatamatch)
            .map_err(kvm("wire the interrupt's end"))?;

        let mut client = Client::connect(socket).map_err(port)?;
        client.map(file.as_fd(), size as u64).map_err(port)?;
        client.wire(borrowed(&raise), borrowed(&again)).map_err(port)?;
        client.enable().map_err(port)?;

        let mut cpu = vm.create_vcpu(0).map_err(kvm("make a processor"))?;
        let cpuid = hypervisor.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(kvm("tell CPUID"))?;
        cpu.set_cpuid2(&cpuid).map_err(kvm("set CPUID"))?;
        reset(&cpu, entry)?;
        let shared = Arc::new(Shared::default());
        wake_quietly().map_err(|e| VmError::Kvm("be woken", e))?;
        let processor = {
            let (shared, memory) = (Arc::clone(&shared), Arc::clone(&memory));
            std::thread::Builder::new().name("vcpu".into()).spawn(move || {
                let pinned = core.map_or(Ok(()), |c| pin(c).map_err(|e| e.to_string()));
                if let Err(why) = pinned.and_then(|()| run(&mut cpu, &mut client, &shared))
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
        // SAFETY: inside memory, which `fill` has checked and which stays mapped; page-aligned; atomics only.
        unsafe { &*self.memory.as_ptr().add(mailbox::AT as usize).cast::<Mailbox>() }
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

/// The payload and the mailbox into fresh memory; the entry.
fn fill(memory: &MmapRaw) -> Result<u32, VmError> {
    let elf =
        valecast_guest_bare::elf().ok_or_else(|| VmError::Guest("bare guests are x86-64 only".into()))?;
    let size = memory.len() as u64;
    if size < mailbox::MEMORY {
        return Err(VmError::Guest(format!("{size} bytes of memory are too few")));
    }
    let entry = load::load(elf, |addr, bytes| {
        if addr.checked_add(bytes.len() as u64).is_none_or(|end| end > mailbox::AT) {
            return false;
        }
        // SAFETY: below the mailbox, which is inside memory; nobody else uses it yet.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                memory.as_mut_ptr().add(addr as usize),
                bytes.len(),
            );
        }
        true
    })?;
    // SAFETY: as in `Vm::mailbox`.
    let page = unsafe { &*memory.as_ptr().add(mailbox::AT as usize).cast::<Mailbox>() };
    page.bar0.store(BAR0, Ordering::Relaxed);
    page.end.store(size, Ordering::Relaxed);
    page.served.store(SERVED, Ordering::Relaxed);
    page.console.store(CONSOLE, Ordering::Relaxed);
    Ok(entry)
}

/// The card's line as a message to the one processor.
fn message() -> Result<KvmIrqRouting, VmError> {
    let msi = kvm_irq_routing_msi { address_lo: 0xfee0_0000, data: VECTOR, ..kvm_irq_routing_msi::default() };
    let entry = kvm_irq_routing_entry {
        gsi: LINE,
        type_: KVM_IRQ_ROUTING_MSI,
        u: kvm_irq_routing_entry__bindgen_ty_1 { msi },
        ..kvm_irq_routing_entry::default()
    };
    KvmIrqRouting::from_entries(&[entry]).map_err(|e| VmError::Guest(format!("interrupt routes: {e:?}")))
}

/// The state that PVH asks for: 32 bits, flat, no paging.
fn reset(cpu: &VcpuFd, entry: u32) -> Result<(), VmError> {
    let mut s = cpu.get_sregs().map_err(kvm("tell registers"))?;
    let flat = |selector: u16, type_: u8| kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        dpl: 0,
        db: 1,
        s: 1,
        l: 0,
        g: 1,
        ..kvm_segment::default()
    };
    s.cs = flat(0x10, 0xb);
    let data = flat(0x18, 0x3);
    (s.ds, s.es, s.fs, s.gs, s.ss) = (data, data, data, data, data);
    s.tr = kvm_segment { limit: 0x67, type_: 0xb, present: 1, ..kvm_segment::default() };
    s.cr0 = 0x11;
    s.cr4 = 0;
    cpu.set_sregs(&s).map_err(kvm("set segments"))?;
    // RBX = 0: no start info, the mailbox says all.
    let regs = kvm_regs { rip: u64::from(entry), rflags: 2, ..kvm_regs::default() };
    cpu.set_regs(&regs).map_err(kvm("set registers"))
}

extern "C" fn nothing(_: i32) {}

/// The signal only makes the processor's thread come back from the kernel.
fn wake_quietly() -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, which is safe at any time.
    unsafe { sigaction(WAKE, &action) }?;
    Ok(())
}

/// Runs the processor until the machine is over; `Err` says why it cannot go on.
fn run(cpu: &mut VcpuFd, client: &mut Client, shared: &Shared) -> Result<(), String> {
    let count = |c: &AtomicU64| c.fetch_add(1, Ordering::Relaxed);
    let card = |addr: u64| addr.checked_sub(BAR0).filter(|at| *at < BAR0_SIZE);
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
                if let Some(at) = card(addr) {
                    client.post(at, data).map_err(|e| format!("register {at:#x}: {e}"))?;
                }
            }
            Ok(VcpuExit::MmioRead(addr, data)) => {
                count(&shared.exits.reads);
                match card(addr) {
                    Some(at) => client.read(at, data).map_err(|e| format!("register {at:#x}: {e}"))?,
                    None => data.fill(0xff),
                }
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
