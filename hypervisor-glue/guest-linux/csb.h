/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The communication status block: a page that driver and device share, so that
 * neither has to write a register or raise an interrupt while the other is
 * awake. "Speeding Up Packet I/O in Virtual Machines", section 3.3; the layout
 * is that of `hypervisor-glue/src/csb.rs`, as are the names.
 */
#ifndef VALECAST_CSB_H
#define VALECAST_CSB_H

#include <linux/build_bug.h>
#include <linux/types.h>

#define CSB_SUBDEVICE	0x1101
#define REG_CSBAL	0x2830	/* maps the block; 0 unmaps it */
#define REG_CSBAH	0x2834	/* written first */
#define CSB_NO_KICK	0xffffffffu

struct vc_csb {
	/* The guest writes. */
	__le32 guest_tdt;
	__le32 guest_need_txkick;	/* bit 0; 2 once there is room again */
	__le32 guest_need_rxkick;
	__le32 guest_csb_on;
	__le32 guest_rdt;
	__le32 guest_txkick_at;
	__le32 guest_use_msix;
	__le32 guest_pad[9];
	/* The host writes. */
	__le32 host_tdh;
	__le32 host_need_txkick;
	__le32 host_txcycles_lim;	/* the guest, before it maps the block */
	__le32 host_txcycles;
	__le32 host_rdh;
	__le32 host_need_rxkick;
	__le32 host_isr;
	__le32 host_rxkick_at;
	__le32 vnet_ring_high;
	__le32 vnet_ring_low;
};

static_assert(offsetof(struct vc_csb, guest_rdt) == 0x10);
static_assert(offsetof(struct vc_csb, host_tdh) == 0x40);
static_assert(offsetof(struct vc_csb, host_rxkick_at) == 0x5c);

static inline u32 csb_get(const __le32 *word)
{
	return le32_to_cpu(READ_ONCE(*word));
}

/* The device sees what was written before (descriptors) no later than this. */
static inline void csb_put(__le32 *word, u32 value)
{
	smp_store_release(word, cpu_to_le32(value));
}

#endif
