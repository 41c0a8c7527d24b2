//! What came of it, for people or as JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indicatif::DecimalBytes;
use serde_json::json;
use valecast_qc_dataplane::control::{ReceiverState, TransferStatus};

use super::files::same;
use super::live::Carried;
use super::picture::rate;
use super::plan::Plan;
use super::{DemoArgs, FILE};

/// Says what came of it. Whether all receivers have it.
pub fn show(args: &DemoArgs, plan: &Plan, dir: &Path, status: &TransferStatus, carried: &[Carried]) -> bool {
    let at = |site: &str| -> PathBuf { dir.join("at").join(site).join(FILE) };
    let right: BTreeMap<&str, bool> = (status.receivers.iter())
        .map(|r| {
            let equal = same(&dir.join(FILE), &at(&r.site)).unwrap_or(false);
            (r.site.as_str(), equal && r.state == ReceiverState::Verified)
        })
        .collect();
    let all = right.values().all(|r| *r);
    let seconds: Vec<f64> = status.receivers.iter().filter_map(|r| r.seconds).collect();
    let mean = seconds.iter().sum::<f64>() / seconds.len().max(1) as f64;
    let bytes: u64 = carried.iter().map(|(_, _, n)| n).sum();
    if args.json {
        let receivers = status.receivers.iter().map(|r| {
            json!({ "name": r.site, "seconds": r.seconds, "verified": right.get(r.site.as_str()), "why": r.why })
        });
        let links = carried.iter().filter(|(.., n)| *n > 0).map(|(a, b, n)| {
            let (from, to) = (&plan.network.sites[*a], &plan.network.sites[*b]);
            json!({ "from": from, "to": to, "bytes": n, "capacity": plan.network.links.get(&(*a, *b)) })
        });
        let out = json!({
            "network": plan.network.name, "scheme": args.scheme, "bytes": plan.bytes, "scale": plan.network.scale,
            "receivers": receivers.collect::<Vec<_>>(), "mean_seconds": mean, "bytes_on_links": bytes,
            "links": links.collect::<Vec<_>>(), "state": status.state, "why": status.why,
        });
        outln!("{out:#}");
        return all;
    }
    let fastest = plan.network.links.values().max().copied().unwrap_or(0);
    outln!(
        "{} over {}, its fastest link at {} ({:.0} times slower than it is), scheme {}",
        DecimalBytes(plan.bytes),
        plan.network.name,
        rate(fastest),
        plan.network.scale,
        args.scheme
    );
    for r in &status.receivers {
        let verified = right.get(r.site.as_str()).copied().unwrap_or(false);
        let what = match (verified, r.seconds) {
            (true, Some(s)) => format!("{s:8.2} s, the same byte for byte"),
            _ => format!(
                "has not got it: {}",
                r.why.as_deref().or(status.why.as_deref()).unwrap_or("no reason given")
            ),
        };
        outln!("  {:12} {what}", r.site);
    }
    outln!("  mean         {mean:8.2} s; {} on links", DecimalBytes(bytes));
    all
}
