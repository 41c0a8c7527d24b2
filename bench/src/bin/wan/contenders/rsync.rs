//! rsync: a TCP connection to each receiver, all at once.

use std::time::{Duration, Instant};

use valecast_bench::child::{Process, Trouble};

use super::{Contender, Job, Run, carried, debian, same, wait_each};
use crate::wan::{Sites, Wan};

/// The contender.
pub struct Rsync;

impl Contender for Rsync {
    fn name(&self) -> &'static str {
        "rsync"
    }

    fn about(&self) -> &'static str {
        "rsync --whole-file to a daemon at each receiver, all at once, over TCP and the kernel's bridges; it checks a hash"
    }

    fn version(&self) -> Result<String, String> {
        debian("rsync", "rsync")
    }

    fn run(&self, job: &Job<'_>) -> Result<Run, Trouble> {
        let wan = Wan::build(job.net, Sites::Bridged)?;
        let mut daemons = Vec::new();
        for &node in job.to {
            let (folder, conf) = (job.folder(node)?, job.log(node, "rsyncd.conf"));
            let text = format!(
                "use chroot = no\nuid = {0}\ngid = {1}\n[in]\npath = {2}\nread only = no\n",
                nix::unistd::getuid(),
                nix::unistd::getgid(),
                folder.display()
            );
            std::fs::write(&conf, text)?;
            let conf = conf.display().to_string();
            let words = ["rsync", "--daemon", "--no-detach", "--config", &conf];
            daemons.push(wan.start(node, &words, &job.log(node, "rsyncd"))?);
        }
        std::thread::sleep(Duration::from_millis(300));
        let before = wan.carried()?;
        let file = job.file.display().to_string();
        let began = Instant::now();
        let mut senders = std::collections::BTreeMap::new();
        for &node in job.to {
            let to = format!("rsync://{}/in/file", Wan::address(node));
            let words = ["rsync", "--whole-file", "--inplace", &file, &to];
            senders.insert(node, wan.start(job.from, &words, &job.log(node, "rsync"))?);
        }
        let seconds = wait_each(job, began, job.to.to_vec(), |node| {
            senders.get_mut(&node).map_or(Ok(true), Process::ended)
        })?;
        let links = carried(job.net, &before, &wan.carried()?);
        let dropped = wan.dropped()?;
        for &node in job.to {
            same(job.file, &job.folder(node)?.join("file"))?;
        }
        Ok(Run { seconds, links, dropped, planned: None })
    }
}
