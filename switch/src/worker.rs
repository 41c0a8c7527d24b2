//! A worker thread: takes bursts from the sources it owns, turn after turn, and sleeps when there are none.
//!
//! A source is *active* (polled every turn), *parked* (idle for the spin time: it will ring), *held* (by a
//! shaping meter or by a replay's clock, until a given time) or *blocked* (by a receiver that is full
//! and must not lose anything). Parked sources cost nothing, however many there are. When none is active
//! the worker sleeps in epoll. Where the other side may have missed that a source sleeps, it is looked at once more a
//! while later.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};
use crossbeam::epoch::{Atomic, Guard};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use nix::sys::time::{TimeSpec, TimeValLike};
use valecast_ring::notify::{self, DOUBT};

use crate::clock::now_ns;
use crate::fdb::Fdb;
use crate::pipeline::Pipeline;
use crate::plan::Context;
use crate::port::line::Outlet;
use crate::port::line::outlet::{Change, Let};
use crate::port::{Egress, Ingress};
use crate::route::LastRoute;
use crate::tables::{PortId, Tables};

mod pace;
pub(crate) mod receivers;
mod sleep;
mod work;
mod yielding;

use pace::Pace;
use receivers::Receivers;
use work::Work;
use yielding::Yielding;

/// Turns, or frames, between looks at the clock and at the flags of those who may sleep. A clock and a fence for
/// each turn would cost small bursts more than their frames do.
pub(crate) const TURNS: u32 = 8;
pub(crate) const FRAMES: usize = 128;
/// How often (ns) a busy worker looks at the doorbells.
const LOOK_EVERY: u64 = 20_000;
/// How long (ns) a worker must be idle before it wakes receivers that wait for more than there is; and how long
/// it lets them wait at the most while others keep it busy.
const SETTLE_AFTER: u64 = 10_000;
pub(crate) const SETTLE_AT_LAST: u64 = 200_000;
/// A little more than [`DOUBT`], in ms.
const A_WHILE: u8 = 2;
const WAKE: u64 = u64::MAX;
const ROOM: u64 = u64::MAX - 1;

/// What the control side asks of a worker.
pub enum Command {
    /// Serve a source.
    AddSource {
        /// Its port.
        port: PortId,
        /// Its number within the port.
        lane: usize,
        /// The source.
        ingress: Box<dyn Ingress>,
    },
    /// Serve the outlet of a line before a port.
    AddOutlet(PortId, Box<Outlet>),
    /// The line before a port is to be another; nobody uses its queue as it was any more.
    ChangeLine(PortId, Change),
    /// Listen for room made by a receiver.
    AddRoom(PortId, Arc<dyn Egress>),
    /// Forget a port's sources and receiver; say when it is done.
    Remove(PortId, Sender<()>),
    /// Say when no earlier tables are in use any more.
    Barrier(Sender<()>),
    /// End.
    Stop,
}

/// What a worker is made with.
pub struct Setup {
    /// Its number.
    pub index: usize,
    /// The tables.
    pub tables: Arc<Atomic<Tables>>,
    /// The forwarding table.
    pub fdb: Arc<Fdb>,
    /// Most frames per burst.
    pub burst: usize,
    /// How long (ns) an idle source is polled before it is parked.
    pub spin: u64,
    /// How long it sleeps at the least when it has had frames.
    pub gather: Duration,
    /// Commands.
    pub commands: Receiver<Command>,
    /// Rung after a command was sent.
    pub wake: Arc<EventFd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Parked,
    Held(u64),
    Blocked,
}

struct Source {
    port: PortId,
    lane: usize,
    work: Work,
    last_route: LastRoute,
    state: State,
    last_work: u64,
    /// Its sender may have gone to sleep since it was told of room.
    loose: bool,
    /// When it was parked or blocked.
    asleep_since: u64,
    /// The full receivers, while it is blocked.
    waits_for: Vec<PortId>,
}

/// The tables as they are now.
pub(crate) fn current<'g>(tables: &Atomic<Tables>, guard: &'g Guard) -> Option<&'g Tables> {
    // ORDERING: Acquire pairs with the control side's Release of new tables.
    let tables = tables.load(std::sync::atomic::Ordering::Acquire, guard);
    // SAFETY: tables are replaced, never freed, while a guard that may have seen them is pinned.
    unsafe { tables.as_ref() }
}

