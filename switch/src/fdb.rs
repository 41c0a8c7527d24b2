//! The forwarding table: fixed size, no locks, one cache line a look.
//!
//! An entry is two words: a key (MAC, VLAN, a bit that says it is in use, so that the address 0 is like
//! any other) and a value (port, static or learned, second last seen). Four share a line; an address may
//! be in one of two neighbouring lines, and when all eight are taken the one seen longest ago goes.
//! The hash is seeded, so nobody can aim at one line by choosing addresses.
//!
//! A key is published after its value and taken away before it, and a reader looks at the key again after it
//! read the value: it never follows a value that belongs to another address.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crossbeam::utils::CachePadded;
use foldhash::fast::FixedState;

use crate::mac::MacBits;

/// Most ports of a switch.
pub const MAX_PORTS: usize = 16384;

const IN_USE: u64 = 1 << 63;
const BUSY: u64 = 1;
const STATIC: u64 = 1 << 16;
const WAYS: usize = 4;

#[derive(Debug, Default)]
struct Slot {
    key: AtomicU64,
    val: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([Slot; WAYS]);

impl Line {
    #[inline(always)]
    fn find(&self, key: u64) -> Option<&Slot> {
        // All four are compared, without a branch: which of them it is cannot be foretold, and a wrong guess costs more.
        // ORDERING: Acquire pairs with the Release that published the key after its value.
        let hit = |i: usize| u32::from(self.0[i].key.load(Ordering::Acquire) == key) << i;
        let hits = hit(0) | hit(1) | hit(2) | hit(3);
        (hits != 0).then(|| &self.0[hits.trailing_zeros() as usize % WAYS])
    }
}

/// One entry, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    /// Address.
    pub mac: MacBits,
    /// VLAN, 0 for untagged.
    pub vlan: u16,
    /// Port number.
    pub port: u16,
    /// Configured, not learned.
    pub is_static: bool,
    /// Second in which it was last seen.
    pub seen: u32,
}

/// What became of an address shown to [`Fdb::learn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Known, or now known.
    Yes,
    /// It was on another port before.
    Moved,
    /// The port has as many addresses as it may.
    Refused,
}

/// The table.
#[derive(Debug)]
pub struct Fdb {
    lines: Box<[Line]>,
    mask: usize,
    hash: FixedState,
    seed: u64,
    learned: Box<[AtomicU32]>,
    evictions: AtomicU64,
    moves: AtomicU64,
    ageing: AtomicU32,
    generation: CachePadded<AtomicU64>,
}

/// The key of an address in a VLAN.
#[inline]
pub fn key(mac: MacBits, vlan: u16) -> u64 {
    mac | u64::from(vlan) << 48 | IN_USE
}

fn value(port: u16, seen: u32) -> u64 {
    u64::from(port) | u64::from(seen) << 32
}

impl Fdb {
    /// Room for at least `entries` addresses, forgotten `ageing` seconds after they were last seen (0: never).
    pub fn new(entries: usize, ageing: u32, seed: u64) -> Self {
        let lines = entries.div_ceil(WAYS).next_power_of_two().max(2);
        Self {
            lines: (0..lines).map(|_| Line::default()).collect(),
            mask: lines - 1,
            hash: FixedState::with_seed(seed),
            seed,
            learned: (0..MAX_PORTS).map(|_| AtomicU32::new(0)).collect(),
            evictions: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            ageing: AtomicU32::new(ageing),
            generation: CachePadded::default(),
        }
    }

    #[inline]
    fn line(&self, key: u64) -> usize {
        let mut h = self.hash.build_hasher();
        h.write_u64(key);
        h.finish() as usize & self.mask
    }

    /// Asks for the line of an address that will be looked for soon.
    #[inline]
    pub fn prefetch(&self, key: u64) {
        valecast_ring::prefetch(std::ptr::from_ref(&self.lines[self.line(key)]).cast());
    }

    /// What it was made with, for other tables that must not be aimed at either.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    #[inline]
    fn slots(&self, key: u64) -> impl Iterator<Item = &Slot> {
        let line = self.line(key);
        self.lines[line].0.iter().chain(self.lines[line ^ 1].0.iter())
    }

    /// Changes whenever an address comes, moves or goes; not when one is seen again.
    #[inline]
    pub fn generation(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `changed`.
        self.generation.load(Ordering::Acquire)
    }

    fn changed(&self) {
        // ORDERING: Release: whoever sees the new number sees what changed.
        self.generation.fetch_add(1, Ordering::Release);
    }

    #[inline]
    fn expired(&self, val: u64, now: u32) -> bool {
        let ageing = self.ageing.load(Ordering::Relaxed);
        ageing != 0 && val & STATIC == 0 && now.wrapping_sub((val >> 32) as u32) as i32 > ageing as i32
    }

