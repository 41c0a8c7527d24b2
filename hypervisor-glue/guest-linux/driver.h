/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One card's state.
 *
 * main.c	life of a card: probe, open, stop, interrupt, poll
 * card.c	its registers: reset, address, filters, rings, the CSB
 * tx.c		from socket buffers to descriptors, and telling the card
 * rx.c		from descriptors to socket buffers, and giving buffers back
 * ethtool.c	counters and knobs
 */
#ifndef VALECAST_DRIVER_H
#define VALECAST_DRIVER_H

#include <linux/io.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/workqueue.h>

#include "csb.h"
#include "regs.h"

#define VC_NAME		"valecast_e1000"
/* Descriptors of each ring. */
#define VC_RING		256
/* Bytes of a piece of a frame; the card's limit is a little above. */
#define VC_PIECE	8192u
/* Descriptors that the largest frame takes: its pages, cuts in them, a context. */
#define VC_FRAME_DESCS	(MAX_SKB_FRAGS + GSO_LEGACY_MAX_SIZE / VC_PIECE + 3)
/* The card takes frames of 16 KiB with their FCS. */
#define VC_MAX_MTU	16110

/* What was mapped for a transmit descriptor. */
struct vc_tx_buffer {
	struct sk_buff *skb;	/* at the last descriptor of a frame */
	dma_addr_t dma;
	u32 len;		/* 0: nothing, a context */
	bool page;
};

struct vc_tx {
	struct vc_desc *desc;
	dma_addr_t dma;
	struct vc_tx_buffer buffer[VC_RING];
	u32 next;		/* next descriptor to write */
	u32 oldest;		/* first that was not taken back */
	u32 told;		/* tail that the card was last told of */
	u64 context[2];		/* the card's checksum context */
	bool context_valid;
	bool combining;		/* Send Combining: an interrupt is awaited */
};

struct vc_rx_buffer {
	struct page *page;
	dma_addr_t dma;
};

struct vc_rx {
	struct vc_desc *desc;
	dma_addr_t dma;
	struct vc_rx_buffer buffer[VC_RING];
	u32 next;		/* next descriptor that the card fills */
	u32 told;		/* tail that the card was last told of */
	struct sk_buff *skb;	/* a frame whose end has not come */
	bool dropping;		/* so is one that is not wanted */
};

/* What ethtool -S shows, in this order. All are only ever added to. */
#define VC_COUNTERS(X) \
	X(tx_packets) X(tx_bytes) X(rx_packets) X(rx_bytes) \
	X(tdt_writes)		/* exits to tell of frames */ \
	X(rdt_writes)		/* exits to tell of buffers */ \
	X(interrupts)		/* of this card */ \
	X(polls) \
	X(tx_segmented)		/* frames that the card cuts */ \
	X(tx_checksummed) \
	X(rx_checksummed) \
	X(sc_deferred)		/* frames whose TDT write was put off */ \
	X(csb_published)	/* times TDT was told of by the block */ \
	X(tx_stopped)		/* times the ring was full */ \
	X(tx_dropped) X(rx_dropped) X(rx_errors) X(rx_no_memory) \
	X(tx_timeouts)

#define VC_COUNTER_ENUM(name) VC_##name,
enum { VC_COUNTERS(VC_COUNTER_ENUM) VC_COUNTER_COUNT };

struct vc_card {
	void __iomem *regs;
	struct net_device *netdev;
	struct pci_dev *pdev;
	struct napi_struct napi;
	struct vc_tx tx;
	struct vc_rx rx;
	struct vc_csb *csb;	/* while it is in use */
	dma_addr_t csb_dma;
	bool csb_offered;
	bool sc;
	u32 itr_us;
	struct work_struct reset_work;
	struct work_struct link_work;
	u64 count[VC_COUNTER_COUNT];
};

/* Sent and received by one context each; a reader may miss the last few. */
static inline void vc_add(struct vc_card *card, int counter, u64 more)
{
	WRITE_ONCE(card->count[counter], card->count[counter] + more);
}

static inline u32 vc_read(struct vc_card *card, u32 at)
{
	return readl(card->regs + at);
}

static inline void vc_write(struct vc_card *card, u32 at, u32 value)
{
	writel(value, card->regs + at);
}

static inline u32 vc_after(u32 i)
{
	return i + 1 == VC_RING ? 0 : i + 1;
}

/* card.c */
extern const u32 vc_interrupts;
void vc_reset(struct vc_card *card);
int vc_read_address(struct vc_card *card, u8 *address);
void vc_set_filters(struct vc_card *card);
void vc_set_features(struct vc_card *card, netdev_features_t features);
void vc_set_itr(struct vc_card *card);
void vc_start(struct vc_card *card);
int vc_csb_start(struct vc_card *card, u32 idle_polls);
void vc_csb_stop(struct vc_card *card);

/* tx.c */
int vc_tx_alloc(struct vc_card *card);
void vc_tx_free(struct vc_card *card);
netdev_tx_t vc_xmit(struct sk_buff *skb, struct net_device *netdev);
netdev_features_t vc_features_check(struct sk_buff *skb, struct net_device *netdev,
				    netdev_features_t features);
void vc_tx_poll(struct vc_card *card, int budget);

/* rx.c */
int vc_rx_alloc(struct vc_card *card);
void vc_rx_free(struct vc_card *card);
int vc_rx_poll(struct vc_card *card, int budget);
bool vc_rx_pending(struct vc_card *card);
void vc_rx_first(struct vc_card *card);

/* main.c */
int vc_restart(struct vc_card *card);

/* ethtool.c */
extern const struct ethtool_ops vc_ethtool_ops;

#endif
