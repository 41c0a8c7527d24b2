//! Which transfers may arrive here, as the site says, and their workers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver as Heard, RecvTimeoutError, TryRecvError, channel};
use std::time::{Duration, Instant};

use super::inbox::Share;
use super::news::{by_transfer, watch};
use super::station::{Shared, Station};
use super::tidy::Tidy;
use super::worker::{View, Where, Worker};
use crate::control::{Incoming, IncomingTree};
use crate::endpoint::EndpointError;
use crate::endpoint::local::LocalSite;

/// How often the desk looks at everything.
const LOOK: Duration = Duration::from_millis(100);
/// After the site or the port were not to be had.
pub(super) const AGAIN: Duration = Duration::from_millis(500);

/// What a desk shows of itself each time it looks.
pub struct DeskView<'a> {
    /// Transfers that arrive, and how they stand.
    pub transfers: Vec<(&'a IncomingTree, View)>,
    /// Those that have ended since the last time: their trees were taken away.
    pub ended: Vec<(IncomingTree, View)>,
    /// Frames of no tree that ends here.
    pub strangers: u64,
    /// Why the site or the port are not to be had now.
    pub trouble: Option<&'a str>,
}

/// Receives at a site.
pub struct Desk {
    site: LocalSite,
    to: Where,
    cancel: Arc<AtomicBool>,
    share: Arc<Share>,
    station: Option<Station>,
    retry: Instant,
    /// By transfer.
    workers: BTreeMap<u64, Worker>,
    /// Workers that bring the last to their disks.
    ending: Vec<Worker>,
    trouble: Option<String>,
    strangers: u64,
}

impl Desk {
    /// Opens the receive port. `cancel` ends it.
    ///
    /// # Errors
    ///
    /// The site does not answer, somebody else receives there already, or the directory cannot be used.
    pub fn open(site: LocalSite, to: Where, cancel: Arc<AtomicBool>) -> Result<Self, EndpointError> {
        let mut desk = Self {
            site,
            to,
            cancel,
            share: Arc::default(),
            station: None,
            retry: Instant::now(),
            workers: BTreeMap::new(),
            ending: Vec::new(),
            trouble: None,
            strangers: 0,
        };
        desk.station = Some(desk.attach()?);
        Ok(desk)
    }

    fn attach(&self) -> Result<Station, EndpointError> {
        let place = self.site.receive()?;
        Station::open(&place.socket, &place.port)
    }

