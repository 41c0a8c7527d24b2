// SPDX-License-Identifier: GPL-2.0
/*
 * Receive. Each descriptor has a page; a frame takes as many as it needs. What a
 * descriptor's page goes up with is replaced at once, so that all descriptors
 * always have one and the card owns all but the one before `next`.
 */

#include <linux/etherdevice.h>
#include <linux/if_vlan.h>

#include "driver.h"

/* A frame up to this many bytes is copied, and its page stays. */
#define COPY_BELOW	256
/* Descriptors that are given back at once. */
#define GIVE_BACK	32

static int vc_rx_page(struct vc_card *card, struct vc_rx_buffer *buffer)
{
	struct device *dev = &card->pdev->dev;
	struct page *page = dev_alloc_page();
	dma_addr_t dma;

	if (!page)
		return -ENOMEM;
	dma = dma_map_page(dev, page, 0, PAGE_SIZE, DMA_FROM_DEVICE);
	if (dma_mapping_error(dev, dma)) {
		__free_page(page);
		return -ENOMEM;
	}
	buffer->page = page;
	buffer->dma = dma;
	return 0;
}

static void vc_rx_ready(struct vc_rx *rx, u32 i)
{
	WRITE_ONCE(rx->desc[i].high, 0);
	rx->desc[i].low = cpu_to_le64(rx->buffer[i].dma);
}

int vc_rx_alloc(struct vc_card *card)
{
	struct vc_rx *rx = &card->rx;
	u32 i;

	memset(rx, 0, sizeof(*rx));
	rx->desc = dma_alloc_coherent(&card->pdev->dev, VC_RING * sizeof(*rx->desc), &rx->dma,
				      GFP_KERNEL);
	if (!rx->desc)
		return -ENOMEM;
	for (i = 0; i < VC_RING; i++) {
		if (vc_rx_page(card, &rx->buffer[i])) {
			vc_rx_free(card);
			return -ENOMEM;
		}
		vc_rx_ready(rx, i);
	}
	return 0;
}

/* The card has stopped. */
void vc_rx_free(struct vc_card *card)
{
	struct vc_rx *rx = &card->rx;
	struct device *dev = &card->pdev->dev;
	u32 i;

	if (!rx->desc)
		return;
	dev_kfree_skb_any(rx->skb);
	rx->skb = NULL;
	for (i = 0; i < VC_RING; i++) {
		if (!rx->buffer[i].page)
			continue;
		dma_unmap_page(dev, rx->buffer[i].dma, PAGE_SIZE, DMA_FROM_DEVICE);
		__free_page(rx->buffer[i].page);
		rx->buffer[i].page = NULL;
	}
	dma_free_coherent(dev, VC_RING * sizeof(*rx->desc), rx->desc, rx->dma);
	rx->desc = NULL;
}

/* The first descriptor that the card may not fill. */
static u32 vc_rx_tail(const struct vc_rx *rx)
{
	return (rx->next ? rx->next : VC_RING) - 1;
}

static void vc_write_rdt(struct vc_card *card)
{
	vc_add(card, VC_rdt_writes, 1);
	vc_write(card, REG_RDT, card->rx.told);
}

/* Tells the card of buffers. */
static void vc_rx_tell(struct vc_card *card)
{
	struct vc_rx *rx = &card->rx;
	u32 before = rx->told, tail = vc_rx_tail(rx), at;

	if (tail == before)
		return;
	rx->told = tail;
	if (!card->csb) {
		vc_write_rdt(card);
		return;
	}
	csb_put(&card->csb->guest_rdt, tail);
	/* The card says where it wants to be kicked and then looks at the tail again. */
	smp_mb();
	at = csb_get(&card->csb->host_rxkick_at);
	if (at < VC_RING && (at + VC_RING - before - 1) % VC_RING < (tail + VC_RING - before) % VC_RING)
		vc_write_rdt(card);
}

/* All buffers, for a card that was just set up. */
void vc_rx_first(struct vc_card *card)
{
	card->rx.told = vc_rx_tail(&card->rx);
	if (card->csb)
		csb_put(&card->csb->guest_rdt, card->rx.told);
	vc_write_rdt(card);
}

