//! The machine without its processor's thread: memory, interrupt controllers, the state that a payload begins in.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kvm_bindings::{
    KVM_IRQ_ROUTING_MSI, KVM_MAX_CPUID_ENTRIES, KvmIrqRouting, kvm_irq_routing_entry,
    kvm_irq_routing_entry__bindgen_ty_1, kvm_irq_routing_msi, kvm_regs, kvm_segment,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use memmap2::{Advice, MmapRaw};
use nix::sys::memfd::{MFdFlags, memfd_create};
use valecast_guest::mailbox;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::card::{self, Card, Slot};
use super::load;
use super::monitor::VmError;
use super::processor::{BAR0, CONSOLE};

/// The line of the interrupt, and its vector in the guest. The event that raises it becomes a message, not a level of the
/// interrupt controller: its end would be seen by KVM at the guest's EOI, but there are hosts (without processor support
/// for virtualization) where that is when the interrupt begins.
const LINE: u32 = 0;
const VECTOR: u32 = 0x21;

fn kvm(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> VmError {
    move |e| VmError::Kvm(what, io::Error::from_raw_os_error(e.errno()))
}

/// `size` bytes that a card can be given, as a file and as they lie here; in large pages where there are any.
pub fn shared_memory(size: usize) -> Result<(File, Arc<MmapRaw>), VmError> {
    let file = File::from(
        memfd_create("valecast-bare-guest", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
            .map_err(|e| VmError::Memory(e.into()))?,
    );
    file.set_len(size as u64).map_err(VmError::Memory)?;
    let memory = Arc::new(MmapRaw::map_raw(&file).map_err(VmError::Memory)?);
    // Where there are no large pages it does without.
    let _ = memory.advise(Advice::HugePage);
    Ok((file, memory))
}

/// A machine that has not begun.
pub struct Machine {
    pub vm: VmFd,
    pub cpu: VcpuFd,
    /// Also the processor's, which must not outlive it.
    pub memory: Arc<MmapRaw>,
    /// Interrupts it.
    pub raise: EventFd,
}

impl Machine {
    /// With `size` bytes of memory, the payload in it, and this card.
    pub fn new(
        card: &mut dyn Card,
        size: usize,
        port: impl Fn(io::Error) -> VmError,
    ) -> Result<Self, VmError> {
        let (file, memory) = shared_memory(size)?;
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
        let raise = event()?;
        vm.set_gsi_routing(&message()?).map_err(kvm("route the interrupt"))?;
        vm.register_irqfd(&raise, LINE).map_err(kvm("wire the interrupt"))?;

        card::mailbox(&memory).set_card(card.kind());
        card.plug(&Slot { vm: &vm, memory: &memory, file: &file, raise: &raise }).map_err(&port)?;

        let cpu = vm.create_vcpu(0).map_err(kvm("make a processor"))?;
        let cpuid = hypervisor.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(kvm("tell CPUID"))?;
        cpu.set_cpuid2(&cpuid).map_err(kvm("set CPUID"))?;
        reset(&cpu, entry)?;
        Ok(Self { vm, cpu, memory, raise })
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
    let page = card::mailbox(memory);
    page.bar0.store(BAR0, Ordering::Relaxed);
    page.end.store(size, Ordering::Relaxed);
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
