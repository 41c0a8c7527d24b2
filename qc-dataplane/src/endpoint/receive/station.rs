//! The port by which frames arrive: a thread sorts them by tree, and does nothing else.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use valecast_config::Mac;
use valecast_ring::client::{Link, RxRing, TxRing};

use super::inbox::{Inbox, Put};
use crate::address::{receiver_address, tree_address, tree_of};
use crate::endpoint::EndpointError;
use crate::endpoint::port::{self, Bell};

/// Frames that are sorted at once.
const BURST: u32 = 256;

/// Frames since the last sleep after which more are waited for without a bell: at such rates a wake-up for each few
/// frames would cost more than they do. The ring has room for what comes meanwhile.
const BUSY: usize = 8;
/// How long.
const GATHER: Duration = Duration::from_micros(500);

/// Where frames of a tree go.
struct Entry {
    /// Its receiver's number here.
    number: u16,
    inbox: Arc<Inbox>,
}

/// What station and workers share.
pub struct Shared {
    inboxes: RwLock<HashMap<u32, Entry>>,
    tx: Mutex<TxRing>,
    bell: Bell,
    stop: AtomicBool,
    strangers: AtomicU64,
    unsent: AtomicU64,
    lost: Mutex<Option<String>>,
}

impl Shared {
    /// Sends a frame; one for which there is no room is dropped, and the sender asks again.
    pub fn send(&self, frame: &[u8]) {
        let mut tx = self.tx.lock().unwrap_or_else(PoisonError::into_inner);
        if !tx.push(frame) {
            self.unsent.fetch_add(1, Ordering::Relaxed);
        }
        tx.publish();
    }

    /// Frames of a tree go to that inbox from now on.
    pub fn expect(&self, tree: u32, number: u16, inbox: Arc<Inbox>) {
        self.inboxes.write().unwrap_or_else(PoisonError::into_inner).insert(tree, Entry { number, inbox });
    }

    /// Frames of a tree are nobody's from now on.
    pub fn refuse(&self, tree: u32) {
        self.inboxes.write().unwrap_or_else(PoisonError::into_inner).remove(&tree);
    }

    /// Frames that are of no tree that ends here.
    pub fn strangers(&self) -> u64 {
        self.strangers.load(Ordering::Relaxed)
    }

    /// Why the port is gone, if it is.
    pub fn lost(&self) -> Option<String> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An open port. Dropping it closes it.
pub struct Station {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Station {
    /// Opens the port.
    ///
    /// # Errors
    ///
    /// There is no such port, or somebody else receives here; the system has no more threads.
    pub fn open(socket: &Path, name: &str) -> Result<Self, EndpointError> {
        let (link, tx, rx) = port::open(socket, name)?;
        let shared = Arc::new(Shared {
            inboxes: RwLock::default(),
            tx: Mutex::new(tx),
            bell: Bell::new()?,
            stop: AtomicBool::new(false),
            strangers: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            lost: Mutex::default(),
        });
        let mine = shared.clone();
        let thread = std::thread::Builder::new()
            .name("qc-recv".into())
            .spawn(move || {
                if let Err(e) = sort(&mine, &link, rx) {
                    *mine.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(e.to_string());
                }
            })
            .map_err(EndpointError::system("no thread"))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What workers need of it.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.bell.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn sort(shared: &Shared, link: &Link, mut rx: RxRing) -> std::io::Result<()> {
    let mut scratch = Vec::new();
    let mut since_sleep = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        if rx.pending() == 0 && since_sleep >= BUSY {
            std::thread::sleep(GATHER);
        }
        if rx.pending() == 0 {
            port::sleep(link, &shared.bell, Some(&mut rx), None, Duration::MAX)?;
            since_sleep = 0;
        }
        let inboxes = shared.inboxes.read().unwrap_or_else(PoisonError::into_inner);
        // Frames come in rows of one tree: its inbox stays open meanwhile.
        let mut open: Option<(Mac, Put<'_>)> = None;
        since_sleep += port::drain(&mut rx, &mut scratch, BURST, |frame| {
            let Some(to) = frame.first_chunk().map(|to| Mac(*to)) else { return };
            if open.as_ref().is_none_or(|(of, _)| *of != to) {
                // The last one's worker goes on before this one's inbox may keep us waiting.
                open = None;
                let entry = tree_of(to).and_then(|tree| Some((tree, inboxes.get(&tree)?)));
                let mine = entry.filter(|(tree, entry)| {
                    to == tree_address(*tree) || to == receiver_address(*tree, entry.number)
                });
                open = mine.map(|(_, entry)| (to, entry.inbox.put()));
            }
            match &mut open {
                Some((_, put)) => put.frame(frame),
                None => {
                    shared.strangers.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    Ok(())
}
