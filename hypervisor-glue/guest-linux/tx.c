// SPDX-License-Identifier: GPL-2.0
/*
 * Transmit. Everything here is under the lock of the transmit queue, which the
 * network core holds when it sends and vc_tx_poll takes.
 *
 * The card is told of frames in one of three ways:
 * - a write of TDT after each burst;
 * - with Send Combining (section 3.2 of the paper): while a transmit interrupt
 *   is awaited TDT is not written; the interrupt does it for all that came since;
 * - by the CSB (section 3.3): the tail goes into the block, and TDT is written
 *   only when the card says there that it sleeps.
 */

#include <linux/ip.h>
#include <linux/if_vlan.h>
#include <linux/tcp.h>
#include <net/dst.h>
#include <net/ip6_checksum.h>
#include <net/tcp.h>

#include "driver.h"

int vc_tx_alloc(struct vc_card *card)
{
	struct vc_tx *tx = &card->tx;

	memset(tx, 0, sizeof(*tx));
	tx->desc = dma_alloc_coherent(&card->pdev->dev, VC_RING * sizeof(*tx->desc), &tx->dma,
				      GFP_KERNEL);
	return tx->desc ? 0 : -ENOMEM;
}

static void vc_unmap(struct vc_card *card, struct vc_tx_buffer *buffer)
{
	struct device *dev = &card->pdev->dev;

	if (!buffer->len)
		return;
	if (buffer->page)
		dma_unmap_page(dev, buffer->dma, buffer->len, DMA_TO_DEVICE);
	else
		dma_unmap_single(dev, buffer->dma, buffer->len, DMA_TO_DEVICE);
	buffer->len = 0;
}

/* The card has stopped. */
void vc_tx_free(struct vc_card *card)
{
	struct vc_tx *tx = &card->tx;
	u32 i;

	if (!tx->desc)
		return;
	for (i = 0; i < VC_RING; i++) {
		vc_unmap(card, &tx->buffer[i]);
		dev_kfree_skb_any(tx->buffer[i].skb);
		tx->buffer[i].skb = NULL;
	}
	netdev_reset_queue(card->netdev);
	dma_free_coherent(&card->pdev->dev, VC_RING * sizeof(*tx->desc), tx->desc, tx->dma);
	tx->desc = NULL;
}

static u32 vc_tx_room(const struct vc_tx *tx)
{
	return (tx->oldest + VC_RING - tx->next - 1) % VC_RING;
}

/* Takes back what the card has sent; whether there was any. */
static bool vc_tx_reclaim(struct vc_card *card, int budget)
{
	struct vc_tx *tx = &card->tx;
	unsigned int frames = 0, bytes = 0;

	while (tx->oldest != tx->next) {
		u32 end = tx->oldest;

		/* Only the last descriptor of a frame is reported. */
		while (!tx->buffer[end].skb)
			end = vc_after(end);
		if (!(le64_to_cpu(READ_ONCE(tx->desc[end].high)) & TX_DD))
			break;
		dma_rmb();
		frames++;
		bytes += tx->buffer[end].skb->len;
		for (;;) {
			struct vc_tx_buffer *buffer = &tx->buffer[tx->oldest];
			bool last = tx->oldest == end;

			vc_unmap(card, buffer);
			tx->oldest = vc_after(tx->oldest);
			if (last) {
				napi_consume_skb(buffer->skb, budget);
				buffer->skb = NULL;
				break;
			}
		}
	}
	if (!card->csb)
		netdev_completed_queue(card->netdev, frames, bytes);
	return frames > 0;
}

static void vc_write_tdt(struct vc_card *card)
{
	card->tx.told = card->tx.next;
	vc_add(card, VC_tdt_writes, 1);
	vc_write(card, REG_TDT, card->tx.next);
}

/* There are frames that the card was not told of. */
static void vc_tell(struct vc_card *card)
{
	struct vc_tx *tx = &card->tx;
	struct vc_csb *csb = card->csb;

	if (csb) {
		csb_put(&csb->guest_tdt, tx->next);
		tx->told = tx->next;
		vc_add(card, VC_csb_published, 1);
		/* The card raises the flag and then looks at the tail again. */
		smp_mb();
		if (csb_get(&csb->host_need_txkick) & 1) {
			/* One kick is enough, however long it is under way. */
			csb_put(&csb->host_need_txkick, 0);
			vc_write_tdt(card);
		}
	} else if (card->sc && tx->combining) {
		vc_add(card, VC_sc_deferred, 1);
	} else {
		tx->combining = card->sc;
		vc_write_tdt(card);
	}
}

