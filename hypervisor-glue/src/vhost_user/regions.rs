//! The guest's memory: where it lies in the guest, in the front end, and (through [`DmaTable`]) in this process.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam::epoch::Guard;
use nix::errno::Errno;
use vhost::vhost_user::message::{VhostUserMemory, VhostUserMemoryRegion, VhostUserSingleMemoryRegion};

use super::session::Refusal;
use super::wire::split;
use crate::memory::{DmaTable, PAGE, Range, Snapshot};
use crate::sys::published::Published;

/// One region, as the front end described it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Region {
    guest: u64,
    size: u64,
    /// In the front end's address space; ring addresses are of this kind.
    user: u64,
    offset: u64,
}

impl Region {
    fn new(r: &VhostUserMemoryRegion) -> Result<Self, Refusal> {
        let r =
            Self { guest: r.guest_phys_addr, size: r.memory_size, user: r.user_addr, offset: r.mmap_offset };
        let ends = [r.guest, r.user, r.offset].map(|at| at.checked_add(r.size));
        if ends.contains(&None) {
            return Err(Refusal::new(format!(
                "region at {:#x}: memory_size: it passes the end of all",
                r.guest
            )));
        }
        Ok(r)
    }

    fn range(&self) -> Range {
        Range { start: self.guest, size: self.size, readable: true, writable: true }
    }

    fn refuse(&self, e: Errno) -> Refusal {
        let (at, size) = (self.guest, self.size);
        Refusal::new(match e {
            Errno::EINVAL if !at.is_multiple_of(PAGE) || !size.is_multiple_of(PAGE) || size == 0 => {
                format!("region at {at:#x}: {size:#x} bytes are not whole pages")
            }
            Errno::EINVAL => {
                format!("region at {at:#x}: its file is shorter than mmap_offset + memory_size says")
            }
            Errno::EEXIST => format!("region at {at:#x}: overlaps another"),
            Errno::ENOSPC => format!("region at {at:#x}: more memory or regions than this port takes"),
            e => format!("region at {at:#x}: cannot be mapped: {e}"),
        })
    }
}

/// See the [module](self).
pub struct Regions {
    table: DmaTable,
    cell: Arc<Published<Snapshot>>,
    list: Vec<Region>,
}

impl Default for Regions {
    fn default() -> Self {
        let cell = Arc::new(Published::new(Snapshot::default()));
        let mut table = DmaTable::new(cell.clone());
        // A virtio device of this kind may always access memory.
        table.set_master(true);
        Self { table, cell, list: Vec::new() }
    }
}

impl Regions {
    /// Most regions.
    pub const MAX: usize = 509;

    /// Memory as workers see it.
    pub fn cell(&self) -> Arc<Published<Snapshot>> {
        self.cell.clone()
    }

    /// Memory as it is now.
    pub fn snapshot<'g>(&self, guard: &'g Guard) -> &'g Snapshot {
        self.cell.load(guard)
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.list.iter().map(|r| r.size).sum()
    }

    /// The guest address of an address of the front end's.
    pub fn guest(&self, user: u64) -> Option<u64> {
        let inside = |r: &&Region| user.checked_sub(r.user).is_some_and(|at| at < r.size);
        self.list.iter().find(inside).map(|r| r.guest + (user - r.user))
    }

    /// SET_MEM_TABLE: these and no others. There may be more bytes than regions.
    pub fn replace(&mut self, body: &[u8], fds: Vec<OwnedFd>) -> Result<(), Refusal> {
        let short = || Refusal::new(format!("size: {} bytes are too few", body.len()));
        let (table, mut rest) = split::<VhostUserMemory>(body).ok_or_else(short)?;
        let n = table.num_regions as usize;
        if n != fds.len() {
            let got = fds.len();
            return Err(Refusal::new(format!("num_regions: {n}, but {got} descriptors came with it")));
        }
        let (mut list, mut maps) = (Vec::new(), Vec::new());
        for fd in fds {
            let (r, after) = split::<VhostUserMemoryRegion>(rest).ok_or_else(short)?;
            rest = after;
            let r = Region::new(&r)?;
            maps.push((r.range(), fd, r.offset));
            list.push(r);
        }
        let failed = |e| list.first().map_or_else(|| Refusal::new(format!("{e}")), |r: &Region| r.refuse(e));
        self.table.replace(&maps).map_err(failed)?;
        self.list = list;
        Ok(())
    }

    /// ADD_MEM_REG: one more.
    pub fn add(&mut self, body: &[u8], fds: Vec<OwnedFd>) -> Result<(), Refusal> {
        let r = single(body)?;
        let fd = fds.into_iter().next().ok_or_else(|| Refusal::new("no descriptor came with it"))?;
        if self.list.len() >= Self::MAX {
            return Err(r.refuse(Errno::ENOSPC));
        }
        self.table.add(r.range(), Some((&fd, r.offset))).map_err(|e| r.refuse(e))?;
        self.list.push(r);
        Ok(())
    }

    /// REM_MEM_REG: one less. On return no worker uses it.
    pub fn remove(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let r = single(body)?;
        let same = |x: &Region| (x.guest, x.size, x.user) == (r.guest, r.size, r.user);
        let Some(at) = self.list.iter().position(same) else {
            return Err(Refusal::new(format!("region at {:#x}: there is none like it", r.guest)));
        };
        self.table.unmap(r.guest, r.size).map_err(|e| r.refuse(e))?;
        self.list.remove(at);
        Ok(())
    }

    /// None any more.
    pub fn clear(&mut self) {
        self.table.clear();
        self.list.clear();
    }
}

fn single(body: &[u8]) -> Result<Region, Refusal> {
    let (r, _) = split::<VhostUserSingleMemoryRegion>(body)
        .ok_or_else(|| Refusal::new(format!("size: {} bytes are too few", body.len())))?;
    Region::new(&r)
}
