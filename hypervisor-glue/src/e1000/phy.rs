//! The PHY: a Marvell 88E1011 at address 1 whose link partner can do everything and answers at once.
//!
//! Manual, section 13.4.7 (MDIC) and chapter 8; register names as in IEEE 802.3 clause 22.

/// MDIC fields.
mod mdic {
    pub const REG: u32 = 16;
    pub const PHY: u32 = 21;
    pub const OP: u32 = 26;
    pub const WRITE: u32 = 1;
    pub const READ: u32 = 2;
    pub const READY: u32 = 1 << 28;
    pub const INTERRUPT: u32 = 1 << 29;
    pub const ERROR: u32 = 1 << 30;
}

const ADDRESS: u32 = 1;

const CONTROL: usize = 0;
const STATUS: usize = 1;
const SPECIFIC_STATUS: usize = 17;

const RESET: u16 = 1 << 15;
const LOOPBACK: u16 = 1 << 14;
const RESTART: u16 = 1 << 9;
/// STATUS: link up; autonegotiation done.
const LINK: u16 = 1 << 2;
const NEGOTIATED: u16 = 1 << 5;
/// SPECIFIC_STATUS: 1000 Mb/s, full duplex, resolved; link.
const RESOLVED: u16 = 0xa800;
const LINK_NOW: u16 = 1 << 10;

/// Value after a reset and bits that may be written, by register.
const REGISTERS: [(u16, u16); 32] = {
    let mut r = [(0, 0); 32];
    r[CONTROL] = (0x1140, !(RESET | RESTART));
    // 10/100/1000, extended status, preamble suppression, can negotiate.
    r[STATUS] = (0x7949, 0);
    r[2] = (0x0141, 0);
    r[3] = (0x0c20, 0);
    // What this side and the other offer.
    r[4] = (0x0de1, 0xffff);
    r[5] = (0x4de1, 0);
    r[6] = (0x0001, 0);
    r[7] = (0x2001, 0xffff);
    r[9] = (0x0e00, 0xffff);
    r[10] = (0x3c00, 0);
    r[15] = (0x3000, 0);
    r[16] = (0x0360, 0xffff);
    r[18] = (0, 0xffff);
    r[20] = (0x0d60, 0xffff);
    r[24] = (0x4100, 0xffff);
    r[29] = (0, 0xffff);
    r[30] = (0, 0xffff);
    r
};

/// The PHY.
pub struct Phy {
    regs: [u16; 32],
}

/// What an MDIC write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What MDIC reads then.
    pub mdic: u32,
    /// It wants an interrupt (MDAC).
    pub interrupt: bool,
    /// The link was negotiated anew (LSC).
    pub restarted: bool,
}

impl Default for Phy {
    fn default() -> Self {
        Self { regs: REGISTERS.map(|(reset, _)| reset) }
    }
}

impl Phy {
    /// As after power on.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether what is sent comes back.
    pub fn loopback(&self) -> bool {
        self.regs[CONTROL] & LOOPBACK != 0
    }

    /// A write of MDIC.
    pub fn access(&mut self, v: u32, link: bool) -> Answer {
        let reg = (v >> mdic::REG & 31) as usize;
        let keep = v & !(mdic::READY | mdic::ERROR);
        let mut answer =
            Answer { mdic: keep | mdic::READY, interrupt: v & mdic::INTERRUPT != 0, restarted: false };
        if v >> mdic::PHY & 31 != ADDRESS {
            answer.mdic |= mdic::ERROR;
            return answer;
        }
        match v >> mdic::OP & 3 {
            mdic::READ => answer.mdic = (answer.mdic & !0xffff) | u32::from(self.read(reg, link)),
            mdic::WRITE => answer.restarted = self.write(reg, v as u16),
            _ => answer.mdic |= mdic::ERROR,
        }
        answer
    }

    fn read(&self, reg: usize, link: bool) -> u16 {
        let up = |v| if link { v } else { 0 };
        match reg {
            STATUS => self.regs[STATUS] | up(LINK | NEGOTIATED),
            SPECIFIC_STATUS => up(RESOLVED | LINK_NOW),
            _ => self.regs[reg],
        }
    }

    fn write(&mut self, reg: usize, v: u16) -> bool {
        if reg == CONTROL && v & RESET != 0 {
            self.regs[CONTROL] = (REGISTERS[CONTROL].0 & !LOOPBACK) | (v & LOOPBACK);
            return true;
        }
        let mask = REGISTERS[reg].1;
        self.regs[reg] = (self.regs[reg] & !mask) | (v & mask);
        reg == CONTROL && v & RESTART != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(op: u32, reg: u32, data: u16) -> u32 {
        op << mdic::OP | ADDRESS << mdic::PHY | reg << mdic::REG | u32::from(data)
    }

    #[test]
    fn tells_of_the_link() {
        let mut p = Phy::default();
        let up = p.access(op(mdic::READ, 1, 0), true);
        assert_eq!((up.mdic as u16, up.mdic & mdic::READY), (0x796d, mdic::READY));
        assert_eq!(p.access(op(mdic::READ, 1, 0), false).mdic as u16 & (LINK | NEGOTIATED), 0);
        assert_eq!(p.access(op(mdic::READ, 17, 0), true).mdic as u16, 0xac00);
        assert_eq!(p.access(op(mdic::READ, 2, 0), true).mdic as u16, 0x0141);
    }

    #[test]
    fn loops_back_until_reset() {
        let mut p = Phy::default();
        assert!(!p.access(op(mdic::WRITE, 0, 0x4140), true).restarted);
        assert!(p.loopback());
        assert!(p.access(op(mdic::WRITE, 0, 0x9140), true).restarted);
        assert!(!p.loopback());
        let read_only = p.access(op(mdic::WRITE, 2, 0xffff), true);
        assert_eq!(read_only.mdic & mdic::ERROR, 0);
        assert_eq!(p.access(op(mdic::READ, 2, 0), true).mdic as u16, 0x0141);
    }

    #[test]
    fn nobody_at_other_addresses() {
        let mut p = Phy::default();
        let a = p.access(mdic::READ << mdic::OP | 2 << mdic::PHY, true);
        assert_ne!(a.mdic & mdic::ERROR, 0);
        assert_ne!(p.access(op(3, 0, 0), true).mdic & mdic::ERROR, 0);
        assert!(p.access(op(mdic::READ, 0, 0) | mdic::INTERRUPT, true).interrupt);
    }
}
