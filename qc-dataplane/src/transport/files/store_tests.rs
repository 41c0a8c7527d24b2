use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::traffic::rng::below;
use crate::transport::files::source::Source;
use crate::transport::tests::sim::{temporary, write_file};

/// Puts the chunks of a file in the given order; the store, with its file and the bytes.
fn filled(dir: &std::path::Path, order: impl Fn(u64) -> Vec<u64>, checkpoint: u64) -> (Store, Vec<u8>) {
    let file = dir.join("file");
    let bytes = write_file(&file, 7_000_003, 4);
    let mut source = Source::open(&file, 1408, None).unwrap();
    let (shape, hash) = (*source.shape(), source.manifest_hash());
    let manifest = Manifest::parse(source.manifest()).unwrap();
    let mut options = StoreOptions::new(dir.join("to"));
    options.checkpoint = checkpoint;
    let mut store = Store::open(&options, 1, &shape, manifest, &hash).unwrap();
    for n in order(shape.chunks()) {
        assert!(store.put(n, source.chunk(n).unwrap()).unwrap());
        assert!(!store.put(n, source.chunk(n).unwrap()).unwrap(), "once");
    }
    (store, bytes)
}

/// Nothing may be read for it, and it is there: also where checkpoints cut blocks in two.
#[test]
fn what_comes_in_order_is_hashed_as_it_is_written() {
    for checkpoint in [100_000, 2_000_000, 64 << 20] {
        let dir = temporary();
        let (mut store, bytes) = filled(dir.path(), |n| (0..n).collect(), checkpoint);
        let hash = store.hash(0).unwrap();
        assert_eq!(hash, Some(blake3::hash(&bytes).into()), "checkpoints each {checkpoint} bytes");
        store.place().unwrap();
        assert!(std::fs::read(dir.path().join("to/file")).unwrap() == bytes);
    }
}

/// The rest is read back, and the hash is the same.
#[test]
fn what_comes_out_of_order_is_read_back() {
    for (seed, step) in [(1, 7), (2, 1000), (3, 2000)] {
        let dir = temporary();
        let order = |n: u64| (0..step).flat_map(|i| (i..n).step_by(step as usize)).collect();
        let (mut store, bytes) = filled(dir.path(), order, 300_000);
        assert!(store.hashed() < bytes.len() as u64, "{seed}");
        assert_eq!(store.hash(usize::MAX).unwrap(), Some(blake3::hash(&bytes).into()), "{seed}");
    }
}

/// A file of 4,972 chunks and a store for it that comes to no checkpoint: what a kill leaves is what a drop leaves.
struct Killed {
    dir: tempfile::TempDir,
    source: Source,
    bytes: Vec<u8>,
}

impl Killed {
    fn new() -> Self {
        let dir = temporary();
        let bytes = write_file(&dir.path().join("file"), 7_000_003, 9);
        let source = Source::open(&dir.path().join("file"), 1408, None).unwrap();
        Self { dir, source, bytes }
    }

    /// The store as a process finds it that has just started.
    fn open(&self, memory: usize) -> Store {
        let (shape, hash) = (*self.source.shape(), self.source.manifest_hash());
        let manifest = Manifest::parse(self.source.manifest()).unwrap();
        let options = StoreOptions { memory, ..StoreOptions::new(self.dir.path().join("to")) };
        Store::open(&options, 1, &shape, manifest, &hash).unwrap()
    }

    fn put(&mut self, store: &mut Store, chunks: impl IntoIterator<Item = u64>) {
        for n in chunks {
            store.put(n, self.source.chunk(n).unwrap()).unwrap();
        }
    }

    fn chunks(&self) -> u64 {
        self.source.shape().chunks()
    }

    fn written(&self) -> PathBuf {
        stage_of(&self.dir.path().join("to"), 1).join("written")
    }

    /// Brings what is missing, and nothing else; all must be right then.
    fn ends_well(&mut self, mut store: Store) {
        while let Some(run) = store.missing(0, self.chunks()).unwrap() {
            self.put(&mut store, run);
        }
        assert_eq!(store.hash(usize::MAX).unwrap(), Some(blake3::hash(&self.bytes).into()));
        store.place().unwrap();
        assert!(std::fs::read(self.dir.path().join("to/file")).unwrap() == self.bytes);
    }
}

