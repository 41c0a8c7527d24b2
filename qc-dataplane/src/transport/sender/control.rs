//! Frames that are no content: hellos, polls, news of repairs, the end.

use std::ops::Range;

use zerocopy::IntoBytes;
use zerocopy::network_endian::U64;

use super::peers::Peer;
use super::{PATIENT, Phase, Sender, inline};
use crate::transport::wire::body::room_for_spans;
use crate::transport::wire::{Hello, Kind, Poll, PollHead, Spans, write};
use crate::transport::{MOST_COPIES, SECOND};

/// When no more chunks than these are to be sent, it is time to ask for more.
const AHEAD: u64 = 4096;

/// How much oftener polls go out before the first chunk, and ends after the last one.
const HOLDING: u64 = 5;

impl Sender {
    /// All that is known to be lacking has been sent: who still lacks something is asked as soon as the last poll's
    /// answers are here.
    pub(super) fn ask_if_all_is_sent(&mut self) {
        let waits = !self.holes.is_empty() || !self.unicast.is_empty() || !self.parity.is_empty();
        if !waits && self.cursor == self.shape.chunks() {
            self.next_poll = self.next_poll.min(self.answered.max(self.clock.last));
        }
    }

    /// A frame that is no content, if one is due.
    pub(super) fn control(&mut self, now: u64, out: &mut dyn FnMut(&[u8])) -> bool {
        if self.poll_copies > 0 {
            self.poll_copies -= 1;
        } else if let Phase::Ending(n) = self.phase {
            if now < self.next_poll {
                return false;
            }
            let session = U64::new(self.options.session);
            let envelope = self.envelope(self.options.tree);
            write(&mut self.frame, &envelope, Kind::End, &[session.as_bytes()]);
            self.next_poll = now + self.options.poll_every / HOLDING;
            self.phase = if n <= 1 { Phase::Done } else { Phase::Ending(n - 1) };
        } else if std::mem::take(&mut self.hello) {
            self.write_hello();
        } else if now >= self.next_poll && !self.poll_waits {
            self.write_poll(now);
        } else if self.advert.is_some_and(|at| now >= at) {
            self.advert = None;
            self.write_poll_for(0..self.cursor, false, true);
        } else {
            return false;
        }
        self.counters.control += 1;
        out(&self.frame);
        true
    }

    pub(super) fn write_hello(&mut self) {
        let hello = Hello {
            session: self.options.session,
            group: self.peers.len() as u32,
            shape: self.shape,
            manifest_hash: self.source.manifest_hash(),
            content_hash: self.hash,
            manifest: inline(&self.shape).then_some(self.source.manifest()),
        };
        let envelope = self.envelope(self.options.tree);
        let head = hello.head();
        let bytes: [&[u8]; 2] = [head.as_bytes(), hello.manifest.unwrap_or_default()];
        write(&mut self.frame, &envelope, Kind::Hello, &bytes);
    }

    fn write_poll(&mut self, now: u64) {
        let spread = self.options.spread(self.peers.len());
        let chunks = self.shape.chunks();
        let all = self.holes.is_empty() || matches!(self.phase, Phase::Hold(_));
        let horizon = self.peers.iter().filter(|p| p.outcome.is_none()).map(|p| p.horizon).min();
        // Receivers whose first report did not reach to the end are asked for the rest before it is due. By turns, so
        // that what gets lost meanwhile is asked for too.
        let ahead = horizon
            .filter(|h| *h < chunks && self.holes.at_most(AHEAD) && self.rounds.current().is_multiple_of(2));
        // Everybody answers now and then, and while nothing else could be done.
        let census = now >= self.next_census || all || ahead.is_some();
        let about = if all { 0..chunks } else { ahead.map_or(0..self.cursor, |from| from..chunks) };
        self.rounds.begin();
        self.write_poll_for(about, census, false);
        let rest = if census { spread + spread / 2 } else { spread };
        self.answered = now.saturating_add(rest);
        // Before anything is sent there is nothing else to do than to find out who is there.
        let holding = matches!(self.phase, Phase::Hold(_));
        let every = if holding { self.poll_every / HOLDING } else { self.poll_every };
        self.next_poll = now.saturating_add(every.max(rest));
        // Whoever joins late needs to know what this is.
        self.hello |= std::mem::take(&mut self.lost_hello);
        if census {
            self.next_census = now.saturating_add(self.options.census_every.max(rest));
            self.hello |= self.peers.iter().any(|p| p.outcome.is_none() && p.state.is_none());
            for peer in &mut self.peers {
                peer.asked();
            }
            if all && !holding {
                self.poll_copies = self.copies() - 1;
            }
        }
    }

    /// How often a poll is to go out when there is nothing else to send: oftener the longer somebody has not answered. Losses in a
    /// row are counted in frames on many links, and one frame in each poll's time and one back take long to get to
    /// their end. Where polls are rare because the tree is slow, they are not repeated; answers are as many as
    /// polls, and all together no more than are wanted.
    fn copies(&self) -> u32 {
        let often = self.options.poll_every;
        let unanswered = self.peers.iter().map(Peer::unanswered).max().unwrap_or(0);
        let wanted = 1 << (unanswered / PATIENT).min(MOST_COPIES.ilog2());
        let sent = u64::from(MOST_COPIES).saturating_mul(often) / self.poll_every.max(1);
        let answered =
            u64::from(self.options.reports).saturating_mul(often) / SECOND / self.peers.len().max(1) as u64;
        u32::try_from(sent.min(answered)).unwrap_or(u32::MAX).clamp(1, wanted)
    }

    pub(super) fn write_poll_for(&mut self, about: Range<u64>, census: bool, advert: bool) {
        let spread = self.options.spread(self.peers.len());
        let mut spans = Vec::new();
        let room = room_for_spans(self.shape.chunk(), size_of::<PollHead>());
        let first = self.holes.first().map_or(0, |(r, _)| r.start);
        let coming =
            Spans::write(&mut spans, room, first, self.shape.chunks(), self.holes.iter().map(|(r, _)| r));
        let poll = Poll {
            session: self.options.session,
            round: self.rounds.current(),
            spread: u32::try_from(spread / 1000).unwrap_or(u32::MAX),
            cursor: about.end,
            from: about.start,
            census,
            advert,
            group: self.peers.iter().filter(|p| p.outcome.is_none()).count() as u32,
            coming,
        };
        let envelope = self.envelope(self.options.tree);
        write(&mut self.frame, &envelope, Kind::Poll, &[poll.head().as_bytes(), &spans]);
    }
}
