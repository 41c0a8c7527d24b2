//! One transfer, from its number to its end.
//!
//! The controller says on which trees to send; the job starts and stops their threads accordingly (`trees`), and says each
//! `BEAT` how far they are. While site or controller cannot be reached, the trees go on as they are.

mod trees;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver as Heard, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::parcel::Parcel;
use super::tally::Tally;
use super::tree::{TreeEnd, TreeSender};
use crate::control::{Ended, Progress, ReceiverProgress, TransferStatus};
use crate::endpoint::EndpointError;
use crate::endpoint::clock::random;
use crate::endpoint::local::LocalSite;
use crate::transport::sender::SenderCounters;
use crate::transport::sender::shares::Shares;
use trees::sum;

/// From one message to the controller to the next.
const BEAT: Duration = Duration::from_millis(250);
/// What trees say within this time is one message.
const TOGETHER: Duration = Duration::from_millis(5);
/// HTTP's status when another sender speaks for the transfer, and how many beats that may go on at first.
const TAKEN: u16 = 409;
const PATIENCE: u32 = 60;
/// How long a job waits for receivers that no tree serves, unless it is told otherwise.
pub const WAIT_FOR_OTHERS: Duration = Duration::from_secs(60);
/// How long a job waits where nothing can be sent to anybody, unless it is told otherwise.
pub const MISSING_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How long a receiver may be silent, unless it is told otherwise.
pub const SILENCE: Duration = Duration::from_secs(60);
/// How long a paused or failed sender tries to say so.
const FAREWELL: u32 = 3;

/// What a job shows of itself, each beat.
pub struct JobView<'a> {
    /// How the transfer stands by the controller.
    pub status: &'a TransferStatus,
    /// How each receiver stands, in the order of the status; newer than what the controller knows.
    pub receivers: Vec<(&'a str, ReceiverProgress)>,
    /// What was sent, on all trees of this run.
    pub counters: SenderCounters,
    /// Why the site or the controller, or a port, is not to be had now.
    pub trouble: Option<&'a str>,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub enum JobEnd {
    /// The transfer is over.
    Over(Box<TransferStatus>),
    /// It was told to stop; the transfer can be resumed.
    Paused,
}

/// One transfer that is being sent.
pub struct Job {
    site: LocalSite,
    id: u64,
    parcel: Parcel,
    session: u64,
    cancel: Arc<AtomicBool>,
    hash: Arc<OnceLock<[u8; 32]>>,
    /// What is whose of a partition that several trees lead to.
    shares: BTreeMap<u16, Arc<Shares>>,
    socket: Option<PathBuf>,
    trees: BTreeMap<u32, TreeSender>,
    /// Trees whose port was away, and not before when to try them again.
    rest: BTreeMap<u32, Instant>,
    tally: Tally,
    /// What trees that are gone have sent.
    before: SenderCounters,
    trouble: Option<String>,
    /// How long receivers are waited for that no tree serves, once others have ended.
    patience: Duration,
    /// How long all receivers are waited for.
    missing_after: Duration,
    /// How long a receiver may be silent.
    silence: Duration,
    /// Since when nothing is being sent, after others have ended.
    idle: Option<Instant>,
    /// Since when nothing can be sent, since all who lack it are missing.
    alone: Option<Instant>,
}

impl Job {
    /// A job for a transfer that was created. `cancel` makes it pause.
    ///
    /// # Errors
    ///
    /// The system has no randomness.
    pub fn new(
        site: LocalSite,
        id: u64,
        parcel: Parcel,
        cancel: Arc<AtomicBool>,
    ) -> Result<Self, EndpointError> {
        Ok(Self {
            site,
            id,
            parcel,
            session: random().map_err(EndpointError::system("/dev/urandom"))?,
            cancel,
            hash: Arc::default(),
            shares: BTreeMap::new(),
            socket: None,
            trees: BTreeMap::new(),
            rest: BTreeMap::new(),
            tally: Tally::default(),
            before: SenderCounters::default(),
            trouble: None,
            patience: WAIT_FOR_OTHERS,
            missing_after: MISSING_AFTER,
            silence: SILENCE,
            idle: None,
            alone: None,
        })
    }

    /// Waits so long for receivers that no tree serves, once others have ended and nothing is being sent; then the
    /// transfer ends without them.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Waits so long while all receivers that lack it are missing, as the controller says, be it from the beginning or
    /// later; then the transfer ends without them.
    #[must_use]
    pub fn missing_after(mut self, limit: Duration) -> Self {
        self.missing_after = limit;
        self
    }

