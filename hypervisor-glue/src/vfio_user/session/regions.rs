//! Register and configuration accesses.

use nix::errno::Errno;
use zerocopy::{FromBytes, IntoBytes};

use super::Session;
use crate::vfio_user::device::Device;
use crate::vfio_user::pci::SIZE as CONFIG_SIZE;
use crate::vfio_user::wire::{self, Access, Header, MAX_DATA, MAX_MULTI, MultiWrite};

/// Regions of a PCI device: six BARs, ROM, configuration space, VGA.
pub(super) const REGIONS: u32 = 9;
const CONFIG: u32 = 7;
const READ_WRITE: u32 = 3;
impl<D: Device> Session<D> {
    pub(super) fn region_info(&self, header: &Header, body: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        let (asked, _) = wire::split::<wire::RegionInfo>(body)?;
        let index = asked.index.get();
        if index >= REGIONS || (asked.argsz.get() as usize) < size_of::<wire::RegionInfo>() {
            return Err(Errno::EINVAL);
        }
        let size = self.region_size(index);
        let info = wire::RegionInfo {
            argsz: (size_of::<wire::RegionInfo>() as u32).into(),
            flags: if size > 0 { READ_WRITE } else { 0 }.into(),
            index: asked.index,
            cap_offset: 0.into(),
            size: size.into(),
            offset: 0.into(),
        };
        wire::reply(out, header, &[info.as_bytes()]);
        Ok(())
    }

    fn region_size(&self, index: u32) -> u64 {
        match index {
            CONFIG => CONFIG_SIZE as u64,
            _ => self.bars.get(index as usize).copied().unwrap_or(0),
        }
    }

    /// `EINVAL` unless the access lies inside its region.
    fn inside(&self, a: &Access) -> Result<(), Errno> {
        let count = a.count.get();
        let end = a.offset.get().checked_add(count.into()).ok_or(Errno::EINVAL)?;
        let fits = count > 0 && count as usize <= MAX_DATA && end <= self.region_size(a.region.get());
        if fits { Ok(()) } else { Err(Errno::EINVAL) }
    }

    pub(super) fn region_read(
        &mut self,
        header: &Header,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        let (access, _) = wire::split::<Access>(body)?;
        self.inside(&access)?;
        let (region, offset) = (access.region.get(), access.offset.get());
        self.data.clear();
        self.data.resize(access.count.get() as usize, 0);
        if region == CONFIG {
            if !self.config.read(offset, &mut self.data, self.bus.interrupt().level()) {
                return Err(Errno::EINVAL);
            }
        } else {
            self.bus.counters().reads.add(1);
            self.device.read(region as usize, offset, &mut self.data);
        }
        wire::reply(out, header, &[access.as_bytes(), &self.data]);
        Ok(())
    }

    pub(super) fn region_write(
        &mut self,
        header: &Header,
        access: &Access,
        data: &[u8],
    ) -> Result<(), Errno> {
        self.inside(access)?;
        let (region, offset) = (access.region.get(), access.offset.get());
        if region != CONFIG {
            let counters = self.bus.counters();
            counters.writes.add(1);
            counters.posted.add((header.flags.get() & wire::NO_REPLY != 0).into());
            self.device.write(region as usize, offset, data);
            return Ok(());
        }
        let before = self.config.command();
        if !self.config.write(offset, data) {
            return Err(Errno::EINVAL);
        }
        if self.config.command() != before {
            self.command_changed();
        }
        Ok(())
    }

    pub(super) fn write_multi(
        &mut self,
        header: &Header,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        let (count, writes) = wire::split::<zerocopy::native_endian::U64>(body)?;
        let whole =
            count.get() <= MAX_MULTI && writes.len() as u64 == count.get() * size_of::<MultiWrite>() as u64;
        if !whole {
            return Err(Errno::EINVAL);
        }
        for one in writes.chunks_exact(size_of::<MultiWrite>()) {
            let one = MultiWrite::read_from_bytes(one).map_err(|_| Errno::EINVAL)?;
            let data = one.data.get(..one.access.count.get() as usize).ok_or(Errno::EINVAL)?;
            self.region_write(header, &one.access, data)?;
        }
        wire::reply(out, header, &[count.as_bytes()]);
        Ok(())
    }
}
