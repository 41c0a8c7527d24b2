//! One transfer that arrives: its receiver, and its disk.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver as Heard, Sender as Tell, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::inbox::{Batch, Inbox, Share};
use super::station::Shared;
use crate::address::{receiver_address, sender_address};
use crate::control::IncomingTree;
use crate::endpoint::EndpointError;
use crate::endpoint::clock::{Clock, random};
use crate::transport::files::store::StoreOptions;
use crate::transport::receiver::{Place, Receiver, ReceiverCounters, ReceiverOptions};
use crate::transport::wire::State;

/// Frames after which a receiver looks what else is due: its answers, and reading back.
const SOME: usize = 128;
/// How often the view is made anew.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes of blocks in memory, for all transfers, and the most for one.
const MEMORY: usize = 128 << 20;
const MOST: usize = 16 << 20;

/// Where transfers go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Where {
    /// The directory.
    pub dir: PathBuf,
    /// Whether what is there under the name of a transfer may go.
    pub replace: bool,
}

/// How a transfer stands here.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Where it is; nothing before its first frame.
    pub state: Option<State>,
    /// Bytes that are here.
    pub have: u64,
    /// Bytes of all, once known.
    pub total: Option<u64>,
    /// What the receiver counted.
    pub counters: ReceiverCounters,
    /// Frames that came faster than they could be dealt with.
    pub lost: u64,
    /// What went wrong here.
    pub failure: Option<String>,
    /// The sender has said that nothing more comes.
    pub ended: bool,
    /// The thread has ended.
    pub gone: bool,
}

/// A transfer that arrives, by one tree or several at once. Dropping it brings to the disk what is here, for a later continuation.
pub struct Worker {
    /// What arrives, as the site said of its first tree.
    pub tree: IncomingTree,
    /// The trees by which it comes.
    trees: Vec<IncomingTree>,
    inbox: Arc<Inbox>,
    view: Arc<Mutex<View>>,
    station: Arc<Shared>,
    /// The places on its trees, when they are others than before.
    moved: Tell<Vec<Place>>,
    thread: Option<JoinHandle<()>>,
    told: bool,
}

impl Worker {
    /// Starts, with `trees` of one partition that there is at least one of; first it waits for `before`, a worker of the
    /// same transfer on older ones.
    ///
    /// # Errors
    ///
    /// The system has no threads, or no randomness.
    pub fn start(
        tree: IncomingTree,
        others: Vec<IncomingTree>,
        to: &Where,
        station: &Arc<Shared>,
        share: &Arc<Share>,
        before: Option<Self>,
    ) -> Result<Self, EndpointError> {
        let inbox = Arc::new(Inbox::new(share.clone()));
        let trees: Vec<IncomingTree> = std::iter::once(tree.clone()).chain(others).collect();
        let mut store = StoreOptions::new(&to.dir);
        store.replace = to.replace;
        store.memory = (MEMORY / share.transfers().max(1)).min(MOST);
        let options = ReceiverOptions {
            transfer: tree.transfer,
            partition: tree.partition,
            places: trees.iter().map(place).collect(),
            seed: random().map_err(EndpointError::system("/dev/urandom"))?,
            store,
        };
        let view = Arc::new(Mutex::new(View::default()));
        for t in &trees {
            station.expect(t.tree, t.receiver, inbox.clone());
        }
        let (frames, shown, port) = (inbox.clone(), view.clone(), station.clone());
        let (moved, places) = channel();
        let thread = std::thread::Builder::new()
            .name(format!("qc-recv-{}", tree.tree))
            .spawn(move || {
                // Its journal is locked until it has ended.
                drop(before);
                run(options, &frames, &shown, &port, &places);
            })
            .map_err(EndpointError::system("no thread"))?;
        let station = station.clone();
        Ok(Self { tree, trees, inbox, view, station, moved, thread: Some(thread), told: false })
    }

