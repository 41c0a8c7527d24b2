// SPDX-License-Identifier: GPL-2.0
/* What ethtool shows and sets. */

#include <linux/ethtool.h>

#include "driver.h"

#define VC_COUNTER_NAME(name) #name,
static const char *const vc_names[] = { VC_COUNTERS(VC_COUNTER_NAME) };

static void vc_get_drvinfo(struct net_device *netdev, struct ethtool_drvinfo *info)
{
	struct vc_card *card = netdev_priv(netdev);

	strscpy(info->driver, VC_NAME, sizeof(info->driver));
	strscpy(info->bus_info, pci_name(card->pdev), sizeof(info->bus_info));
	/* How it tells the card of frames. */
	strscpy(info->fw_version, card->csb ? "csb" : card->sc ? "send combining" : "plain",
		sizeof(info->fw_version));
}

static int vc_get_sset_count(struct net_device *netdev, int set)
{
	return set == ETH_SS_STATS ? VC_COUNTER_COUNT : -EOPNOTSUPP;
}

static void vc_get_strings(struct net_device *netdev, u32 set, u8 *data)
{
	int i;

	if (set != ETH_SS_STATS)
		return;
	for (i = 0; i < VC_COUNTER_COUNT; i++)
		ethtool_sprintf(&data, "%s", vc_names[i]);
}

static void vc_get_ethtool_stats(struct net_device *netdev, struct ethtool_stats *stats, u64 *data)
{
	struct vc_card *card = netdev_priv(netdev);
	int i;

	for (i = 0; i < VC_COUNTER_COUNT; i++)
		data[i] = READ_ONCE(card->count[i]);
}

static int vc_get_link_ksettings(struct net_device *netdev, struct ethtool_link_ksettings *cmd)
{
	ethtool_link_ksettings_zero_link_mode(cmd, supported);
	ethtool_link_ksettings_add_link_mode(cmd, supported, TP);
	ethtool_link_ksettings_add_link_mode(cmd, supported, 1000baseT_Full);
	cmd->base.port = PORT_TP;
	cmd->base.speed = netif_carrier_ok(netdev) ? SPEED_1000 : SPEED_UNKNOWN;
	cmd->base.duplex = netif_carrier_ok(netdev) ? DUPLEX_FULL : DUPLEX_UNKNOWN;
	return 0;
}

static void vc_get_ringparam(struct net_device *netdev, struct ethtool_ringparam *ring,
			     struct kernel_ethtool_ringparam *kernel_ring,
			     struct netlink_ext_ack *extack)
{
	ring->rx_max_pending = ring->rx_pending = VC_RING;
	ring->tx_max_pending = ring->tx_pending = VC_RING;
}

static int vc_get_coalesce(struct net_device *netdev, struct ethtool_coalesce *c,
			   struct kernel_ethtool_coalesce *kernel_c, struct netlink_ext_ack *extack)
{
	c->rx_coalesce_usecs = ((struct vc_card *)netdev_priv(netdev))->itr_us;
	return 0;
}

static int vc_set_coalesce(struct net_device *netdev, struct ethtool_coalesce *c,
			   struct kernel_ethtool_coalesce *kernel_c, struct netlink_ext_ack *extack)
{
	struct vc_card *card = netdev_priv(netdev);

	if (c->rx_coalesce_usecs > 16000) {
		NL_SET_ERR_MSG(extack, "the card can wait 16000 us at most");
		return -EINVAL;
	}
	card->itr_us = c->rx_coalesce_usecs;
	if (netif_running(netdev))
		vc_set_itr(card);
	return 0;
}

const struct ethtool_ops vc_ethtool_ops = {
	.supported_coalesce_params = ETHTOOL_COALESCE_RX_USECS,
	.get_drvinfo = vc_get_drvinfo,
	.get_link = ethtool_op_get_link,
	.get_link_ksettings = vc_get_link_ksettings,
	.get_ringparam = vc_get_ringparam,
	.get_coalesce = vc_get_coalesce,
	.set_coalesce = vc_set_coalesce,
	.get_sset_count = vc_get_sset_count,
	.get_strings = vc_get_strings,
	.get_ethtool_stats = vc_get_ethtool_stats,
	.get_ts_info = ethtool_op_get_ts_info,
};
