//! udpcast: multicast, slices that all receivers acknowledge.

use std::time::Instant;

use valecast_bench::child::{Process, Trouble};

use super::{Contender, Job, Run, carried, debian, same, wait_each};
use crate::wan::{Sites, Wan};

/// The contender.
pub struct Udpcast;

const RENDEZVOUS: [&str; 2] = ["--mcast-rdv-address", "239.1.1.1"];

impl Contender for Udpcast {
    fn name(&self) -> &'static str {
        "udpcast"
    }

    fn about(&self) -> &'static str {
        "udp-sender --full-duplex, at most 95 % of the slowest link, over the kernel's bridges; it checks no hash"
    }

    fn version(&self) -> Result<String, String> {
        debian("udp-sender", "udpcast")
    }

    fn run(&self, job: &Job<'_>) -> Result<Run, Trouble> {
        let wan = Wan::build(job.net, Sites::Bridged)?;
        let mut receivers = std::collections::BTreeMap::new();
        for &node in job.to {
            let file = job.folder(node)?.join("file").display().to_string();
            let words = ["udp-receiver", "--interface", "br0", "--nokbd", "--no-progress", "--file", &file];
            let words = [&words[..], &RENDEZVOUS].concat();
            receivers.insert(node, wan.start(node, &words, &job.log(node, "udp-receiver"))?);
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        let before = wan.carried()?;
        let rate = format!("{}k", (job.net.bottleneck() as f64 * 0.95 / 1e3).floor());
        let (file, count) = (job.file.display().to_string(), job.to.len().to_string());
        let words = [
            "udp-sender",
            "--interface",
            "br0",
            "--nokbd",
            "--no-progress",
            "--full-duplex",
            "--file",
            &file,
        ];
        let more = ["--min-receivers", &count, "--max-bitrate", &rate];
        let words = [&words[..], &more, &RENDEZVOUS].concat();
        let began = Instant::now();
        let mut sender = wan.start(job.from, &words, &job.log(job.from, "udp-sender"))?;
        let seconds = wait_each(job, began, job.to.to_vec(), |node| {
            receivers.get_mut(&node).map_or(Ok(true), Process::ended)
        })?;
        sender.wait(job.patience)?;
        let links = carried(job.net, &before, &wan.carried()?);
        let dropped = wan.dropped()?;
        for &node in job.to {
            same(job.file, &job.folder(node)?.join("file"))?;
        }
        Ok(Run { seconds, links, dropped, planned: None })
    }
}
