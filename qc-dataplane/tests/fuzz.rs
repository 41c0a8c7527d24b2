//! The fuzz targets' functions (`fuzz/`), driven by seeded cases: noise, and files that are right but for some bytes.
#![allow(missing_docs)]

#[path = "../fuzz/src/lib.rs"]
mod cases;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The same `n` cases every time.
fn runner(n: u32) -> TestRunner {
    let config = Config { cases: n, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Small right files, one for each reader.
const RIGHT: [&str; 7] = [
    "graph [ label \"n\" node [ id 0 label \"a\" Longitude 1.5 Latitude 2 ] node [ id 1 label \"b\" ] \
     node [ id 2 label \"b\" ] edge [ source 0 target 1 LinkSpeedRaw 1e9 ] \
     edge [ source 1 target 2 LinkLabel \"2-34 Mbit/s\" ] ]",
    "u,v,capacity\na,b,1\nb,c,10Gbit/s\n# x\nc,a,1,2\n1,a,3\n",
    "name = \"t\"\ncapacity = \"1Gbit\"\n[[node]]\nname = \"a\"\n[[node]]\nname = \"b\"\n[[node]]\nname = \"c\"\n\
     [[link]]\na = \"a\"\nb = \"b\"\ncapacity = \"2Mbit/s\"\nback = \"1Gbit\"\n[[link]]\na = \"b\"\nb = \"c\"\ndirected = true\n",
    "to_node from_node capacity prob\n1 2 5000000 .004\n2 1 100 .1\n3 1 7 .1\n",
    "\u{1f}no gzip",
    "33D32945 STP File, STP Format Version 1.0\nSECTION Graph\nNodes 4\nEdges 3\nE 1 2 8\nE 2 3 1\nA 3 4 2.5\nEND\n\
     SECTION Terminals\nTerminals 2\nRoot 1\nT 3\nT 4\nEND\nEOF\n",
    "0,1,10GB\n1,0,1.5MB # x\n",
];
/// What is put into right files: marks of the formats, and numbers at their ends.
const BITS: [&str; 22] = [
    "[",
    "]",
    "\"",
    ",",
    "\n",
    "=",
    "#",
    "&#1114112;",
    "-1",
    "0",
    "1e308",
    "NaN",
    "inf",
    "4294967296",
    "18446744073709551616",
    "1e-320",
    "node",
    "edge",
    "\u{fc}",
    "\u{0}",
    " ",
    "[[node]]\nname = \"a\"\n",
];

#[test]
fn right_files_are_read() {
    for (which, text) in (0u8..).zip(RIGHT) {
        let mut case = vec![which];
        case.extend(text.bytes());
        cases::topology_reader(&case);
        // That they are right is what makes the cases below reach far.
        if let Some(file) = cases::FILES.get(usize::from(which)).filter(|f| !f.ends_with(".gz")) {
            let read = valecast_qc_dataplane::topology::Topology::read(file, text.into(), None);
            assert!(read.is_ok(), "{file}: {read:?}");
        }
    }
}

#[test]
fn files_with_mistakes() {
    let edits = proptest::collection::vec((any::<prop::sample::Index>(), 0usize..3, 0..BITS.len()), 1..6);
    runner(6_000)
        .run(&(0..RIGHT.len(), any::<bool>(), edits), |(which, default, edits)| {
            let mut text: Vec<char> = RIGHT[which].chars().collect();
            for (at, kind, bit) in edits {
                let at = at.index(text.len().max(1)).min(text.len());
                match kind {
                    0 => drop(text.splice(at..at, BITS[bit].chars())),
                    1 => drop(text.splice(at..(at + 1 + bit).min(text.len()), BITS[bit].chars())),
                    _ => text.truncate(text.len() - (text.len() - at).min(bit)),
                }
            }
            let mut case = vec![which as u8];
            // 128 more chooses another reader, unless corrected: 128 is 2 more than a multiple of 7.
            if default {
                case[0] = 128 + (which as u8 + 5) % 7;
            }
            case.extend(text.into_iter().collect::<String>().bytes());
            cases::topology_reader(&case);
            Ok(())
        })
        .unwrap();
}

#[test]
fn noise() {
    let bytes = proptest::collection::vec(any::<u8>(), 0..300);
    runner(5_000)
        .run(&bytes, |b| {
            cases::topology_reader(&b);
            Ok(())
        })
        .unwrap();
}

#[test]
fn frames_of_strangers_harm_no_receiver() {
    let dir = tempfile::tempdir().unwrap();
    let pieces = prop::collection::vec((0u8..40, 0u8..7, prop::collection::vec(any::<u8>(), 320)), 0..12);
    let mut runs = runner(200);
    runs.run(&pieces, |pieces| {
        // Half of the cases begin with a hello that is right, so that what follows is looked at.
        let mut case = if pieces.len() % 2 == 0 { right_hello() } else { Vec::new() };
        for (len, kind, bytes) in pieces {
            case.extend([len, kind]);
            case.extend(&bytes[..usize::from(len) * 8]);
        }
        let _ = std::fs::remove_dir_all(dir.path().join("in"));
        cases::transport_frames(&case, dir.path());
        Ok(())
    })
    .unwrap();
}

#[test]
fn manifests_of_strangers_are_right_or_refused() {
    let right = right_manifest();
    cases::manifest(&right);
    runner(2000)
        .run(&prop::collection::vec((0..right.len(), any::<u8>()), 1..4), |changes| {
            let mut case = right.clone();
            for (at, byte) in changes {
                case[at] = byte;
            }
            cases::manifest(&case);
            cases::manifest(&case[..case.len() / 2]);
            Ok(())
        })
        .unwrap();
}

fn right_manifest() -> Vec<u8> {
    use valecast_qc_dataplane::transport::files::manifest::{Entry, Kind, Manifest};
    let entry = |path: &str, kind| Entry { path: path.into(), kind, mode: 0o755, modified: 1 };
    let entries = vec![
        entry("d", Kind::Directory),
        entry("d/e", Kind::Directory),
        entry("d/e/l", Kind::Link(b"../f".to_vec())),
        entry("d/f", Kind::File(3000)),
    ];
    Manifest::new(entries).expect("right").bytes().expect("short")
}

/// As a piece of a case: length in 8 bytes, kind 0, body.
fn right_hello() -> Vec<u8> {
    use valecast_qc_dataplane::transport::files::source::Source;
    use valecast_qc_dataplane::transport::wire::{Hello, Shape};
    let dir = tempfile::tempdir().expect("a file system");
    // The name pads the hello to a multiple of 8.
    let mut found = None;
    for name in ["n", "nn", "nnn", "nnnn", "nnnnn", "nnnnnn", "nnnnnnn", "nnnnnnnn"] {
        let file = dir.path().join(name);
        std::fs::write(&file, vec![1; 3000]).expect("a file system");
        let source = Source::open(&file, 128, Some((4, 2))).expect("a file system");
        let shape: Shape = *source.shape();
        if shape.manifest() % 8 == 4 {
            let hello = Hello {
                session: 1,
                group: 1,
                shape,
                manifest_hash: source.manifest_hash(),
                content_hash: None,
                manifest: Some(source.manifest()),
            };
            let mut body = zerocopy::IntoBytes::as_bytes(&hello.head()).to_vec();
            body.extend_from_slice(source.manifest());
            assert_eq!(body.len() % 8, 0);
            found = Some(body);
        }
    }
    let body = found.expect("one of the lengths");
    let mut case = vec![(body.len() / 8) as u8, 0];
    case.extend(body);
    case
}