static void vc_tx_wake(struct vc_card *card)
{
	if (vc_tx_room(&card->tx) < 2 * VC_FRAME_DESCS || !netif_queue_stopped(card->netdev))
		return;
	if (card->csb)
		csb_put(&card->csb->guest_need_txkick, 2);
	netif_wake_queue(card->netdev);
}

/* Stops the queue when the next frame might not fit, unless room comes meanwhile. */
static void vc_tx_stop_if_full(struct vc_card *card)
{
	if (vc_tx_room(&card->tx) >= VC_FRAME_DESCS)
		return;
	if (card->csb)
		vc_tx_reclaim(card, 0);
	if (vc_tx_room(&card->tx) >= VC_FRAME_DESCS)
		return;
	netif_stop_queue(card->netdev);
	vc_add(card, VC_tx_stopped, 1);
	if (!card->csb)
		return;
	/* Without being asked the card does not interrupt. It may have sent all before it could see that. */
	csb_put(&card->csb->guest_need_txkick, 1);
	smp_mb();
	vc_tx_reclaim(card, 0);
	vc_tx_wake(card);
}

/* After an interrupt. */
void vc_tx_poll(struct vc_card *card, int budget)
{
	struct vc_tx *tx = &card->tx;
	struct netdev_queue *queue = netdev_get_tx_queue(card->netdev, 0);
	bool progress;

	__netif_tx_lock(queue, smp_processor_id());
	progress = vc_tx_reclaim(card, budget);
	if (netif_carrier_ok(card->netdev))
		vc_tx_wake(card);
	if (tx->combining && tx->told != tx->next && (progress || tx->oldest == tx->told))
		vc_write_tdt(card);
	else if (tx->oldest == tx->told)
		tx->combining = false;
	__netif_tx_unlock(queue);
}

/* The context for a frame, if it needs one: 1 if it does, 0 if not. */
static int vc_context(struct sk_buff *skb, u64 context[2], u64 *data)
{
	u32 l3 = skb_network_offset(skb), l4, header;

	if (skb->ip_summed != CHECKSUM_PARTIAL)
		return 0;
	l4 = skb_checksum_start_offset(skb);
	*data |= TX_TXSM;
	context[0] = (u64)l4 << 32 | (u64)(l4 + skb->csum_offset) << 40;
	context[1] = TX_DEXT;
	if (!skb_is_gso(skb))
		return 1;
	if (skb_cow_head(skb, 0))
		return -ENOMEM;
	header = skb_tcp_all_headers(skb);
	context[0] |= l3;
	if (skb_shinfo(skb)->gso_type & SKB_GSO_TCPV4) {
		struct iphdr *ip = ip_hdr(skb);

		ip->tot_len = 0;
		ip->check = 0;
		tcp_hdr(skb)->check = ~csum_tcpudp_magic(ip->saddr, ip->daddr, 0, IPPROTO_TCP, 0);
		context[0] |= (u64)(l3 + offsetof(struct iphdr, check)) << 8 | (u64)(l4 - 1) << 16;
		context[1] |= TX_C_IP;
		*data |= TX_IXSM;
	} else {
		tcp_v6_gso_csum_prep(skb);
		/* Where the IP checksum would be; the card needs to know where IP begins. */
		context[0] |= (u64)(l4 - 1) << 16;
	}
	context[1] |= TX_TSE | TX_C_TCP | (u64)header << TX_HDRLEN_SHIFT |
		      (u64)skb_shinfo(skb)->gso_size << TX_MSS_SHIFT | (skb->len - header);
	*data |= TX_TSE;
	return 1;
}

static void vc_put(struct vc_tx *tx, u32 *at, u64 low, u64 high)
{
	tx->desc[*at].low = cpu_to_le64(low);
	WRITE_ONCE(tx->desc[*at].high, cpu_to_le64(high));
	*at = vc_after(*at);
}

/* Descriptors for one mapped piece, which is cut if it is long. */
static void vc_put_mapped(struct vc_tx *tx, u32 *at, dma_addr_t dma, u32 len, bool page, u64 data)
{
	u32 first = *at, offset = 0;

	while (offset < len) {
		u32 part = min(len - offset, VC_PIECE);

		tx->buffer[*at].len = 0;
		vc_put(tx, at, dma + offset, data | part);
		offset += part;
	}
	/* Unmapped with its first; the card reports all of a frame at once. */
	tx->buffer[first].dma = dma;
	tx->buffer[first].len = len;
	tx->buffer[first].page = page;
}

