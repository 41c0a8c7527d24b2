//! The EEPROM: 64 words behind a Microwire bus that drivers clock bit by bit (EECD), or read by word (EERD).
//!
//! Manual, sections 5.3 and 13.4.3; the bus is that of a 93C46.

use super::pci;

/// Bits of EECD.
mod bit {
    pub const SK: u32 = 1;
    pub const CS: u32 = 2;
    pub const DI: u32 = 4;
    pub const DO: u32 = 8;
    pub const REQ: u32 = 0x40;
    pub const GNT: u32 = 0x80;
    pub const PRES: u32 = 0x100;
}

/// EERD: start, done.
const START: u32 = 1;
const DONE: u32 = 1 << 4;
/// What all words add up to.
const SUM: u16 = 0xbaba;
/// Words.
pub const WORDS: usize = 64;

/// What the bus is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Start bit, opcode and address come in.
    Command,
    /// Words go out, from this bit on.
    Read(u32),
    /// A word for this address comes in.
    Write(u8),
    /// Until chip select falls.
    Done,
}

/// The EEPROM and its bus.
pub struct Eeprom {
    words: [u16; WORDS],
    lines: u32,
    state: State,
    shift: u32,
    count: u32,
    writable: bool,
}

impl Eeprom {
    /// With the address of the card, and whether the card says that it knows the CSB.
    pub fn new(mac: [u8; 6], subsystem: u16) -> Self {
        let mut words = [0xffff; WORDS];
        for (w, b) in words.iter_mut().zip(mac.chunks_exact(2)) {
            *w = u16::from_le_bytes([b[0], b[1]]);
        }
        words[3..10].fill(0);
        // Valid, and the identifications below are to be loaded.
        words[0x0a] = 0x4003;
        words[0x0b] = subsystem;
        words[0x0c] = pci::SUBSYSTEM_VENDOR;
        words[0x0d] = pci::DEVICE;
        words[0x0e] = pci::VENDOR;
        // Both kinds of pause frames.
        words[0x0f] = 0x3000;
        let mut e = Self { words, lines: 0, state: State::Command, shift: 0, count: 0, writable: false };
        e.balance();
        e
    }

    fn balance(&mut self) {
        let sum = self.words[..WORDS - 1].iter().fold(0u16, |s, w| s.wrapping_add(*w));
        self.words[WORDS - 1] = SUM.wrapping_sub(sum);
    }

    /// The address in words 0 to 2, which the chip loads on reset.
    pub fn mac(&self) -> [u8; 6] {
        let [a, b] = self.words[0].to_le_bytes();
        let [c, d] = self.words[1].to_le_bytes();
        let [e, f] = self.words[2].to_le_bytes();
        [a, b, c, d, e, f]
    }

    /// A read of EECD.
    pub fn read(&self) -> u32 {
        let out = match self.state {
            State::Read(at) => {
                let word = self.words[(at / 16) as usize % WORDS];
                word >> (15 - at % 16) & 1 != 0
            }
            // Ready.
            _ => true,
        };
        let grant = if self.lines & bit::REQ != 0 { bit::GNT } else { 0 };
        self.lines | grant | bit::PRES | if out { bit::DO } else { 0 }
    }

    /// A write of EECD.
    pub fn write(&mut self, v: u32) {
        let old = std::mem::replace(&mut self.lines, v & (bit::SK | bit::CS | bit::DI | bit::REQ));
        let rose = |b| v & b != 0 && old & b == 0;
        if v & bit::CS == 0 || rose(bit::CS) {
            (self.state, self.shift, self.count) = (State::Command, 0, 0);
        }
        if v & bit::CS == 0 {
            return;
        }
        if rose(bit::SK) {
            self.bit_in(v & bit::DI != 0);
        } else if old & bit::SK != 0
            && v & bit::SK == 0
            && let State::Read(at) = &mut self.state
        {
            *at = (*at + 1) % (16 * WORDS as u32);
        }
    }

