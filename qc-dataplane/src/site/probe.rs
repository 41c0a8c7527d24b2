//! Whether a link carries frames, both ways: small frames from each site to its neighbours, all along. Pure.
//!
//! A frame says who sent it and whom it hears. Several are sent in a time of [`EVERY`], so that losses are not taken for the
//! end, and more while a link's state is in doubt. A link is up when in three such times in a row frames came in that say that ours arrive, and down when in three in a
//! row none came. The frame of a site that the link should not lead to counts as none.

use valecast_config::Mac;

/// The port that probes.
pub const PORT: &str = "qc-agent";
/// Its slots in each direction.
pub const SLOTS: u32 = 256;
/// Trees have numbers below this one, which is the probes'.
pub const TREE: u32 = crate::address::MOST_TREES - 1;
/// Where probes are addressed to.
pub const TO: Mac = Mac([0x03, 0xff, 0xff, 0xff, 0, 0]);
/// Where they come from.
pub const FROM: Mac = Mac([0x02, 0xff, 0xff, 0xff, 0, 0]);
/// How often is looked whether one came in.
pub const EVERY: std::time::Duration = std::time::Duration::from_millis(300);
/// How many times in a row change a link's state.
const IN_A_ROW: u8 = 3;

/// IEEE 802's "local experimental ethertype 1".
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
const MAGIC: [u8; 4] = *b"VCqc";
const VERSION: u8 = 1;
/// Least frame of Ethernet, without its check sequence.
const LEAST: usize = 60;

/// Where a probe that came in by link `number` is addressed to then.
#[must_use]
pub fn arrived(number: u16) -> Mac {
    crate::address::receiver_address(TREE, number + 1)
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The site that sent it.
    pub from: String,
    /// Which of its frames this is.
    pub sequence: u32,
    /// The sites that it hears.
    pub hears: Vec<String>,
}

impl Probe {
    /// The frame. Names are at most 15 bytes, and there are at most 64 that fit; others are left out.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let mut frame =
            [&TO.0[..], &FROM.0, &ETHERTYPE, &MAGIC, &[VERSION], &self.sequence.to_be_bytes()].concat();
        let mut name = |name: &str| {
            let name = &name.as_bytes()[..name.len().min(255)];
            frame.push(name.len() as u8);
            frame.extend_from_slice(name);
        };
        name(&self.from);
        self.hears.iter().take(64).for_each(|n| name(n));
        frame.push(0);
        frame.resize(frame.len().max(LEAST), 0);
        frame
    }

    /// Reads a frame that came in, and by which link.
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<(u16, Self)> {
        let (head, rest) = frame.split_at_checked(14)?;
        let to = Mac(head[..6].try_into().ok()?);
        let number = u16::from_be_bytes([to.0[4], to.0[5]]).checked_sub(1)?;
        if to != arrived(number) || head[12..] != ETHERTYPE {
            return None;
        }
        let rest = rest.strip_prefix(&MAGIC)?.strip_prefix(&[VERSION])?;
        let (sequence, mut rest) = rest.split_at_checked(4)?;
        let mut name = || {
            let (len, after) = rest.split_first()?;
            let (name, after) = after.split_at_checked(usize::from(*len))?;
            rest = after;
            std::str::from_utf8(name).ok().map(str::to_owned)
        };
        let from = name()?;
        let mut hears = Vec::new();
        loop {
            match name()? {
                end if end.is_empty() => break,
                site => hears.push(site),
            }
        }
        Some((number, Self { from, sequence: u32::from_be_bytes(sequence.try_into().ok()?), hears }))
    }
}

/// A link, as its probes tell.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    up: bool,
    /// In a row, against the state.
    against: u8,
    /// Since the last look.
    heard: bool,
    answered: bool,
    /// Looks since a frame was heard.
    silent: u8,
    /// Frames that did not come while it was up.
    pub lost: u64,
    last: Option<u32>,
    wrong: Option<String>,
}

/// What changed with a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It carries frames both ways.
    Up,
    /// It does not any more.
    Down,
}

impl Watch {
    /// Whether it carries frames both ways.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Whether its state may be about to change: more frames tell sooner and surer, also where many in a row are lost.
    #[must_use]
    pub fn is_doubted(&self) -> bool {
        !self.up || self.against > 0
    }

    /// Whether frames of the other end come in; it may not hear us.
    #[must_use]
    pub fn hears(&self) -> bool {
        self.silent < IN_A_ROW && self.last.is_some()
    }

