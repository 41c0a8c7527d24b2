//! What a journal says of chunks.

use std::ops::Range;

use super::Journal;
use super::page::{SEGMENT, place};
use crate::transport::files::FileError;

impl Journal {
    /// Whether a chunk is here.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn has(&mut self, chunk: u64) -> Result<bool, FileError> {
        let Some(s) = self.segment(chunk) else { return Ok(false) };
        if self.left[s] == 0 || u64::from(self.left[s]) == self.len(s) {
            return Ok(self.left[s] == 0);
        }
        let (word, bit) = place(chunk);
        Ok(self.page(s)?.bits[word] & bit != 0)
    }

    /// The bits of the chunks from `first` on, a multiple of 64.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn bits<const N: usize>(&mut self, first: u64) -> Result<[u64; N], FileError> {
        let mut bits = [0; N];
        if let Some(s) = self.segment(first) {
            let (word, _) = place(first);
            let page = &self.page(s)?.bits;
            bits.iter_mut().zip(page.get(word..).unwrap_or_default()).for_each(|(to, from)| *to = *from);
        }
        Ok(bits)
    }

    /// The first run of chunks in `from..to` that are not here. It may go on after its end.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn missing(&mut self, from: u64, to: u64) -> Result<Option<Range<u64>>, FileError> {
        let to = to.min(self.chunks);
        let Some(start) = self.next(from, to, false)? else { return Ok(None) };
        let end = self.next(start, to, true)?.unwrap_or(to);
        Ok(Some(start..end))
    }

    /// The first chunk in `from..to` that is here, or is not.
    fn next(&mut self, from: u64, to: u64, here: bool) -> Result<Option<u64>, FileError> {
        let mut at = from;
        while at < to {
            let Some(s) = self.segment(at) else { return Ok(None) };
            let (left, len) = (u64::from(self.left[s]), self.len(s));
            let end = (s as u64 * SEGMENT + len).min(to);
            if (left == 0) == here && (left == 0 || left == len) {
                return Ok(Some(at));
            }
            if left != 0 && left != len {
                let bits = &self.page(s)?.bits;
                while at < end {
                    let (word, _) = place(at);
                    let bits = if here { bits[word] } else { !bits[word] } >> (at % 64);
                    if bits != 0 {
                        at += u64::from(bits.trailing_zeros());
                        if at < end {
                            return Ok(Some(at));
                        }
                        break;
                    }
                    at = (at / 64 + 1) * 64;
                }
            }
            at = end;
        }
        Ok(None)
    }
}
