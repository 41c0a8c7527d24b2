/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Registers and descriptors of the 82540EM that this driver uses.
 *
 * Source: Intel, "PCI/PCI-X Family of Gigabit Ethernet Controllers Software
 * Developer's Manual" (8254x): chapter 13 (registers), section 3.2.3 (receive
 * descriptors), 3.3.6 and 3.3.7 (context and data descriptors).
 */
#ifndef VALECAST_REGS_H
#define VALECAST_REGS_H

#include <linux/bits.h>
#include <linux/types.h>

#define REG_CTRL	0x0000
#define  CTRL_ASDE	BIT(5)	/* speed as found */
#define  CTRL_SLU	BIT(6)	/* set link up */
#define  CTRL_FRCSPD	BIT(11)
#define  CTRL_FRCDPX	BIT(12)
#define  CTRL_RST	BIT(26)
#define  CTRL_VME	BIT(30)	/* insert and strip VLAN tags */
#define REG_STATUS	0x0008
#define  STATUS_LU	BIT(1)
#define REG_EERD	0x0014
#define  EERD_START	BIT(0)
#define  EERD_DONE	BIT(4)
#define REG_VET		0x0038
#define REG_ICR		0x00c0
#define REG_ITR		0x00c4	/* in 256 ns */
#define REG_ICS		0x00c8
#define REG_IMS		0x00d0
#define REG_IMC		0x00d8
#define  INT_TXDW	BIT(0)	/* a transmit descriptor was written back */
#define  INT_LSC	BIT(2)	/* link changed */
#define  INT_RXDMT0	BIT(4)	/* few receive descriptors left */
#define  INT_RXO	BIT(6)	/* receiver overrun */
#define  INT_RXT0	BIT(7)	/* received */
#define REG_RCTL	0x0100
#define  RCTL_EN	BIT(1)
#define  RCTL_UPE	BIT(3)	/* all unicast */
#define  RCTL_MPE	BIT(4)	/* all multicast */
#define  RCTL_LPE	BIT(5)	/* long frames */
#define  RCTL_BAM	BIT(15)	/* broadcasts */
#define  RCTL_4096	(3u << 16 | BIT(25))	/* buffers of 16 * 256 bytes */
#define  RCTL_SECRC	BIT(26)	/* no FCS in memory */
#define REG_TCTL	0x0400
#define  TCTL_EN	BIT(1)
#define  TCTL_PSP	BIT(3)	/* pad short frames */
#define  TCTL_CT	(15u << 4)
#define  TCTL_COLD	(64u << 12)
#define REG_TIPG	0x0410
#define  TIPG_COPPER	(10u | 8u << 10 | 6u << 20)
#define REG_RDBAL	0x2800
#define REG_RDBAH	0x2804
#define REG_RDLEN	0x2808
#define REG_RDH		0x2810
#define REG_RDT		0x2818
#define REG_RDTR	0x2820
#define REG_RADV	0x282c
#define REG_TDBAL	0x3800
#define REG_TDBAH	0x3804
#define REG_TDLEN	0x3808
#define REG_TDH		0x3810
#define REG_TDT		0x3818
#define REG_TIDV	0x3820
#define REG_TADV	0x382c
#define REG_RXCSUM	0x5000
#define  RXCSUM_IPOFL	BIT(8)
#define  RXCSUM_TUOFL	BIT(9)
#define REG_MTA		0x5200	/* 128 words */
#define REG_RAL(n)	(0x5400 + 8 * (n))
#define REG_RAH(n)	(0x5404 + 8 * (n))
#define  RAH_AV		BIT(31)
#define REG_VFTA	0x5600	/* 128 words */

/* A descriptor of either ring: two words, little endian. */
struct vc_desc {
	__le64 low;
	__le64 high;
};

/* Transmit, high word: length, then... */
#define TX_DTYP_DATA	BIT_ULL(20)
#define TX_EOP		BIT_ULL(24)
#define TX_IFCS		BIT_ULL(25)	/* data: append the FCS */
#define TX_C_TCP	BIT_ULL(24)	/* context: TCP, not UDP */
#define TX_C_IP		BIT_ULL(25)	/* context: IPv4, not IPv6 */
#define TX_TSE		BIT_ULL(26)	/* segmentation */
#define TX_RS		BIT_ULL(27)	/* report status */
#define TX_DEXT		BIT_ULL(29)
#define TX_VLE		BIT_ULL(30)
#define TX_DD		BIT_ULL(32)
#define TX_IXSM		BIT_ULL(40)	/* data: insert the IP checksum */
#define TX_TXSM		BIT_ULL(41)	/* data: insert TCP's or UDP's */
#define TX_HDRLEN_SHIFT	40		/* context */
#define TX_MSS_SHIFT	48		/* context */
#define TX_VLAN_SHIFT	48		/* data */

/* Receive, high word: length, checksum of the packet, status, errors, tag. */
#define RX_LENGTH(high)	((u32)(high) & 0xffff)
#define RX_DD		BIT_ULL(32)
#define RX_EOP		BIT_ULL(33)
#define RX_IXSM		BIT_ULL(34)	/* the checksum bits mean nothing */
#define RX_VP		BIT_ULL(35)	/* a tag was stripped */
#define RX_TCPCS	BIT_ULL(37)	/* TCP's or UDP's checksum was looked at */
#define RX_CSUM_ERRORS	(BIT_ULL(45) | BIT_ULL(46))
#define RX_FRAME_ERRORS	(BIT_ULL(40) | BIT_ULL(41) | BIT_ULL(42) | BIT_ULL(47))
#define RX_VLAN(high)	((u16)((high) >> 48))

#endif
