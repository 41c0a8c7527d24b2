//! A receiver's place on one tree: what that tree's sender asked, and what it was told.

use rand_chacha::ChaCha8Rng;

use super::answer::{self, Answer};
use super::options::Place;
use crate::transport::wire::Poll;

/// A place on a tree. Each tree's sender asks by itself, and is answered by itself.
pub(super) struct Seat {
    pub place: Place,
    /// The tag of its sender's frames, once one has come.
    pub tag: Option<u32>,
    pub session: u64,
    pub round: u32,
    /// How often the last poll came.
    pub copies: u32,
    /// Spread and group of the last poll.
    pub asked: Option<(u32, u32)>,
    pub answer: Option<Answer>,
    /// What the sender does not know yet.
    pub news: bool,
    pub ended: bool,
}

impl Seat {
    pub fn new(place: Place) -> Self {
        Self {
            place,
            tag: None,
            session: 0,
            round: 0,
            copies: 0,
            asked: None,
            answer: None,
            news: true,
            ended: false,
        }
    }

    /// Takes what is new in a poll: another life of the sender, or another round; whether it is to be answered.
    pub fn is_new(&mut self, poll: &Poll) -> bool {
        if poll.session != self.session {
            let (place, tag) = (self.place, self.tag);
            *self = Self { tag, session: poll.session, ..Self::new(place) };
        }
        if poll.advert || poll.round < self.round {
            // News, or late.
            return false;
        }
        if poll.round == self.round {
            self.copies = self.copies.saturating_add(1);
            return false;
        }
        (self.round, self.copies) = (poll.round, 1);
        self.asked = Some((poll.spread, poll.group));
        true
    }

    /// Answers a poll, in a while.
    pub fn answer(&mut self, now: u64, poll: &Poll, rng: &mut ChaCha8Rng) {
        let must = poll.census || self.news;
        let due = answer::delay(rng, poll.spread, poll.group, must);
        let due = now.saturating_add(due);
        // An answer that is already waiting keeps its time, and answers the newer poll.
        let due = self.answer.as_ref().map_or(due, |a| a.due.min(due));
        let must = must || self.answer.as_ref().is_some_and(|a| !a.is_lack);
        self.answer = Some(Answer { due, round: poll.round, about: poll.from..poll.cursor, is_lack: !must });
    }

    /// The end is told without being asked, once and spread like answers: who waits for it waits for no poll.
    pub fn tell_end(&mut self, now: u64, rng: &mut ChaCha8Rng) {
        let Some((spread, group)) = self.asked.filter(|_| self.news && self.answer.is_none()) else {
            return;
        };
        let due = now.saturating_add(answer::delay(rng, spread, group, true));
        self.answer = Some(Answer { due, round: self.round, about: 0..0, is_lack: false });
    }
}
