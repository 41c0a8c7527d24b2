//! A transfer: what was asked for, who has it, and who sends.

use serde::{Deserialize, Serialize};

use super::{Now, Refusal};
use crate::control::{NewTransfer, ReceiverState, ReceiverStatus, TransferState};

/// Largest content, so that all numbers fit into 53 bits.
pub const MOST_BYTES: u64 = 1 << 53;
/// Most receivers of a transfer: their numbers are addresses.
pub const MOST_RECEIVERS: usize = 65_535;
/// Longest name, as file systems have it.
const MOST_NAME: usize = 255;
/// Longest path.
const MOST_PATH: usize = 4095;
/// Most frames' bytes for a byte of content.
const MOST_OVERHEAD: f64 = 16.0;

/// A transfer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// Its number.
    pub id: u64,
    /// The sender's site.
    pub from: String,
    /// Name of the file or directory.
    pub name: String,
    /// Bytes of content.
    pub bytes: u64,
    /// Frames' bytes for each byte of content.
    pub overhead: f64,
    /// The scheme that it asks for.
    pub scheme: Option<String>,
    /// A path for a sender that waits for work.
    pub path: Option<String>,
    /// The number with which it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// Its receivers.
    pub receivers: Vec<ReceiverStatus>,
    /// Where it is in its life.
    pub state: TransferState,
    /// What it waits for, or what went wrong.
    pub why: Option<String>,
    /// When it was asked for, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was over.
    pub ended_ms: Option<u64>,
    /// Since when nobody speaks for it, in milliseconds since 1970; none while a sender does, or did a moment ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_ms: Option<u64>,
    /// The number of its next partition.
    pub next_partition: u16,
    /// Rises with each change but for progress.
    #[serde(skip)]
    pub version: u64,
    /// When it was asked for, by the controller's clock; before its start, if need be.
    #[serde(skip)]
    pub created: i128,
    /// Since when nobody speaks for it, by the controller's clock; before its start, if need be.
    #[serde(skip)]
    pub quiet: Option<i128>,
    /// Its live trees.
    #[serde(skip)]
    pub trees: Vec<u32>,
    /// The run of the sender that speaks for it.
    #[serde(skip)]
    pub session: Option<u64>,
    /// When the sender was heard last; from when on it is waited for, if it was not.
    #[serde(skip)]
    pub heard: u64,
    /// Receivers that are missing are waited for up to then, before others start without them.
    #[serde(skip)]
    pub patience: u64,
    /// How many of those that no tree serves could be served when last looked at, and since when.
    #[serde(skip)]
    pub ready: Option<(usize, u64)>,
    /// When to plan again at the earliest.
    #[serde(skip)]
    pub retry: u64,
    /// How often it could not be installed in a row.
    #[serde(skip)]
    pub failures: u32,
    /// The state of the network in which it could not be planned.
    #[serde(skip)]
    pub blocked: Option<u64>,
}

/// A name of a site: what ports and files may be called.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    (1..=63).contains(&name.len()) && name.bytes().all(known) && !name.starts_with(['.', '-'])
}

fn text(what: &str, text: &str, most: usize) -> Result<(), Refusal> {
    if text.is_empty() || text.len() > most || text.chars().any(char::is_control) {
        return Err(Refusal::Invalid(format!(
            "`{what}` must have 1 to {most} bytes and no control characters"
        )));
    }
    Ok(())
}

impl Transfer {
    /// A transfer that has just been asked for.
    ///
    /// # Errors
    /// When it makes no sense, whatever sites there are.
    pub fn new(id: u64, new: NewTransfer, now: Now) -> Result<Self, Refusal> {
        let wrong = |message: String| Err(Refusal::Invalid(message));
        let Some(from) = new.from else {
            return wrong("`from` is missing: say which site sends".into());
        };
        text("name", &new.name, MOST_NAME)?;
        if matches!(new.name.as_str(), "." | "..") || new.name.contains('/') {
            return wrong(format!(
                "`name` is {:?}: it must be the name of a file, without its path",
                new.name
            ));
        }
        if let Some(path) = &new.path {
            text("path", path, MOST_PATH)?;
        }
        if new.bytes >= MOST_BYTES {
            return wrong(format!("`bytes` is {}, must be below 2^53", new.bytes));
        }
        if !(1.0..=MOST_OVERHEAD).contains(&new.overhead) {
            return wrong(format!("`overhead` is {}, must be from 1 to {MOST_OVERHEAD}", new.overhead));
        }
        if new.to.is_empty() || new.to.len() > MOST_RECEIVERS {
            return wrong(format!("`to` names {} sites, must be 1 to {MOST_RECEIVERS}", new.to.len()));
        }
        let mut sorted: Vec<&str> = new.to.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|w| w[0] == w[1]) {
            return wrong(format!("`to` names {} twice", twice[0]));
        }
        if sorted.binary_search(&from.as_str()).is_ok() {
            return wrong(format!("{from} is the sender and a receiver"));
        }
        let receiver = |site: String| ReceiverStatus {
            site,
            have: 0,
            rate: 0,
            state: ReceiverState::Waiting,
            why: None,
            seconds: None,
        };
        Ok(Self {
            id,
            from,
            name: new.name,
            bytes: new.bytes,
            overhead: new.overhead,
            scheme: new.scheme,
            path: new.path,
            request: new.request,
            receivers: new.to.into_iter().map(receiver).collect(),
            state: TransferState::Planning,
            why: None,
            created_ms: now.unix_ms,
            ended_ms: None,
            quiet_ms: None,
            next_partition: 0,
            version: 1,
            created: i128::from(now.ms),
            quiet: None,
            trees: Vec::new(),
            session: None,
            heard: now.ms,
            patience: now.ms,
            ready: Some((0, now.ms)),
            retry: now.ms,
            failures: 0,
            blocked: None,
        })
    }

    /// Frames' volume of so many bytes of content, in Gbit; never 0, since an empty file takes frames too.
    #[must_use]
    pub fn volume(&self, bytes: u64) -> f64 {
        (bytes as f64 * 8.0 * self.overhead / super::network::UNIT).max(1e-6)
    }

    /// Receivers that still are to get it.
    pub fn open(&self) -> impl Iterator<Item = &ReceiverStatus> {
        self.receivers.iter().filter(|r| !matches!(r.state, ReceiverState::Verified | ReceiverState::Failed))
    }

    /// Who does not have it, and why.
    #[must_use]
    pub fn who_lacks_it(&self) -> String {
        let missing = self.receivers.iter().filter(|r| r.state != ReceiverState::Verified);
        let said: Vec<String> = missing
            .map(|r| format!("{} ({})", r.site, r.why.as_deref().unwrap_or("it did not get everything")))
            .collect();
        format!("not all receivers have it: {}", said.join(", "))
    }

    /// Whether everybody has it.
    #[must_use]
    pub fn all_verified(&self) -> bool {
        self.receivers.iter().all(|r| r.state == ReceiverState::Verified)
    }
}
