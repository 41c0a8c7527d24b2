//! Whether a link carries frames, both ways, and which port is at its other end: small frames from each site to its
//! neighbours, all along. Pure.
//!
//! A frame goes out by one link and says who sent it, by which port, which of its frames this is, and what it heard last on
//! that link. It is sealed with the controller's key (BLAKE3), which sites get with their plans: who can write to a link
//! and does not know the key can neither bring it up nor keep it up. A frame counts if it names a frame of ours that
//! is younger than [`FRESH`]: what was recorded and is sent again does not.
//!
//! Several are sent in a time of [`EVERY`], so that losses are not taken for the end, and more while a link's state is in
//! doubt. A link is up when in three such times in a row frames came in that count, and down when in three in a row none
//! did. The frame of a site that the link should not lead to counts as none.

use valecast_config::Mac;

/// The port that probes.
pub const PORT: &str = "qc-agent";
/// Its slots in each direction.
pub const SLOTS: u32 = 1024;
/// Where frames end that somebody sends to the probes' own address: nowhere.
pub const SINK: &str = "qc-sink";
/// Trees have numbers below this one, which is the probes'.
pub const TREE: u32 = crate::address::MOST_TREES - 1;
/// Where probes are addressed to on a link.
pub const TO: Mac = Mac([0x03, 0xff, 0xff, 0xff, 0, 0]);
/// Where they come from.
pub const FROM: Mac = Mac([0x02, 0xff, 0xff, 0xff, 0, 0]);
/// How often is looked whether one came in.
pub const EVERY: std::time::Duration = std::time::Duration::from_millis(300);
/// How many times in a row change a link's state.
const IN_A_ROW: u8 = 3;
/// Looks in a row with frames whose seals are wrong before that is worth a word.
const STRANGE: u8 = 10;
/// How many of our frames may have gone out since the one that an answer names: a few seconds' worth.
pub const FRESH: u32 = 64;

/// IEEE 802's "local experimental ethertype 1".
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
const MAGIC: [u8; 4] = *b"VCqc";
const VERSION: u8 = 2;
/// Bytes of a seal.
const SEAL: usize = 16;
/// Least frame of Ethernet, without its check sequence.
const LEAST: usize = 60;

/// Where the agent addresses a probe to that is to leave by link `number`.
#[must_use]
pub fn leaving(number: u16) -> Mac {
    let [a, b] = (number + 1).to_be_bytes();
    Mac([TO.0[0], TO.0[1], TO.0[2], TO.0[3], a, b])
}

/// Where a probe that came in by link `number` is addressed to then.
#[must_use]
pub fn arrived(number: u16) -> Mac {
    crate::address::receiver_address(TREE, number + 1)
}

/// The keys that seals are made with: the last two that a controller gave, none before the first.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    now: Option<[u8; 32]>,
    before: Option<[u8; 32]>,
}

impl Keys {
    /// A controller gives a key, as hexadecimal digits. What is none is refused.
    ///
    /// # Errors
    /// Why it is none.
    pub fn learn(&mut self, text: &str) -> Result<(), String> {
        let is_hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let byte = |i: usize| u8::from_str_radix(text.get(i * 2..i * 2 + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
        let key = bytes.filter(|_| is_hex).and_then(|b| <[u8; 32]>::try_from(b).ok());
        let key = key.ok_or("the key of links has 64 hexadecimal digits")?;
        if self.now != Some(key) {
            self.before = self.now.replace(key);
        }
        Ok(())
    }

    fn seal(&self, bytes: &[u8]) -> [u8; SEAL] {
        self.now.map(|key| seal(&key, bytes)).unwrap_or_default()
    }

    /// Whether a seal is right. As long as no key is known, any is.
    fn is_right(&self, given: &[u8], bytes: &[u8]) -> bool {
        // All bytes are compared, whichever differ: how long it takes tells nothing.
        let same = |key: &[u8; 32]| given.iter().zip(seal(key, bytes)).fold(0, |d, (a, b)| d | (a ^ b)) == 0;
        self.now.is_none() || self.now.iter().chain(&self.before).any(same)
    }
}

fn seal(key: &[u8; 32], bytes: &[u8]) -> [u8; SEAL] {
    let mut seal = [0; SEAL];
    seal.copy_from_slice(&blake3::keyed_hash(key, bytes).as_bytes()[..SEAL]);
    seal
}

/// Which frame of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The site that sent it.
    pub site: String,
    /// Its port that the frame left by.
    pub port: String,
    /// Which of its frames it is.
    pub sequence: u32,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Itself.
    pub this: Sent,
    /// The frame of the other end that was heard last.
    pub heard: Option<Sent>,
    /// Whether its sender misses frames, or is not sure of the link yet: the other end is to send more of them.
    pub doubts: bool,
}

/// A frame that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// By a link of that number.
    Probe(u16, Probe),
    /// By a link of that number, with a seal that is not right.
    Forged(u16),
}

impl Probe {
    /// The frame that is to leave by link `number`. Names are at most 63 bytes.
    #[must_use]
    pub fn frame(&self, number: u16, keys: &Keys) -> Vec<u8> {
        let mut said = Vec::with_capacity(2 * LEAST);
        let mut sent = |sent: &Sent| {
            for name in [&sent.site, &sent.port] {
                let name = &name.as_bytes()[..name.len().min(255)];
                said.push(name.len() as u8);
                said.extend_from_slice(name);
            }
            said.extend_from_slice(&sent.sequence.to_be_bytes());
        };
        sent(&self.this);
        // Nobody has an empty name.
        let nobody = Sent { site: String::new(), port: String::new(), sequence: 0 };
        sent(self.heard.as_ref().unwrap_or(&nobody));
        said.push(self.doubts.into());
        let seal = keys.seal(&said);
        let to = leaving(number);
        let mut frame = [&to.0[..], &FROM.0, &ETHERTYPE, &MAGIC, &[VERSION], &seal, &said[..]].concat();
        frame.resize(frame.len().max(LEAST), 0);
        frame
    }

