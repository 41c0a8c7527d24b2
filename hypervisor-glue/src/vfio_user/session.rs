//! What each message does: one client's conversation, without its socket.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use zerocopy::IntoBytes;

use super::device::{Bus, Device};

use super::memory::{DmaTable, Range, UNSHARED};
use super::pci::{BARS, BadBar, Command as PciCommand, Config, Identity};
use super::stream::Message;
use super::version::{ClientCapabilities, negotiate};
use super::wire::{self, Access, Command, Header};
use super::wiring::{Irqs, KINDS};

mod regions;

use regions::REGIONS;

/// Can be reset; PCI.
const DEVICE_FLAGS: u32 = 3;

/// A device and whoever talks to it.
#[derive(Debug)]
pub struct Session<D> {
    device: D,
    bus: Bus,
    bars: [u64; BARS],
    config: Config,
    table: DmaTable,
    irqs: Irqs,
    client: Option<ClientCapabilities>,
    told_unshared: bool,
    data: Vec<u8>,
}

impl DmaTable {
    /// Adds what a DMA_MAP message says. Besides the errors of [`DmaTable::add`], `EINVAL`: unknown flags.
    pub fn map(&mut self, m: &wire::DmaMap, fd: Option<&OwnedFd>) -> Result<(), Errno> {
        let flags = m.flags.get();
        if flags & !(wire::MAP_READ | wire::MAP_WRITE) != 0 {
            return Err(Errno::EINVAL);
        }
        let range = Range {
            start: m.address.get(),
            size: m.size.get(),
            readable: flags & wire::MAP_READ != 0,
            writable: flags & wire::MAP_WRITE != 0,
        };
        self.add(range, fd.map(|fd| (fd, m.offset.get())))
    }
}

impl<D: Device> Session<D> {
    /// Plugs `device` into `bus`.
    pub fn new(id: &Identity, bus: Bus, device: D) -> Result<Self, BadBar> {
        Ok(Self {
            device,
            bars: id.bars.map(|b| b.map_or(0, |b| b.size().into())),
            config: Config::new(id)?,
            table: DmaTable::new(bus.memory_cell()),
            irqs: Irqs::new(bus.interrupt_cell()),
            bus,
            client: None,
            told_unshared: false,
            data: Vec::new(),
        })
    }

    /// The device.
    pub fn device(&mut self) -> &mut D {
        &mut self.device
    }

    /// What it is plugged into.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// What the client said of itself, once it has.
    pub fn client(&self) -> Option<&ClientCapabilities> {
        self.client.as_ref()
    }

    /// See [`Irqs::resample`].
    pub fn resample(&self) -> Option<&Arc<OwnedFd>> {
        self.irqs.resample()
    }

    /// See [`Irqs::resampled`].
    pub fn resampled(&self) {
        self.irqs.resampled();
    }

    /// The client has gone: memory, interrupts and the device are as at the start.
    pub fn detach(&mut self) {
        self.client = None;
        self.told_unshared = false;
        self.irqs.clear();
        // Before its memory goes: workers would count each look at it as a fault.
        self.reset();
        self.table.clear();
        self.device.detached();
    }

    /// Does what a message asks for and appends the answer to `out`.
    pub fn handle(&mut self, m: Message<'_>, out: &mut Vec<u8>) {
        let header = m.header;
        let flags = header.flags.get();
        self.bus.counters().messages.add(1);
        if flags & wire::TYPE_MASK == wire::TYPE_REPLY {
            // To a request that was never made.
            self.bus.counters().refused.add(1);
            return;
        }
        let fds = m.fds.len();
        tracing::trace!(command = header.command.get(), size = header.size.get(), flags, fds, body = ?brief(m.body), "message");
        let silent = flags & wire::NO_REPLY != 0;
        let before = out.len();
        let done = if flags & wire::TYPE_MASK == wire::TYPE_COMMAND {
            m.bad.map_or(Ok(()), Err).and_then(|()| self.dispatch(&header, m.body, m.fds, out))
        } else {
            Err(Errno::EINVAL)
        };
        if let Err(why) = done {
            self.bus.counters().refused.add(1);
            tracing::debug!(command = header.command.get(), size = header.size.get(), %why, "request refused");
            out.truncate(before);
            wire::refuse(out, &header, why);
        }
        if silent {
            out.truncate(before);
        }
    }

