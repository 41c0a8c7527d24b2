//! An ELF file of 64 bits into guest memory.

/// Why a file is no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload is not an ELF file with a PVH entry that fits: {0}")]
pub struct BadPayload(&'static str);

/// Type of the note that holds the entry for 32 bits (`XEN_ELFNOTE_PHYS32_ENTRY`).
const ENTRY_NOTE: u32 = 18;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

fn number<const N: usize>(b: &[u8], at: u64) -> Option<[u8; N]> {
    let at = usize::try_from(at).ok()?;
    b.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(b: &[u8], at: u64) -> Option<u64> {
    number(b, at).map(|v| u64::from(u16::from_le_bytes(v)))
}

fn u32_at(b: &[u8], at: u64) -> Option<u32> {
    number(b, at).map(u32::from_le_bytes)
}

fn u64_at(b: &[u8], at: u64) -> Option<u64> {
    number(b, at).map(u64::from_le_bytes)
}

/// Copies the segments of `elf` to where they belong by `put(guest address, bytes)`, which says whether it could;
/// returns the PVH entry. What a segment has in memory beyond its file is not touched: memory is zero.
pub fn load(elf: &[u8], mut put: impl FnMut(u64, &[u8]) -> bool) -> Result<u32, BadPayload> {
    if elf.get(..5) != Some(b"\x7fELF\x02") {
        return Err(BadPayload("not one of 64 bits"));
    }
    let short = BadPayload("it is cut off");
    let headers = u64_at(elf, 32).ok_or(short)?;
    let (size, count) = (u16_at(elf, 54).ok_or(short)?, u16_at(elf, 56).ok_or(short)?);
    let mut entry = None;
    for i in 0..count {
        let at = headers.checked_add(i * size).ok_or(short)?;
        let kind = u32_at(elf, at).ok_or(short)?;
        let offset = u64_at(elf, at + 8).ok_or(short)?;
        let (addr, len) = (u64_at(elf, at + 24).ok_or(short)?, u64_at(elf, at + 32).ok_or(short)?);
        let range = usize::try_from(offset).ok().zip(usize::try_from(offset.saturating_add(len)).ok());
        let bytes = range.and_then(|(a, b)| elf.get(a..b)).ok_or(short)?;
        match kind {
            PT_LOAD if !put(addr, bytes) => return Err(BadPayload("it does not fit into memory")),
            PT_NOTE if u32_at(bytes, 8) == Some(ENTRY_NOTE) => entry = u32_at(bytes, 16),
            _ => {}
        }
    }
    entry.ok_or(BadPayload("there is no PVH note"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_can_be_loaded() {
        let Some(elf) = valecast_guest_bare::elf() else { return };
        let mut end = 0;
        let entry = load(elf, |addr, bytes| {
            assert!(addr >= 0x10_0000, "{addr:#x}");
            end = end.max(addr + bytes.len() as u64);
            true
        })
        .unwrap();
        assert!(u64::from(entry) < end && end < valecast_guest::mailbox::AT);
        assert!(load(elf, |_, _| false).is_err());
    }

    #[test]
    fn files_that_are_cut_off_are_refused() {
        let Some(elf) = valecast_guest_bare::elf() else { return };
        // All of the headers, and some of the segments.
        for n in (0..300).chain([4096, elf.len() / 4]) {
            assert!(load(&elf[..n], |_, _| true).is_err(), "{n} bytes");
        }
    }
}
