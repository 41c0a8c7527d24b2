//! Bits of registers, each set as its register's section of the manual has it.

/// Bits of CTRL.
pub mod ctrl {
    offsets! {
        /// Set link up.
        SLU = 1 << 6;
        /// Reset, clears itself.
        RST = 1 << 26;
        /// VLAN tags are inserted and stripped.
        VME = 1 << 30;
        /// PHY reset.
        PHY_RST = 1 << 31;
    }
}

/// Bits of STATUS.
pub mod status {
    offsets! {
        /// Link up.
        LU = 1 << 1;
        /// All else: full duplex, 1000 Mb/s found and used, clocks good, bus master.
        FIXED = 0x8008_0781;
    }
}

/// Bits of RCTL.
pub mod rctl {
    offsets! {
        /// Enable.
        EN = 1 << 1;
        /// Unicast promiscuous.
        UPE = 1 << 3;
        /// Multicast promiscuous.
        MPE = 1 << 4;
        /// Long packets.
        LPE = 1 << 5;
        /// Loopback: 0 none, 1 MAC, 3 transceiver.
        LBM = 3 << 6;
        /// Shift of the descriptor threshold.
        RDMTS_SHIFT = 8;
        /// Shift of the multicast offset.
        MO_SHIFT = 12;
        /// Broadcasts.
        BAM = 1 << 15;
        /// Shift of the buffer size.
        BSIZE_SHIFT = 16;
        /// VLAN filter.
        VFE = 1 << 18;
        /// Canonical form indicator is compared...
        CFIEN = 1 << 19;
        /// ...with this.
        CFI = 1 << 20;
        /// Pause frames are dropped.
        DPF = 1 << 22;
        /// MAC control frames pass.
        PMCF = 1 << 23;
        /// Buffer sizes times 16.
        BSEX = 1 << 25;
        /// The checksum (FCS) is stripped.
        SECRC = 1 << 26;
    }
}

/// Bits of TCTL.
pub mod tctl {
    offsets! {
        /// Enable.
        EN = 1 << 1;
        /// Pad short packets.
        PSP = 1 << 3;
    }
}

/// Interrupt causes: bits of ICR, ICS, IMS, IMC.
pub mod cause {
    offsets! {
        /// Transmit descriptor written back.
        TXDW = 1;
        /// Transmit queue empty.
        TXQE = 1 << 1;
        /// Link status changed.
        LSC = 1 << 2;
        /// Few receive descriptors left.
        RXDMT0 = 1 << 4;
        /// Receiver overrun.
        RXO = 1 << 6;
        /// Received.
        RXT0 = 1 << 7;
        /// PHY access done.
        MDAC = 1 << 9;
        /// Few transmit descriptors left to do.
        TXD_LOW = 1 << 15;
        /// Small packet received.
        SRPD = 1 << 16;
        /// All that this device knows.
        ALL = 0x1_ffff;
        /// The line is (or would be) asserted; only read.
        INT_ASSERTED = 1 << 31;
    }
}

/// Bits of RXCSUM.
pub mod rxcsum {
    offsets! {
        /// Where the packet checksum starts.
        PCSS = 0xff;
        /// IP checksums are checked.
        IPOFL = 1 << 8;
        /// TCP and UDP checksums are checked.
        TUOFL = 1 << 9;
    }
}