    /// Goes on without a receiver that is silent for so long; it is taken up again if it comes back before the end.
    #[must_use]
    pub fn silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// Sends until the transfer is over, or it is told to pause. `show` is called each beat.
    ///
    /// # Errors
    ///
    /// The files cannot be read; the controller does not know the transfer, or another sender has it.
    pub fn run(mut self, show: &mut dyn FnMut(&JobView<'_>)) -> Result<JobEnd, EndpointError> {
        let (tell, heard) = channel();
        let mut last: Option<TransferStatus> = None;
        let mut conflicts = 0;
        loop {
            let cancelled = self.cancel.load(Ordering::Relaxed);
            if cancelled {
                self.farewell(Ended::Paused);
                return Ok(JobEnd::Paused);
            }
            if let Some(why) = self.broken() {
                self.farewell(Ended::Failed(why.clone()));
                return Err(EndpointError::Refused { status: 500, said: why });
            }
            let progress = self.progress(last.as_ref());
            let complete = progress.ended.is_some();
            match self.site.progress(self.id, &progress) {
                Ok(status) => {
                    self.trouble = None;
                    if status.state.is_over() {
                        let all: Vec<u32> = self.trees.keys().copied().collect();
                        all.into_iter().for_each(|tree| self.end(tree));
                        self.show(&status, show);
                        return Ok(JobEnd::Over(Box::new(status)));
                    }
                    self.follow(&status, &tell)?;
                    last = Some(status);
                }
                Err(e) if e.may_pass() => self.trouble = Some(e.to_string()),
                // The last sender may have been killed: it is waited for until it counts as silent.
                Err(EndpointError::Refused { status: TAKEN, said })
                    if last.is_none() && conflicts < PATIENCE =>
                {
                    conflicts += 1;
                    self.trouble = Some(said);
                }
                Err(e) => return Err(e),
            }
            if let Some(status) = &last {
                self.show(status, show);
            }
            self.wait(&heard, last.as_mut(), complete);
        }
    }

    /// Why the files cannot be sent, if so.
    fn broken(&self) -> Option<String> {
        self.trees.values().find_map(|t| match t.view().end {
            Some(TreeEnd::Files(why)) => Some(why),
            _ => None,
        })
    }

    /// How far all trees are; that all is over, if it is.
    fn progress(&mut self, status: Option<&TransferStatus>) -> Progress {
        let views: Vec<_> = self.trees.values().map(|tree| (&tree.status, tree.view())).collect();
        let trees = self.tally.trees(&views, &self.parcel.shape);
        let all_done = self.trees.values().all(|t| t.view().end == Some(TreeEnd::Done));
        let idle = all_done && status.is_some_and(|s| self.tally.has_ended(s));
        self.idle = idle.then(|| self.idle.unwrap_or_else(Instant::now));
        // Of a controller that does not answer nobody knows who is missing.
        let alone = all_done && self.trouble.is_none() && status.is_some_and(TransferStatus::all_missing);
        self.alone = alone.then(|| self.alone.unwrap_or_else(Instant::now));
        let over = |since: Option<Instant>, limit| since.is_some_and(|at| at.elapsed() >= limit);
        let enough = over(self.idle, self.patience) || over(self.alone, self.missing_after);
        let complete = idle && status.is_some_and(|s| self.tally.is_complete(s));
        let ended = match (complete, enough) {
            (true, _) => Some(Ended::Complete),
            (false, true) => Some(Ended::Enough),
            (false, false) => None,
        };
        let verified = self.tally.verified();
        Progress { session: self.session, trees, verified, ended }
    }

    /// Until the next beat. While nothing runs, the controller says at once when that changes.
    fn wait(&mut self, heard: &Heard<()>, status: Option<&mut TransferStatus>, complete: bool) {
        let until = Instant::now() + BEAT;
        if self.trees.is_empty()
            && !complete
            && self.trouble.is_none()
            && let Some(status) = status
            && let Ok(now) = self.site.status(self.id, status.version, BEAT.as_millis() as u64)
        {
            let news = now.version != status.version;
            *status = now;
            if news {
                return;
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        match heard.recv_timeout(left) {
            Ok(()) => {
                // Receivers end together: what they say goes into one message.
                std::thread::sleep(TOGETHER.min(until.saturating_duration_since(Instant::now())));
                while heard.try_recv().is_ok() {}
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(left),
        }
    }

    fn show(&self, status: &TransferStatus, show: &mut dyn FnMut(&JobView<'_>)) {
        let receivers = status.receivers.iter().map(|r| {
            let by_controller =
                || ReceiverProgress { have: r.have, rate: r.rate, state: r.state, why: r.why.clone() };
            let mine = self.tally.of(&r.site).cloned();
            (
                r.site.as_str(),
                if status.state.is_over() { by_controller() } else { mine.unwrap_or_else(by_controller) },
            )
        });
        let counters = self.trees.values().fold(self.before, |all, t| sum(all, t.view().counters));
        show(&JobView { status, receivers: receivers.collect(), counters, trouble: self.trouble.as_deref() });
    }

    /// Says why it ends, to whoever hears it.
    fn farewell(&mut self, why: Ended) {
        let mut progress = self.progress(None);
        progress.ended = Some(why);
        self.trees.clear();
        for _ in 0..FAREWELL {
            match self.site.progress(self.id, &progress) {
                Err(e) if e.may_pass() => std::thread::sleep(BEAT),
                _ => break,
            }
        }
    }
}
