//! The guest's memory as the device sees it: which guest addresses lie where in this process.
//!
//! The server's thread holds the [`DmaTable`] and changes it as the client (a VM's monitor) maps and unmaps; each change publishes a
//! whole new [`Snapshot`]. Workers load the snapshot once a turn under their epoch guard and translate addresses
//! with it. A mapping is unmapped when the last worker that could have seen it has moved on.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;

use crate::sys::mapping::{HostSlice, Mapping};
use crate::sys::published::Published;

/// Most maps that a client may have; announced as `max_dma_maps`.
pub const MAX_MAPS: usize = 4096;
/// Most bytes of guest memory that one client may map, 4 TiB.
pub const MAX_BYTES: u64 = 1 << 42;
/// What maps are multiples of, in bytes.
pub const PAGE: u64 = 4096;

/// What the device wants to do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The device reads.
    Read,
    /// The device writes.
    Write,
}

/// Why an address cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing is mapped at some byte of it.
    #[error("guest address {0:#x} is not mapped")]
    Unmapped(u64),
    /// Mapped, but not for this.
    #[error("guest address {0:#x} may not be used in this direction")]
    Denied(u64),
    /// The client sent no descriptor for it.
    #[error("guest address {0:#x} is not shared with this process: {UNSHARED}")]
    NotShared(u64),
    /// The guest has not let the device access memory (PCI command register, bit 2).
    #[error("guest address {0:#x} used while bus mastering is off")]
    NotMaster(u64),
}

/// What to do about memory that is not shared.
pub const UNSHARED: &str = "start QEMU with -object memory-backend-memfd,id=m0,size=…,share=on \
                            -machine memory-backend=m0, cloud-hypervisor with --memory shared=on";

/// One range of guest memory.
#[derive(Debug)]
pub struct Map {
    start: u64,
    size: u64,
    readable: bool,
    writable: bool,
    host: Option<Mapping>,
}

impl Map {
    fn end(&self) -> u64 {
        // Checked in `insert`.
        self.start + self.size
    }

    fn slice(&self, address: u64, len: u64, direction: Direction) -> Result<HostSlice<'_>, Fault> {
        let allowed = match direction {
            Direction::Read => self.readable,
            Direction::Write => self.writable,
        };
        if !allowed {
            return Err(Fault::Denied(address));
        }
        let host = self.host.as_ref().ok_or(Fault::NotShared(address))?;
        let offset = address - self.start;
        let len = len.min(self.size - offset);
        // Both fit: the mapping has `size` bytes and is in this process's memory.
        host.slice(offset as usize, len as usize).ok_or(Fault::Unmapped(address))
    }
}

/// The guest's memory at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// By address, not overlapping.
    maps: Vec<Arc<Map>>,
    master: bool,
}

