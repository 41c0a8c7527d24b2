//! What sites, endpoints and the controller say to one another: JSON over HTTP.
//!
//! A site says how it is ([`SiteReport`]) and gets all that is to be in force there ([`SitePlan`]), never a change: so what
//! gets lost or comes twice does no harm, and whoever restarts is told all. Senders say how far they are ([`Progress`]) and
//! learn how their transfer stands ([`TransferStatus`]). All numbers fit into 53 bits, so that any JSON reader takes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A site, to the controller: `POST /v1/sites/{site}/sync`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteReport {
    /// Of this run of the site, at random: another one has nothing in force.
    pub session: u64,
    /// Its links.
    pub links: Vec<LinkReport>,
    /// Group entries that trees may have here.
    pub max_groups: u32,
    /// Buckets that a group may have here.
    pub max_buckets: u32,
    /// The generation in force, 0 for none.
    pub generation: u64,
    /// Trees that could not be installed, and why; all else is in force.
    #[serde(default)]
    pub failed: BTreeMap<u32, String>,
    /// Whether somebody receives here.
    pub receives: bool,
    /// How long the answer may wait for a plan other than [`SiteReport::generation`], in milliseconds.
    #[serde(default)]
    pub wait_ms: u64,
}

/// A link, from its site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkReport {
    /// The port.
    pub port: String,
    /// The site at its other end.
    pub to: String,
    /// What it carries, in bit/s of whole frames.
    pub capacity: u64,
    /// Whether frames of the other end come in.
    pub up: bool,
    /// Bytes that it has sent.
    #[serde(default)]
    pub bytes: u64,
    /// The port at its other end, once that has said so: of several links to a site it says which is which.
    #[serde(default)]
    pub peer: Option<String>,
}

/// The controller, to a site: all that is to be in force there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SitePlan {
    /// Rises with each change, also over restarts of the controller.
    pub generation: u64,
    /// The trees that cross this site.
    pub trees: Vec<TreeHere>,
    /// Which transfers may arrive here: those of the trees that end here.
    pub incoming: Vec<IncomingTree>,
    /// The key of the links' probes, 64 hexadecimal digits: the same for all sites of a controller.
    #[serde(default)]
    pub key: Option<String>,
}

/// A tree's part at one site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeHere {
    /// Its number, see [`crate::address`].
    pub tree: u32,
    /// Where its frames come from: a link's port; none: the sender is here, and its port is [`sender_port`].
    pub ingress: Option<String>,
    /// Links' ports that they leave by.
    pub out: Vec<String>,
    /// The number of the receiver that is here, if one is.
    pub receiver: Option<u16>,
    /// Receivers that single repairs may go to, and the links' ports towards them.
    #[serde(default)]
    pub towards: BTreeMap<u16, String>,
    /// At the sender's site: how fast it may send.
    pub limit: Option<TreeLimit>,
}

/// How fast a tree's sender may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeLimit {
    /// In bit/s of whole frames. 0: not decided yet.
    pub rate: u64,
    /// Bytes that may go at once after a pause.
    pub burst: u64,
}

impl TreeLimit {
    /// The least there is: what stands still, or is not decided yet. A frame longer than such a bucket goes when it is full.
    pub const LEAST: Self = Self { rate: 1, burst: 64 };

    /// What a switch takes for it.
    #[must_use]
    pub fn at_least(self) -> Self {
        Self { rate: self.rate.max(Self::LEAST.rate), burst: self.burst.max(Self::LEAST.burst) }
    }
}

/// A tree that ends at a site, as its receiver needs to know it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncomingTree {
    /// The tree.
    pub tree: u32,
    /// The transfer that it carries.
    pub transfer: u64,
    /// The partition.
    pub partition: u16,
    /// The receiver's number in the partition, from 1.
    pub receiver: u16,
    /// The sender's site.
    pub from: String,
    /// Name of the file or directory.
    pub name: String,
    /// Bytes of content.
    pub bytes: u64,
}

/// What a site's receivers may expect: the local `GET /v1/incoming`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incoming {
    /// Rises with each change.
    pub version: u64,
    /// The trees that end here and are in force.
    pub trees: Vec<IncomingTree>,
}

/// A site, to its endpoints: the local `GET /v1/site`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteInfo {
    /// The site.
    pub site: String,
    /// Its switch.
    pub switch: String,
    /// The switch's attach socket.
    pub socket: std::path::PathBuf,
    /// Whether the controller has answered lately; else why not.
    pub controller: Result<(), String>,
}

/// A port for an endpoint: the answer to the local `POST /v1/receive`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The port to open.
    pub port: String,
    /// Where: the switch's attach socket.
    pub socket: std::path::PathBuf,
}

/// The port of a site's receiver.
pub const RECEIVE_PORT: &str = "qc-recv";

/// The port of a tree's sender.
#[must_use]
pub fn sender_port(tree: u32) -> String {
    format!("qc-{tree}")
}

