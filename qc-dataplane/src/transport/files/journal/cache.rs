//! The pages of a journal that are in memory.

use super::Journal;
use super::page::{Page, SEGMENT};
use crate::transport::files::FileError;

/// Pages in memory: 256 KiB.
const PAGES: usize = 64;

pub(super) struct Cached {
    pub page: Box<Page>,
    pub dirty: bool,
    pub used: u64,
}

impl Journal {
    /// Whether noting that chunk needs room that only [`Self::sync`] can make.
    pub fn is_crowded(&self, chunk: u64) -> bool {
        self.cache.len() >= PAGES && self.cache.iter().all(|c| c.dirty && c.page.segment != chunk / SEGMENT)
    }

    pub(super) fn page(&mut self, segment: usize) -> Result<&mut Page, FileError> {
        self.tick += 1;
        let wanted = segment as u64;
        if self.cache.get(self.last).is_none_or(|c| c.page.segment != wanted) {
            self.last = match self.cache.iter().position(|c| c.page.segment == wanted) {
                Some(at) => at,
                None => self.load(segment)?,
            };
        }
        let cached = &mut self.cache[self.last];
        cached.used = self.tick;
        Ok(&mut cached.page)
    }

    fn load(&mut self, segment: usize) -> Result<usize, FileError> {
        let page = Box::new(self.read_page(segment)?);
        let cached = Cached { page, dirty: false, used: self.tick };
        let clean = (0..self.cache.len()).filter(|i| !self.cache[*i].dirty);
        match clean.min_by_key(|i| self.cache[*i].used) {
            Some(victim) if self.cache.len() >= PAGES => {
                self.cache[victim] = cached;
                Ok(victim)
            }
            // More than PAGES only while looking at pages between two syncs; see `is_crowded`.
            _ => {
                self.cache.push(cached);
                Ok(self.cache.len() - 1)
            }
        }
    }

    pub(super) fn read_page(&self, segment: usize) -> Result<Page, FileError> {
        Page::read(&self.file, segment as u64, self.len(segment))
            .map_err(FileError::io(&self.path, "read it"))
    }
}
