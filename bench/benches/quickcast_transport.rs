//! What one chunk costs a sender and a receiver, with files in memory if the temporary directory is. The figures are
//! bytes of content in a second on one core, hashing and writing included.
#![allow(missing_docs)] // criterion's macros make items without docs

use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use valecast_qc_dataplane::address::{receiver_address, sender_address, tree_address};
use valecast_qc_dataplane::transport::files::source::Source;
use valecast_qc_dataplane::transport::files::store::StoreOptions;
use valecast_qc_dataplane::transport::receiver::{Place, Receiver, ReceiverOptions};
use valecast_qc_dataplane::transport::sender::{Sender, SenderOptions};
use valecast_qc_dataplane::transport::wire::{self, Message, State};

const SIZE: usize = 32 << 20;

fn sender(file: &Path) -> Sender {
    let source = Source::open(file, wire::DEFAULT_CHUNK, None).expect("a file");
    let mut options = SenderOptions::new(1, 0, 1, sender_address(1), tree_address(1));
    options.hold = 0;
    Sender::new(options, source, &[0], 0)
}

fn receiver(dir: &Path) -> Receiver {
    let _ = std::fs::remove_dir_all(dir);
    Receiver::new(ReceiverOptions {
        transfer: 1,
        partition: 0,
        places: vec![Place { sender: sender_address(1), from: receiver_address(1, 1), number: 0 }],
        seed: 1,
        store: StoreOptions::new(dir),
    })
}

/// Both sides until the file is verified; each frame of the sender is given to `seen`.
fn transfer(file: &Path, dir: &Path, mut seen: impl FnMut(&[u8])) {
    let (mut sender, mut receiver) = (sender(file), receiver(dir));
    let mut now = 0;
    while receiver.state() != State::Verified {
        now += 1_000_000;
        let sent = sender.send(now, 64, &mut |f| {
            seen(f);
            let _ = receiver.receive(now, f);
        });
        sent.expect("the file");
        let mut back = Vec::new();
        receiver.advance(now, &mut |f| back.push(f.to_vec()));
        for f in back {
            let _ = sender.receive(now, &f);
        }
    }
}

fn per_chunk(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    std::fs::write(&file, vec![0x5a; SIZE]).expect("a file");
    let mut frames = Vec::new();
    transfer(&file, &dir.path().join("in"), |f| frames.push(f.to_vec()));
    let data: Vec<&Vec<u8>> =
        frames.iter().filter(|f| matches!(wire::parse(f), Ok((_, Message::Data(..))))).collect();
    let mut group = c.benchmark_group("transport");
    group.sample_size(10).throughput(Throughput::Bytes(SIZE as u64));
    group.bench_function("both sides, verified", |b| {
        b.iter(|| transfer(&file, &dir.path().join("in"), |_| {}));
    });
    group.bench_function("receiver's frames alone", |b| {
        b.iter(|| {
            let mut receiver = receiver(&dir.path().join("in"));
            // The hello and the poll that came before the first chunk.
            for f in frames.iter().take(4).chain(data.iter().copied()) {
                let _ = receiver.receive(0, f);
            }
            assert_eq!(receiver.state(), State::Checking);
        });
    });
    group.bench_function("frames parsed", |b| {
        b.iter(|| data.iter().filter(|f| wire::parse(f).is_ok()).count());
    });
    group.finish();
}

criterion_group!(benches, per_chunk);
criterion_main!(benches);