/// A transfer that somebody wants: `POST /v1/transfers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTransfer {
    /// The sender's site; none at a site's own socket.
    #[serde(default)]
    pub from: Option<String>,
    /// The receivers' sites.
    pub to: Vec<String>,
    /// Bytes of content.
    pub bytes: u64,
    /// Name of the file or directory.
    pub name: String,
    /// Frames' bytes for each byte of content, from 1: what headers add.
    #[serde(default = "one")]
    pub overhead: f64,
    /// How to plan ([`crate::plan::Scheme::NAMES`]); none: as the controller does.
    #[serde(default)]
    pub scheme: Option<String>,
    /// A path at the sender's site, for a sender there that waits for work; none: whoever asks sends.
    #[serde(default)]
    pub path: Option<String>,
    /// At random. Asked for again with the same number, since no answer came, it is the same transfer.
    #[serde(default)]
    pub request: Option<u64>,
}

fn one() -> f64 {
    1.0
}

/// The answer to [`NewTransfer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Created {
    /// The transfer's number.
    pub id: u64,
}

/// Where a transfer is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransferState {
    /// Its trees are being planned or installed.
    Planning,
    /// It cannot go on now; [`TransferStatus::why`] says what it waits for.
    Waiting,
    /// Its trees are in force everywhere.
    Running,
    /// Its sender is silent. Nothing is installed until it comes back.
    Stalled,
    /// All receivers have it.
    Done,
    /// It is over, and not all receivers have it.
    Partial,
    /// Somebody cancelled it.
    Cancelled,
}

impl TransferState {
    /// Whether nothing will change any more.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Partial | Self::Cancelled)
    }
}

/// How a transfer stands: `GET /v1/transfers/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferStatus {
    /// Its number.
    pub id: u64,
    /// Rises with each change of what is here but for progress.
    pub version: u64,
    /// Where it is in its life.
    pub state: TransferState,
    /// What it waits for, or what went wrong.
    #[serde(default)]
    pub why: Option<String>,
    /// The sender's site.
    pub from: String,
    /// Name of the file or directory.
    pub name: String,
    /// Bytes of content.
    pub bytes: u64,
    /// The scheme that planned it.
    pub scheme: String,
    /// A path for a sender that waits for work.
    #[serde(default)]
    pub path: Option<String>,
    /// Its receivers.
    pub receivers: Vec<ReceiverStatus>,
    /// Its trees, empty unless [`TransferState::Running`].
    pub trees: Vec<TreeStatus>,
    /// When it was asked for, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was over.
    #[serde(default)]
    pub ended_ms: Option<u64>,
}

/// A receiver of a transfer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverStatus {
    /// Its site.
    pub site: String,
    /// Bytes of content that it has.
    pub have: u64,
    /// New bytes a second.
    pub rate: u64,
    /// How it stands.
    pub state: ReceiverState,
    /// What went wrong with it.
    #[serde(default)]
    pub why: Option<String>,
    /// Seconds from the transfer's creation to its verification.
    #[serde(default)]
    pub seconds: Option<f64>,
}

/// How a receiver of a transfer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReceiverState {
    /// Nothing was heard of it.
    Waiting,
    /// It gets data.
    Receiving,
    /// It has all and checks it.
    Checking,
    /// It has all, and the hash is right.
    Verified,
    /// It does not answer.
    Silent,
    /// It cannot go on.
    Failed,
}

/// A tree of a running transfer, as its sender needs to know it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeStatus {
    /// Its number.
    pub tree: u32,
    /// Its partition.
    pub partition: u16,
    /// The ring port to send by.
    pub port: String,
    /// Its receivers' sites; the first has number 1.
    pub receivers: Vec<String>,
    /// Links from the sender to each receiver.
    pub hops: Vec<u32>,
    /// Its links, from and to.
    pub links: Vec<(String, String)>,
    /// Whether frames to a receiver alone arrive.
    pub unicast_repairs: bool,
    /// Its rate now, in bit/s.
    pub rate: u64,
}

/// A sender, to the controller: `POST /v1/transfers/{id}/progress`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Of this run of the sender, at random. A newer sender takes over from one that is silent.
    pub session: u64,
    /// Each tree that it sends by.
    pub trees: Vec<TreeProgress>,
    /// Receivers that have said that they have it all, also those whose tree has been taken away since.
    #[serde(default)]
    pub verified: Vec<String>,
    /// It ends: all is said and done on all trees, or it stops for this reason.
    #[serde(default)]
    pub ended: Option<Ended>,
}

/// Why a sender ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// All receivers have ended, one way or the other.
    Complete,
    /// All that were served have ended, and it waits for the others no longer.
    Enough,
    /// It was told to, and will come back.
    Paused,
    /// It cannot go on.
    Failed(String),
}

/// How far a tree is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeProgress {
    /// The tree.
    pub tree: u32,
    /// Bytes of content that are still to be sent on it, as far as is known.
    pub residual: u64,
    /// Its receivers, as [`TreeStatus::receivers`].
    pub receivers: Vec<ReceiverProgress>,
}

/// How far a receiver is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverProgress {
    /// Bytes that it has.
    pub have: u64,
    /// New bytes a second.
    pub rate: u64,
    /// How it stands.
    pub state: ReceiverState,
    /// What went wrong.
    #[serde(default)]
    pub why: Option<String>,
}
