//! `valecast qc recv`: takes what other sites send.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;
use valecast_qc_dataplane::control::IncomingTree;
use valecast_qc_dataplane::endpoint::receive::desk::{Desk, DeskView};
use valecast_qc_dataplane::endpoint::receive::worker::{View, Where};
use valecast_qc_dataplane::transport::wire::State;

use super::bars::{Bars, Line};
use super::site::{AtSite, Failed, INTERRUPTED, ended, told_to_stop};

pub const HELP: &str = "\
Takes all transfers to the site, many at once, until it is stopped. A file or directory appears in DIR when all of it is there
and its hash is right; until then it is in DIR/.valecast. What Ctrl-C, a crash or a lost network leaves goes on
where it was when the transfer comes again.

Examples:
  valecast qc recv --dir /srv/in
  valecast qc recv --dir . --once --site t1

Exit status: 130 stopped; with --once: 0 the transfer is here and its hash is right, 1 it failed. 1 also: it cannot
receive at all; 2 the command is wrong.";

/// What `valecast qc recv` takes.
#[derive(Clone, Debug, Args)]
pub struct RecvArgs {
    /// Where files go.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Replace what is there under the same name.
    #[arg(long)]
    overwrite: bool,
    /// End after the first transfer.
    #[arg(long)]
    once: bool,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: AtSite,
}

/// Receives.
pub fn run(args: &RecvArgs) -> ExitCode {
    ended(obey(args), args.json)
}

fn obey(args: &RecvArgs) -> Result<u8, Failed> {
    let stop = told_to_stop()?;
    let site = args.at.find()?;
    std::fs::create_dir_all(&args.dir).map_err(|e| Failed::new(format!("{}: {e}", args.dir.display())))?;
    let dir =
        std::fs::canonicalize(&args.dir).map_err(|e| Failed::new(format!("{}: {e}", args.dir.display())))?;
    let name = site.info()?.site;
    let desk = Desk::open(site, Where { dir: dir.clone(), replace: args.overwrite }, stop.clone())?;
    let mut screen = Screen::new(args);
    if args.json {
        outln!("{}", json!({"event": "ready", "site": name, "dir": dir}));
    } else {
        screen.bars.print(&format!("{name}: what is sent here goes to {}", dir.display()));
    }
    desk.run(&mut |view| screen.show(view))?;
    screen.bars.clear();
    Ok(match screen.result {
        Some(code) if args.once => code,
        _ => INTERRUPTED,
    })
}

/// What is known of a transfer from the last look.
struct Known {
    state: Option<State>,
    have: u64,
    at: Instant,
    rate: u64,
    begun: Instant,
}

struct Screen {
    json: bool,
    once: bool,
    bars: Bars,
    known: BTreeMap<u64, Known>,
    trouble: Option<String>,
    /// Exit status of the first transfer that came to an end.
    result: Option<u8>,
}

impl Screen {
    fn new(args: &RecvArgs) -> Self {
        Self {
            json: args.json,
            once: args.once,
            bars: Bars::new(!args.json),
            known: BTreeMap::new(),
            trouble: None,
            result: None,
        }
    }

    /// Shows it; whether to go on.
    fn show(&mut self, view: &DeskView<'_>) -> bool {
        let trouble = view.trouble.map(str::to_owned);
        if trouble != self.trouble {
            if let Some(why) = trouble.as_ref().filter(|_| !self.bars.is_shown()) {
                errln!("valecast: {why}; trying again");
            }
            self.trouble = trouble;
        }
        let mut lines = Vec::new();
        for (tree, now) in &view.transfers {
            lines.push(self.line(tree, now));
        }
        self.bars.show(lines, view.trouble);
        for (tree, now) in &view.ended {
            self.ended(tree, now);
        }
        // One that is here still answers its sender until that has heard of it.
        let known = view.transfers.iter().any(|(_, v)| v.ended && is_over(v));
        !(self.once && (known || view.ended.iter().any(|(_, v)| is_over(v))))
    }

    fn line(&mut self, tree: &IncomingTree, now: &View) -> Line {
        let begun = Instant::now();
        let known = self.known.entry(tree.transfer).or_insert(Known {
            state: None,
            have: now.have,
            at: begun,
            rate: 0,
            begun,
        });
        let since = known.at.elapsed().as_secs_f64();
        if since >= 1.0 {
            known.rate = (now.have.saturating_sub(known.have) as f64 / since) as u64;
            (known.have, known.at) = (now.have, Instant::now());
        }
        let state = match (&now.failure, now.state) {
            (Some(why), _) => format!("failed: {why}"),
            (None, None) => "waiting for its first frame".to_owned(),
            (None, Some(State::Joining)) => "learning what it is".to_owned(),
            (None, Some(State::Receiving)) => "receiving".to_owned(),
            (None, Some(State::Checking)) => "checking".to_owned(),
            (None, Some(State::Verified)) => "verified".to_owned(),
            (None, Some(State::Failed(cause))) => format!("failed: {cause}"),
        };
        let line = Line {
            name: tree.name.clone(),
            have: now.have,
            total: now.total.unwrap_or(tree.bytes),
            rate: known.rate,
            state,
            is_over: is_over(now),
        };
        self.news(tree, now);
        line
    }

    /// Says once that a transfer is here, or why it will not be.
    fn news(&mut self, tree: &IncomingTree, now: &View) {
        let Some(known) = self.known.get_mut(&tree.transfer) else { return };
        if known.state == now.state {
            return;
        }
        known.state = now.state;
        let seconds = known.begun.elapsed().as_secs_f64();
        let (name, from, bytes) = (&tree.name, &tree.from, now.total.unwrap_or(tree.bytes));
        let (event, why) = match now.state {
            Some(State::Verified) => ("verified", None),
            Some(State::Failed(_)) => ("failed", now.failure.clone()),
            _ => return,
        };
        self.result.get_or_insert(u8::from(event == "failed"));
        if self.json {
            let value = json!({
                "event": event, "transfer": tree.transfer, "name": name, "from": from, "bytes": bytes,
                "seconds": seconds, "why": why,
            });
            outln!("{value}");
            return;
        }
        match why {
            None => {
                self.bars.print(&format!("{name} from {from}: here, {}, {seconds:.1} s", HumanBytes(bytes)));
            }
            Some(why) => errln!("valecast: {name} from {from}: {why}"),
        }
    }

    fn ended(&mut self, tree: &IncomingTree, now: &View) {
        self.line(tree, now);
        if is_over(now) {
            // What was said of it is not said again while its tree is still there.
            return;
        }
        self.known.remove(&tree.transfer);
        let total = now.total.unwrap_or(tree.bytes);
        if self.json {
            let value = json!({
                "event": "left", "transfer": tree.transfer, "name": tree.name, "have": now.have, "bytes": total,
                "why": now.failure,
            });
            outln!("{value}");
        } else {
            let (have, total) = (HumanBytes(now.have), HumanBytes(total));
            let text =
                format!("{} from {}: {have} of {total} are kept until it goes on", tree.name, tree.from);
            self.bars.print(&text);
        }
        if let Some(why) = &now.failure {
            errln!("valecast: {}: {why}", tree.name);
        }
    }
}

fn is_over(view: &View) -> bool {
    matches!(view.state, Some(State::Verified | State::Failed(_)))
}
