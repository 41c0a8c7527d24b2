// SPDX-License-Identifier: GPL-2.0
/*
 * A driver for the e1000 (82540EM) of Valecast's ports, and any other, with the two
 * ways of "Speeding Up Packet I/O in Virtual Machines" to tell the card of work
 * without leaving the guest: Send Combining and the CSB.
 */

#include <linux/etherdevice.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/rtnetlink.h>

#include "driver.h"

static bool sc;
module_param(sc, bool, 0444);
MODULE_PARM_DESC(sc, "Send Combining: no write of TDT while a transmit interrupt is awaited (default off)");
static bool csb = true;
module_param(csb, bool, 0444);
MODULE_PARM_DESC(csb, "use the paravirtual CSB of cards that offer it, rather than sc (default on)");
static uint itr;
module_param(itr, uint, 0444);
MODULE_PARM_DESC(itr, "least time between interrupts, in microseconds (default 0, none)");
static uint idle_polls;
module_param(idle_polls, uint, 0444);
MODULE_PARM_DESC(idle_polls, "empty polls of the CSB before the card sleeps (default 0, as the card will)");

static irqreturn_t vc_interrupt(int irq, void *data)
{
	struct vc_card *card = data;
	u32 why = vc_read(card, REG_ICR);

	/* All ones: the card is gone. */
	if (!why || why == ~0u)
		return IRQ_NONE;
	vc_add(card, VC_interrupts, 1);
	if (why & INT_LSC)
		schedule_work(&card->link_work);
	if (card->csb)
		/* The card asks the block before it interrupts: no registers are needed. */
		csb_put(&card->csb->guest_need_rxkick, 0);
	else
		vc_write(card, REG_IMC, ~0u);
	napi_schedule(&card->napi);
	return IRQ_HANDLED;
}

static int vc_poll(struct napi_struct *napi, int budget)
{
	struct vc_card *card = container_of(napi, struct vc_card, napi);
	int done;

	vc_add(card, VC_polls, 1);
	if (card->csb)
		csb_put(&card->csb->guest_need_rxkick, 0);
	vc_tx_poll(card, budget);
	done = vc_rx_poll(card, budget);
	if (done >= budget)
		return budget;
	if (card->csb) {
		csb_put(&card->csb->guest_need_rxkick, 1);
		/* The card fills a descriptor and then looks at the flag. */
		smp_mb();
		if (vc_rx_pending(card))
			return budget;
		napi_complete_done(napi, done);
	} else if (napi_complete_done(napi, done)) {
		vc_write(card, REG_IMS, vc_interrupts);
	}
	return done;
}

static void vc_link_work(struct work_struct *work)
{
	struct vc_card *card = container_of(work, struct vc_card, link_work);
	struct net_device *netdev = card->netdev;
	u32 status = vc_read(card, REG_STATUS);
	bool up = status != ~0u && status & STATUS_LU;

	if (up == netif_carrier_ok(netdev))
		return;
	if (up) {
		netdev_info(netdev, "link is up\n");
		netif_carrier_on(netdev);
	} else {
		netdev_info(netdev, "link is down\n");
		netif_carrier_off(netdev);
	}
}

static int vc_open(struct net_device *netdev)
{
	struct vc_card *card = netdev_priv(netdev);
	int err;

	err = vc_tx_alloc(card);
	if (!err)
		err = vc_rx_alloc(card);
	if (err)
		goto free;
	vc_reset(card);
	err = request_irq(card->pdev->irq, vc_interrupt, IRQF_SHARED, netdev->name, card);
	if (err)
		goto free;
	vc_start(card);
	if (csb && card->csb_offered) {
		err = vc_csb_start(card, idle_polls);
		if (err)
			goto release;
	}
	napi_enable(&card->napi);
	vc_rx_first(card);
	netif_start_queue(netdev);
	vc_write(card, REG_IMS, vc_interrupts);
	/* Tells of the link, and takes up what came before interrupts were on. */
	vc_write(card, REG_ICS, INT_LSC | INT_RXT0);
	return 0;

release:
	vc_reset(card);
	free_irq(card->pdev->irq, card);
free:
	vc_rx_free(card);
	vc_tx_free(card);
	return err;
}