static bool vc_map(struct vc_card *card, struct sk_buff *skb, u32 *at, u64 data)
{
	struct device *dev = &card->pdev->dev;
	struct vc_tx *tx = &card->tx;
	u32 len = skb_headlen(skb), i;
	dma_addr_t dma;

	if (len) {
		dma = dma_map_single(dev, skb->data, len, DMA_TO_DEVICE);
		if (dma_mapping_error(dev, dma))
			return false;
		vc_put_mapped(tx, at, dma, len, false, data);
	}
	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];

		len = skb_frag_size(frag);
		if (!len)
			continue;
		dma = skb_frag_dma_map(dev, frag, 0, len, DMA_TO_DEVICE);
		if (dma_mapping_error(dev, dma))
			return false;
		vc_put_mapped(tx, at, dma, len, true, data);
	}
	return true;
}

netdev_tx_t vc_xmit(struct sk_buff *skb, struct net_device *netdev)
{
	struct vc_card *card = netdev_priv(netdev);
	struct vc_tx *tx = &card->tx;
	u64 context[2], data = TX_DEXT | TX_DTYP_DATA | TX_IFCS;
	u32 at = tx->next, last, bytes;
	int has_context;

	if (vc_tx_room(tx) < VC_FRAME_DESCS) {
		/* The queue is stopped before this can be. */
		netif_stop_queue(netdev);
		return NETDEV_TX_BUSY;
	}
	/* Shorter ones hang some cards, and are padded anyway. */
	if (skb_put_padto(skb, 17)) {
		vc_add(card, VC_tx_dropped, 1);
		return NETDEV_TX_OK;
	}
	bytes = skb->len;
	has_context = vc_context(skb, context, &data);
	if (has_context < 0)
		goto drop;
	if (skb_vlan_tag_present(skb))
		data |= TX_VLE | (u64)skb_vlan_tag_get(skb) << TX_VLAN_SHIFT;
	if (has_context && (data & TX_TSE || !tx->context_valid ||
			    memcmp(context, tx->context, sizeof(context)))) {
		tx->buffer[at].len = 0;
		vc_put(tx, &at, context[0], context[1]);
		/* The card remembers one for checksums and one for segmentation. */
		if (!(data & TX_TSE)) {
			memcpy(tx->context, context, sizeof(context));
			tx->context_valid = true;
		}
	}
	if (!vc_map(card, skb, &at, data)) {
		tx->context_valid = false;
		for (last = tx->next; last != at; last = vc_after(last))
			vc_unmap(card, &tx->buffer[last]);
		goto drop;
	}
	last = (at ? at : VC_RING) - 1;
	tx->desc[last].high |= cpu_to_le64(TX_EOP | TX_RS);
	tx->buffer[last].skb = skb;
	skb_tx_timestamp(skb);
	vc_add(card, VC_tx_segmented, !!(data & TX_TSE));
	vc_add(card, VC_tx_checksummed, has_context && !(data & TX_TSE));
	vc_add(card, VC_tx_packets, skb_is_gso(skb) ? skb_shinfo(skb)->gso_segs : 1);
	vc_add(card, VC_tx_bytes, bytes);
	if (card->csb) {
		/* The card tells of it late or never: nobody may wait for that. */
		skb_orphan(skb);
		nf_reset_ct(skb);
	}
	tx->next = at;
	if (card->csb) {
		if (vc_tx_room(tx) < VC_RING / 2)
			vc_tx_reclaim(card, 0);
		vc_tx_stop_if_full(card);
		if (!netdev_xmit_more() || netif_queue_stopped(netdev))
			vc_tell(card);
		return NETDEV_TX_OK;
	}
	vc_tx_stop_if_full(card);
	if (__netdev_sent_queue(netdev, bytes, netdev_xmit_more()))
		vc_tell(card);
	return NETDEV_TX_OK;

drop:
	vc_add(card, VC_tx_dropped, 1);
	dev_kfree_skb_any(skb);
	/* Frames before it may count on this one to tell of them. */
	if (tx->told != tx->next && !(card->sc && tx->combining))
		vc_tell(card);
	return NETDEV_TX_OK;
}

/* Places in a frame are bytes in a context: headers that are longer are the kernel's. */
netdev_features_t vc_features_check(struct sk_buff *skb, struct net_device *netdev,
				    netdev_features_t features)
{
	if (skb->ip_summed == CHECKSUM_PARTIAL &&
	    (skb_checksum_start_offset(skb) + skb->csum_offset > 255 ||
	     (skb_is_gso(skb) && skb_tcp_all_headers(skb) > 240)))
		features &= ~(NETIF_F_CSUM_MASK | NETIF_F_GSO_MASK);
	return vlan_features_check(skb, features);
}
