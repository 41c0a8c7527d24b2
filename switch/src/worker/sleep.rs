//! How a worker goes to sleep and what it looks at when it wakes.

use super::*;

impl Worker {
    /// Looks once more at sources that have slept for a while.
    #[cold]
    pub(super) fn look_again(&mut self, guard: &Guard, now: u64) {
        while let Some((since, id)) = self.doubts.front().copied().filter(|(since, _)| now >= since + DOUBT) {
            self.doubts.pop_front();
            let egress = |p: &PortId| self.tables(guard)?.port(*p)?.egress.as_ref();
            let missed = self.sources.get(id).and_then(Option::as_deref).is_some_and(|s| match s.state {
                _ if s.asleep_since != since => false,
                State::Parked => s.work.missed() == Some(true),
                State::Blocked if matches!(s.work, Work::Out(_)) => {
                    let Work::Out(outlet) = &s.work else { return false };
                    outlet.inner().missed_room(s.lane) == Some(true)
                }
                State::Blocked => {
                    s.waits_for.iter().any(|p| egress(p).is_some_and(|e| e.missed_room(s.lane) == Some(true)))
                }
                _ => false,
            });
            if missed {
                self.rouse(id, now);
            }
        }
    }

    /// A source has work again.
    pub(super) fn rouse(&mut self, id: usize, now: u64) {
        if let Some(Some(s)) = self.sources.get_mut(id) {
            if s.state == State::Parked {
                s.work.disarm();
            }
            s.state = State::Active;
            s.last_work = now;
            self.active.push(id);
        }
    }

    /// Lets others have the core, if they want it. The time after it.
    #[cold]
    pub(super) fn offer_core(&mut self, guard: &mut Guard, now: u64) -> u64 {
        // Outside of the guard, as it may take a while.
        guard.repin_after(std::thread::yield_now);
        let then = now_ns();
        self.yielding.offered(now, then);
        then
    }

    pub(super) fn sleep(&mut self, guard: &mut Guard, now: u64, worked: bool) {
        if worked && !self.setup.gather.is_zero() {
            // Whoever rings is heard afterwards. Those who are held meanwhile make up for it.
            let gather = self.setup.gather;
            guard.repin_after(|| std::thread::sleep(gather));
            let _ = self.look(EpollTimeout::ZERO);
            return;
        }
        let until = self.next_wake;
        if until <= now {
            // Too short to sleep precisely.
            std::hint::spin_loop();
            return;
        }
        // Once for all whose other side may have missed it.
        let doubt = self.doubts.back().map(|(since, _)| (since + DOUBT).saturating_sub(now));
        let held = (until != u64::MAX).then(|| until - now);
        // Outside of the guard: tables may be freed while this worker sleeps.
        guard.repin_after(|| match held {
            None => {
                let timeout = if doubt.is_some() { EpollTimeout::from(A_WHILE) } else { EpollTimeout::NONE };
                let _ = self.look(timeout);
            }
            Some(held) => {
                let t = TimeSpec::nanoseconds(held.min(doubt.unwrap_or(u64::MAX)) as i64);
                let mut fds = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
                let _ = ppoll(&mut fds, Some(t), None);
                let _ = self.look(EpollTimeout::ZERO);
            }
        });
    }

    /// Takes what the doorbells say. The time (ns) of it, or 0 if they said nothing.
    pub(super) fn look(&mut self, timeout: EpollTimeout) -> u64 {
        let mut events = [EpollEvent::empty(); 64];
        let n = self.epoll.wait(&mut events, timeout).unwrap_or(0);
        let now = if n > 0 { now_ns() } else { 0 };
        for e in &events[..n] {
            match e.data() {
                WAKE => {}
                ROOM => self.unblock(now),
                id => {
                    let id = id as usize;
                    if let Some(Some(s)) = self.sources.get(id)
                        && s.state == State::Parked
                    {
                        self.rouse(id, now);
                    }
                }
            }
        }
        now
    }

    pub(super) fn unblock(&mut self, now: u64) {
        for (id, s) in self.sources.iter_mut().enumerate() {
            let Some(s) = s else { continue };
            if s.state == State::Blocked {
                s.state = State::Active;
                s.last_work = now;
                self.active.push(id);
            }
        }
    }
}
