//! `valecast qc status`: sites, links, transfers, and what is wrong.

use std::process::ExitCode;

use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::json;
use valecast_qc_dataplane::control::{ReceiverState, TransferStatus};
use valecast_qc_dataplane::controller::core::view::{Overview, state_name};

use super::controller::{At, Client};
use crate::ctl::client::Failure;

/// More on `valecast qc status`.
pub const HELP: &str = "\
Exit status: 0 all is well, 1 something is wrong or the answer was no, 2 the command makes no sense, 3 nobody answers.

Examples:
  valecast qc status
  valecast qc status 7 --json
  valecast qc status --site S
  valecast qc status --controller https://te.example:7600 --ca ca.pem --cert operator.pem --key operator.key";

/// What `valecast qc status` takes.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Show this transfer only.
    id: Option<u64>,
    /// Print JSON: {overview, transfers}, or the transfer.
    #[arg(long)]
    json: bool,
    /// Show transfers that are over, too.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    at: At,
}

/// Shows it.
pub fn run(args: &StatusArgs) -> ExitCode {
    match args.at.client().and_then(|client| show(args, &client)) {
        Ok(code) => code,
        Err(e) => {
            errln!("valecast: {e}");
            e.code()
        }
    }
}

fn show(args: &StatusArgs, client: &Client) -> Result<ExitCode, Failure> {
    if let Some(id) = args.id {
        let t: TransferStatus = client.ask("GET", &format!("/v1/transfers/{id}"), None)?;
        match args.json {
            true => outln!("{}", json!(t)),
            false => transfer(&t),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let transfers: Vec<TransferStatus> = client.ask("GET", "/v1/transfers", None)?;
    let overview: Option<Overview> = match client.site {
        Some(_) => None,
        None => Some(client.ask("GET", "/v1/overview", None)?),
    };
    let well = overview.as_ref().is_none_or(|o| o.wrong.is_empty());
    if args.json {
        outln!("{}", json!({ "overview": overview, "transfers": transfers }));
    } else {
        if let Some(o) = &overview {
            sites(o);
        }
        list(&transfers, args.all);
        for wrong in overview.iter().flat_map(|o| &o.wrong) {
            outln!("! {wrong}");
        }
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header.to_vec());
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A rate, to three digits.
fn rate(bits: u64) -> String {
    let (value, unit) = match bits {
        0..1_000 => return format!("{bits} bit/s"),
        1_000..1_000_000 => (bits as f64 / 1e3, "kbit/s"),
        1_000_000..1_000_000_000 => (bits as f64 / 1e6, "Mbit/s"),
        _ => (bits as f64 / 1e9, "Gbit/s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

fn percent(part: u64, of: u64) -> String {
    match of {
        0 => "-".to_owned(),
        _ => format!("{:.0}%", part as f64 * 100.0 / of as f64),
    }
}

fn sites(o: &Overview) {
    let mut t = table(&["SITE", "STATE", "RECEIVES", "TREES", "GROUPS", "PLAN"], &[3, 4]);
    for s in &o.sites {
        let groups = format!("{}/{}", s.groups, s.max_groups);
        let plan = if s.generation == s.in_force { "in force" } else { "on its way" };
        let receives = if s.receives { "yes" } else { "no" };
        t.add_row([s.name.as_str(), &s.state, receives, &s.trees.to_string(), &groups, plan]);
    }
    outln!("{t}\n");
    let mut t = table(&["LINK", "PORT", "STATE", "CAPACITY", "PLANNED", "USED", ""], &[3, 4, 5, 6]);
    for l in &o.links {
        let (name, state) = (format!("{} -> {}", l.from, l.to), if l.up { "up" } else { "down" });
        let (capacity, planned, used) = (rate(l.capacity), rate(l.planned), rate(l.used));
        t.add_row([name.as_str(), &l.port, state, &capacity, &planned, &used, &percent(l.used, l.capacity)]);
    }
    outln!("{t}\n");
}

fn list(transfers: &[TransferStatus], all: bool) {
    let shown: Vec<_> = transfers.iter().filter(|t| all || !t.state.is_over()).collect();
    if shown.is_empty() {
        outln!("no transfers under way; {} over (--all shows them)", transfers.len());
        return;
    }
    let mut t = table(
        &["ID", "STATE", "FROM", "NAME", "BYTES", "SCHEME", "VERIFIED", "LEAST", "TREES"],
        &[0, 4, 6, 7, 8],
    );
    for x in shown {
        let verified = x.receivers.iter().filter(|r| r.state == ReceiverState::Verified).count();
        let least = x.receivers.iter().map(|r| r.have).min().unwrap_or(0);
        t.add_row([
            x.id.to_string(),
            state_name(x.state).to_owned(),
            x.from.clone(),
            x.name.clone(),
            x.bytes.to_string(),
            x.scheme.clone(),
            format!("{verified}/{}", x.receivers.len()),
            percent(least, x.bytes),
            x.trees.len().to_string(),
        ]);
    }
    outln!("{t}");
}

fn transfer(t: &TransferStatus) {
    outln!(
        "transfer {}: {}, {} bytes from {}, {} ({})",
        t.id,
        t.name,
        t.bytes,
        t.from,
        state_name(t.state),
        t.scheme
    );
    if let Some(why) = &t.why {
        outln!("  {why}");
    }
    if let Some(path) = &t.path {
        outln!("  to be sent from {path}");
    }
    let mut list = table(&["RECEIVER", "STATE", "HAS", "RATE", "SECONDS", ""], &[2, 3, 4]);
    for r in &t.receivers {
        let state = match r.state {
            ReceiverState::Waiting => "waiting",
            ReceiverState::Receiving => "receiving",
            ReceiverState::Checking => "checking",
            ReceiverState::Verified => "verified",
            ReceiverState::Silent => "silent",
            ReceiverState::Failed => "failed",
        };
        let seconds = r.seconds.map_or_else(String::new, |s| format!("{s:.2}"));
        let why = r.why.as_deref().unwrap_or("");
        let (has, rate) = (percent(r.have, t.bytes), rate(r.rate.saturating_mul(8)));
        list.add_row([r.site.as_str(), state, &has, &rate, &seconds, why]);
    }
    outln!("{list}");
    for tree in &t.trees {
        let links: Vec<String> = tree.links.iter().map(|(a, b)| format!("{a}-{b}")).collect();
        outln!(
            "tree {} to {} at {}: {}",
            tree.tree,
            tree.receivers.join(", "),
            rate(tree.rate),
            links.join(" ")
        );
    }
}
