//! Which jobs there are: all of them, or the few of `--quick`.

use crate::job::{Job, Kind, Pattern, Setup, Size, Traffic, Waiting};

const UNICAST: Pattern = Pattern::Unicast { macs: 1 };

/// Two ports, one worker on core 1, polling.
pub fn pair(burst: u32) -> Setup {
    Setup {
        ports: 2,
        idle_ports: 0,
        burst,
        group: false,
        workers: 1,
        waiting: Waiting::Polling,
        pinned: true,
    }
}

fn star(receivers: usize, burst: u32, group: bool) -> Setup {
    Setup { ports: receivers + 1, group, ..pair(burst) }
}

fn rate(setup: Setup, pattern: Pattern, size: usize) -> Job {
    Job { setup, kind: Kind::Rate, pattern, size: Size::Fixed(size) }
}

fn split(pinned: bool, sleeping: bool, size: usize) -> Job {
    // The switch must let the clients have its core when nothing is tied to one.
    let setup = Setup { pinned, waiting: Waiting::Default, ..pair(256) };
    Job { setup, kind: Kind::Split { pinned, sleeping }, pattern: UNICAST, size: Size::Fixed(size) }
}

fn small(setup: Setup, kind: Kind) -> Job {
    Job { setup, kind, pattern: UNICAST, size: Size::Fixed(64) }
}

/// The most important jobs: two minutes.
pub fn quick() -> Vec<Job> {
    let mut jobs = Vec::new();
    for burst in [1, 32, 256] {
        jobs.push(rate(pair(burst), UNICAST, 64));
    }
    jobs.push(rate(pair(32), UNICAST, 1500));
    jobs.push(rate(pair(256), UNICAST, 1500));
    jobs.push(small(pair(32), Kind::Rtt { load: 0 }));
    jobs.push(small(pair(32), Kind::Rtt { load: 50 }));
    jobs.push(rate(star(16, 32, true), Pattern::Replicate, 64));
    jobs.push(split(true, true, 64));
    sorted(jobs)
}

/// Everything.
pub fn full() -> Vec<Job> {
    let mut jobs = Vec::new();
    for burst in [1, 32, 64, 256] {
        for size in [64, 128, 256, 512, 1024, 1500] {
            jobs.push(rate(pair(burst), UNICAST, size));
        }
        jobs.push(Job { size: Size::Imix, ..rate(pair(burst), UNICAST, 64) });
        for size in [64, 1500] {
            jobs.push(Job { kind: Kind::BothWays, ..rate(pair(burst), UNICAST, size) });
        }
        for macs in [100, 10_000] {
            jobs.push(rate(pair(burst), Pattern::Unicast { macs }, 64));
        }
    }
    for burst in [32, 256] {
        for receivers in [4, 16, 64] {
            for size in [64, 1500] {
                jobs.push(rate(star(receivers, burst, true), Pattern::Replicate, size));
            }
        }
        // As many as fit beside the sender into the 32 ports that a packaged DPDK is built for.
        jobs.push(rate(star(31, burst, true), Pattern::Replicate, 64));
        for receivers in [1, 4, 16] {
            jobs.push(rate(star(receivers, burst, false), Pattern::Broadcast, 64));
        }
        let crowd = Setup { idle_ports: 1000, ..pair(burst) };
        jobs.push(rate(crowd, UNICAST, 64));
    }
    for load in [0, 10, 50, 90] {
        jobs.push(small(pair(32), Kind::Rtt { load }));
    }
    jobs.push(small(Setup { waiting: Waiting::Sleeping, ..pair(32) }, Kind::WakeUp));
    for size in [64, 1500] {
        jobs.push(split(true, true, size));
        jobs.push(split(false, true, size));
    }
    jobs.push(split(true, false, 64));
    for flows in [1, 2] {
        let setup = Setup { ports: 4, workers: flows, waiting: Waiting::Default, ..pair(256) };
        jobs.push(small(setup, Kind::Scale { flows }));
    }
    let ordinary = Setup { waiting: Waiting::Default, ..pair(256) };
    jobs.push(small(ordinary, Kind::Steady { pps: 100_000 }));
    jobs.push(small(ordinary, Kind::Idle));
    jobs.push(small(ordinary, Kind::Attach));
    jobs.push(small(Setup { ports: 66, ..ordinary }, Kind::Memory));
    // Sender, receiver and switch go where the scheduler puts them, as anybody's would.
    let anywhere = Setup { pinned: false, ..ordinary };
    for traffic in [Traffic::Tcp, Traffic::Udp] {
        jobs.push(small(anywhere, Kind::Namespaces(traffic)));
    }
    sorted(jobs)
}

/// Jobs of one setup side by side, because contenders are started once for each setup and round.
fn sorted(mut jobs: Vec<Job>) -> Vec<Job> {
    jobs.sort();
    jobs.dedup();
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn jobs_have_names_of_their_own() {
        let all = full();
        let names: BTreeSet<String> = all.iter().map(Job::to_string).collect();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn quick_is_a_part_of_everything() {
        let all = full();
        assert!(quick().iter().all(|j| all.contains(j)));
    }

    #[test]
    fn a_setup_is_visited_once() {
        let mut seen = BTreeSet::new();
        let mut last = None;
        for job in full() {
            assert!(last == Some(job.setup) || seen.insert(job.setup), "{job}: its setup came before");
            last = Some(job.setup);
        }
    }
}
