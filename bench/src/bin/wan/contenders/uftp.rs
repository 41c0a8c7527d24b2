//! uftp: multicast, one rate for all, repairs by NAK.

use std::time::Instant;

use valecast_bench::child::Trouble;

use super::{Contender, Job, Run, carried, debian, same, wait_each};
use crate::wan::{Sites, Wan};

/// The contender.
pub struct Uftp;

impl Contender for Uftp {
    fn name(&self) -> &'static str {
        "uftp"
    }

    fn about(&self) -> &'static str {
        "uftp -R 93 % of the slowest link, uftpd at each receiver, over the kernel's bridges; it checks no hash"
    }

    fn version(&self) -> Result<String, String> {
        debian("uftp", "uftp")
    }

    fn run(&self, job: &Job<'_>) -> Result<Run, Trouble> {
        let wan = Wan::build(job.net, Sites::Bridged)?;
        let mut receivers = Vec::new();
        for &node in job.to {
            let folder = job.folder(node)?.display().to_string();
            let (log, status) = (job.log(node, "uftpd").display().to_string(), status(job, node));
            let words =
                ["uftpd", "-d", "-D", &folder, "-I", "br0", "-L", &log, "-F", &status, "-B", "8388608"];
            receivers.push(wan.start(node, &words, &job.log(node, "uftpd-out"))?);
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        let before = wan.carried()?;
        // Its rate counts datagrams' content only, so that headers have to find room.
        let rate = (job.net.bottleneck() as f64 * 0.93 / 1e3).floor().to_string();
        let clients: Vec<String> = job.to.iter().map(|n| Wan::address(*n)).collect();
        let file = job.file.display().to_string();
        let words = ["uftp", "-I", "br0", "-R", &rate, "-B", "8388608", "-H", &clients.join(","), &file];
        let began = Instant::now();
        let mut sender = wan.start(job.from, &words, &job.log(job.from, "uftp"))?;
        let seconds = wait_each(job, began, job.to.to_vec(), |node| {
            // Names in it need not be text.
            let said = std::fs::read(status(job, node)).unwrap_or_default();
            if String::from_utf8_lossy(&said).contains("RESULT") {
                return Ok(true);
            }
            if sender.ended()? && said.is_empty() {
                return Err(format!("it ended and said: {}", sender.said()).into());
            }
            Ok(false)
        })?;
        sender.wait(job.patience)?;
        let links = carried(job.net, &before, &wan.carried()?);
        let dropped = wan.dropped()?;
        for &node in job.to {
            same(job.file, &job.folder(node)?.join(job.file.file_name().unwrap_or_default()))?;
        }
        Ok(Run { seconds, links, dropped, planned: None })
    }
}

fn status(job: &Job<'_>, node: u32) -> String {
    job.log(node, "status").display().to_string()
}
