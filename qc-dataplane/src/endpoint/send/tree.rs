//! One tree: the handle of the thread that sends on it (`run`).

mod run;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender as Tell;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Cut;
use crate::control::TreeStatus;
use crate::endpoint::EndpointError;
use crate::endpoint::port::Bell;
use crate::transport::files::FileError;
use crate::transport::files::source::Source;
use crate::transport::sender::SenderCounters;
use crate::transport::sender::peers::PeerStatus;
use crate::transport::sender::shares::Shares;

/// What all trees of a transfer share.
#[derive(Clone)]
pub struct Common {
    /// What is sent.
    pub path: PathBuf,
    /// How it is cut.
    pub cut: Cut,
    /// The transfer's number.
    pub transfer: u64,
    /// Of this run of the sender.
    pub session: u64,
    /// The switch's attach socket.
    pub socket: PathBuf,
    /// BLAKE3 of the content, once some tree's sender has read it all.
    pub hash: Arc<OnceLock<[u8; 32]>>,
    /// Whose chunks are whose, if several trees lead to the same receivers.
    pub shares: Option<Arc<Shares>>,
    /// BLAKE3 of the list of files: all trees send the same.
    pub manifest: [u8; 32],
    /// How long a receiver may be silent before the others end without it.
    pub silence: Duration,
}

/// How a tree stands.
#[derive(Clone, Debug, Default)]
pub struct TreeView {
    /// Bytes still to be sent.
    pub residual: u64,
    /// Its receivers, by number.
    pub peers: Vec<PeerStatus>,
    /// What was sent.
    pub counters: SenderCounters,
    /// How its thread ended, if it has.
    pub end: Option<TreeEnd>,
}

/// How the sending on a tree ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeEnd {
    /// All its receivers have an outcome.
    Done,
    /// It was told to.
    Stopped,
    /// The port is away; another try may help.
    Port(String),
    /// The files cannot be read, or changed.
    Files(String),
}

struct Shared {
    bell: Bell,
    stop: AtomicBool,
    rate: AtomicU64,
    view: Mutex<TreeView>,
}

/// A tree that is being sent on. Dropping it stops that.
pub struct TreeSender {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// The tree, as the controller said last.
    pub status: TreeStatus,
}

impl TreeSender {
    /// Starts. `tell` gets a message when a receiver has come to its end, when all is sent, and when the thread has ended.
    ///
    /// # Errors
    ///
    /// The system has no more threads or descriptors.
    pub fn start(common: Common, status: TreeStatus, tell: Tell<()>) -> Result<Self, EndpointError> {
        let shared = Arc::new(Shared {
            bell: Bell::new()?,
            stop: AtomicBool::new(false),
            rate: AtomicU64::new(status.rate),
            view: Mutex::new(TreeView { residual: u64::MAX, ..TreeView::default() }),
        });
        let (mine, tree) = (shared.clone(), status.clone());
        let thread = std::thread::Builder::new()
            .name(format!("qc-send-{}", status.tree))
            .spawn(move || {
                let end = match run::run(&common, &tree, &mine, &tell) {
                    Ok(end) => end,
                    Err(EndpointError::Files(e)) => TreeEnd::Files(e.to_string()),
                    Err(e) => TreeEnd::Port(e.to_string()),
                };
                mine.view.lock().unwrap_or_else(PoisonError::into_inner).end = Some(end);
                let _ = tell.send(());
            })
            .map_err(EndpointError::system("no thread"))?;
        Ok(Self { shared, thread: Some(thread), status })
    }

    /// How it stands.
    pub fn view(&self) -> TreeView {
        self.shared.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The tree as the controller says now.
    pub fn update(&mut self, status: TreeStatus) {
        let before = self.shared.rate.swap(status.rate, Ordering::Relaxed);
        if before != status.rate {
            // It may send more, and is to ask oftener.
            self.shared.bell.ring();
        }
        self.status = status;
    }
}

impl TreeSender {
    /// Stops, and says how it stood.
    pub fn stop(&mut self) -> TreeView {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.bell.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.view()
    }
}

impl Drop for TreeSender {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The files, the same as when the transfer began.
pub(super) fn source(path: &Path, cut: Cut, manifest: [u8; 32]) -> Result<Source, FileError> {
    let source = Source::open(path, cut.chunk, cut.fec)?;
    if source.manifest_hash() == manifest {
        Ok(source)
    } else {
        Err(FileError::Changed(path.display().to_string()))
    }
}