    /// The port of an address, if it is known and was seen lately.
    #[inline]
    pub fn lookup(&self, key: u64, now: u32) -> Option<u16> {
        let line = self.line(key);
        let s = self.lines[line].find(key).or_else(|| self.lines[line ^ 1].find(key))?;
        let val = s.val.load(Ordering::Relaxed);
        // ORDERING: Acquire fence: the second look at the key comes after the value.
        fence(Ordering::Acquire);
        (s.key.load(Ordering::Relaxed) == key && !self.expired(val, now)).then_some(val as u16)
    }

    /// Notes that an address was seen on `port`, which may have `limit` learned ones (0: any number).
    #[inline]
    pub fn learn(&self, key: u64, port: u16, now: u32, limit: u32) -> Learned {
        for s in self.slots(key) {
            if s.key.load(Ordering::Acquire) == key {
                let old = s.val.load(Ordering::Relaxed);
                if old & STATIC != 0 {
                    return Learned::Yes;
                }
                let new = value(port, now);
                if old == new {
                    return Learned::Yes;
                }
                let moved = old as u16 != port;
                if moved && !self.take_quota(port, limit) {
                    return Learned::Refused;
                }
                // ORDERING: Relaxed: a lost exchange means that the entry changed under us; the next frame
                // of this address will tell again.
                let won = s.val.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed).is_ok();
                if !moved {
                    return Learned::Yes;
                }
                self.quota(if won { old as u16 } else { port }).fetch_sub(1, Ordering::Relaxed);
                if won {
                    self.moves.fetch_add(1, Ordering::Relaxed);
                    self.changed();
                }
                return Learned::Moved;
            }
        }
        self.insert(key, port, now, limit)
    }

    #[cold]
    fn insert(&self, key: u64, port: u16, now: u32, limit: u32) -> Learned {
        if !self.take_quota(port, limit) {
            return Learned::Refused;
        }
        if !self.place(key, value(port, now), now) {
            self.quota(port).fetch_sub(1, Ordering::Relaxed);
        }
        Learned::Yes
    }

    fn quota(&self, port: u16) -> &AtomicU32 {
        &self.learned[usize::from(port) % MAX_PORTS]
    }

    fn take_quota(&self, port: u16, limit: u32) -> bool {
        let q = self.quota(port);
        if limit == 0 {
            q.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        q.take_below(limit)
    }

    /// Puts an entry into a free, expired, or the oldest slot. `false` if another worker was faster.
    fn place(&self, key: u64, val: u64, now: u32) -> bool {
        let mut victim: Option<(&Slot, u64, u64, u32)> = None;
        for s in self.slots(key) {
            let (k, v) = (s.key.load(Ordering::Acquire), s.val.load(Ordering::Relaxed));
            if k == BUSY || (k != 0 && v & STATIC != 0) {
                continue;
            }
            let age =
                if k == 0 || self.expired(v, now) { u32::MAX } else { now.wrapping_sub((v >> 32) as u32) };
            if victim.is_none_or(|(.., a)| age > a) {
                victim = Some((s, k, v, age));
            }
        }
        let Some((s, k, v, age)) = victim else { return false };
        // ORDERING: AcqRel: nobody reads the value between BUSY and the Release below.
        if s.key.compare_exchange(k, BUSY, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        if k != 0 {
            self.quota(v as u16).fetch_sub(1, Ordering::Relaxed);
            if age != u32::MAX {
                self.evictions.fetch_add(1, Ordering::Relaxed);
            }
        }
        s.val.store(val, Ordering::Relaxed);
        s.key.store(key, Ordering::Release);
        self.changed();
        true
    }

    /// Adds or replaces a static entry. `false` if eight static ones share its place.
    pub fn add_static(&self, key: u64, port: u16, now: u32) -> bool {
        self.remove(key);
        self.quota(port).fetch_add(1, Ordering::Relaxed);
        let ok = (0..100).any(|_| self.place(key, value(port, now) | STATIC, now));
        if !ok {
            self.quota(port).fetch_sub(1, Ordering::Relaxed);
        }
        ok
    }

    /// Forgets one address; control side only.
    pub fn remove(&self, key: u64) {
        self.retain_of(self.slots(key), |e| e.key() != key);
    }

    /// Forgets all that `keep` does not hold with; control side only.
    pub fn retain(&self, keep: impl Fn(&FdbEntry) -> bool) {
        self.retain_of(self.lines.iter().flat_map(|l| &l.0), keep);
    }

    fn retain_of<'s>(&self, slots: impl Iterator<Item = &'s Slot>, keep: impl Fn(&FdbEntry) -> bool) {
        for s in slots {
            let k = s.key.load(Ordering::Acquire);
            let v = s.val.load(Ordering::Relaxed);
            if k & IN_USE != 0
                && !keep(&entry(k, v))
                && s.key.compare_exchange(k, BUSY, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            {
                let last = s.val.load(Ordering::Relaxed);
                self.quota(last as u16).fetch_sub(1, Ordering::Relaxed);
                s.key.store(0, Ordering::Release);
                self.changed();
            }
        }
    }

    /// Forgets what was not seen for the ageing time.
    pub fn sweep(&self, now: u32) {
        if self.ageing.load(Ordering::Relaxed) != 0 {
            self.retain(|e| e.is_static || !self.expired(value(e.port, e.seen), now));
        }
    }

    /// Sets the ageing time in seconds (0: never).
    pub fn set_ageing(&self, secs: u32) {
        self.ageing.store(secs, Ordering::Relaxed);
        self.changed();
    }

    /// All entries.
    pub fn entries(&self, now: u32) -> Vec<FdbEntry> {
        let all = self.lines.iter().flat_map(|l| &l.0).filter_map(|s| {
            let k = s.key.load(Ordering::Acquire);
            let v = s.val.load(Ordering::Relaxed);
            (k & IN_USE != 0 && !self.expired(v, now)).then(|| entry(k, v))
        });
        all.collect()
    }

    /// Addresses that gave way to others for lack of room.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// Addresses that changed ports.
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    /// Room for this many.
    pub fn capacity(&self) -> usize {
        self.lines.len() * WAYS
    }
}

impl FdbEntry {
    fn key(&self) -> u64 {
        key(self.mac, self.vlan)
    }
}

fn entry(k: u64, v: u64) -> FdbEntry {
    FdbEntry {
        mac: k & 0xffff_ffff_ffff,
        vlan: (k >> 48) as u16 & 0xfff,
        port: v as u16,
        is_static: v & STATIC != 0,
        seen: (v >> 32) as u32,
    }
}

trait TakeBelow {
    fn take_below(&self, limit: u32) -> bool;
}

impl TakeBelow for AtomicU32 {
    fn take_below(&self, limit: u32) -> bool {
        self.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < limit).then_some(n + 1)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn learns_moves_ages() {
        let t = Fdb::new(1024, 300, 7);
        let (a, b) = (key(0, 0), key(0xff02, 10));
        assert_eq!(t.lookup(a, 0), None, "address 0 is not there before it is learned");
        assert_eq!(t.learn(a, 3, 100, 0), Learned::Yes);
        assert_eq!(t.learn(b, 4, 100, 0), Learned::Yes);
        assert_eq!((t.lookup(a, 100), t.lookup(b, 100)), (Some(3), Some(4)));
        assert_eq!(t.lookup(key(0xff02, 11), 100), None, "VLANs learn by themselves");
        assert_eq!(t.learn(a, 5, 101, 0), Learned::Moved);
        assert_eq!((t.lookup(a, 400), t.lookup(a, 402)), (Some(5), None));
        t.sweep(402);
        assert_eq!(t.entries(0).len(), 0);
        assert_eq!(t.moves(), 1);
    }

    #[test]
    fn static_entries_stay() {
        let t = Fdb::new(64, 1, 7);
        assert!(t.add_static(key(9, 0), 1, 0));
        assert_eq!(t.learn(key(9, 0), 2, 0, 0), Learned::Yes);
        assert_eq!(t.lookup(key(9, 0), 1000), Some(1));
        t.sweep(1000);
        assert_eq!(t.entries(1000).len(), 1);
    }

    #[test]
    fn limits_a_port() {
        let t = Fdb::new(1024, 0, 7);
        for m in 0..10 {
            let want = if m < 4 { Learned::Yes } else { Learned::Refused };
            assert_eq!(t.learn(key(m, 0), 1, 0, 4), want);
        }
        t.retain(|e| e.port != 1);
        assert_eq!(t.learn(key(77, 0), 1, 0, 1), Learned::Yes, "quota comes back");
    }

    proptest! {
        /// Against a map: what is found is right, whatever was evicted.
        #[test]
        fn never_wrong(ops in proptest::collection::vec((0u64..200, 0u16..3, 0u16..8), 1..400)) {
            let t = Fdb::new(64, 0, 1);
            let mut m = HashMap::new();
            for (mac, vlan, port) in ops {
                t.learn(key(mac, vlan), port, 0, 0);
                m.insert((mac, vlan), port);
                for (&(mac, vlan), &port) in &m {
                    if let Some(p) = t.lookup(key(mac, vlan), 0) {
                        prop_assert_eq!(p, port);
                    }
                }
            }
            let total: u32 = (0..8).map(|p| t.quota(p).load(Ordering::Relaxed)).sum();
            prop_assert_eq!(total as usize, t.entries(0).len());
        }
    }
}