/// A worker; [`Worker::run`] is its thread.
pub struct Worker {
    setup: Setup,
    epoll: Epoll,
    /// By number; a number is used again only after its source has gone.
    sources: Vec<Option<Box<Source>>>,
    active: Vec<usize>,
    rooms: HashMap<PortId, Arc<dyn Egress>>,
    next_held: u64,
    /// When to wake for that.
    next_wake: u64,
    /// Outlets of lines that are being taken away: others may still put frames into their queues.
    closing: Vec<Outlet>,
    pipeline: Pipeline,
    /// Sources that are loose.
    loose: Vec<usize>,
    /// Receivers that got frames since the flags were looked at after a fence.
    fresh: Receivers,
    /// Receivers that may wait for more frames than they got.
    patient: Receivers,
    /// Sources that went to sleep, and when, whose other side may have missed it.
    doubts: VecDeque<(u64, usize)>,
    pace: Pace,
    yielding: Yielding,
    stop: bool,
}

impl Worker {
    /// Prepares a worker.
    pub fn new(setup: Setup) -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(setup.wake.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, WAKE))?;
        Ok(Self {
            setup,
            epoll,
            sources: Vec::new(),
            active: Vec::new(),
            rooms: HashMap::new(),
            next_held: u64::MAX,
            next_wake: u64::MAX,
            closing: Vec::new(),
            pipeline: Pipeline::default(),
            loose: Vec::new(),
            fresh: Receivers::default(),
            patient: Receivers::default(),
            doubts: VecDeque::new(),
            pace: Pace::default(),
            yielding: Yielding::default(),
            stop: false,
        })
    }

    /// Works until told to stop.
    pub fn run(mut self) {
        let mut guard = crossbeam::epoch::pin();
        let mut now = now_ns();
        let (mut turns, mut frames) = (0, 0);
        let (mut last_work, mut last_look, mut last_settled, mut woke) = (now, now, now, now);
        loop {
            if !self.setup.commands.is_empty() {
                let acks = self.commands();
                if self.stop {
                    return;
                }
                guard.repin();
                // From here on only tables published before the commands are in use.
                for ack in acks {
                    let _ = ack.send(());
                }
                now = now_ns();
            }
            guard.repin();
            let work = self.turn(&guard, now);
            turns += 1;
            frames += work;
            if self.pace.turn(work) {
                turns += pace::AS_TURNS;
                now = pace::pause();
            }
            let due = turns >= TURNS || frames >= FRAMES;
            if work > 0 {
                last_work = now;
                if !due {
                    continue;
                }
            }
            self.wake_all(&guard);
            if work == 0 && !due && !self.active.is_empty() {
                std::hint::spin_loop();
                continue;
            }
            (turns, frames) = (0, 0);
            now = now_ns();
            if now >= self.next_held {
                self.release_held(now);
            }
            if self.doubts.front().is_some_and(|(since, _)| now >= since + DOUBT) {
                self.look_again(&guard, now);
            }
            if now - last_look > LOOK_EVERY {
                last_look = now;
                // Who was woken has worked at that time: the turn must not be before it.
                now = now.max(self.look(EpollTimeout::ZERO));
            }
            let idle = work == 0 && (self.active.is_empty() || now - last_work > SETTLE_AFTER);
            if idle || now - last_settled > SETTLE_AT_LAST {
                self.wake_patient(&guard);
                last_settled = now;
            }
            if idle && self.active.is_empty() && self.setup.commands.is_empty() {
                self.sleep(&mut guard, now, last_work >= woke);
                now = now_ns();
                // Work is after that, also where the clock was not looked at since.
                (woke, last_look, last_work) = (now, now, now - 1);
            } else if work == 0 && self.yielding.due(now, now.saturating_sub(last_work)) {
                now = self.offer_core(&mut guard, now);
            }
        }
    }

    fn tables<'g>(&self, guard: &'g Guard) -> Option<&'g Tables> {
        current(&self.setup.tables, guard)
    }

    /// One turn over all active sources; frames done.
    fn turn(&mut self, guard: &Guard, now: u64) -> usize {
        let Some(t) = self.tables(guard) else { return 0 };
        let mut work = 0;
        let mut left = false;
        for k in 0..self.active.len() {
            let id = self.active[k];
            let Some(mut s) = self.sources[id].take() else { continue };
            work += self.serve(t, id, &mut s, now);
            left |= s.state != State::Active;
            self.sources[id] = Some(s);
        }
        if left {
            let sources = &self.sources;
            self.active.retain(|id| sources[*id].as_ref().is_some_and(|s| s.state == State::Active));
        }
        work
    }

    /// One burst of one source; frames done.
    fn serve(&mut self, t: &Tables, id: usize, s: &mut Source, now: u64) -> usize {
        let Some(port) = t.port(s.port) else {
            // Being detached; the command to remove it follows.
            return 0;
        };
        let ingress = match &mut s.work {
            Work::In(ingress) => ingress,
            Work::Out(outlet) => {
                let max = self.setup.burst;
                let let_go = outlet.run(self.pipeline.memory(), max, self.setup.index, now);
                self.pace.served(let_go.done, max, false);
                return self.after_letting_go(id, s, let_go, now);
            }
        };
        let cx =
            Context { tables: t, fdb: &self.setup.fdb, port, lane: s.lane, worker: self.setup.index, now };
        let served = self.pipeline.serve(cx, &mut **ingress, &mut s.last_route, self.setup.burst);
        if served.taken == 0 {
            self.idle(id, s, now);
            return 0;
        }
        self.pace.served(served.taken, self.setup.burst, ingress.ring().is_some());
        if served.done > 0 {
            s.last_work = now;
            if !s.loose {
                s.loose = true;
                self.loose.push(id);
            }
            for p in self.pipeline.touched() {
                self.fresh.add(*p);
            }
        }
        if let Some(until) = served.hold_until {
            self.hold(s, until);
        } else if served.done == 0 && now.saturating_sub(s.last_work) > self.setup.spin {
            self.block(t, id, s, now);
        }
        served.done
    }

    /// What follows from a look at an outlet; frames done.
    fn after_letting_go(&mut self, id: usize, s: &mut Source, got: Let, now: u64) -> usize {
        if got.done > 0 {
            s.last_work = now;
            if !s.loose {
                s.loose = true;
                self.loose.push(id);
            }
            self.fresh.add(s.port);
        } else if got.blocked {
            let Work::Out(outlet) = &s.work else { return 0 };
            if now.saturating_sub(s.last_work) > self.setup.spin && outlet.inner().arm_room(s.lane) {
                s.state = State::Blocked;
                s.asleep_since = now;
                s.waits_for.clear();
                if outlet.inner().missed_room(s.lane).is_some() {
                    self.doubts.push_back((now, id));
                }
            }
        } else if let Some(next) = got.next {
            self.hold(s, next);
        } else {
            self.idle(id, s, now);
        }
        got.done
    }

    /// Tells senders of room, and wakes those who sleep and have what they wait for.
    fn wake_all(&mut self, guard: &Guard) {
        if self.loose.is_empty() {
            return;
        }
        for id in &self.loose {
            if let Some(Some(Source { work: Work::In(ingress), .. })) =
                self.sources.get_mut(*id).map(Option::as_deref_mut)
            {
                ingress.publish();
            }
        }
        notify::settle();
        for id in self.loose.drain(..) {
            if let Some(Some(s)) = self.sources.get_mut(id) {
                s.loose = false;
                if let Work::In(ingress) = &mut s.work {
                    ingress.wake();
                }
            }
        }
        let Some(t) = self.tables(guard) else { return };
        self.fresh.wake(t, &mut self.patient);
    }

    /// Wakes those who sleep and have some of what they wait for.
    fn wake_patient(&mut self, guard: &Guard) {
        if self.patient.list.is_empty() {
            return;
        }
        let Some(t) = self.tables(guard) else { return };
        notify::settle();
        self.patient.wake_patient(t);
    }

    fn idle(&mut self, id: usize, s: &mut Source, now: u64) {
        if let Some(due) = s.work.due() {
            self.hold(s, due);
        } else if now.saturating_sub(s.last_work) > self.setup.spin && s.work.arm() {
            s.state = State::Parked;
            s.asleep_since = now;
            if s.work.missed().is_some() {
                self.doubts.push_back((now, id));
            }
        }
    }

    fn hold(&mut self, s: &mut Source, until: u64) {
        s.state = State::Held(until);
        self.next_held = self.next_held.min(until);
        self.next_wake = self.next_wake.min(self.wake_for(s, until));
    }

    /// When to wake for a source that is held until then: in time to be precise, which lines have no need to be, as
    /// they make up for what is late.
    fn wake_for(&self, s: &Source, until: u64) -> u64 {
        match s.work {
            Work::In(_) => until.saturating_sub(self.setup.spin),
            Work::Out(_) => until,
        }
    }

    fn release_held(&mut self, now: u64) {
        (self.next_held, self.next_wake) = (u64::MAX, u64::MAX);
        let spin = self.setup.spin;
        for (id, s) in self.sources.iter_mut().enumerate() {
            let Some(s) = s else { continue };
            if let State::Held(until) = s.state {
                if until <= now {
                    s.state = State::Active;
                    self.active.push(id);
                } else {
                    self.next_held = self.next_held.min(until);
                    let early = if matches!(s.work, Work::In(_)) { spin } else { 0 };
                    self.next_wake = self.next_wake.min(until.saturating_sub(early));
                }
            }
        }
    }

    /// The source waits for room, which the receivers will tell of.
    fn block(&mut self, t: &Tables, id: usize, s: &mut Source, now: u64) {
        let egress = |p: &PortId| t.port(*p).and_then(|d| d.egress.as_ref());
        let on = self.pipeline.blocked_on();
        if !on.is_empty() && on.iter().all(|p| egress(p).is_some_and(|e| e.arm_room(s.lane))) {
            s.state = State::Blocked;
            s.asleep_since = now;
            s.waits_for.clear();
            s.waits_for.extend_from_slice(on);
            if on.iter().any(|p| egress(p).is_some_and(|e| e.missed_room(s.lane).is_some())) {
                self.doubts.push_back((now, id));
            }
        }
    }

    /// Obeys; what is returned gets an answer after the guard was pinned anew.
    fn commands(&mut self) -> Vec<Sender<()>> {
        let mut acks = Vec::new();
        while let Ok(c) = self.setup.commands.try_recv() {
            match c {
                Command::AddSource { port, lane, ingress } => self.add_work(port, lane, Work::In(ingress)),
                Command::AddOutlet(port, outlet) => self.add_work(port, 0, Work::Out(outlet)),
                Command::ChangeLine(port, change) => self.change_line(port, change),
                Command::AddRoom(port, egress) => {
                    self.watch(egress.room_fds(), ROOM);
                    self.rooms.insert(port, egress);
                }
                Command::Remove(port, ack) => {
                    self.remove(port);
                    acks.push(ack);
                }
                Command::Barrier(ack) => {
                    // A receiver may have gone: whoever waits for it looks again.
                    self.unblock(now_ns());
                    for outlet in std::mem::take(&mut self.closing) {
                        outlet.finish(self.setup.index);
                    }
                    acks.push(ack);
                }
                Command::Stop => self.stop = true,
            }
        }
        acks
    }

    fn watch(&self, fds: Vec<BorrowedFd<'_>>, data: u64) {
        for fd in fds {
            let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, data);
            // A line that is put before a port later has the port's doorbells, too.
            if let Err(e) = self.epoll.add(fd, event)
                && e != nix::Error::EEXIST
            {
                tracing::error!(worker = self.setup.index, "cannot watch a doorbell: {e}");
            }
        }
    }

    fn change_line(&mut self, port: PortId, change: Change) {
        let mut sources = self.sources.iter_mut().enumerate();
        let found = sources.find_map(|(id, s)| match s.as_deref_mut() {
            Some(s) if s.port == port => match &mut s.work {
                Work::Out(outlet) => Some((id, &mut s.state, outlet)),
                Work::In(_) => None,
            },
            _ => None,
        });
        let Some((id, state, outlet)) = found else { return };
        outlet.change(change);
        match *state {
            State::Active => {}
            // What it waits for may not hold any more.
            State::Held(_) => {
                *state = State::Active;
                self.active.push(id);
            }
            State::Parked | State::Blocked => self.rouse(id, now_ns()),
        }
    }

    fn add_work(&mut self, port: PortId, lane: usize, work: Work) {
        let id = self.sources.iter().position(Option::is_none).unwrap_or(self.sources.len());
        self.watch(work.fd().into_iter().collect(), id as u64);
        let source = Source {
            port,
            lane,
            work,
            state: State::Active,
            last_work: now_ns(),
            loose: false,
            asleep_since: 0,
            waits_for: Vec::new(),
            last_route: LastRoute::default(),
        };
        if id == self.sources.len() {
            self.sources.push(None);
        }
        self.sources[id] = Some(Box::new(source));
        self.active.push(id);
    }

    fn remove(&mut self, port: PortId) {
        let epoll = &self.epoll;
        // Clients hold the same eventfds, so closing ours does not end the watch.
        for slot in &mut self.sources {
            if let Some(s) = slot.take_if(|s| s.port == port) {
                if let Some(fd) = s.work.fd() {
                    let _ = epoll.delete(fd);
                }
                if let Work::Out(outlet) = s.work {
                    self.closing.push(*outlet);
                }
            }
        }
        if let Some(e) = self.rooms.remove(&port) {
            for fd in e.room_fds() {
                let _ = epoll.delete(fd);
            }
        }
        let sources = &self.sources;
        self.active.retain(|id| sources[*id].is_some());
        self.fresh.remove(port);
        self.patient.remove(port);
    }
}
