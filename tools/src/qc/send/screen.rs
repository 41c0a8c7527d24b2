//! What `valecast qc send` shows of a transfer: lines on a terminal, events as JSON, or a sentence now and then.

use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::HumanBytes;
use serde_json::{Value, json};
use valecast_qc_dataplane::control::{ReceiverState, TransferState, TransferStatus};
use valecast_qc_dataplane::endpoint::send::job::JobView;
use valecast_qc_dataplane::endpoint::send::parcel::Parcel;

use crate::qc::bars::{Bars, Line};
use crate::qc::site::INTERRUPTED;

/// Each progress of `--json`.
const SECOND: Duration = Duration::from_secs(1);

/// A name of the protocol as people read it.
pub(super) fn word(of: &impl serde::Serialize) -> String {
    serde_json::to_value(of).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Exit status for how a transfer ended.
fn code(status: &TransferStatus) -> u8 {
    match status.state {
        TransferState::Done => 0,
        TransferState::Partial if status.receivers.iter().any(|r| r.state == ReceiverState::Verified) => 3,
        _ => 1,
    }
}

/// What is shown of a transfer: lines on a terminal, events as JSON, or a sentence now and then.
pub(super) struct Screen {
    json: bool,
    pub(super) bars: Bars,
    begun: Instant,
    last: Option<Instant>,
    state: Option<(TransferState, Option<String>)>,
    told: Vec<String>,
    trouble: Option<String>,
}

impl Screen {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            bars: Bars::new(!json),
            begun: Instant::now(),
            last: None,
            state: None,
            told: Vec::new(),
            trouble: None,
        }
    }

    fn event(&self, value: &Value) {
        if self.json {
            outln!("{value}");
        }
    }

    fn say(&self, text: &str) {
        if !self.json {
            self.bars.print(text);
        }
    }

    pub(super) fn begin(&self, id: u64, parcel: &Parcel) {
        self.event(&json!({"event": "accepted", "id": id, "name": parcel.name(), "bytes": parcel.bytes()}));
        self.say(&format!("transfer {id}: {} ({})", parcel.name(), HumanBytes(parcel.bytes())));
    }

    pub(super) fn show(&mut self, view: &JobView<'_>) {
        let status = view.status;
        let now = (status.state, status.why.clone());
        if self.state.as_ref() != Some(&now) {
            if !self.bars.is_shown()
                && matches!(status.state, TransferState::Waiting | TransferState::Running)
            {
                let why = status.why.as_ref().map(|w| format!(": {w}")).unwrap_or_default();
                self.say(&format!("{}{why}", word(&status.state)));
            }
            self.state = Some(now);
        }
        if self.trouble.as_deref() != view.trouble {
            self.trouble = view.trouble.map(str::to_owned);
            if let Some(why) = self.trouble.as_ref().filter(|_| !self.bars.is_shown() && !self.json) {
                errln!("valecast: {why}; trying again");
            }
        }
        let total = status.bytes;
        let mut lines = Vec::new();
        for (site, r) in &view.receivers {
            let is_over =
                matches!(r.state, ReceiverState::Verified | ReceiverState::Failed | ReceiverState::Silent);
            let state = match &r.why {
                Some(why) => format!("{}: {why}", word(&r.state)),
                None => word(&r.state),
            };
            if is_over && !self.told.iter().any(|t| t == site) {
                self.told.push((*site).to_owned());
                if !self.bars.is_shown() {
                    self.say(&format!("{site}: {state} after {:.1} s", self.begun.elapsed().as_secs_f64()));
                }
            }
            let (name, have, rate) = ((*site).to_owned(), r.have, r.rate);
            lines.push(Line { name, have, total, rate, state, is_over });
        }
        if self.json && self.last.is_none_or(|at| at.elapsed() >= SECOND) {
            self.last = Some(Instant::now());
            let receivers: Vec<Value> = view
                .receivers
                .iter()
                .map(|(site, r)| json!({"site": site, "have": r.have, "rate": r.rate, "state": r.state, "why": r.why}))
                .collect();
            self.event(&json!({
                "event": "progress", "id": status.id, "state": status.state, "why": status.why,
                "trouble": view.trouble, "receivers": receivers,
            }));
        }
        let waits = (status.state != TransferState::Running).then(|| {
            let why = status.why.as_ref().map(|w| format!(": {w}")).unwrap_or_default();
            format!("{}{why}", word(&status.state))
        });
        self.bars.show(lines, view.trouble.or(waits.as_deref()));
    }

    pub(super) fn paused(&self, id: u64, path: &Path) {
        self.event(&json!({"event": "end", "id": id, "state": "paused", "exit": INTERRUPTED}));
        if !self.json {
            errln!("paused; go on with: valecast qc send {} --resume {id} --wait", path.display());
        }
    }

    pub(super) fn over(&self, status: &TransferStatus) -> u8 {
        let exit = code(status);
        let seconds = self.begun.elapsed().as_secs_f64();
        let receivers: Vec<Value> = status
            .receivers
            .iter()
            .map(|r| json!({"site": r.site, "have": r.have, "state": r.state, "why": r.why, "seconds": r.seconds}))
            .collect();
        self.event(&json!({
            "event": "end", "id": status.id, "state": status.state, "why": status.why, "exit": exit,
            "seconds": seconds, "receivers": receivers,
        }));
        if self.json {
            return exit;
        }
        let verified = status.receivers.iter().filter(|r| r.state == ReceiverState::Verified).count();
        outln!("{verified} of {} receivers have it, after {seconds:.1} s", status.receivers.len());
        for r in status.receivers.iter().filter(|r| r.state != ReceiverState::Verified) {
            let why = r.why.as_ref().map(|w| format!(": {w}")).unwrap_or_default();
            errln!("valecast: {} does not have it: {}{why}", r.site, word(&r.state));
        }
        if let Some(why) = status.why.as_ref().filter(|_| exit != 0) {
            errln!("valecast: transfer {}: {why}", status.id);
        }
        exit
    }
}