    fn dispatch(
        &mut self,
        header: &Header,
        body: &[u8],
        fds: Vec<OwnedFd>,
        out: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        let command = Command::try_from(header.command.get())?;
        if self.client.is_none() && command != Command::Version {
            return Err(Errno::EPROTO);
        }
        if !fds.is_empty() && !matches!(command, Command::DmaMap | Command::SetIrqs) {
            return Err(Errno::EINVAL);
        }
        match command {
            Command::Version => self.version(header, body, out),
            Command::DmaMap => self.dma_map(header, body, &fds, out),
            Command::DmaUnmap => self.dma_unmap(header, body, out),
            Command::DeviceGetInfo => device_info(header, body, out),
            Command::GetRegionInfo => self.region_info(header, body, out),
            Command::GetIrqInfo => self.irq_info(header, body, out),
            Command::SetIrqs => {
                let (set, data) = wire::split::<wire::SetIrqs>(body)?;
                self.irqs.set(&set, data, fds)?;
                self.device.interrupt_changed();
                wire::reply(out, header, &[]);
                Ok(())
            }
            Command::RegionRead => self.region_read(header, body, out),
            Command::RegionWrite => {
                let (access, data) = wire::split::<Access>(body)?;
                if access.count.get() as usize != data.len() {
                    return Err(Errno::EINVAL);
                }
                self.region_write(header, &access, data)?;
                wire::reply(out, header, &[access.as_bytes()]);
                Ok(())
            }
            Command::WriteMulti => self.write_multi(header, body, out),
            Command::DeviceReset => {
                self.reset();
                wire::reply(out, header, &[]);
                Ok(())
            }
        }
    }

    fn version(&mut self, header: &Header, body: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        if self.client.is_some() {
            return Err(Errno::EINVAL);
        }
        let (answer, client) = negotiate(body)?;
        tracing::debug!(?client, "client agreed on vfio-user");
        self.client = Some(client);
        wire::reply(out, header, &[&answer]);
        self.device.attached();
        Ok(())
    }

    fn dma_map(
        &mut self,
        header: &Header,
        body: &[u8],
        fds: &[OwnedFd],
        out: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        let (map, _) = wire::split::<wire::DmaMap>(body)?;
        if fds.len() > 1 {
            return Err(Errno::EINVAL);
        }
        self.table.map(&map, fds.first())?;
        self.bus.counters().maps.add(1);
        self.device.memory_changed();
        wire::reply(out, header, &[]);
        Ok(())
    }

    fn dma_unmap(&mut self, header: &Header, body: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        let (mut unmap, _) = wire::split::<wire::DmaUnmap>(body)?;
        let size = match unmap.flags.get() {
            wire::UNMAP_ALL => self.table.clear(),
            0 => self.table.unmap(unmap.address.get(), unmap.size.get())?,
            f if f & wire::UNMAP_BITMAP != 0 => return Err(Errno::ENOTSUP),
            _ => return Err(Errno::EINVAL),
        };
        self.bus.counters().unmaps.add(1);
        self.device.memory_changed();
        unmap.size = size.into();
        wire::reply(out, header, &[unmap.as_bytes()]);
        Ok(())
    }

    fn irq_info(&self, header: &Header, body: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        let (asked, _) = wire::split::<wire::IrqInfo>(body)?;
        let (flags, count) = self.irqs.info(asked.index.get())?;
        let info = wire::IrqInfo {
            argsz: (size_of::<wire::IrqInfo>() as u32).into(),
            flags: flags.into(),
            index: asked.index,
            count: count.into(),
        };
        wire::reply(out, header, &[info.as_bytes()]);
        Ok(())
    }

    fn reset(&mut self) {
        self.config.reset();
        self.bus.interrupt().set_level(false);
        // While it may still reach memory.
        self.device.reset();
        self.command_changed();
    }

    fn command_changed(&mut self) {
        let command = self.config.command();
        let master = command.contains(PciCommand::MASTER);
        self.table.set_master(master);
        self.bus.interrupt_cell().set_command(command.contains(PciCommand::INTX_OFF), master);
        if master && !self.told_unshared && self.unshared() {
            self.told_unshared = true;
            tracing::error!("the VM's memory is not shared, so its packets cannot be reached: {UNSHARED}");
        }
        self.device.command(command);
    }

    /// The guest's memory came without descriptors: no packet can go in or out.
    pub fn unshared(&self) -> bool {
        let guard = crossbeam::epoch::pin();
        self.bus.memory(&guard).unshared()
    }
}

fn device_info(header: &Header, body: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
    let (asked, _) = wire::split::<wire::DeviceInfo>(body)?;
    if (asked.argsz.get() as usize) < size_of::<wire::DeviceInfo>() {
        return Err(Errno::EINVAL);
    }
    let info = wire::DeviceInfo {
        argsz: (size_of::<wire::DeviceInfo>() as u32).into(),
        flags: DEVICE_FLAGS.into(),
        regions: REGIONS.into(),
        irqs: KINDS.into(),
    };
    wire::reply(out, header, &[info.as_bytes()]);
    Ok(())
}

/// The first bytes of a body, for traces.
fn brief(body: &[u8]) -> &[u8] {
    &body[..body.len().min(48)]
}