    /// A frame came in, at site `own`, of a link to `to`. A name, once, if it is of another site than `to`.
    pub fn hear(&mut self, own: &str, to: &str, probe: &Probe) -> Option<String> {
        if probe.from != to {
            let news = self.wrong.as_deref() != Some(probe.from.as_str());
            self.wrong = Some(probe.from.clone());
            return self.wrong.clone().filter(|_| news);
        }
        // Frames of its own past, looped back or replayed, tell nothing; one that starts anew starts low.
        let stale = self.last.is_some_and(|last| last.wrapping_sub(probe.sequence) < 16 && self.silent == 0);
        if !stale {
            self.heard = true;
            self.answered |= probe.hears.iter().any(|site| site == own);
            self.wrong = None;
        }
        self.last = Some(probe.sequence);
        None
    }

    /// A time of [`EVERY`] is over.
    pub fn look(&mut self) -> Option<Turn> {
        let good = self.heard && self.answered;
        self.silent = if self.heard { 0 } else { self.silent.saturating_add(1) };
        self.lost += u64::from(self.up && !self.heard);
        (self.heard, self.answered) = (false, false);
        if good == self.up {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.against < IN_A_ROW {
            return None;
        }
        self.against = 0;
        self.up = good;
        Some(if good { Turn::Up } else { Turn::Down })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn probe(from: &str, sequence: u32, hears: &[&str]) -> Probe {
        Probe { from: from.into(), sequence, hears: hears.iter().map(|s| (*s).to_owned()).collect() }
    }

    #[test]
    fn addresses_are_beyond_those_of_trees() {
        assert_eq!((TO, FROM), (crate::address::tree_address(TREE), crate::address::sender_address(TREE)));
        assert_eq!(arrived(0).to_string(), "02:ff:ff:ff:00:01");
    }

    #[test]
    fn a_link_goes_up_and_down_by_three() {
        let mut w = Watch::default();
        let mut n = 0;
        let mut period = |w: &mut Watch, hears: Option<&[&str]>| {
            n += 1;
            if let Some(hears) = hears {
                assert_eq!(w.hear("a", "b", &probe("b", n, hears)), None);
            }
            w.look()
        };
        for _ in 0..5 {
            assert_eq!(period(&mut w, Some(&[])), None, "it does not hear us");
        }
        assert!(w.hears() && !w.is_up());
        assert_eq!([1, 2, 3].map(|_| period(&mut w, Some(&["a"]))), [None, None, Some(Turn::Up)]);
        assert_eq!([1, 2].map(|_| period(&mut w, None)), [None, None]);
        assert_eq!(period(&mut w, Some(&["c", "a"])), None);
        assert_eq!([1, 2, 3].map(|_| period(&mut w, None)), [None, None, Some(Turn::Down)]);
        assert!(!w.hears());
        assert_eq!(w.lost, 5);
    }

    #[test]
    fn a_wrong_neighbour_is_named_once_and_does_not_count() {
        let mut w = Watch::default();
        assert_eq!(w.hear("a", "b", &probe("c", 1, &["a"])), Some("c".into()));
        assert_eq!(w.hear("a", "b", &probe("c", 2, &["a"])), None);
        assert_eq!(w.hear("a", "b", &probe("d", 1, &["a"])), Some("d".into()));
        assert_eq!((w.look(), w.hears()), (None, false));
    }

    #[test]
    fn frames_again_do_not_count() {
        let mut w = Watch::default();
        for _ in 0..9 {
            w.hear("a", "b", &probe("b", 7, &["a"]));
            w.look();
        }
        assert!(!w.is_up());
    }

    proptest! {
        #[test]
        fn frames_are_read_back(from in "[a-z]{1,15}", sequence: u32, hears in prop::collection::vec("[a-z]{1,15}", 0..40), link in 0u16..1000) {
            let probe = Probe { from, sequence, hears };
            let mut frame = probe.frame();
            prop_assert!(frame.len() >= 60 && frame.len() <= 1514);
            frame[..6].copy_from_slice(&arrived(link).0);
            prop_assert_eq!(Probe::read(&frame), Some((link, probe)));
        }

        #[test]
        fn anything_is_read_or_refused(mut frame in prop::collection::vec(any::<u8>(), 0..80), valid: bool) {
            if valid && frame.len() > 19 {
                frame[..6].copy_from_slice(&arrived(3).0);
                frame[12..14].copy_from_slice(&ETHERTYPE);
                frame[14..19].copy_from_slice(b"VCqc\x01");
            }
            let _ = Probe::read(&frame);
        }
    }
}
