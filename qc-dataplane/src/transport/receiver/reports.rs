//! Polls, and what is answered to them.

use std::ops::Range;

use zerocopy::IntoBytes;

use super::answer::Answer;
use super::{Place, Receiver};
use crate::transport::wire::body::room_for_spans;
use crate::transport::wire::{Envelope, Kind, MAX_CHUNK, Poll, Report, ReportHead, Spans, State, write};
use crate::transport::{MOST_COPIES, SECOND};

/// Runs of what is lacking that are held against what is coming anyway; who lacks more answers.
const COMPARED: usize = 64;

impl Receiver {
    pub(super) fn poll(&mut self, now: u64, seat: usize, poll: &Poll) {
        if self.seats[seat].is_new(poll) {
            self.seats[seat].answer(now, poll, &mut self.rng);
        } else if poll.advert {
            let about = self.seats[seat].answer.as_ref().filter(|a| a.is_lack && a.round == poll.round);
            if let Some(about) = about.map(|a| a.about.clone())
                && self.is_coming(about, &poll.coming)
            {
                self.seats[seat].answer = None;
                self.counters.suppressed += 1;
            }
        }
    }

    /// Whether all that is lacking will be repaired anyway.
    fn is_coming(&mut self, about: Range<u64>, coming: &Spans) -> bool {
        let Some(joined) = &mut self.joined else { return false };
        let lacks: Vec<Range<u64>> = joined.lacks(about).take(COMPARED + 1).collect();
        lacks.len() <= COMPARED && lacks.iter().all(|r| coming.covers(r))
    }

    pub(super) fn report(&mut self, now: u64, seat: usize, answer: &Answer, out: &mut dyn FnMut(&[u8])) {
        let Place { sender: to, from, number } = self.seats[seat].place;
        let (Some(tag), session) = (self.seats[seat].tag, self.seats[seat].session) else { return };
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
            session,
            round: answer.round,
            receiver: number,
            have: self.have(),
            rate: self.rate,
            frames: self.counters.frames,
            duplicates: self.counters.duplicates,
            rejected: self.counters.rejected,
            state: self.state,
            lacks: said,
        };
        let envelope =
            Envelope { to, from, transfer: self.options.transfer, tag, partition: self.options.partition };
        write(&mut self.frame, &envelope, Kind::Report, &[report.head().as_bytes(), &spans]);
        self.seats[seat].news = false;
        // Who asks many times at once has heard nothing for long, and our words may get lost as easily.
        let copies = self.seats[seat].copies.clamp(1, MOST_COPIES);
        self.counters.reports += u64::from(copies);
        (0..copies).for_each(|_| out(&self.frame));
    }

    pub(super) fn have(&self) -> u64 {
        match (&self.joined, &self.about, self.state) {
            (_, Some(about), State::Verified) => about.shape.chunks(),
            (Some(joined), ..) => joined.shape.chunks() - joined.store.left(),
            _ => 0,
        }
    }
}
