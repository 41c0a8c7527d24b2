//! One job: a switch in this process with its worker on core 1, and clients on core 0.

use std::fmt;
use std::time::{Duration, Instant};

use crate::pin;
use valecast_config::Config;
use valecast_ring::SlotFlags;
use valecast_ring::client::{AttachOptions, Port, RxRing, TxRing};
use valecast_switch::daemon::Daemon;

/// Where frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// To one learned address.
    Unicast,
    /// To all (one other port).
    Broadcast,
    /// To a group of four ports.
    Group4,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Where frames go.
    pub pattern: Pattern,
    /// Bytes per frame, without CRC.
    pub size: usize,
    /// Frames per burst of the generator and of the worker.
    pub burst: usize,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = match self.pattern {
            Pattern::Unicast => "unicast",
            Pattern::Broadcast => "broadcast",
            Pattern::Group4 => "group4",
        };
        write!(f, "{p} {} B burst {}", self.size, self.burst)
    }
}

/// Reads what a receiver would: the first bytes of each frame.
pub fn touch(rx: &mut RxRing, n: u32) -> u64 {
    let mut sum = 0u8;
    for i in 0..n {
        rx.prefetch((i + 4).min(n - 1));
        sum ^= rx.frame(i).data.first().copied().unwrap_or(0);
    }
    std::hint::black_box(sum);
    u64::from(n)
}

/// Copies delivered per second.
pub fn run(job: &Job, time: Duration) -> Result<f64, Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("valecast-e2e-{}", std::process::id()));
    let receivers = if job.pattern == Pattern::Group4 { 4 } else { 1 };
    let mut toml = format!(
        "run_dir = {dir:?}\n[[switch]]\nname = \"e2e\"\ncpus = [1]\nburst = {}\nspin = \"10ms\"\n",
        job.burst
    );
    for i in 0..=receivers {
        toml += &format!("[[switch.port]]\nname = \"p{i}\"\nkind = \"ring\"\n");
    }
    if job.pattern == Pattern::Group4 {
        toml += "[[switch.group]]\nname = \"g\"\naddress = \"01:00:5e:00:00:01\"\nbuckets = [";
        (1..=4).for_each(|i| toml += &format!("{{ port = \"p{i}\" }},"));
        toml += "]\n";
    }
    let daemon = Daemon::start(Config::parse("e2e", &toml)?, None)?;
    let socket = Daemon::ring_socket(&dir, "e2e");
    let mut ports = Vec::new();
    for i in 0..=receivers {
        ports.push(Port::attach(&socket, &format!("p{i}"), &AttachOptions::default())?.split());
    }
    pin(0);
    let done = drive(job, time, &mut ports);
    drop(ports);
    daemon.stop();
    let _ = std::fs::remove_dir_all(&dir);
    Ok(done)
}

type Attached = (valecast_ring::client::Link, Vec<TxRing>, Vec<RxRing>);

fn drive(job: &Job, time: Duration, ports: &mut [Attached]) -> f64 {
    let mut frame = vec![0u8; job.size];
    let dst = match job.pattern {
        Pattern::Unicast => [2, 0, 0, 0, 0, 1],
        Pattern::Broadcast => [0xff; 6],
        Pattern::Group4 => [1, 0, 0x5e, 0, 0, 1],
    };
    frame[..6].copy_from_slice(&dst);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    let (sender, receivers) = ports.split_at_mut(1);
    // The receiver says where it is, once.
    let mut hello = frame.clone();
    hello[..6].fill(0xff);
    hello[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    receivers[0].1[0].push(&hello);
    receivers[0].1[0].publish();
    std::thread::sleep(Duration::from_millis(20));
    let tx = &mut sender[0].1[0];
    for i in 0..tx.room() {
        tx.buffer(i)[..job.size].copy_from_slice(&frame);
    }
    let mut got = 0u64;
    let begin = Instant::now();
    while begin.elapsed() < time {
        for _ in 0..16 {
            let n = tx.room_for(job.burst as u32).min(job.burst as u32);
            for i in 0..n {
                tx.set(i, job.size, SlotFlags::empty());
            }
            tx.advance(n);
            tx.publish();
            for r in receivers.iter_mut() {
                let rx = &mut r.2[0];
                let n = rx.pending();
                got += touch(rx, n);
                rx.advance(n);
                rx.release();
            }
        }
    }
    got as f64 / begin.elapsed().as_secs_f64()
}
