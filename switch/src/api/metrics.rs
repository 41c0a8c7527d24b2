//! The figures for Prometheus, read when they are asked for.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use crate::counters::{Cause, RingSums};
use crate::daemon::Daemon;
use crate::switch::show::{GroupsView, PortView, StatsView};

/// A registry that reads the daemon's switches.
pub(super) fn registry(daemon: Daemon) -> Registry {
    let mut registry = Registry::with_prefix("valecast");
    registry.register_collector(Box::new(Figures(daemon)));
    registry
}

/// How the page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus text 0.0.4, which every scraper reads.
    Text,
    /// OpenMetrics 1.0, for those who ask for it.
    OpenMetrics,
}

impl Format {
    /// The format for what the scraper accepts.
    pub fn accepted_by<'h>(mut accept: impl Iterator<Item = &'h str>) -> Self {
        match accept.any(|a| a.contains("application/openmetrics-text")) {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    /// Its name in HTTP.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The page at this moment.
pub(super) fn page(registry: &Registry, format: Format) -> Result<String, fmt::Error> {
    let mut page = String::new();
    text::encode(&mut page, registry)?;
    Ok(match format {
        Format::OpenMetrics => page,
        Format::Text => as_plain_text(&page),
    })
}

/// The older format differs in two things: a counter's family is called what its samples are called, and
/// there is no mark at the end.
fn as_plain_text(page: &str) -> String {
    let mut plain = String::with_capacity(page.len());
    // HELP comes before TYPE, which tells whether it is a counter's.
    let mut help = None;
    for line in page.lines() {
        let family = |rest: &str| rest.split_once(' ').map(|(name, rest)| (name.to_owned(), rest.to_owned()));
        if line == "# EOF" {
            continue;
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            help = family(rest);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(family) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                plain += &format!("# HELP {name}{suffix} {help}\n");
            }
            plain += &format!("# TYPE {name}{suffix} {kind}\n");
        } else {
            plain += line;
            plain.push('\n');
        }
    }
    plain
}

struct Figures(Daemon);

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

/// The causes that frames are dropped for on their way in; the others are for copies on their way out.
const IN: &[Cause] = &[
    Cause::Runt,
    Cause::BadSlot,
    Cause::TooBig,
    Cause::MacDenied,
    Cause::Vlan,
    Cause::OwnPort,
    Cause::NoDestination,
    Cause::Policed,
];
const OUT: &[Cause] = &[Cause::RingFull, Cause::PortDown, Cause::TooBig, Cause::Offload, Cause::TxError];

type PortFigure = (&'static str, &'static str, fn(&PortView) -> u64);

const PORT_COUNTERS: &[PortFigure] = &[
    ("port_in_frames", "Frames that entered the switch here", |p| p.in_frames),
    ("port_in_bytes", "Bytes of frames that entered the switch here", |p| p.in_bytes),
    ("port_in_bursts", "Bursts taken from here", |p| p.in_bursts),
    ("port_forwarded", "Frames that entered here and were meant for at least one port", |p| p.forwarded),
    ("port_copies", "Copies meant to be made of frames that entered here", |p| p.copies),
    ("port_out_frames", "Frames delivered to this port", |p| p.out_frames),
    ("port_out_bytes", "Bytes of frames delivered to this port", |p| p.out_bytes),
    ("port_ring_resets", "Rings reset because their client broke the rules", |p| p.ring_resets),
    ("port_learn_refused", "Addresses not learned because of the port's mac_limit", |p| p.learn_refused),
];

const PORT_GAUGES: &[PortFigure] = &[
    (
        "port_up",
        "1 when frames can be delivered, 0 while the port waits for its client, peer or interface",
        |p| u64::from(p.state == "up"),
    ),
    ("port_memory_bytes", "Memory of the port's rings", |p| p.memory),
    ("port_huge_memory_bytes", "Memory of the port's rings that lies in huge pages", |p| p.huge_memory),
];

type RingFigure = (&'static str, &'static str, fn(&RingSums) -> u64);

const RING_COUNTERS: &[RingFigure] = &[
    ("ring_in_frames", "Frames that entered the switch through this ring or queue", |r| r.in_frames),
    ("ring_in_bytes", "Bytes of frames that entered the switch through this ring or queue", |r| r.in_bytes),
    ("ring_out_frames", "Frames delivered to this ring or queue", |r| r.out_frames),
    ("ring_out_bytes", "Bytes of frames delivered to this ring or queue", |r| r.out_bytes),
];

type SwitchFigure = (&'static str, &'static str, fn(&StatsView) -> u64);

const SWITCH_COUNTERS: &[SwitchFigure] = &[
    ("fdb_moves", "Addresses that changed ports", |s| s.fdb_moves),
    ("fdb_evictions", "Addresses that gave way to others for lack of room", |s| s.fdb_evictions),
];

const SWITCH_GAUGES: &[SwitchFigure] = &[
    ("fdb_entries", "Addresses known", |s| s.fdb_entries as u64),
    ("memory_bytes", "Memory of all rings", |s| s.memory),
    ("memory_limit_bytes", "Most memory that all rings may take together", |s| s.memory_limit),
    ("workers", "Forwarding threads", |s| s.workers as u64),
    ("uptime_seconds", "Seconds since the switch was started", |s| s.uptime_s as u64),
];

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        let look = |name: String| self.0.with(&name, |s| (s.stats_view(), s.groups_view())).ok();
        let all: Vec<(StatsView, GroupsView)> = self.0.switch_names().into_iter().filter_map(look).collect();
        let switches = || all.iter().map(|(s, _)| s);
        let ports = || switches().flat_map(|s| s.ports.iter().map(move |p| (s, p)));
        let port_labels = |s: &StatsView, p: &PortView| {
            vec![("switch", s.switch.clone()), ("port", p.name.clone()), ("kind", p.kind.clone())]
        };

        for (name, help, figure) in PORT_COUNTERS {
            page.counters(name, help, ports().map(|(s, p)| (port_labels(s, p), figure(p))))?;
        }
        for (name, help, figure) in PORT_GAUGES {
            page.gauges(name, help, ports().map(|(s, p)| (port_labels(s, p), figure(p))))?;
        }
        for (name, help, figure) in RING_COUNTERS {
            let rows = ports().flat_map(|(s, p)| {
                p.rings.iter().map(move |r| {
                    let mut labels = port_labels(s, p);
                    labels.push(("ring", r.ring.to_string()));
                    (labels, figure(r))
                })
            });
            page.counters(name, help, rows)?;
        }
        type Drops = fn(&PortView) -> &std::collections::BTreeMap<String, u64>;
        let drops: [(_, _, _, Drops); 3] = [
            ("port_in_drops", "Frames that entered here and were dropped", IN, |p| &p.in_drops),
            ("port_out_drops", "Copies meant for this port that were dropped", OUT, |p| &p.out_drops),
            ("port_kernel_drops", "Frames that the kernel dropped beside the switch", &[], |p| {
                &p.kernel_drops
            }),
        ];
        for (name, help, causes, figure) in drops {
            let rows = ports().flat_map(|(s, p)| {
                let usual = causes.iter().map(|c| (c.name(), figure(p).get(c.name()).copied().unwrap_or(0)));
                let other = figure(p).iter().map(|(cause, n)| (cause.as_str(), *n));
                let other = other.filter(|(cause, _)| causes.iter().all(|c| c.name() != *cause));
                usual.chain(other).map(move |(cause, n)| {
                    let mut labels = port_labels(s, p);
                    labels.push(("cause", cause.to_owned()));
                    (labels, n)
                })
            });
            page.counters(name, help, rows)?;
        }
        let rows = ports().flat_map(|(s, p)| {
            p.device.iter().map(move |(what, n)| {
                let mut labels = port_labels(s, p);
                labels.push(("counter", what.clone()));
                (labels, *n)
            })
        });
        page.counters("port_device", "What the port's device counts, of ports that have one", rows)?;
        for (name, help, figure) in SWITCH_COUNTERS {
            page.counters(name, help, switches().map(|s| (vec![("switch", s.switch.clone())], figure(s))))?;
        }
        for (name, help, figure) in SWITCH_GAUGES {
            page.gauges(name, help, switches().map(|s| (vec![("switch", s.switch.clone())], figure(s))))?;
        }
        let groups = all.iter().flat_map(|(s, g)| g.groups.iter().map(move |g| (s, g)));
        let rows = groups
            .map(|(s, g)| (vec![("switch", s.switch.clone()), ("group", g.group.name.clone())], g.frames));
        page.counters("group_frames", "Frames that matched the group", rows)?;
        let mut further = self.0.further_figures();
        further.sort_by_key(|f| f.name);
        for family in further.chunk_by(|a, b| a.name == b.name) {
            let rows = family.iter().map(|f| (f.labels.clone(), f.value));
            match family.first() {
                Some(f) if f.counter => page.counters(f.name, f.help, rows)?,
                Some(f) => page.gauges(f.name, f.help, rows)?,
                None => {}
            }
        }
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        page.gauges("build_info", "The version of the daemon, always 1", [(version, 1)].into_iter())
    }
}

type Labels = Vec<(&'static str, String)>;

struct Page<'p>(DescriptorEncoder<'p>);

impl Page<'_> {
    fn counters(&mut self, name: &str, help: &str, rows: impl Iterator<Item = (Labels, u64)>) -> fmt::Result {
        self.family(name, help, ConstCounter::<u64>::TYPE, rows, ConstCounter::new)
    }

    fn gauges(&mut self, name: &str, help: &str, rows: impl Iterator<Item = (Labels, u64)>) -> fmt::Result {
        self.family(name, help, ConstGauge::<i64>::TYPE, rows, |n| {
            ConstGauge::new(i64::try_from(n).unwrap_or(i64::MAX))
        })
    }

    fn family<M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        rows: impl Iterator<Item = (Labels, u64)>,
        metric: impl Fn(u64) -> M,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, &format!("{help}."), None, kind)?;
        for (labels, value) in rows {
            metric(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