    /// Receives until told to end, or until `show` says that it is enough by returning `false`.
    ///
    /// # Errors
    ///
    /// The system has no more threads.
    pub fn run(mut self, show: &mut dyn FnMut(&DeskView<'_>) -> bool) -> Result<(), EndpointError> {
        let (tell, heard) = channel();
        let (site, stop) = (self.site.clone(), Arc::new(AtomicBool::new(false)));
        let watch_stop = stop.clone();
        // Not joined: it may hang in a long poll, and holds nothing.
        std::thread::Builder::new()
            .name("qc-incoming".into())
            .spawn(move || watch(&site, &watch_stop, &tell))
            .map_err(EndpointError::system("no thread"))?;
        let tidy = Tidy::start(self.to.dir.clone(), self.site.clone())?;
        let result = self.serve(&heard, show);
        stop.store(true, Ordering::Relaxed);
        self.leave(show);
        // Nobody works on anything here any more.
        drop(tidy);
        result
    }

    /// Brings to the disk what is here: all at once, then one after the other is waited for.
    fn leave(&mut self, show: &mut dyn FnMut(&DeskView<'_>) -> bool) {
        self.workers.values().for_each(Worker::close);
        let all = std::mem::take(&mut self.workers).into_values().chain(std::mem::take(&mut self.ending));
        let mut ended = Vec::new();
        for mut worker in all {
            let view = worker.finish();
            if worker.tell() {
                ended.push((worker.tree.clone(), view));
            }
        }
        show(&DeskView { transfers: Vec::new(), ended, strangers: self.count_strangers(), trouble: None });
    }

    fn count_strangers(&self) -> u64 {
        self.strangers + self.station.as_ref().map_or(0, |s| s.shared().strangers())
    }

    fn serve(
        &mut self,
        heard: &Heard<Result<Incoming, EndpointError>>,
        show: &mut dyn FnMut(&DeskView<'_>) -> bool,
    ) -> Result<(), EndpointError> {
        loop {
            self.hear(heard)?;
            self.mend()?;
            let ended = self.reap();
            let view = DeskView {
                transfers: self.workers.values().map(|w| (&w.tree, w.view())).collect(),
                ended,
                strangers: self.count_strangers(),
                trouble: self.trouble.as_deref(),
            };
            if !show(&view) || self.cancel.load(Ordering::Relaxed) {
                return Ok(());
            }
            match heard.recv_timeout(LOOK) {
                Ok(news) => self.follow(news)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
            }
        }
    }

    fn hear(&mut self, heard: &Heard<Result<Incoming, EndpointError>>) -> Result<(), EndpointError> {
        loop {
            match heard.try_recv() {
                Ok(news) => self.follow(news)?,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Makes the workers be those of the trees that end here. What a site that does not answer said last stays.
    fn follow(&mut self, news: Result<Incoming, EndpointError>) -> Result<(), EndpointError> {
        let incoming = match news {
            Ok(incoming) => incoming,
            Err(e) => {
                self.trouble = Some(e.to_string());
                return Ok(());
            }
        };
        if self.station.is_some() {
            self.trouble = None;
        }
        let is_there = |transfer: u64| incoming.trees.iter().any(|i| i.transfer == transfer);
        let gone: Vec<u64> = self.workers.keys().copied().filter(|t| !is_there(*t)).collect();
        for transfer in gone {
            if let Some(worker) = self.workers.remove(&transfer) {
                worker.close();
                self.ending.push(worker);
            }
        }
        let Some(station) = &self.station else { return Ok(()) };
        let station = station.shared().clone();
        for (transfer, trees) in by_transfer(incoming.trees) {
            if self.workers.get_mut(&transfer).is_some_and(|w| w.keeps(&trees)) {
                continue;
            }
            let before = self.take_worker(transfer);
            if let Some(worker) = start(trees, &self.to, &station, &self.share, before)? {
                self.workers.insert(transfer, worker);
            }
        }
        Ok(())
    }

    /// The worker that has the transfer's files now, if one has.
    fn take_worker(&mut self, transfer: u64) -> Option<Worker> {
        let worker = match self.workers.remove(&transfer) {
            Some(worker) => Some(worker),
            None => {
                let at = self.ending.iter().position(|w| w.tree.transfer == transfer)?;
                Some(self.ending.swap_remove(at))
            }
        };
        worker.inspect(Worker::close)
    }

    /// Opens the port again if it has gone, and gives it to all workers anew.
    fn mend(&mut self) -> Result<(), EndpointError> {
        if let Some(why) = self.station.as_ref().and_then(|s| s.shared().lost()) {
            self.trouble = Some(why);
            self.strangers += self.station.take().map_or(0, |s| s.shared().strangers());
        }
        if self.station.is_some() || Instant::now() < self.retry {
            return Ok(());
        }
        self.retry = Instant::now() + AGAIN;
        match self.attach() {
            Ok(station) => {
                let shared = station.shared().clone();
                self.station = Some(station);
                self.trouble = None;
                for (transfer, worker) in std::mem::take(&mut self.workers) {
                    let trees = worker.trees().to_vec();
                    worker.close();
                    if let Some(next) = start(trees, &self.to, &shared, &self.share, Some(worker))? {
                        self.workers.insert(transfer, next);
                    }
                }
            }
            Err(e) => self.trouble = Some(e.to_string()),
        }
        Ok(())
    }

    /// Takes away what has ended.
    fn reap(&mut self) -> Vec<(IncomingTree, View)> {
        let mut ended = Vec::new();
        let all = std::mem::take(&mut self.ending);
        let (gone, ending): (Vec<_>, Vec<_>) = all.into_iter().partition(|w| w.view().gone);
        self.ending = ending;
        for mut worker in gone {
            if worker.tell() {
                ended.push((worker.tree.clone(), worker.view()));
            }
        }
        ended
    }

    /// Where transfers go.
    pub fn dir(&self) -> &PathBuf {
        &self.to.dir
    }
}

fn start(
    trees: Vec<IncomingTree>,
    to: &Where,
    station: &Arc<Shared>,
    share: &Arc<Share>,
    before: Option<Worker>,
) -> Result<Option<Worker>, EndpointError> {
    let mut trees = trees.into_iter();
    let Some(first) = trees.next() else { return Ok(None) };
    Worker::start(first, trees.collect(), to, station, share, before).map(Some)
}
