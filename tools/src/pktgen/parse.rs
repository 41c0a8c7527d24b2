//! What was typed becomes what is valid.

use std::path::PathBuf;
use std::time::Duration;

use valecast_bench::addr::{Family, IpRange, MacRange, mac_of_port};
use valecast_bench::{FrameSpec, stamp};
use valecast_ring::client::AttachOptions;

use super::getopt::{Given, split};
use super::options::{Mode, Options, Replay};
use super::place::Place;
use super::values::{attach_options, count, number, rate, seconds};

/// What a command line asks for.
#[derive(Clone, Debug)]
pub enum Parsed {
    /// The help text.
    Help,
    /// A run.
    Run(Box<Options>),
}

/// Options whose meaning depends on others, kept until all are known.
#[derive(Debug, Default)]
struct Later {
    place: Option<String>,
    family: Option<Family>,
    sizes: Vec<usize>,
    src: Option<String>,
    dst: Option<String>,
    src_mac: Option<String>,
    dst_mac: Option<String>,
    burst: Option<u32>,
    mask: u32,
    speed: Option<f64>,
    times: Option<u64>,
    file: Option<PathBuf>,
}

/// Reads a command line (without the command's name).
pub fn parse(args: Vec<String>) -> Result<Parsed, String> {
    let given = split(args)?;
    if given.iter().any(|g| g.name == "h" || g.name == "help") {
        return Ok(Parsed::Help);
    }
    let frame = FrameSpec::new(Family::V4, MacRange::single([0; 6])).map_err(|e| e.to_string())?;
    let mut o = Options::new(frame);
    let mut later = Later::default();
    for g in &given {
        one(&mut o, &mut later, g)?;
    }
    finish(&mut o, later)?;
    Ok(Parsed::Run(Box::new(o)))
}

fn one(o: &mut Options, later: &mut Later, g: &Given) -> Result<(), String> {
    let v = &g.value;
    match g.name.as_str() {
        "i" => later.place = Some(v.clone()),
        "f" => {
            o.mode = Mode::ALL
                .into_iter()
                .find(|m| m.name() == v)
                .ok_or_else(|| format!("-f {v}: the modes are tx, rx, ping, pong, txseq and rxseq"))?;
        }
        "n" => o.count = Some(count(g)?).filter(|n| *n > 0),
        "l" if later.sizes.len() == 2 => return Err("-l: at most two sizes".into()),
        "l" => later.sizes.push(number(g, 16..=65536)? as usize),
        "b" => later.burst = Some(number(g, 1..=65536)? as u32),
        "4" => later.family = Some(Family::V4),
        "6" => later.family = Some(Family::V6),
        "s" => later.src = Some(v.clone()),
        "d" => later.dst = Some(v.clone()),
        "S" => later.src_mac = Some(v.clone()),
        "D" => later.dst_mac = Some(v.clone()),
        "z" => o.frame.random_src = true,
        "Z" => o.frame.random_dst = true,
        "a" => o.first_cpu = Some(number(g, 0..=1023)? as usize),
        "c" => o.cpus = Some(number(g, 0..=1024)? as usize).filter(|n| *n > 0),
        "p" => o.threads = number(g, 1..=64)? as usize,
        "T" => o.report_every = Duration::from_millis(number(g, 1..=86_400_000)?),
        "w" => o.wait = seconds(g)?,
        "W" => o.silence = Some(o.silence.unwrap_or(Duration::from_secs(1))),
        "silence" => o.silence = Some(seconds(g)?),
        "R" => o.rate = rate(g)?,
        "X" => o.dump = true,
        "C" => {
            let buf_size = o.attach.buf_size;
            o.attach = AttachOptions { buf_size, ..attach_options(g)? };
        }
        "buf-size" => o.attach.buf_size = Some(number(g, 64..=65536)? as u32),
        "H" => {
            let len = number(g, 0..=12)? as usize;
            if ![0, 10, 12].contains(&len) {
                return Err("-H: a virtio header has 0, 10 or 12 bytes".into());
            }
            o.frame.vnet = len;
        }
        "r" => o.rubbish = true,
        "P" => later.file = Some(v.into()),
        "pcap-speed" => {
            let speed = v.parse::<f64>().ok().filter(|s| s.is_finite() && *s >= 0.0);
            later.speed = Some(speed.ok_or_else(|| format!("--pcap-speed {v}: a number such as 0.5 or 10"))?);
        }
        "loop" => later.times = Some(count(g)?),
        "seed" => o.frame.seed = number(g, 0..=u64::MAX)?,
        "F" => o.fragments.count = number(g, 1..=63)? as usize,
        "M" => o.fragments.size = Some(number(g, 1..=65536)? as usize),
        // The data is copied into the ring either way: a switch must not read a client's memory.
        "I" => {}
        "v" => o.verbose = true,
        "N" => o.normalize = false,
        "A" => o.statistics = true,
        "B" => o.framing = true,
        "o" => later.mask |= number(g, 0..=8191)? as u32,
        "seconds" => o.time = Some(seconds(g)?).filter(|t| !t.is_zero()),
        "probe" => o.probe = rate(g)?,
        "load" => o.load = rate(g)?,
        "patience" => o.patience = seconds(g)?,
        "busy" => o.busy = true,
        "json" => o.json = true,
        "hlog" => o.hlog = Some(v.into()),
        "plot" => o.plot = Some(v.into()),
        "run-dir" => o.run_dir = Some(v.into()),
        _ => return Err(format!("unknown option {}", g.shown())),
    }
    Ok(())
}