    fn bit_in(&mut self, bit: bool) {
        match self.state {
            // Zeros before the start bit are idle clocks.
            State::Command if self.count == 0 && !bit => {}
            State::Command => {
                self.shift = self.shift << 1 | u32::from(bit);
                self.count += 1;
                if self.count == 9 {
                    self.command((self.shift >> 6 & 3) as u8, (self.shift & 0x3f) as u8);
                }
            }
            State::Write(at) => {
                self.shift = self.shift << 1 | u32::from(bit);
                self.count += 1;
                if self.count == 16 {
                    if self.writable {
                        self.words[usize::from(at) % WORDS] = self.shift as u16;
                    }
                    self.state = State::Done;
                }
            }
            State::Read(_) | State::Done => {}
        }
    }

    fn command(&mut self, op: u8, at: u8) {
        (self.shift, self.count) = (0, 0);
        self.state = match op {
            // One bit before the word's first: the clock falls before it is looked at.
            0b10 => State::Read((u32::from(at) * 16).wrapping_sub(1) % (16 * WORDS as u32)),
            0b01 => State::Write(at),
            0b11 => {
                if self.writable {
                    self.words[usize::from(at) % WORDS] = 0xffff;
                }
                State::Done
            }
            _ => {
                match at >> 4 {
                    0b11 => self.writable = true,
                    0b00 => self.writable = false,
                    _ => {}
                }
                State::Done
            }
        };
    }

    /// A write of EERD; what a read of it gives then.
    pub fn read_word(&self, v: u32) -> u32 {
        if v & START == 0 {
            return v & 0xff00;
        }
        let at = v >> 8 & 0xff;
        let word = self.words.get(at as usize).copied().unwrap_or(0xffff);
        u32::from(word) << 16 | at << 8 | DONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(e: &mut Eeprom, bit: bool) -> bool {
        let d = bit::CS | if bit { bit::DI } else { 0 };
        e.write(d);
        e.write(d | bit::SK);
        let out = e.read() & bit::DO != 0;
        e.write(d);
        out
    }

    fn command(e: &mut Eeprom, bits: u32, n: u32) {
        for i in (0..n).rev() {
            clock(e, bits >> i & 1 != 0);
        }
    }

    fn read(e: &mut Eeprom, at: u32) -> u16 {
        e.write(0);
        e.write(bit::CS);
        command(e, 0b110 << 6 | at, 9);
        (0..16).fold(0, |w, _| w << 1 | u16::from(clock(e, false)))
    }

    #[test]
    fn words_bit_by_bit_are_the_words_and_balance() {
        let mut e = Eeprom::new([0x52, 0x54, 0, 0xe1, 2, 3], 0x1101);
        let words: Vec<u16> = (0..64).map(|i| read(&mut e, i)).collect();
        assert_eq!(words[..3], [0x5452, 0xe100, 0x0302]);
        assert_eq!(words[0x0b], 0x1101);
        assert_eq!(words.iter().fold(0u16, |s, w| s.wrapping_add(*w)), SUM);
        for (i, w) in words.iter().enumerate() {
            assert_eq!(e.read_word((i as u32) << 8 | START), u32::from(*w) << 16 | (i as u32) << 8 | DONE);
        }
        assert_eq!(e.read_word(200 << 8 | START) >> 16, 0xffff, "beyond the end");
        assert_eq!(e.mac(), [0x52, 0x54, 0, 0xe1, 2, 3]);
    }

    #[test]
    fn one_command_reads_on_into_the_next_word() {
        let mut e = Eeprom::new([1, 2, 3, 4, 5, 6], 0);
        assert_eq!(read(&mut e, 63), e.words[63]);
        assert_eq!((0..16).fold(0, |w, _| w << 1 | u16::from(clock(&mut e, false))), e.words[0]);
    }

    #[test]
    fn writes_only_when_enabled() {
        let mut e = Eeprom::new([1, 2, 3, 4, 5, 6], 0);
        let mut put = |enable: bool| {
            for (bits, n) in [(if enable { 0b1_0011_0000 } else { 0b1_0000_0000 }, 9), (0b101 << 6 | 5, 9)] {
                e.write(0);
                e.write(bit::CS);
                command(&mut e, bits, n);
            }
            command(&mut e, 0xbeef, 16);
            read(&mut e, 5)
        };
        assert_eq!(put(false), 0);
        assert_eq!(put(true), 0xbeef);
    }
}