/// In order, that is the block that was being filled.
#[test]
fn a_kill_costs_the_open_blocks_and_no_more() {
    for filled in [0, 500, BLOCK, 3000, 4 * BLOCK + 1] {
        let mut it = Killed::new();
        let mut store = it.open(16 << 20);
        it.put(&mut store, 0..filled);
        assert_eq!(store.left(), it.chunks() - filled);
        drop(store);
        let store = it.open(16 << 20);
        assert_eq!(it.chunks() - store.left(), filled / BLOCK * BLOCK, "after {filled}");
        it.ends_well(store);
    }
}

/// In any order, with kills wherever they come: no more than fits into memory is fetched twice, and nothing is believed
/// to be there that is not.
#[test]
fn kills_at_any_point_cost_at_most_what_is_in_memory() {
    const BLOCKS: u64 = 2;
    for seed in 0..20 {
        let mut it = Killed::new();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut again = 0;
        let mut had = 0;
        for life in 0..5u64 {
            let mut store = it.open(1);
            let has = it.chunks() - store.left();
            assert!(has + BLOCKS * BLOCK >= had, "seed {seed}, life {life}: {has} of {had} are left");
            again += had.saturating_sub(has);
            for _ in 0..below(&mut rng, 40) {
                let first = below(&mut rng, it.chunks() as usize) as u64;
                let end = (first + below(&mut rng, 300) as u64).min(it.chunks());
                it.put(&mut store, first..end);
            }
            had = it.chunks() - store.left();
        }
        assert!(again > 0, "seed {seed}: the kills cost nothing, so they were none");
        let store = it.open(1);
        it.ends_well(store);
    }
}

/// When the machine stops, the file is no witness: chunks may be lost that it names.
#[test]
fn what_was_not_on_the_disk_counts_for_nothing_after_another_boot() {
    let mut it = Killed::new();
    let mut store = it.open(16 << 20);
    it.put(&mut store, 0..2 * BLOCK);
    store.checkpoint().unwrap();
    it.put(&mut store, 2 * BLOCK..4 * BLOCK);
    drop(store);
    let mut bytes = std::fs::read(it.written()).unwrap();
    let boot = bytes[4];
    bytes[4] = if boot == b'0' { b'1' } else { b'0' };
    std::fs::write(it.written(), bytes).unwrap();
    let store = it.open(16 << 20);
    assert_eq!(it.chunks() - store.left(), 2 * BLOCK, "what the checkpoint brought to the disk");
    assert!(std::fs::metadata(it.written()).unwrap().len() < 4096, "the bits are gone");
    it.ends_well(store);
}

/// What the last process wrote is on the disk before the journal says so: another boot finds it there.
#[test]
fn what_is_taken_up_is_brought_to_the_disk() {
    let mut it = Killed::new();
    let mut store = it.open(16 << 20);
    it.put(&mut store, 0..3 * BLOCK);
    drop(store);
    drop(it.open(16 << 20));
    std::fs::remove_file(it.written()).unwrap();
    let store = it.open(16 << 20);
    assert_eq!(it.chunks() - store.left(), 3 * BLOCK);
    it.ends_well(store);
}

/// A journal that begins anew, or a content that was wrong, takes the file along.
#[test]
fn what_is_forgotten_does_not_come_back() {
    let mut it = Killed::new();
    let mut store = it.open(16 << 20);
    it.put(&mut store, 0..3 * BLOCK);
    store.clear().unwrap();
    it.put(&mut store, 0..BLOCK);
    drop(store);
    let store = it.open(16 << 20);
    assert_eq!(it.chunks() - store.left(), BLOCK);
    drop(store);
    std::fs::remove_file(it.written().with_file_name("journal")).unwrap();
    let store = it.open(16 << 20);
    assert_eq!(store.left(), it.chunks());
    it.ends_well(store);
}

/// Whatever the file has become, chunks beyond the end are nobody's, and the end comes.
#[test]
fn bits_that_nobody_wrote_do_no_harm() {
    let mut it = Killed::new();
    drop(it.open(16 << 20));
    let mut bytes = std::fs::read(it.written()).unwrap();
    bytes.resize(4096 + 3 * 4096 + 17, 0xff);
    std::fs::write(it.written(), bytes).unwrap();
    let mut store = it.open(16 << 20);
    assert_eq!(store.left(), 0, "it believes what it must");
    assert_ne!(store.hash(usize::MAX).unwrap(), Some(blake3::hash(&it.bytes).into()));
    store.clear().unwrap();
    it.ends_well(store);
}
