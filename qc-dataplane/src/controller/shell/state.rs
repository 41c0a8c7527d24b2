//! The core with a clock, a journal, and those who wait for changes.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use tokio::sync::watch;

use super::error::ApiError;
use crate::controller::core::{Core, Now};
use crate::controller::journal::{Writer, Written};

/// What the handlers share.
#[derive(Debug)]
pub(super) struct Shell {
    inner: Mutex<Inner>,
    started: Instant,
    written: watch::Receiver<Written>,
}

#[derive(Debug)]
struct Inner {
    core: Core,
    writer: Writer,
    /// Changes handed to the writer so far.
    sent: u64,
    sites: Waiters<String>,
    transfers: Waiters<u64>,
}

/// Those who wait for a change of something.
#[derive(Debug)]
struct Waiters<K>(HashMap<K, watch::Sender<()>>);

impl<K: Eq + Hash> Waiters<K> {
    fn wait(&mut self, key: K) -> watch::Receiver<()> {
        self.0.retain(|_, s| s.receiver_count() > 0);
        self.0.entry(key).or_insert_with(|| watch::channel(()).0).subscribe()
    }

    fn wake<'k>(&mut self, keys: impl Iterator<Item = &'k K>)
    where
        K: 'k,
    {
        for key in keys {
            if let Some(sender) = self.0.get(key) {
                sender.send_replace(());
            }
        }
    }
}

/// A change that has to be on the disk before its consequences are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket(u64);

impl Shell {
    pub fn new(core: Core, writer: Writer, started: Instant) -> Arc<Self> {
        let written = writer.written();
        let (sites, transfers) = (Waiters(HashMap::new()), Waiters(HashMap::new()));
        let inner = Inner { core, writer, sent: 0, sites, transfers };
        Arc::new(Self { inner: Mutex::new(inner), started, written })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Now {
        moment(self.started)
    }

    /// Something happens. What it changes is handed to the journal, and those who wait for it are woken.
    pub fn event<T>(&self, f: impl FnOnce(&mut Core, Now) -> T) -> (T, Ticket) {
        let mut inner = self.lock();
        let now = self.now();
        let answer = f(&mut inner.core, now);
        let changes = inner.core.take_changes();
        inner.sent = inner.writer.send(changes.records);
        inner.sites.wake(changes.sites.iter());
        inner.transfers.wake(changes.transfers.iter());
        (answer, Ticket(inner.sent))
    }

    /// Looks.
    pub fn look<T>(&self, f: impl FnOnce(&Core, Now) -> T) -> (T, Ticket) {
        let inner = self.lock();
        (f(&inner.core, self.now()), Ticket(inner.sent))
    }

    pub fn wait_for_site(&self, name: &str) -> watch::Receiver<()> {
        self.lock().sites.wait(name.to_owned())
    }

    pub fn wait_for_transfer(&self, id: u64) -> watch::Receiver<()> {
        self.lock().transfers.wait(id)
    }

    /// Waits until a change is on the disk.
    pub async fn kept(&self, ticket: Ticket) -> Result<(), ApiError> {
        let mut written = self.written.clone();
        let done = |w: &Written| w.changes >= ticket.0 || w.failed.is_some();
        let unavailable = |why: String| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why);
        match written.wait_for(done).await {
            Ok(w) if w.changes >= ticket.0 => Ok(()),
            Ok(w) => Err(unavailable(w.failed.clone().unwrap_or_default())),
            Err(_) => Err(unavailable("the controller ends".into())),
        }
    }
}

/// Now, for a controller that was started then.
pub(super) fn moment(started: Instant) -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Counted from 1, so that 0 is never.
    Now { ms: started.elapsed().as_millis() as u64 + 1, unix_ms: unix.as_millis() as u64 }
}