impl Snapshot {
    /// The start of a range: as many of `len` bytes from `address` as lie in one piece, at least one.
    pub fn translate(&self, address: u64, len: u64, direction: Direction) -> Result<HostSlice<'_>, Fault> {
        if !self.master {
            return Err(Fault::NotMaster(address));
        }
        self.map(address)?.slice(address, len, direction)
    }

    /// The map that an address lies in: where it begins, and all of it.
    pub fn around(&self, address: u64, direction: Direction) -> Result<(u64, HostSlice<'_>), Fault> {
        if !self.master {
            return Err(Fault::NotMaster(address));
        }
        let map = self.map(address)?;
        Ok((map.start, map.slice(map.start, map.size, direction)?))
    }

    fn map(&self, address: u64) -> Result<&Map, Fault> {
        let after = self.maps.partition_point(|m| m.start <= address);
        let map = after.checked_sub(1).and_then(|k| self.maps.get(k)).filter(|m| address < m.end());
        map.map(Arc::as_ref).ok_or(Fault::Unmapped(address))
    }

    /// A range that must lie in one piece: a descriptor ring, a status block.
    pub fn whole(&self, address: u64, len: u64, direction: Direction) -> Result<HostSlice<'_>, Fault> {
        let piece = self.translate(address, len, direction)?;
        if (piece.len() as u64) < len {
            return Err(Fault::Unmapped(address + piece.len() as u64));
        }
        Ok(piece)
    }

    /// Calls `f` with each piece of a range, in order. On a fault the pieces before it have been done.
    pub fn each<'s>(
        &'s self,
        address: u64,
        len: u64,
        direction: Direction,
        mut f: impl FnMut(HostSlice<'s>),
    ) -> Result<(), Fault> {
        let mut done = 0;
        while done < len {
            let at = address.checked_add(done).ok_or(Fault::Unmapped(address))?;
            let piece = self.translate(at, len - done, direction)?;
            done += piece.len() as u64;
            f(piece);
        }
        Ok(())
    }

    /// Copies guest memory out, over as many maps as it takes.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Fault> {
        let mut done = 0;
        self.each(address, into.len() as u64, Direction::Read, |piece| {
            let to = done + piece.len();
            let whole = piece.read(0, &mut into[done..to]);
            debug_assert!(whole);
            done = to;
        })
    }

    /// Copies into guest memory, over as many maps as it takes.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), Fault> {
        let mut done = 0;
        self.each(address, from.len() as u64, Direction::Write, |piece| {
            let to = done + piece.len();
            let whole = piece.write(0, &from[done..to]);
            debug_assert!(whole);
            done = to;
        })
    }

    /// The guest has memory, but none that the device could write is shared: see [`UNSHARED`].
    pub fn unshared(&self) -> bool {
        let mut writable = self.maps.iter().filter(|m| m.writable).peekable();
        writable.peek().is_some() && writable.all(|m| m.host.is_none())
    }

    /// Bytes shared with this process.
    pub fn shared_bytes(&self) -> u64 {
        self.maps.iter().filter(|m| m.host.is_some()).map(|m| m.size).sum()
    }

    /// Maps.
    pub fn maps(&self) -> usize {
        self.maps.len()
    }

    /// The client shortened the file behind some of it.
    pub fn cut_off(&self) -> bool {
        self.maps.iter().filter_map(|m| m.host.as_ref()).any(Mapping::cut_off)
    }
}

/// A look-up that begins with the map it found last: a guest's buffers mostly lie in one. As the card's
/// [`Window`](valecast_guest::dma::Window), but of slices that check their own ends where that gives pointers.
#[derive(Debug)]
pub struct Nearby<'s> {
    memory: &'s Snapshot,
    direction: Direction,
    start: u64,
    map: Option<HostSlice<'s>>,
}

impl<'s> Nearby<'s> {
    /// In `memory`; nothing was found yet.
    pub fn new(memory: &'s Snapshot, direction: Direction) -> Self {
        Self { memory, direction, start: 0, map: None }
    }

    /// All `len` bytes from `address` on; none unless they lie in one piece that may be used so.
    #[inline]
    pub fn whole(&mut self, address: u64, len: usize) -> Option<HostSlice<'s>> {
        self.known(address, len).or_else(|| self.find(address, len))
    }

    #[cold]
    fn find(&mut self, address: u64, len: usize) -> Option<HostSlice<'s>> {
        let (start, map) = self.memory.around(address, self.direction).ok()?;
        (self.start, self.map) = (start, Some(map));
        self.known(address, len)
    }

    #[inline]
    fn known(&self, address: u64, len: usize) -> Option<HostSlice<'s>> {
        self.map?.part(address.checked_sub(self.start)? as usize, len)
    }

    /// Asks for the first lines of a frame at `address`, if it is in the map found last.
    #[inline]
    pub fn prefetch(&self, address: u64) {
        let (Some(map), Some(at)) = (self.map, address.checked_sub(self.start)) else { return };
        for line in [0, 64] {
            map.prefetch((at as usize).saturating_add(line), self.direction == Direction::Write);
        }
    }
}

/// A range of guest addresses, and what the device may do there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// The device may read.
    pub readable: bool,
    /// The device may write.
    pub writable: bool,
}