static int vc_stop(struct net_device *netdev)
{
	struct vc_card *card = netdev_priv(netdev);

	/* First all that could start the queue again: interrupt, poll, link. */
	vc_write(card, REG_IMC, ~0u);
	free_irq(card->pdev->irq, card);
	napi_disable(&card->napi);
	cancel_work_sync(&card->link_work);
	netif_carrier_off(netdev);
	netif_tx_disable(netdev);
	vc_reset(card);
	vc_csb_stop(card);
	vc_rx_free(card);
	vc_tx_free(card);
	return 0;
}

/* Stops and opens again, with the core's lock held. */
int vc_restart(struct vc_card *card)
{
	int err;

	if (!netif_running(card->netdev))
		return 0;
	vc_stop(card->netdev);
	err = vc_open(card->netdev);
	if (err) {
		netdev_err(card->netdev, "cannot start again: %d\n", err);
		netif_device_detach(card->netdev);
	}
	return err;
}

static void vc_reset_work(struct work_struct *work)
{
	struct vc_card *card = container_of(work, struct vc_card, reset_work);

	rtnl_lock();
	vc_restart(card);
	rtnl_unlock();
}

static void vc_tx_timeout(struct net_device *netdev, unsigned int queue)
{
	struct vc_card *card = netdev_priv(netdev);

	vc_add(card, VC_tx_timeouts, 1);
	schedule_work(&card->reset_work);
}

static int vc_change_mtu(struct net_device *netdev, int mtu)
{
	netdev->mtu = mtu;
	return vc_restart(netdev_priv(netdev));
}

static void vc_set_rx_mode(struct net_device *netdev)
{
	vc_set_filters(netdev_priv(netdev));
}

static int vc_set_mac_address(struct net_device *netdev, void *address)
{
	int err = eth_mac_addr(netdev, address);

	if (!err && netif_running(netdev)) {
		netif_addr_lock_bh(netdev);
		vc_set_filters(netdev_priv(netdev));
		netif_addr_unlock_bh(netdev);
	}
	return err;
}

/* One bit has the card both insert tags and strip them. */
static netdev_features_t vc_fix_features(struct net_device *netdev, netdev_features_t features)
{
	if (!(features & NETIF_F_HW_VLAN_CTAG_RX))
		features &= ~NETIF_F_HW_VLAN_CTAG_TX;
	return features;
}

static int vc_set_netdev_features(struct net_device *netdev, netdev_features_t features)
{
	if (netif_running(netdev))
		vc_set_features(netdev_priv(netdev), features);
	return 0;
}

static void vc_get_stats64(struct net_device *netdev, struct rtnl_link_stats64 *stats)
{
	struct vc_card *card = netdev_priv(netdev);

	stats->tx_packets = READ_ONCE(card->count[VC_tx_packets]);
	stats->tx_bytes = READ_ONCE(card->count[VC_tx_bytes]);
	stats->tx_dropped = READ_ONCE(card->count[VC_tx_dropped]);
	stats->rx_packets = READ_ONCE(card->count[VC_rx_packets]);
	stats->rx_bytes = READ_ONCE(card->count[VC_rx_bytes]);
	stats->rx_dropped = READ_ONCE(card->count[VC_rx_dropped]);
	stats->rx_errors = READ_ONCE(card->count[VC_rx_errors]);
}

static const struct net_device_ops vc_netdev_ops = {
	.ndo_open = vc_open,
	.ndo_stop = vc_stop,
	.ndo_start_xmit = vc_xmit,
	.ndo_features_check = vc_features_check,
	.ndo_tx_timeout = vc_tx_timeout,
	.ndo_change_mtu = vc_change_mtu,
	.ndo_set_rx_mode = vc_set_rx_mode,
	.ndo_set_mac_address = vc_set_mac_address,
	.ndo_validate_addr = eth_validate_addr,
	.ndo_fix_features = vc_fix_features,
	.ndo_set_features = vc_set_netdev_features,
	.ndo_get_stats64 = vc_get_stats64,
};

