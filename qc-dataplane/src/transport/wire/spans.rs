//! Which numbers of a stretch are meant: as runs if there are few, as a bitmap if there are many.

use std::ops::Range;

use zerocopy::network_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Reject;

/// Before the runs or the bitmap.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SpansHead {
    /// Nothing is said about numbers below,
    pub from: U64,
    /// nor about these and above.
    pub to: U64,
    /// Where runs or bitmap begin.
    pub base: U64,
    /// 0: runs, 1: bitmap, first bit lowest.
    pub form: u8,
    /// 0; not looked at.
    pub reserved: u8,
    /// How many runs, or bytes of bitmap.
    pub n: U16,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Run {
    gap: U32,
    len: U32,
}

/// Of all numbers in `from..to`, those in `runs`; nothing is said about others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// First number spoken of.
    pub from: u64,
    /// First number not spoken of.
    pub to: u64,
    /// Ascending, apart, none empty, all in `from..to`.
    pub runs: Vec<Range<u64>>,
}

impl Spans {
    /// How many numbers.
    pub fn count(&self) -> u64 {
        self.runs.iter().map(|r| r.end - r.start).sum()
    }

    /// Whether all of `r` is meant.
    pub fn covers(&self, r: &Range<u64>) -> bool {
        let at = self.runs.partition_point(|s| s.end <= r.start);
        self.runs.get(at).is_some_and(|s| s.start <= r.start && r.end <= s.end)
    }

    /// As many as `room` bytes can say about the numbers in `from..to`, of which `runs` are meant: ascending and apart.
    /// What was said ends with the `to` of the result.
    pub fn write(
        out: &mut Vec<u8>,
        room: usize,
        from: u64,
        to: u64,
        runs: impl Iterator<Item = Range<u64>>,
    ) -> Self {
        let room = room.saturating_sub(size_of::<SpansHead>()).min(usize::from(u16::MAX));
        let most = room / size_of::<Run>();
        let mut runs = runs
            .map(|r| r.start.max(from)..r.end.min(to))
            .skip_while(|r| r.is_empty())
            .take_while(|r| !r.is_empty());
        let mut said = Self { from, to: to.max(from), runs: Vec::new() };
        let mut words: Vec<Run> = Vec::new();
        let mut at = from;
        let mut cut = None;
        for r in runs.by_ref() {
            let mut more = split(r.start - at, r.end - r.start);
            if words.len() + more.len() > most {
                cut = Some(r);
                break;
            }
            words.append(&mut more);
            at = r.end;
            said.runs.push(r);
        }
        let base = said.runs.first().map_or(from, |r| r.start);
        if let Some(next) = cut {
            let bits = (room as u64) * 8;
            if base.saturating_add(bits) > next.start {
                // A bitmap says more than that.
                let end = base.saturating_add(bits).min(to);
                said.runs.extend(
                    std::iter::once(next)
                        .chain(runs)
                        .map(|r| r.start..r.end.min(end))
                        .take_while(|r| r.start < end),
                );
                said.to = end;
                return said.bitmap(out, base);
            }
            said.to = next.start;
        }
        let head = SpansHead {
            from: from.into(),
            to: said.to.into(),
            base: from.into(),
            form: 0,
            reserved: 0,
            n: U16::new(words.len() as u16),
        };
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(words.as_bytes());
        said
    }

    fn bitmap(self, out: &mut Vec<u8>, base: u64) -> Self {
        let end = self.runs.last().map_or(base, |r| r.end);
        let n = (end - base).div_ceil(8) as usize;
        let head = SpansHead {
            from: self.from.into(),
            to: self.to.into(),
            base: base.into(),
            form: 1,
            reserved: 0,
            n: U16::new(n as u16),
        };
        out.extend_from_slice(head.as_bytes());
        let start = out.len();
        out.resize(start + n, 0);
        for r in &self.runs {
            for i in r.start - base..r.end - base {
                out[start + (i / 8) as usize] |= 1 << (i % 8);
            }
        }
        self
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Reject> {
        let (head, rest) = SpansHead::ref_from_prefix(bytes).map_err(|_| Reject::Short)?;
        let (from, to) = (head.from.get(), head.to.get());
        let mut said = Self { from, to, runs: Vec::new() };
        let mut at = head.base.get();
        let n = usize::from(head.n.get());
        match head.form {
            0 => {
                let runs = <[Run]>::ref_from_prefix_with_elems(rest, n).map_err(|_| Reject::Short)?.0;
                for run in runs {
                    let start = at.checked_add(run.gap.get().into()).ok_or(OUTSIDE)?;
                    at = start.checked_add(run.len.get().into()).ok_or(OUTSIDE)?;
                    said.push(start..at);
                }
            }
            1 => {
                let bytes = rest.get(..n).ok_or(Reject::Short)?;
                for b in bytes {
                    let after = at.checked_add(8).ok_or(OUTSIDE)?;
                    if *b == u8::MAX {
                        said.push(at..after);
                    } else {
                        (0..8).filter(|i| b >> i & 1 != 0).for_each(|i| said.push(at + i..at + i + 1));
                    }
                    at = after;
                }
            }
            _ => return Err(Reject::Field("form of spans that there is not")),
        }
        let within =
            said.runs.first().is_none_or(|r| r.start >= from) && said.runs.last().is_none_or(|r| r.end <= to);
        if !within || from > to { Err(OUTSIDE) } else { Ok(said) }
    }

    fn push(&mut self, r: Range<u64>) {
        match self.runs.last_mut() {
            _ if r.is_empty() => {}
            Some(last) if last.end == r.start => last.end = r.end,
            _ => self.runs.push(r),
        }
    }
}

const OUTSIDE: Reject = Reject::Field("spans outside of their stretch");

/// A run in words of 32 bits.
fn split(mut gap: u64, mut len: u64) -> Vec<Run> {
    const MOST: u64 = u32::MAX as u64;
    let mut words = Vec::with_capacity(1);
    // Runs of more than 2^32 chunks are many terabytes; a few words say them.
    while gap > MOST {
        words.push(Run { gap: U32::MAX_VALUE, len: U32::ZERO });
        gap -= MOST;
    }
    loop {
        let now = len.min(MOST);
        words.push(Run { gap: (gap as u32).into(), len: (now as u32).into() });
        len -= now;
        gap = 0;
        if len == 0 {
            return words;
        }
    }
}