bool vc_rx_pending(struct vc_card *card)
{
	return le64_to_cpu(READ_ONCE(card->rx.desc[card->rx.next].high)) & RX_DD;
}

/* The next page of a frame goes up: into its socket buffer, which is made with the first. */
static bool vc_rx_take(struct vc_card *card, struct vc_rx_buffer *buffer, u32 len)
{
	struct device *dev = &card->pdev->dev;
	struct vc_rx *rx = &card->rx;
	struct vc_rx_buffer fresh;
	struct sk_buff *skb = rx->skb;
	u8 *data = page_address(buffer->page);
	u32 head;

	dma_sync_single_for_cpu(dev, buffer->dma, len, DMA_FROM_DEVICE);
	if (!skb) {
		skb = napi_alloc_skb(&card->napi, COPY_BELOW);
		if (!skb)
			return false;
		rx->skb = skb;
		head = len <= COPY_BELOW ? len : eth_get_headlen(card->netdev, data, COPY_BELOW);
		skb_put_data(skb, data, head);
		if (head == len)
			return true;
	} else {
		head = 0;
		if (skb_shinfo(skb)->nr_frags == MAX_SKB_FRAGS)
			return false;
	}
	if (vc_rx_page(card, &fresh))
		return false;
	dma_unmap_page(dev, buffer->dma, PAGE_SIZE, DMA_FROM_DEVICE);
	skb_add_rx_frag(skb, skb_shinfo(skb)->nr_frags, buffer->page, head, len - head, PAGE_SIZE);
	*buffer = fresh;
	return true;
}

/* A frame is whole. */
static void vc_rx_up(struct vc_card *card, u64 high)
{
	struct net_device *netdev = card->netdev;
	struct sk_buff *skb = card->rx.skb;

	card->rx.skb = NULL;
	if (high & RX_FRAME_ERRORS || skb->len < ETH_HLEN) {
		vc_add(card, VC_rx_errors, 1);
		dev_kfree_skb_any(skb);
		return;
	}
	vc_add(card, VC_rx_packets, 1);
	vc_add(card, VC_rx_bytes, skb->len);
	if (netdev->features & NETIF_F_RXCSUM && (high & (RX_IXSM | RX_TCPCS)) == RX_TCPCS &&
	    !(high & RX_CSUM_ERRORS)) {
		skb->ip_summed = CHECKSUM_UNNECESSARY;
		vc_add(card, VC_rx_checksummed, 1);
	}
	if (high & RX_VP)
		__vlan_hwaccel_put_tag(skb, htons(ETH_P_8021Q), RX_VLAN(high));
	skb->protocol = eth_type_trans(skb, netdev);
	napi_gro_receive(&card->napi, skb);
}

/* Up to `budget` frames; how many. */
int vc_rx_poll(struct vc_card *card, int budget)
{
	struct vc_rx *rx = &card->rx;
	u32 unsaid = 0;
	int done = 0;

	while (done < budget) {
		struct vc_rx_buffer *buffer = &rx->buffer[rx->next];
		u64 high = le64_to_cpu(READ_ONCE(rx->desc[rx->next].high));
		u32 len = RX_LENGTH(high);

		if (!(high & RX_DD))
			break;
		dma_rmb();
		if (!rx->dropping && (len > PAGE_SIZE || !vc_rx_take(card, buffer, len))) {
			vc_add(card, len > PAGE_SIZE ? VC_rx_errors : VC_rx_no_memory, 1);
			dev_kfree_skb_any(rx->skb);
			rx->skb = NULL;
			rx->dropping = true;
		}
		if (high & RX_EOP) {
			if (rx->dropping)
				vc_add(card, VC_rx_dropped, 1);
			else
				vc_rx_up(card, high);
			rx->dropping = false;
			done++;
		}
		dma_sync_single_for_device(&card->pdev->dev, buffer->dma, PAGE_SIZE, DMA_FROM_DEVICE);
		vc_rx_ready(rx, rx->next);
		rx->next = vc_after(rx->next);
		if (++unsaid == GIVE_BACK) {
			vc_rx_tell(card);
			unsaid = 0;
		}
	}
	vc_rx_tell(card);
	return done;
}
