use super::*;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter, RawPcapPacket};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use proptest::prelude::*;
use std::borrow::Cow;
use std::time::Duration;

fn file_with(bytes: &[u8]) -> tempfile::NamedTempFile {
    let f = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(f.path(), bytes).unwrap();
    f
}

fn pcap(times_us: &[u64]) -> Vec<u8> {
    let mut w = PcapWriter::new(Vec::new()).unwrap();
    for (i, us) in times_us.iter().enumerate() {
        let data = vec![i as u8; 60 + i];
        w.write_packet(&PcapPacket::new(Duration::from_micros(*us), data.len() as u32, &data)).unwrap();
    }
    w.into_writer()
}

#[test]
fn reads_frames_and_times() {
    let f = file_with(&pcap(&[5_000_000, 5_000_010, 5_000_005, 5_001_000]));
    let c = Capture::load(f.path()).unwrap();
    assert_eq!((c.len(), c.longest(), c.span(), c.back_in_time), (4, 63, 1_000_000, 1));
    assert_eq!(c.frame(1), [1u8; 61]);
    assert_eq!((0..5).map(|k| c.at(k)).collect::<Vec<_>>(), [0, 10_000, 10_000, 1_000_000, 1_333_333]);
    assert_eq!(c.frame(5), c.frame(1));
}

#[test]
fn a_snap_length_cuts_frames_but_does_not_refuse_them() {
    let header = PcapHeader { snaplen: 64, ..PcapHeader::default() };
    let mut w = PcapWriter::with_header(Vec::new(), header).unwrap();
    let data = Cow::Owned(vec![7; 64]);
    w.write_raw_packet(&RawPcapPacket { ts_sec: 1, ts_frac: 2, incl_len: 64, orig_len: 1500, data }).unwrap();
    let c = Capture::load(file_with(&w.into_writer()).path()).unwrap();
    assert_eq!((c.len(), c.longest(), c.cut_short), (1, 64, 1));
}

#[test]
fn pcapng_times_follow_the_interfaces_resolution() {
    for (resolution, raw, ns) in [(None, 1_500, 1_500_000), (Some(9), 1_500, 1_500), (Some(0x8a), 1024, SEC)]
    {
        let mut w = PcapNgWriter::new(Vec::new()).unwrap();
        let options = resolution.map(InterfaceDescriptionOption::IfTsResol).into_iter().collect();
        let linktype = DataLink::ETHERNET;
        w.write_pcapng_block(InterfaceDescriptionBlock { linktype, snaplen: 0, options }).unwrap();
        for timestamp in [0, raw] {
            let timestamp = Duration::from_nanos(timestamp);
            let data = Cow::Owned(vec![1; 61]);
            let options = vec![];
            let block = EnhancedPacketBlock { interface_id: 0, timestamp, original_len: 61, data, options };
            w.write_pcapng_block(block).unwrap();
        }
        let c = Capture::load(file_with(&w.into_inner()).path()).unwrap();
        assert_eq!((c.len(), c.at(1), c.frame(1).len()), (2, ns, 61), "{resolution:?}");
    }
}

const SEC: u64 = 1_000_000_000;

#[test]
fn errors_name_the_file_and_the_record() {
    let tell = |bytes: &[u8]| {
        let f = file_with(bytes);
        let text = Capture::load(f.path()).unwrap_err().to_string();
        assert!(text.starts_with(&f.path().display().to_string()), "{text}");
        text
    };
    assert!(tell(b"").contains("neither pcap nor pcapng"));
    assert!(tell(b"hello, world, this is no capture").contains("neither pcap nor pcapng"));
    assert!(tell(&pcap(&[])).contains("no frames"));
    let whole = pcap(&[1, 2, 3]);
    assert!(tell(&whole[..whole.len() - 5]).contains("record 3: the file ends in it"));
    let mut w = PcapWriter::with_header(
        Vec::new(),
        PcapHeader { datalink: DataLink::IEEE802_11, ..PcapHeader::default() },
    )
    .unwrap();
    w.write_packet(&PcapPacket::new(Duration::ZERO, 1, &[1])).unwrap();
    assert!(tell(&w.into_writer()).contains("only Ethernet"));
    let missing = Capture::load(Path::new("/nonexistent/x.pcap")).unwrap_err().to_string();
    assert!(missing.starts_with("/nonexistent/x.pcap: No such file"), "{missing}");
}

proptest! {
    #[test]
    fn broken_files_are_refused_without_panic(
        at in 0usize..300, v in any::<u8>(), cut in 0usize..300, ng in any::<bool>(),
    ) {
        let mut bytes = pcap(&[1, 2, 3]);
        if ng {
            let mut w = PcapNgWriter::new(Vec::new()).unwrap();
            w.write_pcapng_block(InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0)).unwrap();
            bytes = w.into_inner();
        }
        bytes.truncate(cut.max(1));
        let n = bytes.len();
        bytes[at % n] = v;
        let _ = Capture::load(file_with(&bytes).path());
    }

    #[test]
    fn time_never_runs_backwards(us in prop::collection::vec(0u64..1_000_000, 1..50)) {
        let c = Capture::load(file_with(&pcap(&us)).path()).unwrap();
        let at: Vec<u64> = (0..3 * c.len()).map(|k| c.at(k)).collect();
        prop_assert!(at.is_sorted());
        prop_assert_eq!(at[0], 0);
    }
}