static void vc_describe(struct vc_card *card)
{
	struct net_device *netdev = card->netdev;

	netdev->netdev_ops = &vc_netdev_ops;
	netdev->ethtool_ops = &vc_ethtool_ops;
	netdev->watchdog_timeo = 5 * HZ;
	netdev->min_mtu = ETH_MIN_MTU;
	netdev->max_mtu = VC_MAX_MTU;
	netdev->priv_flags |= IFF_UNICAST_FLT;
	netdev->hw_features = NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_TSO | NETIF_F_TSO6 |
			      NETIF_F_RXCSUM | NETIF_F_HW_VLAN_CTAG_RX | NETIF_F_HW_VLAN_CTAG_TX;
	netdev->features = netdev->hw_features | NETIF_F_HIGHDMA;
	netdev->vlan_features = NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_TSO | NETIF_F_TSO6;
	netif_set_tso_max_size(netdev, GSO_LEGACY_MAX_SIZE - 1);
}

static int vc_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct net_device *netdev;
	struct vc_card *card;
	u8 address[ETH_ALEN];
	int err;

	err = pcim_enable_device(pdev);
	if (err)
		return err;
	err = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (err)
		err = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(32));
	if (err)
		return err;
	err = pcim_iomap_regions(pdev, BIT(0), VC_NAME);
	if (err)
		return err;
	pci_set_master(pdev);
	netdev = devm_alloc_etherdev(&pdev->dev, sizeof(*card));
	if (!netdev)
		return -ENOMEM;
	SET_NETDEV_DEV(netdev, &pdev->dev);
	card = netdev_priv(netdev);
	card->netdev = netdev;
	card->pdev = pdev;
	card->regs = pcim_iomap_table(pdev)[0];
	card->csb_offered = pdev->subsystem_device == CSB_SUBDEVICE;
	card->sc = sc && !(csb && card->csb_offered);
	card->itr_us = min(itr, 16000u);
	INIT_WORK(&card->reset_work, vc_reset_work);
	INIT_WORK(&card->link_work, vc_link_work);
	vc_reset(card);
	err = vc_read_address(card, address);
	if (err)
		return dev_err_probe(&pdev->dev, err, "no address in the EEPROM\n");
	eth_hw_addr_set(netdev, address);
	vc_describe(card);
	netif_napi_add(netdev, &card->napi, vc_poll);
	netif_carrier_off(netdev);
	pci_set_drvdata(pdev, card);
	err = register_netdev(netdev);
	if (err)
		return err;
	netdev_info(netdev, "%pM, %s\n", netdev->dev_addr,
		    csb && card->csb_offered ? "CSB" : card->sc ? "Send Combining" : "plain");
	return 0;
}

static void vc_remove(struct pci_dev *pdev)
{
	struct vc_card *card = pci_get_drvdata(pdev);

	/* Stops it, if it is up; nothing schedules work after that. */
	unregister_netdev(card->netdev);
	cancel_work_sync(&card->reset_work);
	cancel_work_sync(&card->link_work);
	netif_napi_del(&card->napi);
	pci_clear_master(pdev);
}

static void vc_shutdown(struct pci_dev *pdev)
{
	struct vc_card *card = pci_get_drvdata(pdev);

	rtnl_lock();
	netif_device_detach(card->netdev);
	if (netif_running(card->netdev))
		dev_close(card->netdev);
	rtnl_unlock();
}

static const struct pci_device_id vc_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_INTEL, 0x100e) },
	{}
};
MODULE_DEVICE_TABLE(pci, vc_ids);

static struct pci_driver vc_driver = {
	.name = VC_NAME,
	.id_table = vc_ids,
	.probe = vc_probe,
	.remove = vc_remove,
	.shutdown = vc_shutdown,
};
module_pci_driver(vc_driver);

MODULE_DESCRIPTION("e1000 with Send Combining and the paravirtual CSB");
MODULE_LICENSE("GPL");
