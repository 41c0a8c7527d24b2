//! Virtio-net at a port of kind `vhost-user`: rust-vmm's front end, told by the guest where its rings are.
//!
//! The guest has two kinds of registers ([`valecast_guest::virtio`]). A doorbell does not come here: KVM turns its write into
//! the eventfd that the port listens to. The status register does, and when its write is done the port has heard of the
//! rings, or has let go of them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kvm_ioctls::{IoEventAddress, NoDatamatch};
use memmap2::MmapRaw;
use valecast_guest::mailbox;
use valecast_guest::virtio::{self, Places, RECEIVE, Setup, TRANSMIT};
use vhost::vhost_user::message::{VhostUserHeaderFlag, VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::card::{Card, Slot, mailbox};
use super::processor::BAR0;

/// A port's queues.
pub const QUEUES: [u16; 2] = [RECEIVE, TRANSMIT];

/// A connection to a port, and what the guest's device is made of.
pub struct FrontEnd {
    front: Frontend,
    offered: u64,
    kicks: [EventFd; 2],
    plugged: Option<(Arc<MmapRaw>, EventFd)>,
}

fn refused(what: &'static str) -> impl FnOnce(vhost::Error) -> io::Error {
    move |e| io::Error::other(format!("the port refused to {what}: {e}"))
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl FrontEnd {
    /// Connects to a port's socket and agrees on features.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        let mut front = Frontend::connect(socket, 2).map_err(|e| io::Error::other(e.to_string()))?;
        front.set_owner().map_err(refused("be owned"))?;
        let offered = front.get_features().map_err(refused("tell its features"))?;
        let spoken = front.get_protocol_features().map_err(refused("tell its protocol features"))?;
        if !spoken.contains(VhostUserProtocolFeatures::REPLY_ACK) {
            return Err(bad("the port does not say whether it did what it is told (REPLY_ACK)"));
        }
        let ours = VhostUserProtocolFeatures::REPLY_ACK | VhostUserProtocolFeatures::MQ;
        front.set_protocol_features(spoken & ours).map_err(refused("take protocol features"))?;
        front.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        let event = || EventFd::new(EFD_NONBLOCK);
        Ok(Self { front, offered, kicks: [event()?, event()?], plugged: None })
    }

    /// Features that the port offers.
    pub fn offered(&self) -> u64 {
        self.offered
    }

    /// Rings the doorbell of a queue.
    pub fn ring(&self, queue: u16) {
        if let Some(kick) = self.kicks.get(usize::from(queue)) {
            // It only fails when it is rung already, 2^64 - 2 times.
            let _ = kick.write(1);
        }
    }

    /// Shares the guest's memory, from address 0 on; `call` is written for an interrupt.
    pub fn share(&mut self, memory: &Arc<MmapRaw>, file: &File, call: EventFd) -> io::Result<()> {
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: memory.len() as u64,
            userspace_addr: memory.as_ptr() as u64,
            mmap_offset: 0,
            mmap_handle: file.as_raw_fd(),
        };
        self.front.set_mem_table(&[region]).map_err(refused("take the guest's memory"))?;
        self.plugged = Some((memory.clone(), call));
        Ok(())
    }

    /// The guest's driver is ready.
    pub fn begin(&mut self, setup: &Setup) -> io::Result<()> {
        let Some((memory, call)) = &self.plugged else { return Err(bad("there is no memory yet")) };
        let protocol = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        self.front.set_features(setup.features | protocol).map_err(refused("take the features"))?;
        for (queue, places) in QUEUES.into_iter().zip(setup.queues) {
            let (kick, n) = (&self.kicks[usize::from(queue)], usize::from(queue));
            let data = places_here(memory, setup, &places)?;
            self.front.set_vring_num(n, setup.entries).map_err(refused("take the size of a ring"))?;
            self.front.set_vring_base(n, 0).map_err(refused("begin a ring"))?;
            self.front.set_vring_addr(n, &data).map_err(refused("take the places of a ring"))?;
            self.front.set_vring_call(n, call).map_err(refused("take an interrupt"))?;
            self.front.set_vring_kick(n, kick).map_err(refused("take a doorbell"))?;
            self.front.set_vring_enable(n, true).map_err(refused("enable a ring"))?;
        }
        Ok(())
    }

    /// It is done: when this returns the port does not use its rings any more.
    pub fn end(&mut self) -> io::Result<()> {
        for queue in QUEUES {
            self.front.get_vring_base(queue.into()).map_err(refused("stop a ring"))?;
        }
        Ok(())
    }
}

/// A ring as it lies in this process; it must lie in the guest's memory.
fn places_here(memory: &MmapRaw, setup: &Setup, p: &Places) -> io::Result<VringConfigData> {
    let (n, size) = (u64::from(setup.entries), memory.len() as u64);
    let here = |at: u64, bytes: u64| {
        let inside = at.checked_add(bytes).is_some_and(|end| end <= size);
        if inside {
            Ok(memory.as_ptr() as u64 + at)
        } else {
            Err(bad(format!("the guest's ring at {at:#x} is not in its memory")))
        }
    };
    Ok(VringConfigData {
        queue_max_size: virtio::MAX_ENTRIES,
        queue_size: setup.entries,
        flags: 0,
        desc_table_addr: here(p.descriptors, 16 * n)?,
        avail_ring_addr: here(p.available, 6 + 2 * n)?,
        used_ring_addr: here(p.used, 6 + 8 * n)?,
        log_addr: None,
    })
}

impl Card for FrontEnd {
    fn kind(&self) -> mailbox::Card {
        mailbox::Card::Virtio
    }

    fn plug(&mut self, slot: &Slot<'_>) -> io::Result<()> {
        self.share(slot.memory, slot.file, slot.raise.try_clone()?)?;
        for (queue, kick) in QUEUES.into_iter().zip(&self.kicks) {
            let at = IoEventAddress::Mmio(BAR0 + u64::from(virtio::doorbell(queue)));
            slot.vm
                .register_ioevent(kick, &at, NoDatamatch)
                .map_err(|e| io::Error::from_raw_os_error(e.errno()))?;
        }
        // ORDERING: Relaxed: before the guest is started.
        mailbox(slot.memory).virtio.offered.store(self.offered, Ordering::Relaxed);
        Ok(())
    }

    fn read(&mut self, _: u64, data: &mut [u8]) -> io::Result<()> {
        data.fill(0xff);
        Ok(())
    }

    fn write(&mut self, at: u64, data: &[u8]) -> io::Result<()> {
        match (u32::try_from(at), data.first()) {
            (Ok(virtio::STATUS), Some(0)) => self.end(),
            (Ok(virtio::STATUS), Some(_)) => {
                let said = self.plugged.as_ref().and_then(|(memory, _)| mailbox(memory).virtio.said());
                self.begin(&said.ok_or_else(|| bad("the guest's rings have no size"))?)
            }
            _ => Ok(()),
        }
    }
}
