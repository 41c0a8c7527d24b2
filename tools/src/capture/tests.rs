//! A capture of a daemon in this process.

use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use valecast_config::Config;
use valecast_ring::client::TxRing;
use valecast_switch::api;
use valecast_switch::daemon::Daemon;

use super::*;

/// What is in a file: interface names, and length kept, length and first byte of each frame.
fn read(path: &std::path::Path) -> (Vec<String>, Vec<(usize, u32, u8)>) {
    let mut reader = PcapNgReader::new(File::open(path).unwrap()).unwrap();
    let (mut names, mut frames) = (Vec::new(), Vec::new());
    let mut last = Duration::ZERO;
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::InterfaceDescription(i) => names.extend(i.options.iter().filter_map(|o| match o {
                InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                _ => None,
            })),
            Block::EnhancedPacket(p) => {
                assert!(p.timestamp >= last, "time goes back");
                last = p.timestamp;
                frames.push((p.data.len(), p.original_len, p.data[0]));
            }
            _ => {}
        }
    }
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().saturating_sub(last);
    assert!(age < Duration::from_secs(60), "the last frame is {age:?} old");
    (names, frames)
}

fn send(tx: &mut TxRing, lengths: &[usize]) {
    for len in lengths {
        assert!(tx.wait(16, Some(Duration::from_secs(5))).unwrap());
        assert!(tx.push(&vec![0x02; *len]));
        tx.publish();
    }
}

#[test]
fn records_whole_frames_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "run_dir = {:?}\n[[switch]]\nname = \"vale0\"\n[[switch.port]]\nname = \"a\"\nkind = \"ring\"\n",
        dir.path()
    );
    let daemon = Daemon::start(Config::parse("t", &text).unwrap(), None).unwrap();
    let api = api::serve(daemon.clone()).unwrap();
    let at = At { run_dir: Some(dir.path().to_owned()), ..At::default() };
    let client = at.client(None).unwrap();
    let file = dir.path().join("a.pcapng");

    // Longer than a buffer of the capture's ring, and than one of the sender's.
    let lengths = [60, 1514, 30_000, 64];
    let tap = Tap::place(&client, "a", Direction::In).unwrap();
    let (link, mut rx) = tap.attach(&client).unwrap();
    let sender = Port::attach(&client.ring_socket(), "a", &AttachOptions::default()).unwrap();
    let (_sender, mut tx, _) = sender.split();
    send(&mut tx[0], &lengths);
    let signals = SignalFd::with_flags(&SigSet::empty(), SfdFlags::SFD_NONBLOCK).unwrap();
    let output = Box::new(File::create(&file).unwrap());
    let mut capture = Capture {
        file: Recording::start(output, "vale0:a", 2000).unwrap(),
        left: 4,
        until: Some(Instant::now() + Duration::from_secs(20)),
        frames: 0,
    };
    capture.record(&mut rx, &link, &signals).unwrap();
    capture.file.flush().unwrap();
    let kept = |n: usize| (n.min(2000), n as u32, 2);
    assert_eq!(read(&file), (vec!["vale0:a".to_owned()], lengths.map(kept).to_vec()));
    assert_eq!(tap.dropped(&client), Some(0));

    // Time ends a capture too.
    (capture.left, capture.until) = (1, Some(Instant::now() + Duration::from_millis(30)));
    capture.record(&mut rx, &link, &signals).unwrap();
    assert_eq!(capture.frames, 4);

    drop(link);
    let gone = || {
        let (ports, mirrors) = (client.get("ports").unwrap(), client.get("mirrors").unwrap());
        ports["ports"].as_array().unwrap().len() == 1 && mirrors["mirrors"].as_array().unwrap().is_empty()
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while !gone() {
        assert!(Instant::now() < deadline, "the port or the mirror stayed");
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(api);
    daemon.stop();
}
