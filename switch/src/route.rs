//! Where the last frames of a source went, so that frames with the same header may follow unasked.

use crate::frame::HeadKey;
use crate::tables::PortId;

/// What a route was found by. Comes from before anything is looked up: what changes meanwhile must not go unnoticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// [`crate::tables::Tables::version`].
    pub tables: u64,
    /// [`crate::fdb::Fdb::generation`].
    pub addresses: u64,
    /// The second, within which known addresses do not age.
    pub secs: u32,
}

/// One source's last route. It holds as long as what it was found by.
#[derive(Debug, Default)]
pub struct LastRoute {
    valid: bool,
    head: HeadKey,
    known: Known,
    /// Receivers, and the longest frame that each takes.
    pub to: Vec<(PortId, usize)>,
    /// The matching group's place in the tables.
    pub group: Option<usize>,
    /// How they went.
    pub gait: Gait,
}

/// How the last frames of a source went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gait {
    /// To several ports.
    #[default]
    Mixed,
    /// To one port, as far as they were looked at: then the next ones are worth a look at whether they do.
    Steady,
    /// Many to one port, and then came one of which that cannot be said.
    Interrupted,
}

impl LastRoute {
    /// The header whose frames may follow, if any.
    #[inline]
    pub fn head(&self) -> Option<HeadKey> {
        self.valid.then_some(self.head)
    }

    /// Forgets a route that does not hold any more.
    #[inline]
    pub fn check(&mut self, known: Known) {
        self.valid &= self.known == known;
    }

    /// A new route begins, for frames with `head`.
    #[inline]
    pub fn begin(&mut self, head: HeadKey, known: Known) {
        self.valid = true;
        self.head = head;
        self.known = known;
        self.to.clear();
        self.group = None;
    }

    /// Frames with `head` go the same way, by what was known when the route began.
    #[inline]
    pub fn follow(&mut self, head: HeadKey) {
        self.head = head;
    }

    /// Other frames must not follow.
    #[inline]
    pub fn spoil(&mut self) {
        self.valid = false;
    }
}
