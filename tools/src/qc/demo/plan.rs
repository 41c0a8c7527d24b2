//! What is to be sent over which network, as the arguments say.

use valecast_config::units;
use valecast_qc_dataplane::controller::core::scheme;
use valecast_qc_dataplane::topology::Topology;

use super::network::Network;
use super::{DemoArgs, Failure};

/// Fig. 1's topology is the example's.
pub const FIG1: &[u8] = include_bytes!("../../../../examples/fig1-topology.toml");
/// The slowest link, as a share of the fastest.
const SLOWEST: u64 = 100;

/// What is to be sent, and where.
pub struct Plan {
    /// The network.
    pub network: Network,
    /// The sender.
    pub from: usize,
    /// The receivers.
    pub to: Vec<usize>,
    /// The file's size.
    pub bytes: u64,
}

/// What the arguments ask for.
///
/// # Errors
/// They make no sense.
pub fn plan(args: &DemoArgs) -> Result<Plan, Failure> {
    let usage = |e: &dyn std::fmt::Display| Failure::Usage(e.to_string());
    let topology = match args.network.as_str() {
        "fig1" => Topology::read("fig1.toml", FIG1.to_vec(), None),
        name => Topology::find(name, Some(1.0)),
    };
    let topology = topology.map_err(|e| usage(&e))?;
    let unit =
        |what: &str, e: units::UnitError| Failure::Usage(format!("--{what}: {} ({})", e.message, e.help));
    let fastest = units::parse_rate(&args.rate).map_err(|e| unit("rate", e))?;
    let bytes = units::parse_size(&args.volume).map_err(|e| unit("volume", e))?;
    if !(1_000_000..=100_000_000_000).contains(&fastest) {
        return Err(Failure::Usage("--rate: expected 1Mbit/s to 100Gbit/s".into()));
    }
    if scheme(&args.scheme).is_none() {
        let names = "unicast, single, quickcast2, quickcast, best";
        return Err(Failure::Usage(format!("no scheme {:?}: use {names}", args.scheme)));
    }
    let network = Network::new(&topology, fastest, (fastest / SLOWEST).max(1_000_000));
    let find = |site: &String| {
        let none = || format!("no site {site:?}: there are {}", network.sites.join(", "));
        network.find(site).ok_or_else(none).map_err(Failure::Usage)
    };
    let from = args.from.as_ref().map(find).transpose()?.unwrap_or(0);
    let mut to = args.to.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    if to.is_empty() {
        let fig1: Vec<usize> = ["t1", "t2", "t3", "t4"].iter().filter_map(|t| network.find(t)).collect();
        let others: Vec<usize> = (0..network.sites.len()).filter(|n| *n != from).collect();
        let spread = |many: usize| (0..many).map(|i| others[i * others.len() / many]).collect();
        to = if fig1.len() == 4 { fig1 } else { spread(others.len().min(8)) };
        to.retain(|t| *t != from);
    }
    to.sort_unstable();
    to.dedup();
    if to.is_empty() || to.contains(&from) {
        return Err(Failure::Usage("a transfer has a sender and other sites that receive".into()));
    }
    Ok(Plan { network, from, to, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(network: &str) -> DemoArgs {
        DemoArgs {
            network: network.into(),
            scheme: "best".into(),
            volume: "1MB".into(),
            rate: "100Mbit/s".into(),
            from: None,
            to: Vec::new(),
            page: None,
            wan_config: false,
            json: false,
        }
    }

    #[test]
    fn fig1_has_the_papers_sender_and_receivers() {
        let Ok(plan) = plan(&args("fig1")) else { panic!("a plan") };
        let names: Vec<_> = plan.to.iter().map(|t| plan.network.sites[*t].as_str()).collect();
        assert_eq!((plan.network.sites[plan.from].as_str(), names), ("S", vec!["t1", "t2", "t3", "t4"]));
        let rate = |a: &str, b: &str| {
            plan.network.links[&(plan.network.find(a).unwrap(), plan.network.find(b).unwrap())]
        };
        assert_eq!((rate("S", "a"), rate("a", "b"), rate("b", "a")), (100_000_000, 10_000_000, 10_000_000));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |a: DemoArgs| matches!(plan(&a), Err(Failure::Usage(_)));
        assert!(refused(args("no such network")));
        assert!(refused(DemoArgs { scheme: "x".into(), ..args("fig1") }));
        assert!(refused(DemoArgs { rate: "1".into(), ..args("fig1") }));
        assert!(refused(DemoArgs { to: vec!["nobody".into()], ..args("fig1") }));
        assert!(refused(DemoArgs { to: vec!["S".into()], ..args("fig1") }));
        let Ok(eight) = plan(&args("gscale")) else { panic!("a plan") };
        assert_eq!((eight.from, eight.to.len()), (0, 8));
    }
}
