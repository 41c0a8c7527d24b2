//! What must outlive the controller's process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::transfer::Transfer;
use super::tree::Installed;
use crate::control::LinkReport;

/// A change of what must outlive the process. Each says all about its thing, so whoever reads them in order and keeps
/// the last of each has the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Record {
    /// The controller starts for the so-many-th time.
    Run(u64),
    /// The key of the links' probes.
    Key(String),
    /// The next numbers to give out.
    Numbers(Numbers),
    /// A site's links and limits.
    Site(SavedSite),
    /// A transfer.
    Transfer(Box<Transfer>),
    /// A tree that sites may have.
    Tree(Box<Installed>),
    /// A tree that no site is to have any more.
    Gone(u32),
    /// A transfer that was over long ago.
    Forget(u64),
}

/// Numbers to give out next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    /// Of a transfer.
    pub transfer: u64,
    /// Of a tree.
    pub tree: u32,
    /// Of a batch of trees.
    pub batch: u64,
}

/// What is kept of a site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedSite {
    /// Its name.
    pub name: String,
    /// Its links.
    pub links: Vec<LinkReport>,
    /// Group entries that trees may have.
    pub max_groups: u32,
    /// Buckets that a group may have.
    pub max_buckets: u32,
}

/// The state that records lead to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// How often the controller was started.
    pub run: u64,
    /// The key of the links' probes, if there is to be one: 64 hexadecimal digits, at random.
    pub key: Option<String>,
    /// The next numbers.
    pub numbers: Numbers,
    /// Sites, by name.
    pub sites: BTreeMap<String, SavedSite>,
    /// Transfers, by number.
    pub transfers: BTreeMap<u64, Transfer>,
    /// Trees, by number.
    pub trees: BTreeMap<u32, Installed>,
}

impl Saved {
    /// Takes a record in.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Run(run) => self.run = run,
            Record::Key(key) => self.key = Some(key),
            Record::Numbers(numbers) => self.numbers = numbers,
            Record::Site(site) => {
                self.sites.insert(site.name.clone(), site);
            }
            Record::Transfer(transfer) => {
                self.numbers.transfer = self.numbers.transfer.max(transfer.id + 1);
                self.transfers.insert(transfer.id, *transfer);
            }
            Record::Tree(tree) => {
                self.numbers.tree = self.numbers.tree.max(tree.tree + 1);
                self.numbers.batch = self.numbers.batch.max(tree.batch + 1);
                self.trees.insert(tree.tree, *tree);
            }
            Record::Gone(tree) => {
                self.trees.remove(&tree);
            }
            Record::Forget(transfer) => {
                self.transfers.remove(&transfer);
            }
        }
    }

    /// The fewest records that lead here.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::Run(self.run)];
        records.extend(self.key.clone().map(Record::Key));
        records.extend(self.sites.values().cloned().map(Record::Site));
        records.extend(self.transfers.values().cloned().map(|t| Record::Transfer(Box::new(t))));
        records.extend(self.trees.values().cloned().map(|t| Record::Tree(Box::new(t))));
        // After the others, which raise them.
        records.push(Record::Numbers(self.numbers));
        records
    }
}