/// Puts together what depends on several options, and refuses what does not go together.
fn finish(o: &mut Options, later: Later) -> Result<(), String> {
    o.place = Place::parse(&later.place.ok_or("-i is missing: which port, such as -i vale0:a")?)?;
    let family = later.family.unwrap_or(Family::V4);
    let base = FrameSpec::new(family, MacRange::single(mac_of_port(&o.place.to_string())))
        .map_err(|e| e.to_string())?;
    let ip = |text: Option<String>, letter: char, default: IpRange| match text {
        Some(t) => IpRange::parse(&t, family).map_err(|e| format!("-{letter}: {e}")),
        None => Ok(default),
    };
    let mac = |text: Option<String>, letter: char, default: MacRange| match text {
        Some(t) => MacRange::parse(&t).map_err(|e| format!("-{letter}: {e}")),
        None => Ok(default),
    };
    let has = |bit: u32| later.mask & bit != 0;
    o.frame = FrameSpec {
        family,
        src: ip(later.src, 's', base.src)?,
        dst: ip(later.dst, 'd', base.dst)?,
        src_mac: mac(later.src_mac, 'S', base.src_mac)?,
        dst_mac: mac(later.dst_mac, 'D', base.dst_mac)?,
        random_src: o.frame.random_src || has(512),
        random_dst: o.frame.random_dst || has(1024),
        size: later.sizes.first().copied().unwrap_or(base.size),
        min_size: later.sizes.get(1).copied(),
        sequence: (o.mode == Mode::TxSeq).then(|| stamp::stream_id(0)),
        ..o.frame.clone()
    };
    if let Some(min) = o.frame.min_size.filter(|m| *m > o.frame.size) {
        return Err(format!(
            "-l {min}: the second size is the smaller one, and the first was {}",
            o.frame.size
        ));
    }
    o.burst = later.burst.unwrap_or(if o.mode == Mode::Ping { 1 } else { 512 });
    o.copy = has(4 | 8);
    o.dump |= has(64);
    o.rubbish |= has(256);
    o.statistics |= has(2048);
    if later.file.is_none() && (later.speed.is_some() || later.times.is_some()) {
        return Err("--pcap-speed and --loop are for a capture: -P FILE".into());
    }
    o.replay = later.file.map(|file| Replay { file, speed: later.speed, times: later.times });
    conflicts(o)
}

fn conflicts(o: &Options) -> Result<(), String> {
    let mode = o.mode.name();
    let only = |given: bool, what: &str, ok: bool, of: &str| {
        if given && !ok { Err(format!("{what} is for -f {of}, not for -f {mode}")) } else { Ok(()) }
    };
    only(o.probe.is_some(), "--probe", o.mode.sends(), "tx")?;
    only(o.load.is_some(), "--load", o.mode == Mode::Ping, "ping")?;
    only(o.replay.is_some(), "-P", o.mode == Mode::Tx, "tx")?;
    only(o.rubbish, "-r", o.mode == Mode::Tx, "tx")?;
    if o.replay.is_some() && o.rubbish {
        return Err("-P and -r: either a capture or rubbish".into());
    }
    if o.replay.is_some() && o.threads > 1 {
        return Err("-P: a capture keeps its order on one thread only; leave out -p".into());
    }
    if o.replay.as_ref().is_some_and(|r| r.speed.is_some()) && o.rate.is_some() {
        return Err("--pcap-speed and -R: either the capture's times or a rate".into());
    }
    if o.mode == Mode::Ping && o.threads > 1 {
        return Err("-f ping works on one thread; leave out -p".into());
    }
    Ok(())
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
