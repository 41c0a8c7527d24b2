//! A VM: memory in a memfd, a monitor that is the `vfio_user` crate's client, and the guest driver.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

use memmap2::{MmapOptions, MmapRaw};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::memfd::{MFdFlags, memfd_create};
use valecast_hypervisor_glue::e1000::dma::{Access, Dma, Span};
use valecast_hypervisor_glue::e1000::guest::{Bus, Driver, Frame, Options, Received, Send};
use valecast_hypervisor_glue::e1000::regs::rctl;

use crate::rig::{Brimful, DEADLINE};

/// PCI configuration space, and its command register: I/O, memory, bus master.
const CONFIG: u32 = 7;
const COMMAND: u64 = 4;
const ENABLE: [u8; 2] = [7, 0];
/// SET_IRQS: an eventfd to be triggered; unmask.
const TRIGGER_EVENTFD: u32 = 0x24;
const UNMASK: u32 = 0x11;

/// Guest memory, from address 0 on.
pub struct Ram {
    fd: OwnedFd,
    map: MmapRaw,
    len: usize,
}

impl Ram {
    pub fn new(len: usize) -> Self {
        let fd = memfd_create(c"guest", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
        nix::unistd::ftruncate(&fd, len as i64).unwrap();
        let map = MmapOptions::new().len(len).map_raw(&fd).unwrap();
        Self { fd, map, len }
    }

    pub fn len(&self) -> u64 {
        self.len as u64
    }
}

// SAFETY: mapped and writable as long as `self`, at a page's beginning, like the guest's address 0.
unsafe impl Dma for Ram {
    fn span(&self, addr: u64, len: usize, _access: Access) -> Option<Span> {
        let at = usize::try_from(addr).ok().filter(|at| *at < self.len)?;
        // SAFETY: `at` is inside.
        let ptr = NonNull::new(unsafe { self.map.as_mut_ptr().add(at) })?;
        Some(Span { ptr, len: len.min(self.len - at) })
    }
}

/// The card's registers, through the monitor.
pub struct Registers<'a>(pub &'a mut vfio_user::Client);

impl Bus for Registers<'_> {
    fn read(&mut self, at: u32) -> u32 {
        let mut b = [0; 4];
        self.0.region_read(0, at.into(), &mut b).unwrap();
        u32::from_le_bytes(b)
    }

    fn write(&mut self, at: u32, v: u32) {
        self.0.region_write(0, at.into(), &v.to_le_bytes()).unwrap();
    }
}

pub struct Vm {
    pub client: vfio_user::Client,
    pub ram: Arc<Ram>,
    pub driver: Driver,
    /// Frames that a test has not looked at yet.
    pub spare: VecDeque<Vec<u8>>,
    irq: EventFd,
    options: Options,
}

impl Vm {
    /// Plugs the card in and brings its driver up.
    pub fn start(socket: &Path, mut options: Options) -> Self {
        // Tests' frames go to addresses of their own.
        options.rctl |= rctl::UPE;
        let mut client = vfio_user::Client::new(socket).unwrap();
        let ram = Arc::new(Ram::new((options.base as usize + options.memory()).next_multiple_of(4096)));
        map(&mut client, &ram, 0, ram.len());
        let irq = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap();
        client.set_irqs(0, TRIGGER_EVENTFD, 0, 1, &[irq.as_raw_fd()]).unwrap();
        client.region_write(CONFIG, COMMAND, &ENABLE).unwrap();
        let driver = Driver::start(&mut Registers(&mut client), &*ram, options).unwrap();
        Self { client, ram, driver, spare: VecDeque::new(), irq, options }
    }

    /// Makes what the monitor is interrupted by blocking, and as full as it gets.
    pub fn fill_irq(&self) -> Brimful {
        Brimful::fill(&self.irq)
    }

    /// The guest's machine is reset, and its driver comes up again.
    pub fn reboot(&mut self) {
        self.client.reset().unwrap();
        self.client.region_write(CONFIG, COMMAND, &ENABLE).unwrap();
        self.restart();
    }

    /// The driver resets the card and starts anew.
    pub fn restart(&mut self) {
        self.driver = Driver::start(&mut Registers(&mut self.client), &*self.ram, self.options).unwrap();
    }

    pub fn map(&mut self, from: u64, to: u64) {
        map(&mut self.client, &self.ram, from, to);
    }

    pub fn unmap(&mut self, from: u64, to: u64) {
        self.client.dma_unmap(from, to - from).unwrap();
    }

    pub fn registers(&mut self) -> Registers<'_> {
        Registers(&mut self.client)
    }

    /// Sends, if there is room now.
    pub fn try_send(&mut self, s: &Send<'_>) -> bool {
        self.driver.send(&mut Registers(&mut self.client), &*self.ram, s).unwrap()
    }

    /// Sends; what was received while there was no room.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) -> Vec<Received> {
        let mut got = Vec::new();
        while !self.try_send(&Send { bytes, ..Send::default() }) {
            got.extend(self.interrupt());
        }
        got
    }

    /// Waits for an interrupt and serves it.
    #[track_caller]
    pub fn interrupt(&mut self) -> Vec<Received> {
        let ms = PollTimeout::try_from(DEADLINE).unwrap();
        let n = poll(&mut [PollFd::new(self.irq.as_fd(), PollFlags::POLLIN)], ms).unwrap();
        assert_eq!(n, 1, "no interrupt came");
        self.serve()
    }

    /// Serves an interrupt if there is one.
    pub fn serve(&mut self) -> Vec<Received> {
        if self.irq.read().is_err() {
            return Vec::new();
        }
        let (mut got, ram) = (Vec::new(), &*self.ram);
        let each = |f: &Frame| got.push(Received::copy(ram, f).unwrap());
        self.driver.interrupt(&mut Registers(&mut self.client), ram, each).unwrap();
        self.client.set_irqs(0, UNMASK, 0, 1, &[]).unwrap();
        got
    }

    /// Looks for frames without an interrupt.
    pub fn poll(&mut self) -> Vec<Received> {
        let (mut got, ram) = (Vec::new(), &*self.ram);
        let each = |f: &Frame| got.push(Received::copy(ram, f).unwrap());
        self.driver.receive(&mut Registers(&mut self.client), ram, each).unwrap();
        got
    }

    /// The next frame; others that came with it are kept.
    #[track_caller]
    pub fn next(&mut self) -> Vec<u8> {
        if self.spare.is_empty() {
            let got = self.receive(1);
            self.spare.extend(got);
        }
        self.spare.pop_front().unwrap()
    }

    /// Waits for `n` frames more, by interrupts; their bytes without FCS.
    #[track_caller]
    pub fn receive(&mut self, n: usize) -> Vec<Vec<u8>> {
        let end = Instant::now() + DEADLINE;
        let mut got = Vec::new();
        while got.len() < n {
            assert!(Instant::now() < end, "{} of {n} frames came", got.len());
            got.extend(self.interrupt());
        }
        got.into_iter().map(plain).collect()
    }
}

/// A frame's bytes without FCS.
pub fn plain(r: Received) -> Vec<u8> {
    let mut bytes = r.bytes;
    bytes.truncate(bytes.len() - 4);
    bytes
}

fn map(client: &mut vfio_user::Client, ram: &Ram, from: u64, to: u64) {
    client.dma_map(from, from, to - from, ram.fd.as_raw_fd()).unwrap();
}