    /// Reads a frame that came in, and by which link.
    #[must_use]
    pub fn read(frame: &[u8], keys: &Keys) -> Option<Read> {
        let (head, rest) = frame.split_at_checked(14)?;
        let to = Mac(head[..6].try_into().ok()?);
        let number = u16::from_be_bytes([to.0[4], to.0[5]]).checked_sub(1)?;
        if to != arrived(number) || head[12..] != ETHERTYPE {
            return None;
        }
        let rest = rest.strip_prefix(&MAGIC)?.strip_prefix(&[VERSION])?;
        let (seal, said) = rest.split_at_checked(SEAL)?;
        let mut rest = said;
        let mut take = |n: usize| {
            let (taken, after) = rest.split_at_checked(n)?;
            rest = after;
            Some(taken)
        };
        let mut sent = || {
            let mut name = || {
                let len = usize::from(*take(1)?.first()?);
                std::str::from_utf8(take(len)?).ok().map(str::to_owned)
            };
            let (site, port) = (name()?, name()?);
            Some(Sent { site, port, sequence: u32::from_be_bytes(take(4)?.try_into().ok()?) })
        };
        let (this, heard) = (sent()?, sent()?);
        let doubts = *take(1)?.first()? != 0;
        let said = &said[..said.len() - rest.len()];
        if !keys.is_right(seal, said) {
            // Without a seal it is of a site that has no plan yet, which is nobody's fault, and does not count.
            return seal.iter().any(|b| *b != 0).then_some(Read::Forged(number));
        }
        let heard = Some(heard).filter(|h| !h.site.is_empty());
        Some(Read::Probe(number, Self { this, heard, doubts }))
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
    /// Looks since one was heard that answers one of ours.
    unanswered: u8,
    /// Looks in which no frame came while it was up.
    pub lost: u64,
    /// Frames with a wrong seal.
    pub forged: u64,
    /// Whether some came since the last look, and in how many looks in a row.
    strange: (bool, u8),
    last: Option<Sent>,
    /// The other end is in doubt.
    asked: bool,
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

/// What there is to say about a frame that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It is of another site than the link should lead to.
    Wrong(String),
    /// The port at the other end is another than before, or is known now.
    Peer(String),
}

impl Watch {
    /// Whether it carries frames both ways.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Whether its state may be about to change: more frames tell sooner and surer, also where many in a row are lost. Losses
    /// in a row are counted in frames, so the more there are, the sooner they end.
    #[must_use]
    pub fn is_doubted(&self) -> bool {
        !self.up || self.against > 0
    }

    /// Whether many frames are to be sent: this end or the other is in doubt.
    #[must_use]
    pub fn wants_many(&self) -> bool {
        self.is_doubted() || self.asked
    }

    /// The frame of the other end that came in last, if frames come in; it may not hear us.
    #[must_use]
    pub fn hears(&self) -> Option<&Sent> {
        self.last.as_ref().filter(|_| self.silent < IN_A_ROW)
    }

    /// The port at the other end, as it said last.
    #[must_use]
    pub fn peer(&self) -> Option<&str> {
        self.last.as_ref().map(|s| s.port.as_str())
    }

    /// A frame came in by the port of which `own` was the last frame that left, of a link to site `to`.
    pub fn hear(&mut self, own: &Sent, to: &str, probe: &Probe) -> Option<News> {
        if probe.this.site != to {
            let news = self.wrong.as_deref() != Some(probe.this.site.as_str());
            self.wrong = Some(probe.this.site.clone());
            return self.wrong.clone().filter(|_| news).map(News::Wrong);
        }
        let answers = |h: &Sent| {
            (&h.site, &h.port) == (&own.site, &own.port) && own.sequence.wrapping_sub(h.sequence) < FRESH
        };
        let answered = probe.heard.as_ref().is_some_and(answers);
        // While the other end answers, what does not is of the past.
        if !answered && self.unanswered == 0 && self.up {
            return None;
        }
        self.heard = true;
        self.asked = probe.doubts;
        self.answered |= answered;
        self.wrong = None;
        let before = self.last.replace(probe.this.clone());
        let news = before.is_none_or(|b| b.port != probe.this.port);
        news.then(|| News::Peer(probe.this.port.clone()))
    }

    /// A frame with a wrong seal came in.
    pub fn hear_forged(&mut self) {
        self.forged += 1;
        self.strange.0 = true;
    }

    /// Whether frames with wrong seals have now come in for so long that the sites have not just got another key. Once.
    #[must_use]
    pub fn is_strange(&self) -> bool {
        self.strange.1 == STRANGE
    }

    /// A time of [`EVERY`] is over.
    pub fn look(&mut self) -> Option<Turn> {
        let good = self.heard && self.answered;
        self.silent = if self.heard { 0 } else { self.silent.saturating_add(1) };
        self.unanswered = if self.answered { 0 } else { self.unanswered.saturating_add(1) };
        self.lost += u64::from(self.up && !self.heard);
        self.strange = (false, if self.strange.0 { self.strange.1.saturating_add(1) } else { 0 });
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
#[path = "probe_tests.rs"]
mod tests;
