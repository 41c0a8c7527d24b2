//! Polls, and what is answered to them.

use std::ops::Range;

use zerocopy::IntoBytes;

use super::Receiver;
use super::answer::{self, Answer};
use crate::transport::SECOND;
use crate::transport::wire::body::room_for_spans;
use crate::transport::wire::{Envelope, Kind, MAX_CHUNK, Poll, Report, ReportHead, Spans, State, write};

/// Runs of what is lacking that are held against what is coming anyway; who lacks more answers.
const COMPARED: usize = 64;

impl Receiver {
    pub(super) fn poll(&mut self, now: u64, poll: &Poll) {
        if poll.session != self.session {
            self.session = poll.session;
            self.round = 0;
            self.news = true;
            self.ended = false;
            self.answer = None;
            self.asked = None;
        }
        if poll.advert {
            let waits = self.answer.as_ref().is_some_and(|a| a.is_lack && a.round == poll.round);
            if waits && self.is_coming(&poll.coming) {
                self.answer = None;
                self.counters.suppressed += 1;
            }
            return;
        }
        if poll.round <= self.round {
            // Late, or twice.
            return;
        }
        self.round = poll.round;
        self.asked = Some((poll.spread, poll.group));
        let must = poll.census || self.news;
        let due = answer::delay(&mut self.rng, poll.spread, poll.group, must);
        let due = now.saturating_add(due);
        // An answer that is already waiting keeps its time, and answers the newer poll.
        let due = self.answer.as_ref().map_or(due, |a| a.due.min(due));
        let must = must || self.answer.as_ref().is_some_and(|a| !a.is_lack);
        self.answer = Some(Answer { due, round: poll.round, about: poll.from..poll.cursor, is_lack: !must });
    }

    /// The end is told without being asked, once and spread like answers: who waits for it waits for no poll.
    pub(super) fn tell_end(&mut self, now: u64) {
        let over = matches!(self.state, State::Verified | State::Failed(_));
        let Some((spread, group)) = self.asked.filter(|_| over && self.news && self.answer.is_none()) else {
            return;
        };
        let due = now.saturating_add(answer::delay(&mut self.rng, spread, group, true));
        self.answer = Some(Answer { due, round: self.round, about: 0..0, is_lack: false });
    }

    /// Whether all that is lacking will be repaired anyway.
    fn is_coming(&mut self, coming: &Spans) -> bool {
        let (Some(answer), Some(joined)) = (&self.answer, &mut self.joined) else { return false };
        let about = answer.about.clone();
        let lacks: Vec<Range<u64>> = joined.lacks(about).take(COMPARED + 1).collect();
        lacks.len() <= COMPARED && lacks.iter().all(|r| coming.covers(r))
    }

    pub(super) fn report(&mut self, now: u64, answer: &Answer, out: &mut dyn FnMut(&[u8])) {
        let Some((to, tag)) = self.sender else { return };
        let chunk = self.about.as_ref().map_or(usize::from(MAX_CHUNK), |a| a.shape.chunk());
        let room = room_for_spans(chunk, size_of::<ReportHead>()).min(1400);
        let mut spans = Vec::new();
        let said = match (self.state, &mut self.joined) {
            (State::Receiving, Some(joined)) => {
                let about = answer.about.start..answer.about.end.min(joined.shape.chunks());
                let (from, to) = (about.start, about.end);
                Spans::write(&mut spans, room, from, to, joined.lacks(about))
            }
            (State::Joining, _) => {
                let n = self.parts.len() as u64;
                let parts = &self.parts;
                let lacks = (0..n).filter(|i| !parts[*i as usize]).map(|i| i..i + 1);
                Spans::write(&mut spans, room, 0, n, lacks)
            }
            _ => Spans::write(&mut spans, room, 0, 0, std::iter::empty()),
        };
        if answer.is_lack && said.runs.is_empty() {
            return;
        }
        let (bytes, since) = (self.counters.bytes - self.rated.0, now.saturating_sub(self.rated.1));
        if since >= SECOND {
            self.rate = (u128::from(bytes) * u128::from(SECOND) / u128::from(since)) as u64;
            self.rated = (self.counters.bytes, now);
        }
        let report = Report {
            session: self.session,
            round: answer.round,
            receiver: self.options.number,
            have: self.have(),
            rate: self.rate,
            frames: self.counters.frames,
            duplicates: self.counters.duplicates,
            rejected: self.counters.rejected,
            state: self.state,
            lacks: said,
        };
        let envelope = Envelope {
            to,
            from: self.options.from,
            transfer: self.options.transfer,
            tag,
            partition: self.options.partition,
        };
        write(&mut self.frame, &envelope, Kind::Report, &[report.head().as_bytes(), &spans]);
        self.counters.reports += 1;
        self.news = false;
        out(&self.frame);
    }

    pub(super) fn have(&self) -> u64 {
        match (&self.joined, &self.about, self.state) {
            (_, Some(about), State::Verified) => about.shape.chunks(),
            (Some(joined), ..) => joined.shape.chunks() - joined.store.left(),
            _ => 0,
        }
    }
}
