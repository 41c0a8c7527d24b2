use super::*;
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
