//! What transfers have left in the directory: removed once the controller says that they are over, whether they were
//! received, failed or were cancelled, by this process or by one before it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver as Heard, RecvTimeoutError, Sender as Tell, channel};
use std::time::{Duration, Instant};

use crate::endpoint::EndpointError;
use crate::endpoint::local::LocalSite;
use crate::transport::files::store::left::{forget, is_done, kept};

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);
/// After this, a transfer that is not over is asked for again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long at the end for those that were just received: their senders are about to say so.
const LAST: Duration = Duration::from_secs(2);
/// How often then.
const SOON: Duration = Duration::from_millis(50);
/// HTTP's status when there is no such transfer.
const MISSING: u16 = 404;

/// The thread that does it. It is told to look a last time when the value goes.
pub(super) struct Tidy {
    tell: Option<Tell<()>>,
    gone: Heard<()>,
}

impl Tidy {
    /// Starts.
    ///
    /// # Errors
    ///
    /// The system has no more threads.
    pub fn start(dir: PathBuf, site: LocalSite) -> Result<Self, EndpointError> {
        let (tell, heard) = channel();
        let (going, gone) = channel();
        let body = move || {
            run(&dir, &site, &heard);
            drop(going);
        };
        let thread = std::thread::Builder::new().name("qc-tidy".into());
        thread.spawn(body).map_err(EndpointError::system("no thread"))?;
        Ok(Self { tell: Some(tell), gone })
    }
}

impl Drop for Tidy {
    fn drop(&mut self) {
        self.tell = None;
        // Not joined: it may wait for an answer, and holds nothing.
        let _ = self.gone.recv_timeout(LAST);
    }
}

fn run(dir: &Path, site: &LocalSite, heard: &Heard<()>) {
    let mut asked: BTreeMap<u64, Instant> = BTreeMap::new();
    loop {
        let all = kept(dir);
        asked.retain(|id, at| all.contains(id) && at.elapsed() < AGAIN);
        for id in all {
            if !asked.contains_key(&id) && look(dir, site, id) == Found::Open {
                asked.insert(id, Instant::now());
            }
        }
        match heard.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => break,
        }
    }
    let begun = Instant::now();
    while begun.elapsed() < LAST {
        let done: Vec<u64> = kept(dir).into_iter().filter(|id| is_done(dir, *id)).collect();
        // All are looked at, whatever comes of the first.
        if done.into_iter().map(|id| look(dir, site, id)).filter(|found| *found != Found::Gone).count() == 0 {
            break;
        }
        std::thread::sleep(SOON);
    }
}

/// What came of a look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nothing is left.
    Gone,
    /// It is over, and somebody still works on it: its tree goes in a moment.
    Held,
    /// It is not over, as far as is known.
    Open,
}

/// Removes what is left of a transfer that is over.
fn look(dir: &Path, site: &LocalSite, id: u64) -> Found {
    let over = match site.status(id, 0, 0) {
        Ok(status) => status.state.is_over(),
        // It was over long ago, or the controller has lost its state: nobody will ask whether it is here.
        Err(EndpointError::Refused { status: MISSING, .. }) => is_done(dir, id),
        Err(_) => false,
    };
    match over.then(|| forget(dir, id)) {
        None => Found::Open,
        Some(Ok(true)) => Found::Gone,
        Some(Ok(false)) => Found::Held,
        Some(Err(e)) => {
            tracing::debug!("tidying up: {e}");
            Found::Open
        }
    }
}
