//! Frames and manifests of strangers, on a tree's address.

use valecast_qc_dataplane::address;
use valecast_qc_dataplane::transport::files::manifest::{Kind as Entry, Manifest};
use valecast_qc_dataplane::transport::files::store::StoreOptions;
use valecast_qc_dataplane::transport::receiver::{Place, Receiver, ReceiverOptions};
use valecast_qc_dataplane::transport::wire::{self, Envelope, Kind, Message, body};

/// The case: pieces of a length byte (in 8 bytes), a kind, and a body. Each piece is given to a receiver in a
/// frame that is right in form. Nothing may panic; what is believed must be within its bounds; whatever the receiver
/// makes must lie below its directory `dir`, and reports must be frames.
pub fn transport_frames(data: &[u8], dir: &std::path::Path) {
    let _ = wire::parse(data);
    let mut receiver = Receiver::new(ReceiverOptions {
        transfer: 7,
        partition: 0,
        places: vec![Place {
            sender: address::sender_address(1),
            from: address::receiver_address(1, 1),
            number: 0,
        }],
        seed: 1,
        store: StoreOptions::new(dir.join("in")),
    });
    let mut rest = data;
    let mut frame = Vec::new();
    let mut now = 0;
    while let [len, kind, after @ ..] = rest {
        let (piece, after) = after.split_at(after.len().min(usize::from(*len) * 8));
        rest = after;
        let kind =
            [Kind::Hello, Kind::Manifest, Kind::Data, Kind::Parity, Kind::Poll, Kind::Report, Kind::End]
                [usize::from(kind % 7)];
        let tag = match piece.get(36..68).and_then(|h| <&[u8; 32]>::try_from(h).ok()) {
            Some(hash) if kind == Kind::Hello => body::tag(hash),
            _ => 1,
        };
        let (to, from) = (address::tree_address(1), address::sender_address(1));
        let envelope = Envelope { to, from, transfer: 7, tag, partition: 0 };
        wire::write(&mut frame, &envelope, kind, &[piece]);
        if let Ok((
            _,
            Message::Report(wire::Report { lacks, .. }) | Message::Poll(wire::Poll { coming: lacks, .. }),
        )) = wire::parse(&frame)
        {
            let mut at = lacks.from;
            for r in &lacks.runs {
                assert!(at <= r.start && r.start < r.end && r.end <= lacks.to);
                at = r.end;
            }
        }
        // No content that a test machine has no room for.
        let total = piece.get(8..16).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes);
        if kind != Kind::Hello || total < 1 << 20 {
            let _ = receiver.receive(now, &frame);
        }
        now += 1_000_000;
        receiver.advance(now, &mut |f| assert!(wire::parse(f).is_ok()));
    }
    for entry in std::fs::read_dir(dir).expect("the directory") {
        assert_eq!(entry.expect("an entry").file_name(), "in");
    }
}

/// A manifest: refused, or the same after it was written again, and with no path or link that leads out.
pub fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(data) else { return };
    let again = Manifest::parse(&manifest.bytes().expect("no longer than it was")).expect("right");
    assert_eq!(again, manifest);
    for entry in manifest.entries() {
        assert!(entry.path().starts_with(manifest.root()) && entry.path().is_relative());
        assert!(entry.path().components().all(|c| matches!(c, std::path::Component::Normal(_))));
        if let Entry::Link(to) = &entry.kind {
            assert!(!to.starts_with(b"/"));
        }
    }
}