    /// Goes on with `trees` and no others, if they carry the partition that it is at; else it does nothing.
    pub(super) fn keeps(&mut self, trees: &[IncomingTree]) -> bool {
        if trees.iter().any(|t| !is_beside(&self.tree, t)) {
            return false;
        }
        if trees != self.trees {
            // Before frames come by them. It hears this until it is closed.
            let _ = self.moved.send(trees.iter().map(place).collect());
            for gone in self.trees.iter().filter(|t| !trees.contains(t)) {
                self.station.refuse(gone.tree);
            }
            for new in trees.iter().filter(|t| !self.trees.contains(t)) {
                self.station.expect(new.tree, new.receiver, self.inbox.clone());
            }
            self.trees = trees.to_vec();
        }
        true
    }

    /// The trees by which it comes.
    pub(super) fn trees(&self) -> &[IncomingTree] {
        &self.trees
    }

    /// How it stands.
    pub fn view(&self) -> View {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this is asked for the first time.
    pub(super) fn tell(&mut self) -> bool {
        !std::mem::replace(&mut self.told, true)
    }

    /// Takes no more frames. What is here goes to the disk meanwhile; dropping waits for that.
    pub fn close(&self) {
        self.trees.iter().for_each(|t| self.station.refuse(t.tree));
        self.inbox.close();
    }
}

impl Worker {
    /// Waits until what is here is on the disk, and says how it stands then.
    pub fn finish(&mut self) -> View {
        self.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.view()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Whether two trees carry the same.
fn is_beside(one: &IncomingTree, other: &IncomingTree) -> bool {
    let same = IncomingTree { tree: one.tree, receiver: one.receiver, ..other.clone() };
    same == *one
}

fn place(tree: &IncomingTree) -> Place {
    Place {
        sender: sender_address(tree.tree),
        from: receiver_address(tree.tree, tree.receiver),
        number: u32::from(tree.receiver).saturating_sub(1),
    }
}

fn run(
    options: ReceiverOptions,
    inbox: &Inbox,
    view: &Mutex<View>,
    port: &Shared,
    moved: &Heard<Vec<Place>>,
) {
    let clock = Clock::default();
    let mut receiver = Receiver::new(options);
    let mut batch = Batch::default();
    let mut looked: Option<Instant> = None;
    loop {
        let wait = receiver.wakes().map_or(LOOK, |at| clock.until(at).min(LOOK));
        let open = inbox.take(&mut batch, wait);
        moved.try_iter().for_each(|places| receiver.sit(&places));
        for (n, frame) in batch.frames().enumerate() {
            // What is wrong with it is counted there.
            let _ = receiver.receive(clock.now(), frame);
            if n % SOME == SOME - 1 {
                receiver.advance(clock.now(), &mut |frame| port.send(frame));
            }
        }
        receiver.advance(clock.now(), &mut |frame| port.send(frame));
        // One that has all goes on answering: the sender's next life may ask once more, while the tree is there.
        let over = !open;
        if over || looked.is_none_or(|at| at.elapsed() >= LOOK) {
            looked = Some(Instant::now());
            look(&receiver, inbox, view);
        }
        if over {
            break;
        }
    }
    inbox.close();
    // What is kept of it goes when the controller says that the transfer is over (`tidy`): a sender that dies now has
    // told nobody yet, and the next one asks again.
    let left = receiver.pause();
    drop(receiver);
    let mut view = view.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(e) = left {
        view.failure.get_or_insert(e.to_string());
    }
    view.gone = true;
}

fn look(receiver: &Receiver, inbox: &Inbox, view: &Mutex<View>) {
    let counters = receiver.counters();
    let total = receiver.shape().map(|s| s.total());
    let chunk = receiver.shape().map_or(0, |s| s.chunk() as u64);
    let mut view = view.lock().unwrap_or_else(PoisonError::into_inner);
    view.state = (counters.frames > 0).then(|| receiver.state());
    view.have = receiver.progress().map_or(0, |(have, _)| have.saturating_mul(chunk)).min(total.unwrap_or(0));
    view.total = total;
    view.counters = counters;
    view.lost = inbox.lost();
    view.failure = match (receiver.failure(), receiver.state()) {
        (Some(e), _) => Some(e.to_string()),
        (None, State::Failed(cause)) => Some(cause.to_string()),
        _ => None,
    };
    view.ended = receiver.is_ended();
}
