//! One switch, seen from the control side: its workers, and what they are told.
//!
//! All methods that change something take `&mut self`; the [daemon](crate::daemon) holds switches behind one
//! lock that the data path never takes. A change builds new [`Tables`] and publishes them whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Sender, bounded, unbounded};
use crossbeam::epoch::{Atomic, Owned, Shared};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::Pid;
use valecast_config::{Group, Mac, Mirror, Port};

use crate::clock;
use crate::counters::{Count, PortStats, Sums};
use crate::fdb::Fdb;
use crate::inline::seat::Seat;
use crate::meter::Meter;
use crate::port::line::Entrance;
use crate::port::outside::{Outside, Serving};
use crate::port::{Egress, OpenError};
use crate::tables::{PortId, Tables};
use crate::worker::{Command, Setup, Worker};

mod build;
mod edit;
mod inline;
mod objects;
mod ports;
pub mod show;

pub use edit::Edit;
pub use ports::Client;
pub(crate) use ports::{may, over_rings};

/// Why a change was refused. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// No such port, group, meter or mirror.
    #[error("switch {switch} has no {kind} {name:?}{hint}")]
    Missing {
        /// Switch.
        switch: String,
        /// What was looked for.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What there is.
        hint: String,
    },
    /// The name is taken.
    #[error("switch {switch} already has a {kind} {name:?}")]
    Exists {
        /// Switch.
        switch: String,
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A configured limit.
    #[error("{0}")]
    Limit(String),
    /// Something still refers to it.
    #[error("{kind} {name:?} is in use by {by}")]
    InUse {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Who uses it.
        by: String,
    },
    /// Somebody else is attached.
    #[error("port {port:?} is in use by process {pid} (user {uid})")]
    Busy {
        /// Port.
        port: String,
        /// Process.
        pid: i32,
        /// User.
        uid: u32,
    },
    /// The user may not.
    #[error("user {uid} may not attach to port {port:?}: it is not in allow_users or allow_groups")]
    Denied {
        /// Port.
        port: String,
        /// User.
        uid: u32,
    },
    /// Only clients attach to rings.
    #[error("port {port:?} is of kind {kind}: clients attach to ports of kind ring")]
    NotARing {
        /// Port.
        port: String,
        /// Its kind.
        kind: &'static str,
    },
    /// A port could not be opened.
    #[error("port {port:?}: {source}")]
    Open {
        /// Port.
        port: String,
        /// Why.
        source: OpenError,
    },
    /// Threads could not be started.
    #[error("cannot start worker {index}: {what}")]
    Worker {
        /// Its number.
        index: usize,
        /// Why.
        what: String,
    },
}

/// A running switch.
pub struct Switch {
    /// What it was started with; ports, groups and so on are in the fields below, as they are now.
    cfg: valecast_config::Switch,
    tables: Arc<Atomic<Tables>>,
    fdb: Arc<Fdb>,
    workers: Vec<Handle>,
    /// Inline senders, by number.
    seats: Vec<Option<Arc<Seat>>>,
    ports: BTreeMap<String, PortState>,
    /// Port name by number.
    ids: Vec<Option<String>>,
    meters: BTreeMap<String, MeterState>,
    groups: BTreeMap<String, GroupState>,
    /// Ports of the static entries.
    statics: BTreeMap<(Mac, u16), String>,
    mirrors: Vec<Mirror>,
    retired: Sums,
    next_worker: usize,
    versions: AtomicU64,
    /// Attachments so far; each has its number.
    attachments: u64,
    started: u64,
    /// Within [`Switch::edit`].
    put_off: Option<edit::PutOff>,
    outside: Arc<Outside>,
}

