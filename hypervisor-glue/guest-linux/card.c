// SPDX-License-Identifier: GPL-2.0
/* The card's registers. */

#include <linux/delay.h>
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>

#include "driver.h"

const u32 vc_interrupts = INT_TXDW | INT_RXT0 | INT_RXDMT0 | INT_RXO | INT_LSC;

void vc_reset(struct vc_card *card)
{
	vc_write(card, REG_IMC, ~0u);
	vc_write(card, REG_RCTL, 0);
	vc_write(card, REG_TCTL, 0);
	vc_write(card, REG_CTRL, vc_read(card, REG_CTRL) | CTRL_RST);
	/* The card takes a microsecond; posted writes take what they take. */
	usleep_range(1000, 2000);
	vc_write(card, REG_IMC, ~0u);
	vc_read(card, REG_ICR);
}

static int vc_eeprom(struct vc_card *card, u32 word, u16 *value)
{
	int tries;

	vc_write(card, REG_EERD, word << 8 | EERD_START);
	for (tries = 0; tries < 1000; tries++) {
		u32 v = vc_read(card, REG_EERD);

		if (v == ~0u)
			return -ENODEV;
		if (v & EERD_DONE) {
			*value = v >> 16;
			return 0;
		}
		udelay(5);
	}
	return -ETIMEDOUT;
}

int vc_read_address(struct vc_card *card, u8 *address)
{
	u16 word;
	int i, err;

	for (i = 0; i < 3; i++) {
		err = vc_eeprom(card, i, &word);
		if (err)
			return err;
		address[2 * i] = word;
		address[2 * i + 1] = word >> 8;
	}
	return is_valid_ether_addr(address) ? 0 : -EINVAL;
}

static void vc_set_exact(struct vc_card *card, u32 slot, const u8 *address)
{
	vc_write(card, REG_RAL(slot), address[0] | address[1] << 8 | address[2] << 16 |
		 (u32)address[3] << 24);
	vc_write(card, REG_RAH(slot), address[4] | address[5] << 8 | RAH_AV);
}

/* Addresses that the card is to take; under the lock of the address lists. */
void vc_set_filters(struct vc_card *card)
{
	struct net_device *netdev = card->netdev;
	u32 hash[128] = {}, rctl = vc_read(card, REG_RCTL), slot = 1, i;
	struct netdev_hw_addr *ha;

	rctl &= ~(RCTL_UPE | RCTL_MPE);
	if (netdev->flags & IFF_PROMISC)
		rctl |= RCTL_UPE | RCTL_MPE;
	if (netdev->flags & IFF_ALLMULTI)
		rctl |= RCTL_MPE;
	vc_set_exact(card, 0, netdev->dev_addr);
	if (netdev_uc_count(netdev) > 15) {
		rctl |= RCTL_UPE;
	} else {
		netdev_for_each_uc_addr(ha, netdev)
			vc_set_exact(card, slot++, ha->addr);
	}
	for (; slot < 16; slot++)
		vc_write(card, REG_RAH(slot), 0);
	netdev_for_each_mc_addr(ha, netdev) {
		/* The upper 12 of the last 16 bits of an address. */
		u32 bit = (ha->addr[4] | ha->addr[5] << 8) >> 4;

		hash[bit / 32] |= 1u << bit % 32;
	}
	for (i = 0; i < 128; i++)
		vc_write(card, REG_MTA + 4 * i, hash[i]);
	vc_write(card, REG_RCTL, rctl);
}

void vc_set_features(struct vc_card *card, netdev_features_t features)
{
	u32 ctrl = vc_read(card, REG_CTRL);

	vc_write(card, REG_RXCSUM, features & NETIF_F_RXCSUM ? RXCSUM_IPOFL | RXCSUM_TUOFL : 0);
	ctrl = features & NETIF_F_HW_VLAN_CTAG_RX ? ctrl | CTRL_VME : ctrl & ~CTRL_VME;
	vc_write(card, REG_CTRL, ctrl);
}

void vc_set_itr(struct vc_card *card)
{
	vc_write(card, REG_ITR, min_t(u32, card->itr_us * 1000 / 256, 0xffff));
}

static void vc_set_ring(struct vc_card *card, u32 first, dma_addr_t dma)
{
	vc_write(card, first, lower_32_bits(dma));
	vc_write(card, first + REG_TDBAH - REG_TDBAL, upper_32_bits(dma));
	vc_write(card, first + REG_TDLEN - REG_TDBAL, VC_RING * sizeof(struct vc_desc));
	vc_write(card, first + REG_TDH - REG_TDBAL, 0);
	vc_write(card, first + REG_TDT - REG_TDBAL, 0);
}

/* Sets up a card that was just reset; interrupts stay off. */
void vc_start(struct vc_card *card)
{
	u32 ctrl = vc_read(card, REG_CTRL) & ~(CTRL_FRCSPD | CTRL_FRCDPX);
	u32 rctl = RCTL_EN | RCTL_BAM | RCTL_SECRC | RCTL_4096, i;

	vc_write(card, REG_CTRL, ctrl | CTRL_SLU | CTRL_ASDE);
	vc_write(card, REG_VET, ETH_P_8021Q);
	for (i = 0; i < 128; i++)
		vc_write(card, REG_VFTA + 4 * i, 0);
	vc_set_features(card, card->netdev->features);
	vc_set_itr(card);
	vc_write(card, REG_RDTR, 0);
	vc_write(card, REG_RADV, 0);
	vc_write(card, REG_TIDV, 0);
	vc_write(card, REG_TADV, 0);
	vc_set_ring(card, REG_TDBAL, card->tx.dma);
	vc_set_ring(card, REG_RDBAL, card->rx.dma);
	vc_write(card, REG_TIPG, TIPG_COPPER);
	vc_write(card, REG_TCTL, TCTL_EN | TCTL_PSP | TCTL_CT | TCTL_COLD);
	if (card->netdev->mtu > ETH_DATA_LEN)
		rctl |= RCTL_LPE;
	vc_write(card, REG_RCTL, rctl);
	netif_addr_lock_bh(card->netdev);
	vc_set_filters(card);
	netif_addr_unlock_bh(card->netdev);
}

/* Sets the block up and tells the card of it, before anything is sent or received. */
int vc_csb_start(struct vc_card *card, u32 idle_polls)
{
	struct vc_csb *csb;

	csb = dma_alloc_coherent(&card->pdev->dev, PAGE_SIZE, &card->csb_dma, GFP_KERNEL);
	if (!csb)
		return -ENOMEM;
	csb_put(&csb->host_need_txkick, 1);
	csb_put(&csb->guest_need_rxkick, 1);
	csb_put(&csb->host_rxkick_at, CSB_NO_KICK);
	csb_put(&csb->host_txcycles_lim, idle_polls);
	csb_put(&csb->guest_csb_on, 1);
	vc_write(card, REG_CSBAH, upper_32_bits(card->csb_dma));
	vc_write(card, REG_CSBAL, lower_32_bits(card->csb_dma));
	card->csb = csb;
	return 0;
}

/* After the card was reset, which unmaps the block. */
void vc_csb_stop(struct vc_card *card)
{
	if (!card->csb)
		return;
	csb_put(&card->csb->guest_csb_on, 0);
	vc_write(card, REG_CSBAL, 0);
	/* A read comes back after what was written: the card has let go of the page. */
	vc_read(card, REG_STATUS);
	dma_free_coherent(&card->pdev->dev, PAGE_SIZE, card->csb, card->csb_dma);
	card->csb = NULL;
}