/// Adds a map in its place, after the checks of [`DmaTable::add`].
fn insert(maps: &mut Vec<Arc<Map>>, range: Range, file: Option<(&OwnedFd, u64)>) -> Result<(), Errno> {
    let Range { start, size, readable, writable } = range;
    let end = start.checked_add(size).ok_or(Errno::EINVAL)?;
    let offset = file.map_or(0, |(_, offset)| offset);
    if size == 0 || [start, size, offset].iter().any(|n| !n.is_multiple_of(PAGE)) {
        return Err(Errno::EINVAL);
    }
    let total: u64 = maps.iter().map(|m| m.size).sum();
    if maps.len() >= MAX_MAPS || size > MAX_BYTES - total.min(MAX_BYTES) {
        return Err(Errno::ENOSPC);
    }
    let at = maps.partition_point(|m| m.start < start);
    let before = at.checked_sub(1).and_then(|k| maps.get(k));
    if before.is_some_and(|b| b.end() > start) || maps.get(at).is_some_and(|n| n.start < end) {
        return Err(Errno::EEXIST);
    }
    let host = file.map(|(fd, offset)| Mapping::new(fd, offset, size, writable)).transpose()?;
    maps.insert(at, Arc::new(Map { start, size, readable, writable, host }));
    Ok(())
}

/// The maps of one client, and where they are published.
#[derive(Debug)]
pub struct DmaTable {
    maps: Vec<Arc<Map>>,
    master: bool,
    published: Arc<Published<Snapshot>>,
}

impl DmaTable {
    /// Publishes an empty table.
    pub fn new(published: Arc<Published<Snapshot>>) -> Self {
        let table = Self { maps: Vec::new(), master: false, published };
        table.publish();
        table
    }

    /// Adds a map; `file`: what is behind it, from which offset on.
    ///
    /// `EINVAL`: not whole pages at an offset of whole pages, past the end of the address space, a file too short; `EEXIST`: overlaps another;
    /// `ENOSPC`: [`MAX_MAPS`] or [`MAX_BYTES`]; otherwise what mmap says.
    pub fn add(&mut self, range: Range, file: Option<(&OwnedFd, u64)>) -> Result<(), Errno> {
        insert(&mut self.maps, range, file)?;
        self.publish();
        Ok(())
    }

    /// Maps these and nothing else, at once: no worker finds memory missing that is in both. On return none uses
    /// what was there before. Errors as from [`DmaTable::add`], with everything as it was.
    pub fn replace(&mut self, ranges: &[(Range, OwnedFd, u64)]) -> Result<(), Errno> {
        let mut maps = Vec::new();
        for (range, fd, offset) in ranges {
            insert(&mut maps, *range, Some((fd, *offset)))?;
        }
        self.maps = maps;
        self.publish();
        self.settle();
        Ok(())
    }

    /// Removes the maps inside a range; the bytes that were mapped. On return no worker uses them.
    ///
    /// `EINVAL`: would split a map; `ENOENT`: nothing there.
    pub fn unmap(&mut self, start: u64, size: u64) -> Result<u64, Errno> {
        let end = start.checked_add(size).ok_or(Errno::EINVAL)?;
        let inside = |m: &Map| m.start >= start && m.end() <= end;
        let touches = |m: &Map| m.start < end && m.end() > start;
        if self.maps.iter().any(|m| touches(m) && !inside(m)) {
            return Err(Errno::EINVAL);
        }
        let bytes = self.maps.iter().filter(|m| inside(m)).map(|m| m.size).sum();
        if bytes == 0 {
            return Err(Errno::ENOENT);
        }
        self.maps.retain(|m| !inside(m));
        self.publish();
        self.settle();
        Ok(bytes)
    }

    /// Removes everything; the bytes that were mapped. On return no worker uses them.
    pub fn clear(&mut self) -> u64 {
        let bytes = self.maps.iter().map(|m| m.size).sum();
        self.maps.clear();
        self.publish();
        self.settle();
        bytes
    }

    /// Lets the device access memory, or stops it.
    pub fn set_master(&mut self, on: bool) {
        if self.master != on {
            self.master = on;
            self.publish();
            if !on {
                self.settle();
            }
        }
    }

    fn publish(&self) {
        self.published.publish(Snapshot { maps: self.maps.clone(), master: self.master });
    }

    fn settle(&self) {
        if !self.published.settle() {
            // The memory itself stays mapped until that worker is done: harm only to the guest's own data.
            tracing::warn!("a worker still uses guest memory 0.1 s after it was unmapped");
        }
    }
}