struct Handle {
    commands: Sender<Command>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

struct PortState {
    id: PortId,
    cfg: Port,
    stats: Arc<PortStats>,
    limit: Option<Arc<Meter>>,
    attached: Option<Attached>,
    /// Made for one client and gone with it.
    temporary: bool,
    ring_resets: u64,
    /// What waits for its other side, of kinds that live above.
    serving: Option<Serving>,
}

struct Attached {
    egress: Arc<dyn Egress>,
    /// The same, if it is the entrance of a line.
    line: Option<Arc<Entrance>>,
    number: u64,
    /// Its inline sender.
    seat: Option<Arc<Seat>>,
    /// Lifelines and threads, dropped on detach.
    _keep: Vec<Box<dyn std::any::Any + Send>>,
    client: Option<Client>,
    /// Rings or queues, the larger of both directions.
    queues: usize,
    memory: u64,
    resets: Option<Arc<AtomicU64>>,
    since: u64,
}

struct MeterState {
    cfg: valecast_config::Meter,
    meter: Arc<Meter>,
}

struct GroupState {
    cfg: Group,
    hits: Arc<[crossbeam::utils::CachePadded<Count>]>,
}

impl Switch {
    /// Starts the workers of `cfg` and attaches its ports, groups and so on. Patches are connected by the
    /// daemon, once both ends exist.
    pub(crate) fn start(cfg: valecast_config::Switch, outside: Arc<Outside>) -> Result<Self, SwitchError> {
        let seed = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), 0u8);
        let ageing = u32::try_from(cfg.ageing.as_secs()).unwrap_or(u32::MAX);
        let mut s = Self {
            tables: Arc::new(Atomic::new(Tables::default())),
            fdb: Arc::new(Fdb::new(cfg.fdb_entries, ageing, seed)),
            workers: Vec::new(),
            seats: vec![None; cfg.inline],
            ports: BTreeMap::new(),
            ids: Vec::new(),
            meters: BTreeMap::new(),
            groups: BTreeMap::new(),
            statics: BTreeMap::new(),
            mirrors: Vec::new(),
            retired: Sums::default(),
            next_worker: 0,
            versions: AtomicU64::new(0),
            attachments: 0,
            started: clock::now_ns(),
            put_off: None,
            outside,
            cfg: valecast_config::Switch {
                ports: vec![],
                groups: vec![],
                meters: vec![],
                statics: vec![],
                mirrors: vec![],
                ..cfg.clone()
            },
        };
        for index in 0..cfg.workers {
            let h = s.spawn(index)?;
            s.workers.push(h);
        }
        for p in cfg.ports {
            s.attach_port(p, false)?;
        }
        for m in cfg.meters {
            s.add_meter(m)?;
        }
        for g in cfg.groups {
            s.add_group(g)?;
        }
        s.set_statics(cfg.statics)?;
        s.set_mirrors(cfg.mirrors)?;
        Ok(s)
    }

    fn spawn(&self, index: usize) -> Result<Handle, SwitchError> {
        let fail = |what: String| SwitchError::Worker { index, what };
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|e| fail(format!("eventfd: {e}")))?;
        let wake = Arc::new(wake);
        let (commands, receiver) = unbounded();
        let setup = Setup {
            index,
            tables: self.tables.clone(),
            fdb: self.fdb.clone(),
            burst: self.cfg.burst,
            spin: u64::try_from(self.cfg.spin.as_nanos()).unwrap_or(u64::MAX),
            gather: self.cfg.gather,
            commands: receiver,
            wake: wake.clone(),
        };
        let cpu = self.cfg.cpus.get(index).copied();
        let (ready, started) = bounded(1);
        let thread = std::thread::Builder::new()
            .name(format!("{}-w{index}", self.cfg.name))
            .spawn(move || {
                match pin(cpu).and_then(|()| Worker::new(setup).map_err(|e| format!("epoll: {e}"))) {
                    Ok(worker) => {
                        let _ = ready.send(Ok(()));
                        worker.run();
                    }
                    Err(e) => drop(ready.send(Err(e))),
                }
            })
            .map_err(|e| fail(e.to_string()))?;
        match started.recv() {
            Ok(Ok(())) => Ok(Handle { commands, wake, thread: Some(thread) }),
            Ok(Err(e)) => Err(fail(e)),
            Err(_) => Err(fail("its thread ended".into())),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.cfg.name
    }

    fn tell(&self, worker: usize, c: Command) {
        if let Some(w) = self.workers.get(worker)
            && w.commands.send(c).is_ok()
        {
            let _ = w.wake.write(1);
        }
    }

    /// Threads that may forward: workers, and then inline senders. Whatever has one of something for each goes by this.
    fn forwarders(&self) -> usize {
        self.cfg.workers + self.cfg.inline
    }

    /// Waits until every worker, and every inline sender, has passed this point.
    fn all_workers(&self, make: impl Fn(Sender<()>) -> Command) {
        let (done, wait) = bounded(self.workers.len().max(1));
        for w in 0..self.workers.len() {
            self.tell(w, make(done.clone()));
        }
        drop(done);
        self.seats.iter().flatten().for_each(|s| s.pass());
        for _ in 0..self.workers.len() {
            if wait.recv().is_err() {
                return;
            }
        }
    }

    fn next_version(&self) -> u64 {
        self.versions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Publishes the state as new tables, now or when all changes are made.
    fn publish(&self) {
        match &self.put_off {
            Some(later) => later.tables.set(true),
            None => self.publish_now(),
        }
    }

    /// Publishes the state as new tables: where what is parted from the data path must not be used any more.
    fn publish_now(&self) {
        if let Some(later) = &self.put_off {
            later.tables.set(false);
        }
        let guard = crossbeam::epoch::pin();
        let new = Owned::new(self.build());
        // ORDERING: AcqRel: workers that read the pointer see whole tables.
        let old = self.tables.swap(new, Ordering::AcqRel, &guard);
        // SAFETY: `old` is unreachable from now on; workers that still use it are pinned.
        unsafe { guard.defer_destroy(old) };
        guard.flush();
    }

    /// Chores: forget old addresses. Call about once a second.
    pub fn tick(&self) {
        self.fdb.sweep(clock::secs(clock::now_ns()));
    }

    /// Memory of all attached ports, in bytes.
    pub fn memory(&self) -> u64 {
        self.ports.values().filter_map(|p| p.attached.as_ref()).map(|a| a.memory).sum()
    }

    /// Ends the workers and drops all ports.
    pub fn stop(&mut self) {
        for w in 0..self.workers.len() {
            self.tell(w, Command::Stop);
        }
        for w in &mut self.workers {
            if let Some(t) = w.thread.take()
                && t.join().is_err()
            {
                tracing::error!(switch = self.cfg.name, "a worker panicked");
            }
        }
        self.seats.iter().flatten().for_each(|s| s.end());
        self.seats.iter().flatten().for_each(|s| s.pass());
        self.ports.clear();
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.stop();
        let old = std::mem::take(&mut self.tables);
        match Arc::try_unwrap(old) {
            // SAFETY: the workers have ended and nobody else holds the pointer.
            Ok(old) => drop(unsafe { old.try_into_owned() }),
            // An inline sender that nobody has dropped yet. It finds nothing from now on.
            Err(shared) => {
                let guard = crossbeam::epoch::pin();
                // ORDERING: AcqRel, as in `publish_now`.
                let old = shared.swap(Shared::null(), Ordering::AcqRel, &guard);
                if !old.is_null() {
                    // SAFETY: as in `publish_now`.
                    unsafe { guard.defer_destroy(old) };
                }
                guard.flush();
            }
        }
    }
}

/// Ties the calling thread to a CPU.
fn pin(cpu: Option<usize>) -> Result<(), String> {
    let Some(cpu) = cpu else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|e| format!("cannot pin it to CPU {cpu} (`cpus`): {e}"))
}
