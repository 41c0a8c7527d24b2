//! The figures for Prometheus, read when they are asked for.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use crate::controller::core::view::{LinkView, Overview, STATES, SiteView, state_name};

/// Whether a scraper asks for OpenMetrics; all others get Prometheus text 0.0.4.
pub(super) fn wants_open<'h>(mut accept: impl Iterator<Item = &'h str>) -> bool {
    accept.any(|a| a.contains("application/openmetrics-text"))
}

/// The format's name in HTTP.
pub(super) fn content_type(open: bool) -> &'static str {
    match open {
        true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        false => "text/plain; version=0.0.4; charset=utf-8",
    }
}

/// The page of these figures. All are gauges, so the two formats differ in the mark at the end only.
pub(super) fn page(figures: Overview, open: bool) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("valecast_qc");
    registry.register_collector(Box::new(Figures(figures)));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(if open { page } else { page.replace("# EOF\n", "") })
}

#[derive(Debug)]
struct Figures(Overview);

type Labels = Vec<(&'static str, String)>;
type SiteFigure = (&'static str, &'static str, fn(&SiteView) -> u64);
type LinkFigure = (&'static str, &'static str, fn(&LinkView) -> u64);

const SITES: &[SiteFigure] = &[
    ("site_up", "1 while the site reports", |s| u64::from(s.state == "up")),
    ("site_trees", "Trees that cross the site", |s| s.trees.into()),
    ("site_groups", "Group entries that trees take at the site", |s| s.groups.into()),
    ("site_groups_limit", "Group entries that trees may take at the site", |s| s.max_groups.into()),
    ("site_receives", "1 while somebody receives at the site", |s| u64::from(s.receives)),
    ("site_behind", "1 while the site has not said that its plan is in force", |s| {
        u64::from(s.generation != s.in_force)
    }),
];

const LINKS: &[LinkFigure] = &[
    ("link_up", "1 while frames get through both ways", |l| u64::from(l.up)),
    ("link_capacity_bits", "What the link carries, in bit/s", |l| l.capacity),
    ("link_used_bits", "What the link carried lately, in bit/s", |l| l.used),
    ("link_planned_bits", "What trees may send over the link, in bit/s", |l| l.planned),
];

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let o = &self.0;
        let states = STATES.iter().map(|s| {
            let name = state_name(*s);
            (vec![("state", name.to_owned())], o.transfers.get(name).copied().unwrap_or(0))
        });
        family(&mut encoder, "transfers", "Transfers in each state", states)?;
        let trees = [(Vec::new(), o.trees.len() as u64)].into_iter();
        family(&mut encoder, "trees", "Trees that sites are to have", trees)?;
        let runs = [(Vec::new(), o.run)].into_iter();
        family(&mut encoder, "runs", "How often the controller was started", runs)?;
        for (name, help, figure) in SITES {
            let rows = o.sites.iter().map(|s| (vec![("site", s.name.clone())], figure(s)));
            family(&mut encoder, name, help, rows)?;
        }
        for (name, help, figure) in LINKS {
            let labels =
                |l: &LinkView| vec![("from", l.from.clone()), ("to", l.to.clone()), ("port", l.port.clone())];
            family(&mut encoder, name, help, o.links.iter().map(|l| (labels(l), figure(l))))?;
        }
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        let build = [(version, 1)].into_iter();
        family(&mut encoder, "build_info", "The version of the controller, always 1", build)
    }
}

fn family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = (Labels, u64)>,
) -> fmt::Result {
    let kind: MetricType = ConstGauge::<i64>::TYPE;
    let mut family = encoder.encode_descriptor(name, &format!("{help}."), None, kind)?;
    for (labels, value) in rows {
        let value = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        value.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
